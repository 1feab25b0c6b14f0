//! A text with places for parts of a request: `{timestamp}.{body}`. Parsed once, with the config; never knows a value.

use http::HeaderName;
use serde::Deserialize;

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// One piece of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Method,
    Host,
    Path,
    Query,
    Target,
    Body,
    BodyHex,
    BodyBase64,
    Timestamp,
    Signature,
    Field(HeaderName),
}

/// The whole, with at least one piece.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template(Vec<Part>);

/// Why a text is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTemplate {
    #[error("a template has 1 to {TEMPLATE_BYTES_MAX} bytes")]
    Length,
    #[error("a template has no `{{` without its `}}`")]
    Brace,
    #[error(
        "`{{{0}}}` is no part of a request: known are method, host, path, query, target, body, body_sha256, \
         body_sha256_base64, timestamp, signature and header:NAME"
    )]
    Unknown(String),
}

impl Template {
    /// `{signature}`.
    pub(super) fn signature() -> Self {
        Self(vec![Part::Signature])
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }
}

impl TryFrom<String> for Template {
    type Error = NoTemplate;

    fn try_from(text: String) -> Result<Self, NoTemplate> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            return Err(NoTemplate::Length);
        }
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or(NoTemplate::Brace)?;
            put(&mut parts, before)?;
            parts.push(part(name)?);
            rest = behind;
        }
        put(&mut parts, rest)?;
        Ok(Self(parts))
    }
}

fn put(parts: &mut Vec<Part>, text: &str) -> Result<(), NoTemplate> {
    if text.contains('}') {
        return Err(NoTemplate::Brace);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn part(name: &str) -> Result<Part, NoTemplate> {
    Ok(match name {
        "method" => Part::Method,
        "host" => Part::Host,
        "path" => Part::Path,
        "query" => Part::Query,
        "target" => Part::Target,
        "body" => Part::Body,
        "body_sha256" => Part::BodyHex,
        "body_sha256_base64" => Part::BodyBase64,
        "timestamp" => Part::Timestamp,
        "signature" => Part::Signature,
        name => {
            let unknown = || NoTemplate::Unknown(name.escape_default().take(80).collect());
            let field = name.strip_prefix("header:").ok_or_else(unknown)?;
            Part::Field(field.parse().map_err(|_| unknown())?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_parts_stand_in_their_order() {
        let template =
            Template::try_from("v0:{timestamp}:{header:X-Id}\n{body}".to_owned()).unwrap();
        let wanted = [
            Part::Text("v0:".to_owned()),
            Part::Timestamp,
            Part::Text(":".to_owned()),
            Part::Field(HeaderName::from_static("x-id")),
            Part::Text("\n".to_owned()),
            Part::Body,
        ];
        assert!(template.parts().eq(wanted.iter()));
    }
}
