//! The condition on header fields: `headers` of a rule. Never looks at a field that its rule does not name.

use std::collections::BTreeMap;

use postern_contract::config::Wanted;

use super::{Call, Judge, Match, Why};

/// Fields that are the gate's own or name the host, which `resource` is about.
const NOT_THE_AGENTS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Holds where every field says what is wanted.
#[derive(Debug)]
pub(crate) struct Headers(BTreeMap<String, Wanted>);

/// Why a name is no field that a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadField {
    #[error("a header field is written in lower case: letters, digits and `-`")]
    Name,
    #[error("the gate writes this field itself, so no rule can be about it")]
    NotTheAgents,
    #[error("a header field has no control characters and no spaces around what it says")]
    Value,
}

impl Headers {
    /// On failure says at which name.
    pub(crate) fn compile(written: &BTreeMap<String, Wanted>) -> Result<Self, (&str, BadField)> {
        for (name, wanted) in written {
            check(name, wanted).map_err(|why| (name.as_str(), why))?;
        }
        Ok(Self(written.clone()))
    }
}

fn check(name: &str, wanted: &Wanted) -> Result<(), BadField> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(letter) {
        return Err(BadField::Name);
    }
    if NOT_THE_AGENTS.contains(&name) || name.starts_with("proxy-") {
        return Err(BadField::NotTheAgents);
    }
    match wanted {
        Wanted::Exactly(text) if text.trim() != text || text.chars().any(char::is_control) => {
            Err(BadField::Value)
        }
        _ => Ok(()),
    }
}

impl Judge for Headers {
    fn reads_headers(&self) -> bool {
        true
    }

    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return Match::CannotTell(Why::InTunnel);
        }
        let field = |(name, wanted): (&String, &Wanted)| match call.evidence.header(name) {
            Ok(found) => Match::from(match wanted {
                Wanted::Exactly(text) => found == Some(text.as_bytes()),
                Wanted::Presence(wanted) => found.is_some() == wanted.present,
            }),
            Err(unclear) => Match::CannotTell(Why::Header(unclear)),
        };
        let fields = self.0.iter().map(field);
        fields.fold(Match::Yes, |so_far, field| so_far.and(|| field))
    }
}
