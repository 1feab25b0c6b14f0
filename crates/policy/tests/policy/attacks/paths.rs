//! Paths and queries that servers read differently. Never looks at hosts.

use postern_policy::{
    Authority, BadPath, BadUrl, CanonicalPath, CanonicalQuery, CanonicalUrl, Scheme,
};

use super::book;
use crate::fixture::{judge, url, word};

fn path(text: &str) -> Result<String, BadPath> {
    text.parse::<CanonicalPath>().map(|path| path.to_string())
}

#[test]
fn dot_segments_plain_and_escaped() {
    assert_eq!(path("/a/../b"), Ok("/b".into()));
    assert_eq!(path("/a/%2e%2e/b"), Ok("/b".into()));
    assert_eq!(path("/a/%2E./b"), Ok("/b".into()));
    assert_eq!(path("/a/./b"), Ok("/a/b".into()));
    for text in ["/..", "/../a", "/%2e%2e/a", "/a/../../b", "/./..", "//.."] {
        assert_eq!(path(text), Err(BadPath::AboveRoot), "{text}");
    }
    for text in [
        "/v1/x/../refunds",
        "/v1/%2e/refunds",
        "/v1//refunds",
        "/%76%31/refunds",
        "/v1/x/%2E%2e/refunds?a",
    ] {
        let url = url(&format!("https://api.stripe.com{text}"));
        assert_eq!(
            word(&judge(&book(), "POST", &url)),
            "POLICY_DENIED no refunds",
            "{text}"
        );
    }
}

#[test]
fn escaped_twice() {
    for text in [
        "/%252e%252e/a",
        "/a%252fb",
        "/%25%32%65",
        "/%2525",
        "/%25%34%31",
        "/a%2541",
    ] {
        assert_eq!(path(text), Err(BadPath::EscapedTwice), "{text}");
    }
}

#[test]
fn double_slashes_merge() {
    assert_eq!(path("//a//b"), Ok("/a/b".into()));
    assert_eq!(path("//evil.io/a"), Ok("/evil.io/a".into()));
}

#[test]
fn backslash() {
    for text in ["/a\\b", "/a/..\\b", "/a%5cb", "/a%5C..%5Cb", "/\\evil.io"] {
        assert_eq!(path(text), Err(BadPath::Backslash), "{text}");
    }
}

#[test]
fn path_parameters() {
    for text in [
        "/a;x=y",
        "/a;/b",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/;",
        "/a/.%3b/b",
        "/a/..%3Bx/b",
    ] {
        assert_eq!(path(text), Err(BadPath::Parameters), "{text}");
    }
}

#[test]
fn escaped_slash() {
    for text in ["/a%2fb", "/a%2F..%2Fb", "/..%2fa", "/@scope%2fpackage"] {
        assert_eq!(path(text), Err(BadPath::EscapedSlash), "{text}");
    }
}

#[test]
fn bad_percent() {
    for text in [
        "/%",
        "/%2",
        "/%zz",
        "/%2g",
        "/a%",
        "/%%32e",
        "/%u002e",
        "/%+2",
        "/%2\u{e9}",
    ] {
        assert_eq!(path(text), Err(BadPath::Percent), "{text}");
    }
}

#[test]
fn overlong_and_broken_utf_8() {
    for text in [
        "/%c0%ae%c0%ae/a",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%c3",
        "/%ed%a0%80",
        "/%c3/%a9",
    ] {
        assert_eq!(path(text), Err(BadPath::NotUtf8), "{text}");
    }
}

#[test]
fn nul_and_control_characters() {
    for text in [
        "/a\0b",
        "/a%00b",
        "/a\r\nHost: evil.io",
        "/a%0d%0ab",
        "/a b",
        "/a\tb",
        "/%7f",
        "/%c2%85",
    ] {
        assert_eq!(path(text), Err(BadPath::Control), "{text:?}");
    }
}

#[test]
fn duplicate_keys_and_plus_stay_as_they_are() {
    for text in ["a=1&a=2", "q=a+b", "q=a%20b", "a&a&=&&"] {
        assert_eq!(
            text.parse::<CanonicalQuery>().expect("a query").as_str(),
            text
        );
    }
}

#[test]
fn fragment_in_the_target() {
    let authority = Authority::parse(Scheme::Https, "a.b").expect("an authority");
    for target in ["/a#b", "/#", "/a?b#c", "#"] {
        assert_eq!(
            CanonicalUrl::from_target(authority.clone(), target),
            Err(BadUrl::Fragment)
        );
    }
    for target in ["", "*", "a", "?a", "http://a.b/", "a.b:80"] {
        assert!(
            CanonicalUrl::from_target(authority.clone(), target).is_err(),
            "{target}"
        );
    }
}

#[test]
fn a_denied_path_spelt_in_escapes_is_denied() {
    let spelt = url("https://api.stripe.com/%40all/x");
    assert_eq!(
        word(&judge(&book(), "POST", &spelt)),
        "POLICY_DENIED no mentions"
    );
}
