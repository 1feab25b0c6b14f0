//! Which header fields pass the gate and which stay behind. Never adds a credential; names are compared as a careless
//! server would read them, with `_` for `-`.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_contract::refusal::DECISION_FIELD;

use crate::trace;

/// The gate's own mark on its refusals; nobody else's passes, in either direction.
pub(crate) const DECISION: HeaderName = HeaderName::from_static(DECISION_FIELD);

/// Fields that belong to one connection (RFC 9110 section 7.6.1), and those that frame a message on it.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields that a trailer must not carry (RFC 9110 section 6.5.1), besides those above and those of the gate: framing,
/// routing, what a message is and how it is treated. A server that takes trailers for header fields would believe them.
const NEVER_LAST: [&str; 30] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "via",
    "www-authenticate",
];

/// Fields by which an agent would show a credential.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "cookie",
];

/// Fields that say who a call is for: only the gate's word counts.
const IDENTITY: [&str; 4] = ["x-end-user-id", "x-run-id", "x-request-id", "x-action-id"];

/// Fields that make a server act on another method, host or path than the one that was decided on.
const MISLEADING: [&str; 9] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The most field names that the `Connection` fields of a request may name; more is an attack.
pub(crate) const CONNECTION_NAMES_MAX: usize = 32;

/// Whose credentials an agent's request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Managed<'a> {
    /// The gate adds credentials here, so the agent's own stay behind; the tool's credentials stand in these fields, in lower
    /// case with `-` for `_`.
    Yes(&'a [String]),
    /// No tool and no model: what the agent shows is its own affair.
    No,
}

/// Whether a message is framed in the one way that everybody understands alike: with no transfer coding, or with chunked
/// once and no length beside it.
pub(crate) fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !headers.contains_key(header::CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    }
}

/// Whether a request names no more fields of its own connection than anybody needs.
pub(crate) fn names_few_hops(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.map(|value| value.as_bytes().split(|byte| *byte == b',').count());
    names.sum::<usize>() <= CONNECTION_NAMES_MAX
}

/// Takes out of a request everything that must not pass. Returns how many credentials the agent had tried to show.
pub(crate) fn clean_request(headers: &mut HeaderMap, managed: Managed<'_>) -> u32 {
    remove_hops(headers);
    let mut dropped = 0;
    let mut retired: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let plain = plainly(name);
        let shown = match managed {
            Managed::Yes(own) => CREDENTIALS.contains(&&*plain) || is_owned(&plain, own),
            Managed::No => plain == "proxy-authorization",
        };
        if shown {
            dropped += u32::try_from(headers.get_all(name).iter().count()).unwrap_or(u32::MAX);
        }
        if shown || is_ours(&plain) || is_misleading(&plain) || is_disguised(&plain, name) {
            retired.push(name.clone());
        }
    }
    for name in retired {
        headers.remove(name);
    }
    trace::clean(headers);
    // The server side has answered `Expect: 100-continue` already; `Host` is made from the canonical URL.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    dropped
}

/// Takes out of an upstream's answer what belongs to its connection or to the gate.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove_hops(headers);
    headers.remove(DECISION);
    headers.remove(header::PROXY_AUTHENTICATE);
}

/// Takes out of trailers what they must not carry, in either direction; `own` are the credentials' fields.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, own: &[String]) {
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_be_last(name, own))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

fn may_be_last(name: &HeaderName, own: &[String]) -> bool {
    let plain = &*plainly(name);
    let is_known = is_hop_by_hop(plain)
        || CREDENTIALS.contains(&plain)
        || NEVER_LAST.contains(&plain)
        || plain.starts_with("sec-");
    !(is_owned(plain, own) || is_known || is_ours(plain) || is_misleading(plain))
}

/// Keeps only fields of a list; for providers, who get what a model call needs and nothing else.
pub(crate) fn keep_only(headers: &mut HeaderMap, allowed: &[HeaderName]) {
    let mut kept = HeaderMap::with_capacity(allowed.len());
    for name in allowed {
        for value in headers.get_all(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    *headers = kept;
}

/// A name as a careless server reads it.
fn plainly(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    if name.contains('_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Takes out what a careless server would take for this field besides.
pub(crate) fn remove_twins(headers: &mut HeaderMap, name: &HeaderName) {
    let plain = plainly(name);
    let is_twin = |other: &&HeaderName| *other != name && plainly(other) == plain;
    let twins: Vec<HeaderName> = headers.keys().filter(is_twin).cloned().collect();
    for twin in twins {
        headers.remove(twin);
    }
}

/// Whether a field is one of the tool's credentials, as a careless server reads its name.
pub(crate) fn is_own(name: &HeaderName, own: &[String]) -> bool {
    is_owned(&plainly(name), own)
}

/// Whether SDKs show a key in this field, whichever one its server reads. It stays behind in calls to any tool.
pub(crate) fn shows_a_key(name: &HeaderName) -> bool {
    matches!(name.as_str(), "authorization" | "x-api-key")
}

fn is_owned(plain: &str, own: &[String]) -> bool {
    own.iter().any(|own| plain.eq_ignore_ascii_case(own))
}

fn is_hop_by_hop(plain: &str) -> bool {
    HOP_BY_HOP.iter().any(|name| name == plain)
}

fn is_misleading(plain: &str) -> bool {
    MISLEADING.contains(&plain)
}

/// A field of one connection, or one that frames a message, in a spelling that only a careless server takes for it.
fn is_disguised(plain: &str, name: &HeaderName) -> bool {
    plain != name.as_str()
        && (is_hop_by_hop(plain) || matches!(plain, "content-length" | "expect" | "host"))
}

fn is_ours(plain: &str) -> bool {
    IDENTITY.contains(&plain) || plain.starts_with("x-tool-") || plain.starts_with("x-postern-")
}

/// Removes connection fields and everything that `Connection` names. This happens before a credential is added, so
/// `Connection: authorization` strips nothing of the gate's.
fn remove_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| HeaderValue::to_str(value).ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| name != header::CONTENT_LENGTH && name != header::HOST)
        .collect();
    // Trailers pass, and who wants or announces them says so; everything else of these two fields stays behind.
    let wants_trailers = names_in(headers, &header::TE).any(|name| name == "trailers");
    let announced: Vec<String> = names_in(headers, &header::TRAILER)
        .filter_map(|name| name.parse::<HeaderName>().ok())
        .filter(|name| may_be_last(name, &[]))
        .map(|name| name.to_string())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let (false, Ok(list)) = (
        announced.is_empty(),
        HeaderValue::try_from(announced.join(", ")),
    ) {
        headers.insert(header::TRAILER, list);
    }
}

/// What a list names, in lower case.
fn names_in(headers: &HeaderMap, list: &HeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(list).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_an_agent_shows_of_itself_stays_behind() {
        let mut headers = map(&[
            ("authorization", "Bearer mine"),
            ("authorization", "Bearer mine too"),
            ("cookie", "a=b"),
            ("x_api_key", "k"),
            ("x-run-id", "run_1"),
            ("x_end_user_id", "root"),
            ("x-tool-name", "t"),
            ("x-postern-decision", "allow"),
            ("accept", "*/*"),
        ]);
        assert_eq!(clean_request(&mut headers, Managed::Yes(&[])), 4);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn a_tools_own_credential_field_is_one() {
        let mut headers = map(&[("x-token", "mine"), ("x_token", "mine"), ("x-other", "1")]);
        assert_eq!(
            clean_request(&mut headers, Managed::Yes(&["x-token".to_owned()])),
            2
        );
        assert_eq!(names(&headers), ["x-other"]);
    }

    #[test]
    fn towards_a_host_that_is_no_tool_the_agents_own_credentials_pass() {
        let mut headers = map(&[
            ("authorization", "mine"),
            ("proxy-authorization", "Basic x"),
        ]);
        assert_eq!(clean_request(&mut headers, Managed::No), 1);
        assert_eq!(names(&headers), ["authorization"]);
    }

    #[test]
    fn fields_of_one_connection_and_those_it_names_are_removed() {
        let mut headers = map(&[
            ("connection", "close, x-secret-hop"),
            ("connection", "upgrade"),
            ("x-secret-hop", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQ"),
            ("te", "gzip"),
            ("content-length", "3"),
        ]);
        clean_request(&mut headers, Managed::Yes(&[]));
        assert_eq!(names(&headers), ["content-length"]);
    }

    #[test]
    fn trailers_are_asked_for_and_announced_and_nothing_else_is() {
        let mut headers = map(&[
            ("te", "gzip, Trailers"),
            ("trailer", "x-sum, Authorization"),
            ("trailer", "content-length"),
        ]);
        clean_request(&mut headers, Managed::Yes(&[]));
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["trailer"], "x-sum");
        let mut headers = map(&[("te", "gzip"), ("trailer", "host, x_api_key")]);
        clean_request(&mut headers, Managed::No);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_trailer_does_not_frame_route_or_authorise() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("x-sum", "1"),
            ("content-length", "3"),
            ("Content_Length", "3"),
            ("transfer-encoding", "chunked"),
            ("host", "evil.example"),
            ("authorization", "Bearer mine"),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("x-token", "mine"),
            ("x-forwarded-host", "evil.example"),
            ("x-end-user-id", "root"),
            ("x-postern-decision", "allow"),
            ("connection", "close"),
        ]);
        clean_trailers(&mut trailers, &["x-token".to_owned()]);
        assert_eq!(names(&trailers), ["grpc-status", "x-sum"]);
    }

    #[test]
    fn a_connection_field_cannot_take_the_length_away() {
        let mut headers = map(&[("connection", "content-length"), ("content-length", "3")]);
        clean_request(&mut headers, Managed::Yes(&[]));
        assert_eq!(names(&headers), ["content-length"]);
    }

    #[test]
    fn framing_fields_in_disguise_are_removed() {
        let fields = [
            "transfer_encoding",
            "content_length",
            "proxy_connection",
            "host_",
            "keep_alive",
        ];
        let mut headers = map(&fields.map(|name| (name, "x")));
        clean_request(&mut headers, Managed::No);
        assert_eq!(names(&headers), ["host_"]);
    }

    #[test]
    fn fields_that_mislead_a_server_are_removed() {
        let mut headers = map(&[
            ("x-http-method-override", "DELETE"),
            ("x_http_method_override", "DELETE"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ]);
        clean_request(&mut headers, Managed::Yes(&[]));
        assert!(headers.is_empty());
    }

    #[test]
    fn an_upstream_cannot_speak_as_the_gate() {
        let mut headers = map(&[
            ("x-postern-decision", "refused"),
            ("content-type", "text/plain"),
        ]);
        clean_response(&mut headers);
        assert_eq!(names(&headers), ["content-type"]);
    }
}
