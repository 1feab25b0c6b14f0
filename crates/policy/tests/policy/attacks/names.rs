//! Many ways to write a host, and hosts that look like others. Never looks at paths.

use postern_policy::{Authority, BadUrl, CanonicalUrl, NotAHost, Scheme};

use super::book;
use crate::fixture::{judge, url, word};

fn host(text: &str) -> Result<String, BadUrl> {
    CanonicalUrl::parse(&format!("https://{text}/")).map(|url| url.authority().host().to_string())
}

fn host_is_refused(text: &str, why: NotAHost) {
    assert_eq!(
        Authority::parse(Scheme::Https, text),
        Err(why.into()),
        "{text:?}"
    );
    assert!(host(text).is_err(), "{text:?}");
}

#[test]
fn upper_case_is_the_same_host() {
    assert_eq!(host("API.Stripe.COM"), Ok("api.stripe.com".into()));
}

#[test]
fn one_trailing_dot_is_the_same_host_and_two_are_none() {
    assert_eq!(host("api.stripe.com."), Ok("api.stripe.com".into()));
    assert_eq!(host("localhost."), Ok("localhost".into()));
    assert_eq!(
        word(&judge(
            &book(),
            "GET",
            &url("https://api.stripe.com./v1/refunds")
        )),
        "POLICY_DENIED no refunds"
    );
    host_is_refused("api.stripe.com..", NotAHost::Label);
    host_is_refused(".", NotAHost::Empty);
    host_is_refused(".api.stripe.com", NotAHost::Label);
}

#[test]
fn brackets_around_a_name() {
    host_is_refused("[api.stripe.com]", NotAHost::Brackets);
    host_is_refused("[127.0.0.1]", NotAHost::Brackets);
    host_is_refused("api.stripe.com]", NotAHost::Character);
}

#[test]
fn nul_and_control_characters_and_spaces() {
    for text in [
        "good.com\0.evil.io",
        "good.com\0",
        "good.com\t",
        " good.com",
        "good.com ",
        "good.com\r",
        "good.com\n",
        "good\u{7f}.com",
        "good.com%00",
        "good%2ecom",
    ] {
        host_is_refused(text, NotAHost::Character);
    }
}

#[test]
fn user_info() {
    assert_eq!(host("good.com@evil.io"), Err(BadUrl::UserInfo));
    assert_eq!(host("user:password@good.com"), Err(BadUrl::UserInfo));
    assert!(Authority::parse(Scheme::Https, "good.com@evil.io").is_err());
    assert!(Authority::parse_connect("good.com:80@evil.io:443").is_err());
}

#[test]
fn fragment_in_the_authority() {
    assert_eq!(host("good.com#bad.io"), Err(BadUrl::Fragment));
    assert!(Authority::parse(Scheme::Https, "good.com#bad.io").is_err());
}

#[test]
fn other_scripts_and_the_ideographic_full_stop() {
    host_is_refused("b\u{fc}cher.example", NotAHost::Character);
    host_is_refused("api\u{3002}stripe.com", NotAHost::Character);
    host_is_refused("api\u{ff0e}stripe.com", NotAHost::Character);
    host_is_refused("\u{ff41}pi.stripe.com", NotAHost::Character);
    assert_eq!(
        host("xn--bcher-kva.example"),
        Ok("xn--bcher-kva.example".into())
    );
}

#[test]
fn numbers_that_some_programs_read_as_addresses() {
    for text in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "0x7f.1",
        "0x7f000001",
        "0X7F000001",
        "127.0.0.0x1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "a.0x",
        "a.1",
    ] {
        host_is_refused(text, NotAHost::Number);
    }
    assert_eq!(host("127.0.0.1"), Ok("127.0.0.1".into()));
}

#[test]
fn version_6_addresses_have_one_form_and_no_zone() {
    assert_eq!(host("[0:0::FFFF:7f00:1]"), Ok("127.0.0.1".into()));
    assert_eq!(host("[::FFFF:127.0.0.1]"), Ok("127.0.0.1".into()));
    assert_eq!(host("[2001:0db8::0001]"), Ok("[2001:db8::1]".into()));
    host_is_refused("[fe80::1%eth0]", NotAHost::Brackets);
    host_is_refused("[fe80::1%25eth0]", NotAHost::Brackets);
    host_is_refused("::1", NotAHost::NoBrackets);
}

#[test]
fn underscores_hyphens_and_long_labels() {
    host_is_refused("a_b.example", NotAHost::Character);
    host_is_refused("-a.example", NotAHost::Hyphen);
    host_is_refused("a-.example", NotAHost::Hyphen);
    host_is_refused(&format!("{}.example", "a".repeat(64)), NotAHost::Label);
    host_is_refused(&"a.".repeat(128), NotAHost::TooLong);
}

#[test]
fn a_host_that_begins_or_ends_like_an_allowed_one() {
    for text in [
        "https://api.stripe.com.evil.io/v1",
        "https://evil-api.stripe.com/v1",
        "https://evil.io/api.stripe.com/v1",
        "https://api.stripe.com:444/v1",
        "http://api.stripe.com/v1",
    ] {
        assert_eq!(
            word(&judge(&book(), "GET", &url(text))),
            "UNKNOWN_DESTINATION default",
            "{text}"
        );
    }
}
