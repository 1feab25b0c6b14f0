//! What stands for credentials in a sandbox: found wherever it goes. In the place of the tool's own credential it is exchanged,
//! which `inject` does as ever; anywhere else somebody tries to carry a credential away, so the request is refused. Never knows
//! the credential that one stands for.
//!
//! ```text
//! posternd ── Dummies ─▶ Known, one for a sandbox
//!                          │
//! a request ── its head ───┼─▶ in the credential's place, towards its tool ─▶ exchanged
//!                          │   anywhere else                               ─▶ Misplaced: refused
//!           ── its body ───┴─▶ Watched: the frame that completes one never passes, and the request never ends well
//! ```

mod search;
mod watch;

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use postern_contract::{
    Code, Refusal, ToolName,
    config::DUMMY_BYTES_MAX,
    link::{DUMMIES_MAX, Dummy},
};
use postern_policy::CanonicalUrl;

use self::search::Search;
use crate::{body::Body, headers, refuse::Refused, sealed::Vault};

/// The least of a dummy that others do not have too, in bytes.
const OWN_BYTES_MIN: usize = 14;

/// A dummy on its way to where the credential that it stands for does not belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misplaced {
    tool: ToolName,
    spot: Spot,
}

/// Where in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    Host,
    Path,
    Query,
    Field(HeaderName),
    Body,
    Trailer(HeaderName),
}

impl Misplaced {
    /// What the audit says of it.
    pub(crate) fn told(&self) -> String {
        let tool = &self.tool;
        match &self.spot {
            Spot::Host => format!("of {tool}, in the host"),
            Spot::Path => format!("of {tool}, in the path"),
            Spot::Query => format!("of {tool}, in the query"),
            Spot::Field(name) => format!(
                "of {tool}, in the field {}",
                crate::audit::cut(name.as_str())
            ),
            Spot::Body => format!("of {tool}, in the body"),
            Spot::Trailer(name) => format!(
                "of {tool}, in the trailer {}",
                crate::audit::cut(name.as_str())
            ),
        }
    }
}

impl From<&Misplaced> for Refused {
    fn from(misplaced: &Misplaced) -> Self {
        let message = format!(
            "What stands for a credential here ({}) goes to that tool alone, and there only where the credential belongs.",
            misplaced.told()
        );
        Refusal::new(Code::DummyMisplaced, "a dummy is misplaced", message).into()
    }
}

/// Rings once, when a body turns out to carry a dummy. Clones ring together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm(Arc<OnceLock<Misplaced>>);

impl Alarm {
    fn ring(&self, misplaced: Misplaced) {
        // The first one says enough.
        drop(self.0.set(misplaced));
    }

    /// What it rang for.
    pub(crate) fn rang(&self) -> Option<&Misplaced> {
        self.0.get()
    }
}

/// The dummies of one sandbox, once they are known, and what stands for tokens that its agent asked for.
#[derive(Default)]
pub(crate) struct Dummies {
    told: OnceLock<Arc<Known>>,
    vault: Arc<Vault>,
}

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Known {
    search: Search,
    /// Whose each is, and what of it others do not have, in lower case.
    all: Vec<(ToolName, String)>,
}

/// What is looked through: one request, before anything is taken out of it.
pub(crate) struct Asked<'a> {
    /// The tool that it is for.
    pub(crate) tool: Option<&'a ToolName>,
    /// Its URL as the agent wrote it, in canonical form.
    pub(crate) url: &'a CanonicalUrl,
    /// The same without what stood in the credential's place.
    pub(crate) rest: &'a CanonicalUrl,
    /// Its header fields.
    pub(crate) headers: &'a HeaderMap,
    /// The cookies that were taken out of them, where one is the tool's credential.
    pub(crate) cookies: &'a [HeaderValue],
}

impl Dummies {
    /// None yet, in a sandbox of an agent with these tokens.
    pub(crate) fn beside(vault: Arc<Vault>) -> Self {
        Self {
            told: OnceLock::new(),
            vault,
        }
    }

    /// The tokens that its agent asked for.
    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Takes in what posternd tells, once.
    pub(crate) fn learn(&self, dummies: Vec<Dummy>) -> Result<(), String> {
        if dummies.len() > DUMMIES_MAX {
            return Err(format!("a sandbox has at most {DUMMIES_MAX} dummies"));
        }
        let known = Known::of(dummies)?;
        let told = self.told.set(Arc::new(known));
        told.map_err(|_| "the dummies of a sandbox come once".to_owned())
    }

    /// A body that is looked through on its way out, where there is anything to look for: in one that is `read` anyway, not for
    /// what stands for tokens.
    pub(crate) fn watched(&self, body: Body, alarm: &Alarm, read: bool) -> Body {
        let sealed = self.vault.known().filter(|_| !read);
        let known = self.told.get().cloned().into_iter().chain(sealed);
        known.fold(body, |body, known| watch::watched(body, &known, alarm))
    }

    /// What there is to look for, and whether it may stand in the place of its tool's credential.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Arc<Known>, bool)> {
        let told = self.told.get().cloned().map(|known| (known, true));
        let sealed = self.vault.known().map(|known| (known, false));
        told.into_iter().chain(sealed)
    }
}

impl Known {
    /// What to look for because of these.
    pub(crate) fn of(dummies: Vec<Dummy>) -> Result<Self, String> {
        let mut own = Vec::with_capacity(dummies.len());
        for dummy in &dummies {
            let part = dummy.text.get(dummy.fixed..).unwrap_or_default();
            let is_seen = part.bytes().all(|byte| byte.is_ascii_graphic());
            if part.len() < OWN_BYTES_MIN || dummy.text.len() > DUMMY_BYTES_MAX || !is_seen {
                return Err(format!("a dummy of `{}` is none", dummy.tool));
            }
            // Where what is its own could be guessed, all of it is looked for.
            own.push(if search::is_worth(part) {
                part
            } else {
                &dummy.text
            });
        }
        let search =
            Search::new(&own).map_err(|error| format!("no dummy can be looked for: {error}"))?;
        let own: Vec<_> = own.into_iter().map(str::to_ascii_lowercase).collect();
        let tools = dummies.into_iter().map(|dummy| dummy.tool);
        Ok(Self {
            search,
            all: tools.zip(own).collect(),
        })
    }

    /// Whether all of a request's head may pass, and how many dummies in it will be exchanged. `is_own` says in which field
    /// the tool's credential stands.
    pub(crate) fn judge(
        &self,
        asked: &Asked<'_>,
        is_own: impl Fn(&HeaderName) -> bool,
    ) -> Result<u32, Misplaced> {
        self.judge_host(asked.rest)?;
        self.none_in(asked.rest.path().as_str(), &Spot::Path)?;
        if let Some(query) = asked.rest.query() {
            self.none_in(query.as_str(), &Spot::Query)?;
        }
        let mut exchanged = 0;
        if let Some(query) = asked.url.query() {
            exchanged += self.only_of(asked.tool, query.as_str().as_bytes(), &Spot::Query)?;
        }
        if asked.url.path() != asked.rest.path() {
            exchanged += self.only_of(
                asked.tool,
                asked.url.path().as_str().as_bytes(),
                &Spot::Path,
            )?;
        }
        for cookies in asked.cookies {
            let spot = Spot::Field(header::COOKIE);
            exchanged += self.only_of(asked.tool, cookies.as_bytes(), &spot)?;
        }
        for (name, value) in asked.headers {
            let spot = || Spot::Field(name.clone());
            self.judge_name(name)?;
            let own = asked.tool.filter(|_| is_own(name));
            exchanged += self.only_of(own, value.as_bytes(), &spot())?;
        }
        Ok(exchanged)
    }

    /// Whether cookies may pass that are no credential's.
    pub(crate) fn judge_cookies(&self, rest: Option<&HeaderValue>) -> Result<(), Misplaced> {
        let Some(rest) = rest else { return Ok(()) };
        let spot = Spot::Field(header::COOKIE);
        self.only_of(None, rest.as_bytes(), &spot).map(drop)
    }

    /// Whether a question to a model may pass: what SDKs show as their key stays behind in any case.
    pub(crate) fn judge_question(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Misplaced> {
        for (name, value) in headers {
            self.judge_name(name)?;
            if !headers::shows_a_key(name) {
                self.only_of(None, value.as_bytes(), &Spot::Field(name.clone()))?;
            }
        }
        self.judge_body(body)
    }

    /// Whether a body may pass that is there whole.
    pub(crate) fn judge_body(&self, body: &[u8]) -> Result<(), Misplaced> {
        self.only_of(None, body, &Spot::Body).map(drop)
    }

    /// Trailers belong to no credential.
    fn judge_trailers(&self, trailers: &HeaderMap) -> Result<(), Misplaced> {
        for (name, value) in trailers {
            self.judge_name(name)?;
            self.only_of(None, value.as_bytes(), &Spot::Trailer(name.clone()))?;
        }
        Ok(())
    }

    fn judge_host(&self, url: &CanonicalUrl) -> Result<(), Misplaced> {
        self.none_lowered(&url.authority().host().to_string(), || Spot::Host)
    }

    fn judge_name(&self, name: &HeaderName) -> Result<(), Misplaced> {
        self.none_lowered(name.as_str(), || Spot::Field(name.clone()))
    }

    /// Where letters are in lower case whatever they were.
    fn none_lowered(&self, text: &str, spot: impl FnOnce() -> Spot) -> Result<(), Misplaced> {
        if text.len() < OWN_BYTES_MIN {
            return Ok(());
        }
        match self.all.iter().find(|(_, own)| text.contains(own)) {
            None => Ok(()),
            Some((tool, _)) => Err(Misplaced {
                tool: tool.clone(),
                spot: spot(),
            }),
        }
    }

    /// Whether there is none in part of a URL, as it stands and with its escapes undone.
    fn none_in(&self, text: &str, spot: &Spot) -> Result<(), Misplaced> {
        self.only_of(None, text.as_bytes(), spot)?;
        if text.contains('%') {
            let plain: Vec<u8> = percent_decode_str(text).collect();
            self.only_of(None, &plain, spot)?;
        }
        Ok(())
    }

    /// Whether there are none but this tool's, and if there are, one.
    fn only_of(&self, own: Option<&ToolName>, text: &[u8], spot: &Spot) -> Result<u32, Misplaced> {
        let (mut found, mut misplaced) = (0, None);
        self.search.find(text, |number| {
            let (tool, _) = &self.all[number];
            if own == Some(tool) {
                found = 1;
            } else if misplaced.is_none() {
                misplaced = Some(tool.clone());
            }
        });
        match misplaced {
            None => Ok(found),
            Some(tool) => Err(Misplaced {
                tool,
                spot: spot.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
