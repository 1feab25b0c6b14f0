//! Tokens that an agent asks for itself, at an endpoint of a tool that its config names: they stay with the gate, and the agent has
//! something that stands for each. Where that belongs the gate puts the token in its place; anywhere else it is a dummy that goes
//! astray. Never lets an answer of such an endpoint pass that it could not read.
//!
//! ```text
//! POST to the endpoint ─▶ answer, whole ─▶ Vault: the tokens      agent: a stand-in for each
//! Authorization: Bearer STAND-IN, to the tools that it is for     ─▶ the token goes out
//! refresh_token=STAND-IN in a form, to the endpoint it came from  ─▶ the token goes out; its successor takes its place
//! a stand-in anywhere else                                        ─▶ refused, as `dummy` does
//! ```

mod answer;
mod form;
mod shape;
mod vault;

use std::{ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use postern_contract::ToolName;
use zeroize::Zeroizing;

use self::vault::{Kind, Owner};
pub(crate) use self::{
    answer::{Unsealed, answer},
    form::Twice,
    vault::{Token, Vault, Vaults},
};
use crate::{
    body::Body,
    book::Book,
    identify::Caller,
    mask::Scanner,
    record::Record,
    refuse::Refused,
    shown::{self, Shown},
};

/// The largest body of a question to a token endpoint, in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;

/// What the config says of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The paths of its endpoints, in lower case and without a slash at their ends.
    pub(crate) endpoints: Vec<String>,
    /// The tools whose endpoints give tokens for it.
    pub(crate) issuers: Vec<ToolName>,
}

impl Terms {
    /// Whether a path leads to an endpoint, also to a server that takes other spellings for it.
    fn have(&self, path: &str) -> bool {
        let path = plain(path);
        self.endpoints.contains(&path)
    }
}

/// A path as a server may read it that takes several for one.
pub(crate) fn plain(path: &str) -> String {
    path.trim_end_matches('/').to_ascii_lowercase()
}

/// Why something does not stand for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error(
        "the gate has no token for what `Authorization` shows: it is over, or another followed it, or the gate was started anew. \
         Ask the token endpoint for another"
    )]
    Access,
    #[error(
        "the gate has no token for this `refresh_token`: it is over, or another followed it, or the gate was started anew. Ask for \
         a token as if there had been none"
    )]
    Refresh,
}

/// What a body has to do with tokens, and may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a question to a token endpoint has at most {FORM_BYTES_MAX} bytes")]
pub(crate) struct TooLong;

/// What a call has to do with tokens that the gate keeps.
#[derive(Clone, Default)]
pub(crate) struct Claim {
    vault: Arc<Vault>,
    owner: Owner,
    /// The tool, where the call is for one of its endpoints.
    endpoint: Option<ToolName>,
    /// The access token that goes along, and how the agent called its kind.
    access: Option<(Arc<Token>, String)>,
    /// The refresh token that goes along, the form that it goes in, and where in it.
    refresh: Option<(Arc<Token>, Bytes, Range<usize>)>,
}

impl Claim {
    /// What a call to a tool has to do with them. The field that a stand-in belongs into is taken out of the others.
    pub(crate) fn of(
        caller: &Caller,
        (tool, terms): (Option<&ToolName>, &Terms),
        (path, headers): (&str, &mut HeaderMap),
        now: Instant,
    ) -> (Self, Result<(), Unknown>) {
        let mut claim = Self {
            vault: Arc::clone(caller.dummies.vault()),
            owner: Owner::of(caller),
            endpoint: tool.filter(|_| terms.have(path)).cloned(),
            access: None,
            refresh: None,
        };
        if terms.issuers.is_empty() {
            return (claim, Ok(()));
        }
        let Some((scheme, text)) = shown(headers) else {
            return (claim, Ok(()));
        };
        let found = claim
            .vault
            .find((&claim.owner, Kind::Access), &text, now)
            .filter(|token| terms.issuers.contains(token.tool()));
        let known = match found {
            Some(token) => {
                headers.remove(header::AUTHORIZATION);
                claim.access = Some((token, scheme));
                Ok(())
            }
            None if scheme.eq_ignore_ascii_case("bearer") => Err(Unknown::Access),
            None => Ok(()),
        };
        (claim, known)
    }

    /// Reads what an endpoint is asked, and finds the refresh token in it.
    pub(crate) async fn look(
        &mut self,
        (headers, body): (&HeaderMap, &mut Body),
        (book, caller): (&Book, &Caller),
        record: &mut Record,
    ) -> Result<(), Refused> {
        let Some(tool) = &self.endpoint else {
            return Ok(());
        };
        let with = (book.patience.body, FORM_BYTES_MAX);
        let text = match shown::open(body, with, caller, record).await? {
            Shown::Hidden | Shown::Absent => return Ok(()),
            Shown::TooLong => return Err(TooLong.into()),
            Shown::Whole(text) => text,
        };
        let found = if form::is_one(headers) {
            form::refresh_token(&text)?
        } else {
            None
        };
        let Some(form::Shown { text: shown, place }) = found else {
            return self.judge(&text, record);
        };
        self.judge(&form::without(&text, &place), record)?;
        let whose = (&self.owner, Kind::Refresh);
        let token = self.vault.find(whose, &shown, record.now());
        match token.filter(|token| token.tool() == tool) {
            Some(token) => self.refresh = Some((token, text, place)),
            // It may be another endpoint's, and that is another matter.
            None => {
                self.judge(shown.as_bytes(), record)?;
                return Err(Unknown::Refresh.into());
            }
        }
        let exchanged = &mut record.line.dummies_exchanged;
        *exchanged = Some(exchanged.unwrap_or(0) + 1);
        Ok(())
    }

    fn judge(&self, text: &[u8], record: &mut Record) -> Result<(), Refused> {
        match self.vault.known() {
            Some(known) => record.dummies(known.judge_body(text).map(|()| 0)),
            None => Ok(()),
        }
    }

    /// Whether the call is for a token endpoint.
    pub(crate) fn is_at_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }

    /// Whether the answer must be one that can be looked through.
    pub(crate) fn is_any(&self) -> bool {
        self.is_at_endpoint() || self.access.is_some()
    }

    /// What the call is called because of the token that goes along.
    pub(crate) fn access(&self) -> Option<&Arc<Token>> {
        self.access.as_ref().map(|(token, _)| token)
    }

    /// What the answer is looked through for on its way. One of an endpoint may well have the same tokens again.
    pub(crate) fn scanners(&self) -> impl Iterator<Item = Arc<Scanner>> {
        let access = self.access().filter(|_| !self.is_at_endpoint());
        access
            .and_then(|token| token.scanner().cloned())
            .into_iter()
    }

    /// The tokens that go along.
    fn spent(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.access().into_iter().chain(self.refresh())
    }

    /// The value of `Authorization` with the real token, if one goes along.
    pub(crate) fn authorization(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (token, scheme) = self.access.as_ref()?;
        let value = [scheme.as_bytes(), b" ", token.real().expose()].concat();
        Some(Zeroizing::new(value))
    }

    /// The form with the real token, if one goes along.
    pub(crate) fn form(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (token, text, place) = self.refresh.as_ref()?;
        Some(form::with(text, place, token.real()))
    }

    fn tool(&self) -> Option<&ToolName> {
        self.endpoint.as_ref()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn vault(&self) -> &Vault {
        &self.vault
    }

    fn refresh(&self) -> Option<&Arc<Token>> {
        self.refresh.as_ref().map(|(token, ..)| token)
    }

    #[cfg(test)]
    fn at(tool: &str) -> Self {
        Self {
            endpoint: tool.parse().ok(),
            ..Self::default()
        }
    }
}

/// What a request shows in its one `Authorization`, as `SCHEME TEXT`.
fn shown(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, text) = HeaderValue::to_str(value).ok()?.split_once(' ')?;
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_scheme.then(|| (scheme.to_owned(), text.trim().to_owned()))
}
