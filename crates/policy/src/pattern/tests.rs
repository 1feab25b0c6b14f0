//! Which URLs patterns hold for. Never reaches beyond `pattern.rs`.

use super::*;

fn fits(pattern: &str, url: &str) -> Fit {
    let url = CanonicalUrl::parse(url).unwrap();
    Pattern::parse(pattern)
        .unwrap()
        .fits(&url, &url.path().unescaped())
}

#[test]
fn a_host_is_never_the_beginning_of_another() {
    let pattern = "https://api.stripe.com/*";
    assert_eq!(fits(pattern, "https://api.stripe.com/v1"), Fit::Yes);
    for other in [
        "https://api.stripe.com.evil.io/v1",
        "https://api.stripe.comevil.io/v1",
        "https://xapi.stripe.com/v1",
        "https://api.stripe.com:8443/v1",
        "http://api.stripe.com/v1",
        "http://api.stripe.com:443/v1",
    ] {
        assert_eq!(fits(pattern, other), Fit::No, "{other}");
    }
}

#[test]
fn a_zone_is_what_lies_beneath_it() {
    let pattern = "https://*.example.com/*";
    for inside in ["https://a.example.com/", "https://a.b.example.com/x"] {
        assert_eq!(fits(pattern, inside), Fit::Yes, "{inside}");
    }
    for outside in [
        "https://example.com/",
        "https://aexample.com/",
        "https://x.aexample.com/",
        "https://a.example.com.evil.io/",
        "https://example.com.evil.io/",
        "https://10.0.0.1/",
    ] {
        assert_eq!(fits(pattern, outside), Fit::No, "{outside}");
    }
}

#[test]
fn a_path_fits_whole_or_by_its_beginning_whatever_the_query() {
    for (pattern, url, fit) in [
        ("http://a/v1/x", "http://a/v1/x", Fit::Yes),
        ("http://a/v1/x", "http://a/v1/x?y=1", Fit::Yes),
        ("http://a/v1/x", "http://a/v1/x/", Fit::No),
        ("http://a/v1/x", "http://a/v1/X", Fit::No),
        ("http://a/v1/*", "http://a/v1/", Fit::Yes),
        ("http://a/v1/*", "http://a/v1", Fit::No),
        ("http://a/v1/*", "http://a/v10", Fit::No),
        ("http://a/v1/*", "http://a/v1/../v2/", Fit::No),
        ("http://a/v1/ch*", "http://a/v1/charges/1", Fit::Yes),
        ("http://a/@me", "http://a/%40me", Fit::Unescaped),
        ("http://a/%40me", "http://a/@me", Fit::Unescaped),
        ("http://a/@me/*", "http://a/%40me/x", Fit::Unescaped),
        ("http://a/@me/*", "http://a/@me/%40x", Fit::Yes),
    ] {
        assert_eq!(fits(pattern, url), fit, "{pattern} {url}");
    }
}

#[test]
fn what_is_no_pattern() {
    use BadPattern::{HostWildcard, NoPath, NotCanonical, PathWildcard, Query, Scheme, UserInfo};
    for (text, why) in [
        ("", Scheme),
        ("*", Scheme),
        ("api.stripe.com/*", Scheme),
        ("ftp://a/*", Scheme),
        (
            "https://api.stripe.com",
            NoPath("https://api.stripe.com".into()),
        ),
        (
            "https://api.stripe.com*",
            NoPath("https://api.stripe.com".into()),
        ),
        ("https://*/x", HostWildcard),
        ("https://*.*.com/", HostWildcard),
        ("https://a*.com/", HostWildcard),
        ("https://a.*.com/", HostWildcard),
        ("https://*:*/", HostWildcard),
        ("https://a*:*/", HostWildcard),
        ("https://*.[::1]/", HostWildcard),
        ("https://a/*/b", PathWildcard),
        ("https://a/**", PathWildcard),
        ("https://a/?x", Query),
        ("https://a/*#x", Query),
        ("https://u@a/*", UserInfo),
        ("https://a/b/../c", NotCanonical("/c".into())),
        ("https://a//b*", NotCanonical("/b*".into())),
    ] {
        assert_eq!(Pattern::parse(text).unwrap_err(), why, "{text}");
    }
    for text in [
        "https://a:80:*/",
        "https://[::1]:80:*/",
        "https://:*/",
        "https://127.1/",
        "https://*.127.0.0.1/",
        "https://a..b/",
        "https:///x",
        "https://a/%zz",
    ] {
        assert!(Pattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_port_is_said_by_a_star() {
    for (pattern, url, fit) in [
        ("https://a.b:*/*", "https://a.b/", Fit::Yes),
        ("https://a.b:*/*", "https://a.b:8443/x", Fit::Yes),
        ("https://a.b:*/*", "http://a.b:8443/x", Fit::No),
        ("https://*.a.b:*/*", "https://x.a.b:1/", Fit::Yes),
        ("https://[::1]:*/*", "https://[::1]:9/", Fit::Yes),
        ("https://a.b/*", "https://a.b:8443/", Fit::No),
    ] {
        assert_eq!(fits(pattern, url), fit, "{pattern} {url}");
    }
}
