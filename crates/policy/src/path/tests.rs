//! Paths that have a canonical form and paths that have none. Never reaches beyond `path.rs`.

use super::*;

#[test]
fn canonical_forms() {
    for (text, canonical) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/.", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a//../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/%41%7A%30%2D%5f%7e", "/Az0-_~"),
        ("/a%20b", "/a%20b"),
        ("/%c3%a9", "/%C3%A9"),
        ("/\u{e9}", "/%C3%A9"),
        (
            "/a|b\"c<d>e^f`g{h}i[j]",
            "/a%7Cb%22c%3Cd%3Ee%5Ef%60g%7Bh%7Di%5Bj%5D",
        ),
        ("/%3a%40%2b", "/%3A%40%2B"),
        ("/:@+!$&'()*,=", "/:@+!$&'()*,="),
        ("/100%25", "/100%25"),
        ("/100%25/x", "/100%25/x"),
        ("/a%3bb", "/a%3Bb"),
        ("/%3f%23", "/%3F%23"),
    ] {
        let path: CanonicalPath = text.parse().unwrap();
        assert_eq!(path.as_str(), canonical, "{text}");
        assert_eq!(path.as_str().parse(), Ok(path), "{text} again");
    }
}

#[test]
fn lengths_are_bounded_before_and_after() {
    assert!(
        format!("/{}", "a".repeat(PATH_BYTES_MAX - 1))
            .parse::<CanonicalPath>()
            .is_ok()
    );
    let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
    assert_eq!(long.parse::<CanonicalPath>(), Err(BadPath::TooLong));
    let grows = format!("/{}", "\u{e9}".repeat(PATH_BYTES_MAX / 3));
    assert_eq!(grows.parse::<CanonicalPath>(), Err(BadPath::TooLong));
}

#[test]
fn a_base_is_without_its_final_slash() {
    for (text, base) in [("/", ""), ("/v1", "/v1"), ("/v1/", "/v1")] {
        assert_eq!(text.parse::<CanonicalPath>().unwrap().as_base(), base);
    }
}

#[test]
fn unescaped_shows_what_the_escapes_stand_for() {
    let path: CanonicalPath = "/%40me/caf%C3%A9/100%25".parse().unwrap();
    assert_eq!(path.unescaped(), "/@me/caf\u{e9}/100%");
}
