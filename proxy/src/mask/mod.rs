//! Keeps a credential from coming back: an answer is looked through for the values that went out with its call, in every form
//! that they are likely to have. For accidents, not for an upstream that wants to betray (`docs/credentials.md`). Never looks
//! for another call's credential, and never changes how long anything is.
//!
//! ```text
//! new book ─▶ Masks: a scanner for each set of values
//! request  ─▶ fields: ask for an answer that can be looked through
//! answer   ─▶ fields ─▶ decode, where it is encoded ─▶ body ─▶ pass, with its scanner ─▶ echoes: count, and stop the run
//! 101      ─▶ fields ─▶ frames of the WebSocket ─────────────▶ pass
//! ```

mod body;
mod border;
mod decode;
mod echoes;
mod fields;
pub(crate) mod forms;
mod frames;
mod pass;
mod scanner;

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, Response, header};
use http_body::Body as _;
use postern_contract::{
    Secret,
    config::{self, Answers},
};

use self::{body::Masked, border::Border};
pub(crate) use self::{
    decode::Encoded,
    echoes::{Echoes, Hits, Stopped, Tally, Whose},
    fields::{ask_plainly, mask as in_fields},
    frames::Sieve,
};
pub use self::{
    pass::{Hold, Pass},
    scanner::{Scanner, Scanners},
};
use crate::{body::Body, book::Target, identify::Caller, inject::Credentials, secret::Secrets};

/// What to look for, for every set of credentials; made once for every book.
#[derive(Default)]
pub(crate) struct Masks(HashMap<[u8; 32], Arc<Scanner>>);

/// What to do about the answer to one call.
pub(crate) struct Mask {
    scanner: Scanners,
    hold: Hold,
    tally: Tally,
}

/// Why an answer cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmasked {
    #[error(transparent)]
    Encoded(#[from] Encoded),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Masks {
    /// The scanners for the credentials of these tools and providers, as far as their values are known and long enough.
    pub(crate) fn of<'a>(
        targets: impl IntoIterator<Item = &'a Arc<Target>>,
        secrets: &Secrets,
    ) -> Self {
        let mut scanners = HashMap::new();
        for target in targets {
            let Some(credentials) = wanted(target) else {
                continue;
            };
            if scanners.contains_key(&credentials.written()) || credentials.sent().next().is_none()
            {
                continue;
            }
            let values = credentials.sent().filter_map(|name| secrets.get(name));
            match scanner(values.map(|value| &**value)) {
                Some(scanner) => {
                    scanners.insert(credentials.written(), scanner);
                }
                None => {
                    let credential = credentials.label();
                    tracing::info!(%credential, "too short to be looked for in answers");
                }
            }
        }
        Self(scanners)
    }

    /// Whether answers of a tool are looked through, so that it is asked for such as can be.
    pub(crate) fn wants(&self, target: &Target) -> bool {
        wanted(target).is_some_and(|credentials| {
            let mints = credentials.wanted().any(|wanted| wanted.is_some());
            mints || self.0.contains_key(&credentials.written())
        })
    }

    /// The scanner for these credentials.
    pub(crate) fn scanner(&self, credentials: &Credentials) -> Option<&Arc<Scanner>> {
        self.0.get(&credentials.written())
    }
}

/// A scanner for values with a key of its own; `None` where none of them is long enough.
pub(crate) fn scanner<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Option<Arc<Scanner>> {
    // Without random numbers the gate does nothing at all; TLS would have failed before.
    let key = getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15);
    let values = values.into_iter().map(Secret::expose);
    Scanner::new(values, key).map(Arc::new)
}

/// The credentials of a tool whose answers are to be looked through.
fn wanted(target: &Target) -> Option<&Credentials> {
    let credentials = target.credential.as_ref()?;
    let is_read = target.answers.mask != config::Mask::Off && credentials.login().is_none();
    is_read.then_some(credentials)
}

/// A body without its encoding, and a head that says so.
pub(crate) fn decoded(fields: &mut HeaderMap, body: Body) -> Result<Body, Encoded> {
    Ok(match decode::coding(fields)? {
        Some(coding) => {
            fields.remove(header::CONTENT_ENCODING);
            fields.remove(header::CONTENT_LENGTH);
            decode::body(body, coding)
        }
        None => body,
    })
}

impl Mask {
    /// What a tool wants done about answers to a caller; `None` where there is nothing to look for.
    pub(crate) fn new(scanner: Scanners, answers: Answers, caller: &Caller) -> Option<Self> {
        if scanner.is_empty() {
            return None;
        }
        let hold = match answers.mask {
            config::Mask::Hold => Hold::Window,
            config::Mask::Live => Hold::Nothing,
            config::Mask::Off => return None,
        };
        let tally = Tally {
            call: Hits::default(),
            echoes: Arc::clone(&caller.echoes),
            whose: caller.whose_echoes(),
            most: answers.echoes,
        };
        Some(Self {
            scanner,
            hold,
            tally,
        })
    }

    /// How often something was masked for the call.
    pub(crate) fn hits(&self) -> Hits {
        self.tally.call.clone()
    }

    /// An answer as the agent may see it.
    pub(crate) fn answer(self, response: Response<Body>) -> Result<Response<Body>, Unmasked> {
        let (mut parts, body) = response.into_parts();
        self.head(&mut parts.headers)?;
        if body.is_end_stream() {
            return Ok(Response::from_parts(parts, body));
        }
        let body = decoded(&mut parts.headers, body)?;
        let border = Border::of(&parts.headers);
        let pass = Pass::new(self.scanner, self.hold);
        let body = Masked::body(body, (pass, border), self.tally);
        Ok(Response::from_parts(parts, body))
    }

    /// What a WebSocket's other end says goes through this, once its head was looked through.
    pub(crate) fn socket(self, head: &mut HeaderMap) -> Result<Box<Sieve>, Stopped> {
        self.head(head)?;
        let pass = Pass::new(self.scanner, self.hold);
        Ok(Box::new(Sieve::new(pass, self.tally)))
    }

    fn head(&self, fields: &mut HeaderMap) -> Result<(), Stopped> {
        // Nobody asks for parts: they are not asked for upstream.
        fields.remove(header::ACCEPT_RANGES);
        self.tally.add(fields::mask(fields, &self.scanner))
    }
}
