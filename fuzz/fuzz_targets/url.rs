//! Authority and path: a text has one canonical form or none, and the form stays what it is however it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_policy::{Authority, CanonicalUrl, Scheme};

fuzz_target!(|text: &str| {
    if let Ok(url) = CanonicalUrl::parse(text) {
        check(&url);
    }
    for scheme in [Scheme::Http, Scheme::Https] {
        if let Ok(authority) = Authority::parse(scheme, text) {
            check_authority(&authority);
        }
        let authority = Authority::parse(scheme, "a.example").unwrap();
        if let Ok(url) = CanonicalUrl::from_target(authority.clone(), text) {
            assert_eq!(url.authority(), &authority, "a target chose its host");
            check(&url);
        }
    }
    if let Ok(authority) = Authority::parse_connect(text) {
        assert_eq!(
            Authority::parse_connect(&authority.host_and_port()),
            Ok(authority)
        );
    }
});

fn check(url: &CanonicalUrl) {
    check_authority(url.authority());
    let again = CanonicalUrl::parse(&url.to_string()).expect("a canonical URL is a URL");
    assert_eq!(&again, url);
    let target = CanonicalUrl::from_target(url.authority().clone(), &url.target());
    assert_eq!(&target.expect("a canonical target is a target"), url);
    let path = url.path().as_str();
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    for segment in path.split('/') {
        let plain = segment.replace("%2E", ".").replace("%2e", ".");
        assert!(plain != "." && plain != "..", "{path}");
    }
    let loose = |byte: u8| byte <= b' ' || byte >= 0x7f || matches!(byte, b'\\' | b'#');
    assert!(!url.target().bytes().any(loose), "{:?}", url.target());
    // What the forwarding side makes of it must be the same bytes.
    let sent: http::Uri = url
        .target()
        .parse()
        .expect("a canonical target can be sent");
    assert_eq!(sent.to_string(), url.target());
}

fn check_authority(authority: &Authority) {
    let text = authority.host_and_port();
    assert_eq!(
        Authority::parse(authority.scheme(), &text).as_ref(),
        Ok(authority)
    );
    assert_eq!(
        Authority::parse(authority.scheme(), &authority.to_string()).as_ref(),
        Ok(authority)
    );
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]_".contains(&byte);
    assert!(text.bytes().all(plain), "{text}");
}
