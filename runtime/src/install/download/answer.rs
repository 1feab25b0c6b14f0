//! What an answer says of an object: which part of it comes, of which state, or where else it stands, or why there is none. Never
//! reads an object itself.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::{super::hint, Failed};
use crate::output::printable;

/// How much of a refusal is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 2_048;

/// How long a refusal may take.
const REFUSAL_MAX: Duration = Duration::from_secs(10);

/// What a server calls one state of an object: a strong `ETag`, else its `Last-Modified` (RFC 9110, 8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validator(String);

impl Validator {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let strong = |tag: &&str| !tag.starts_with("W/");
        let tag = text(header::ETAG).filter(strong);
        tag.or_else(|| text(header::LAST_MODIFIED))
            .map(|text| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which part of an object an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    FromStart,
    /// What follows what was asked for.
    Rest,
    /// None yet, but perhaps later.
    NotNow,
    /// None.
    None,
}

impl Part {
    /// What an answer has for whoever has this many bytes.
    pub(super) fn of<Body>(answer: &Response<Body>, bytes: u64) -> Self {
        match answer.status() {
            StatusCode::OK => Self::FromStart,
            StatusCode::PARTIAL_CONTENT if bytes > 0 && begins_at(answer.headers(), bytes) => {
                Self::Rest
            }
            status if super::passes(status) => Self::NotNow,
            _ => Self::None,
        }
    }
}

/// Whether what comes begins at this byte (RFC 9110, 14.4).
fn begins_at(headers: &HeaderMap, byte: u64) -> bool {
    headers
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-'))
        .is_some_and(|(from, _)| from == byte.to_string())
}

/// Where an answer says that the object stands, if it says that; what is wrong with the place otherwise.
pub(super) fn elsewhere<Body>(from: &Uri, answer: &Response<Body>) -> Option<Result<Uri, String>> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let place = answer.headers().get(header::LOCATION);
    let place = place
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Some(resolved(from, place).ok_or_else(|| {
        // A query may be what opens the door there.
        let place = printable(place.split(['?', '#']).next().unwrap_or_default());
        format!("it stands at `{place}`, which is no place to go on to")
    }))
}

/// A whole URL, or a path at the same place. What came safely is not looked for on an open way.
fn resolved(from: &Uri, place: &str) -> Option<Uri> {
    let there: Uri = if place.starts_with('/') && !place.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(place.parse().ok()?);
        Uri::from_parts(parts).ok()?
    } else {
        place.parse().ok()?
    };
    let scheme = there.scheme()?;
    let is_open = *scheme == Scheme::HTTP;
    let is_known = is_open || *scheme == Scheme::HTTPS;
    let is_opened = is_open && from.scheme() == Some(&Scheme::HTTPS);
    let names_a_user = there.authority()?.as_str().contains('@');
    (is_known && !is_opened && !names_a_user).then_some(there)
}

/// A download that failed like this.
pub(super) fn failed(how: String) -> Failed {
    Failed {
        what: "download".to_owned(),
        how,
        last: Vec::new(),
        hint: None,
    }
}

/// Why an answer is none, by what it says: the gate says what to do.
pub(super) async fn refusal(answer: Response<Incoming>) -> Failed {
    let status = answer.status();
    let said = Limited::new(answer.into_body(), SHOWN_BYTES_MAX).collect();
    let said = match tokio::time::timeout(REFUSAL_MAX, said).await {
        Ok(Ok(said)) => said.to_bytes(),
        _ => bytes::Bytes::new(),
    };
    let said = String::from_utf8_lossy(&said);
    let last: Vec<_> = said.lines().map(printable).collect();
    Failed {
        hint: hint::about(&last).or_else(|| hint::about_status(status)),
        last,
        ..failed(status.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_part_is_the_rest_only_where_it_begins_there() {
        let part = |range: &str, bytes| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            *answer.headers_mut() = headers(header::CONTENT_RANGE, range);
            Part::of(&answer, bytes)
        };
        assert_eq!(part("bytes 10-19/20", 10), Part::Rest);
        for (range, bytes) in [
            ("bytes 0-19/20", 10),
            ("bytes 10-19/20", 0),
            ("bytes 1-19/20", 10),
            ("items 10-19/20", 10),
            ("", 10),
        ] {
            assert_eq!(part(range, bytes), Part::None, "{range} {bytes}");
        }
    }

    #[test]
    fn a_weak_tag_says_nothing_of_bytes() {
        let of = |name, value| Validator::of(&headers(name, value));
        assert_eq!(
            of(header::ETAG, "\"a\""),
            Some(Validator("\"a\"".to_owned()))
        );
        assert_eq!(of(header::ETAG, "W/\"a\""), None);
        assert!(of(header::LAST_MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT").is_some());
    }

    #[test]
    fn another_place_is_as_safe_as_the_first() {
        let from: Uri = "https://a.example/b?c".parse().unwrap();
        let to = |place: &str| resolved(&from, place).map(|uri| uri.to_string());
        assert_eq!(to("/x?y").as_deref(), Some("https://a.example/x?y"));
        assert_eq!(
            to("https://b.example/z").as_deref(),
            Some("https://b.example/z")
        );
        for wrong in [
            "http://a.example/b",
            "//b.example/",
            "ftp://b.example/",
            "https://ada@b.example/",
            "x",
            "",
            "file:///etc/passwd",
        ] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }
}
