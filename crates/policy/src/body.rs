//! From a body as sent to JSON that can be judged, or the reason why it cannot. Never unpacks, repairs or guesses.

use std::fmt;

use crate::{
    evidence::{BODY_BYTES_MAX, BodyShown, Evidence},
    json::Json,
};

/// Why a body cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opaque {
    /// Nobody looked at it.
    Hidden,
    /// There is none.
    Absent,
    /// It is over [`BODY_BYTES_MAX`].
    TooLong,
    /// It is compressed, or nobody knows whether.
    Encoded,
    /// It does not say that it is JSON, or says it twice.
    NotJson,
    /// It says another character set than UTF-8.
    Charset,
    /// Servers could read it in two ways, or not at all.
    Unreadable,
}

/// The JSON that a request sends.
pub(crate) fn read(evidence: &Evidence<'_>) -> Result<Json, Opaque> {
    let bytes = match evidence.body {
        BodyShown::Hidden => return Err(Opaque::Hidden),
        BodyShown::Absent | BodyShown::Whole([]) => return Err(Opaque::Absent),
        BodyShown::TooLong => return Err(Opaque::TooLong),
        BodyShown::Whole(bytes) if bytes.len() > BODY_BYTES_MAX => return Err(Opaque::TooLong),
        BodyShown::Whole(bytes) => bytes,
    };
    check_encoding(evidence)?;
    check_type(evidence)?;
    serde_json::from_slice(bytes).map_err(|_| Opaque::Unreadable)
}

fn check_encoding(evidence: &Evidence<'_>) -> Result<(), Opaque> {
    match evidence.header("content-encoding") {
        Ok(None) => Ok(()),
        Ok(Some(coding)) if coding.eq_ignore_ascii_case(b"identity") => Ok(()),
        _ => Err(Opaque::Encoded),
    }
}

fn check_type(evidence: &Evidence<'_>) -> Result<(), Opaque> {
    let Ok(Some(value)) = evidence.header("content-type") else {
        return Err(Opaque::NotJson);
    };
    let value = std::str::from_utf8(value).map_err(|_| Opaque::NotJson)?;
    let mut parts = value
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let kind = parts.next().unwrap_or_default();
    let is_one = !kind.contains([',', ' ', '\t']);
    let is_json = kind.starts_with("application/") && kind.ends_with("+json");
    if !is_one || !(is_json || kind == "application/json") {
        return Err(Opaque::NotJson);
    }
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((&part, ""));
        let utf_8 = matches!(value.trim_matches('"'), "utf-8" | "utf8");
        if name.trim() == "charset" && !utf_8 {
            return Err(Opaque::Charset);
        }
    }
    Ok(())
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden => f.write_str("it is about the body, which was not looked at"),
            Self::Absent => f.write_str("it is about the body, and there is none"),
            Self::TooLong => {
                write!(f, "it is about the body, of which at most {BODY_BYTES_MAX} bytes are looked at")
            }
            Self::Encoded => {
                f.write_str("it is about the body, which is compressed: send it as it is, without Content-Encoding")
            }
            Self::NotJson => {
                f.write_str("it is about a JSON body: send one, with one Content-Type of application/json")
            }
            Self::Charset => f.write_str("it is about the body, which must be in UTF-8"),
            Self::Unreadable => f.write_str(
                "it is about the body, which servers could read differently: send plain JSON, each key once (in one \
                 case), no number beyond 64 bits, lists of at most 10,000",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fields: &[(&str, &str)], body: &str) -> Option<Opaque> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let evidence = Evidence::none()
            .with_headers(fields)
            .with_body(BodyShown::Whole(body.as_bytes()));
        read(&evidence).err()
    }

    #[test]
    fn json_says_that_it_is_json() {
        for kind in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/vnd.api+json;charset=\"utf-8\"",
        ] {
            assert_eq!(judged(&[("Content-Type", kind)], "{}"), None, "{kind}");
        }
        for kind in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "text/json, application/json",
            "application/x, application/y+json",
        ] {
            assert_eq!(
                judged(&[("content-type", kind)], "{}"),
                Some(Opaque::NotJson),
                "{kind}"
            );
        }
        assert_eq!(judged(&[], "{}"), Some(Opaque::NotJson));
        let twice = [
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ];
        assert_eq!(judged(&twice, "{}"), Some(Opaque::NotJson));
    }

    #[test]
    fn what_cannot_be_judged_is_named() {
        let json = ("content-type", "application/json");
        assert_eq!(
            judged(&[json, ("content-encoding", "gzip")], "{}"),
            Some(Opaque::Encoded)
        );
        assert_eq!(
            judged(&[json, ("content-encoding", "identity")], "{}"),
            None
        );
        assert_eq!(
            judged(&[("content-type", "application/json;charset=utf-16")], "{}"),
            Some(Opaque::Charset)
        );
        assert_eq!(judged(&[json], ""), Some(Opaque::Absent));
        assert_eq!(
            judged(&[json], "{\"a\":1,\"a\":1}"),
            Some(Opaque::Unreadable)
        );
        assert_eq!(
            judged(&[json], &" ".repeat(BODY_BYTES_MAX + 1)),
            Some(Opaque::TooLong)
        );
        assert_eq!(read(&Evidence::none()), Err(Opaque::Hidden));
        assert_eq!(
            read(&Evidence::none().with_body(BodyShown::TooLong)),
            Err(Opaque::TooLong)
        );
    }
}
