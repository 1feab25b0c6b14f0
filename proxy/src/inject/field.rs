//! The name of a header field that a credential may use. Never one that frames a message or names its destination.

use http::HeaderName;
use serde::Deserialize;

/// Fields whose meaning belongs to the gate or to HTTP itself.
const RESERVED: [&str; 14] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-postern-decision",
];

/// A checked field name.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct FieldName(pub(super) HeaderName);

/// Why a text is no such name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no header field that a credential can stand in")]
pub(super) struct NotAField(String);

impl TryFrom<String> for FieldName {
    type Error = NotAField;

    fn try_from(text: String) -> Result<Self, NotAField> {
        match HeaderName::try_from(text.as_str()) {
            Ok(name) if !RESERVED.contains(&name.as_str()) => Ok(Self(name)),
            _ => Err(NotAField(text.escape_default().take(80).collect())),
        }
    }
}
