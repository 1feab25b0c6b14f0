//! The head as forwarded: nothing of the agent's that must stay behind gets through in any spelling, nothing is made up, and
//! cleaning twice changes nothing more.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/src/headers.rs"]
#[allow(dead_code, unreachable_pub)]
mod headers;

#[path = "../../proxy/src/trace.rs"]
#[allow(dead_code, unreachable_pub)]
mod trace;

use headers::{Managed, clean_request, clean_response, clean_trailers};

const NEVER_SENT: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "transfer-encoding",
    "http2-settings",
    "x-http-method-override",
    "x-forwarded-host",
    "x-original-url",
    "forwarded",
    "x-run-id",
    "expect",
];

/// What would frame, route or authorise a message that was decided on already.
const NEVER_LAST: [&str; 6] = [
    "content-length",
    "host",
    "authorization",
    "cookie",
    "x-api-key",
    "trailer",
];

/// Lines of `name: value`, as far as they are fields.
fn fields(text: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(128) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            fields.append(name, value);
        }
    }
    fields
}

fuzz_target!(|text: &[u8]| {
    let asked = fields(text);
    let own = ["X-Token".to_owned()];
    for managed in [Managed::Yes(&[]), Managed::Yes(&own), Managed::No] {
        let mut sent = asked.clone();
        clean_request(&mut sent, managed);
        only_less(&asked, &sent);
        for name in sent.keys() {
            let plain = name.as_str().replace('_', "-");
            assert!(!NEVER_SENT.contains(&plain.as_str()), "{name}");
            assert!(
                !plain.starts_with("x-postern-") && !plain.starts_with("x-tool-"),
                "{name}"
            );
            let credential = matches!(&*plain, "authorization" | "x-api-key" | "cookie");
            assert!(managed == Managed::No || !credential, "{name}");
            assert!(
                managed != Managed::Yes(&own) || plain != "x-token",
                "{name}"
            );
        }
        let length = "content-length";
        let lengths = |map: &HeaderMap| map.get_all(length).iter().cloned().collect::<Vec<_>>();
        assert_eq!(lengths(&sent), lengths(&asked), "the length was taken away");
        let once = sent.clone();
        assert_eq!(
            clean_request(&mut sent, managed),
            0,
            "a credential was left for the second time"
        );
        assert_eq!(sent, once);
    }
    let mut answer = asked.clone();
    clean_response(&mut answer);
    only_less(&asked, &answer);
    assert!(
        !answer.contains_key("x-postern-decision") && !answer.contains_key("transfer-encoding")
    );
    for own in [&[][..], &own] {
        let mut last = asked.clone();
        clean_trailers(&mut last, own);
        only_less(&asked, &last);
        for name in last.keys() {
            let plain = name.as_str().replace('_', "-");
            let never =
                NEVER_SENT.contains(&plain.as_str()) || NEVER_LAST.contains(&plain.as_str());
            assert!(!never && (own.is_empty() || plain != "x-token"), "{name}");
        }
    }
});

fn only_less(before: &HeaderMap, after: &HeaderMap) {
    for name in after.keys() {
        // The two that are said anew, and only if they were said.
        if matches!(name.as_str(), "te" | "trailer") {
            assert!(before.contains_key(name), "{name} was made up");
            assert!(name != "te" || after[name] == "trailers");
            continue;
        }
        let values = |map: &HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(before), values(after), "{name}");
    }
}
