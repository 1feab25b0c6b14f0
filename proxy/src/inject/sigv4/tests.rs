//! What a signed request carries, and what the agent's own signature comes to.

use bytes::Bytes;
use postern_policy::CanonicalUrl;

use super::*;
use crate::{inject::Credentials, secret::Secrets};

const THEN: i64 = 1_369_353_600_000;

fn read(text: &str) -> Sigv4 {
    serde_json::from_str(text).unwrap()
}

fn kind(service: &str, more: &str) -> Sigv4 {
    read(&format!(
        r#"{{"access_key":"id","secret_key":"key","region":"us-east-1","service":"{service}"{more}}}"#
    ))
}

fn secrets() -> Secrets {
    Secrets::of([
        ("id", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("token", "session/token=="),
    ])
}

fn signed(
    sigv4: &Sigv4,
    target: &str,
    headers: HeaderMap,
    shown: Shown,
) -> Result<(String, HeaderMap), Unfit> {
    let url: CanonicalUrl = "https://examplebucket.s3.amazonaws.com".parse().unwrap();
    let secrets = secrets();
    let mut draft = Draft {
        method: "GET",
        authority: url.authority(),
        target: target.to_owned(),
        headers,
        body: body::empty(),
        shown,
        now_ms: THEN,
    };
    sigv4.add(&Values::of(&secrets), &mut draft)?;
    Ok((draft.target, draft.headers))
}

fn said(word: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DIGEST, HeaderValue::from_static(word));
    headers
}

#[test]
fn a_request_is_signed_as_amazons_example_is() {
    let (target, fields) = signed(
        &kind("s3", ""),
        "/?max-keys=2&prefix=J",
        HeaderMap::new(),
        Shown::Absent,
    )
    .unwrap();
    assert_eq!(target, "/?max-keys=2&prefix=J");
    assert_eq!(
        fields[header::AUTHORIZATION],
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
         Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
    assert_eq!(fields[DATE], "20130524T000000Z");
    assert!(fields[header::AUTHORIZATION].is_sensitive());
    let with_token = kind("sts", r#","session_token":"token""#);
    let (_, fields) = signed(&with_token, "/", HeaderMap::new(), Shown::Absent).unwrap();
    assert_eq!(fields[TOKEN], "session/token==");
    let text = fields[header::AUTHORIZATION].to_str().unwrap();
    assert!(text.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
}

#[test]
fn a_body_is_signed_as_far_as_it_is_known_and_else_only_where_nobody_minds() {
    let (s3, other) = (kind("s3", ""), kind("dynamodb", ""));
    let whole = || Shown::Whole(Bytes::from("{}"));
    let (_, fields) = signed(&s3, "/", HeaderMap::new(), whole()).unwrap();
    assert_eq!(fields[DIGEST], canonical::digest_of(b"{}").as_str());
    let (_, fields) = signed(&other, "/", HeaderMap::new(), whole()).unwrap();
    assert!(!fields.contains_key(DIGEST));
    let (_, fields) = signed(&s3, "/", HeaderMap::new(), Shown::TooLong).unwrap();
    assert_eq!(fields[DIGEST], UNSIGNED);
    assert!(signed(&other, "/", HeaderMap::new(), Shown::TooLong).is_err());
    for word in [UNSIGNED, UNSIGNED_CHUNKS, CHUNKS, CHUNKS_AND_TRAILER] {
        let (_, fields) = signed(&s3, "/", said(word), Shown::Hidden).unwrap();
        assert_eq!(fields[DIGEST], word);
    }
    let events = said("STREAMING-AWS4-HMAC-SHA256-EVENTS");
    assert!(matches!(s3.reads(&events), Err(Unsignable::Stream)));
    assert!(signed(&s3, "/", events, Shown::Hidden).is_err());
}

#[test]
fn s3_signs_a_path_as_it_is_and_others_escape_it_again() {
    let target = |service: &str, target: &str| kind(service, "").target(target);
    let (sent, signed, query) = target("s3", "/a(b)%20c?x=1+2&y");
    assert_eq!(
        (&*sent, &*signed),
        ("/a%28b%29%20c?x=1%202&y=", "/a%28b%29%20c")
    );
    assert_eq!(query, "x=1%202&y=");
    let (sent, signed, _) = target("lambda", "/a(b)%20c");
    assert_eq!((&*sent, &*signed), ("/a(b)%20c", "/a%28b%29%2520c"));
}

#[test]
fn an_agents_own_signature_stays_behind_in_field_and_url() {
    let text = r#"{"kind":"sigv4","access_key":"id","secret_key":"key","region":"us-east-1","service":"s3"}"#;
    let credentials: Credentials = serde_json::from_str(text).unwrap();
    let url = "https://b.example/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=dummy&X-Amz-Date=d\
               &x-amz-expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00&versionId=1";
    let (url, dropped) = credentials.vacate(url.parse().unwrap()).unwrap();
    assert_eq!((url.target().as_str(), dropped), ("/k?versionId=1", 6));
    assert_eq!(credentials.label().as_str(), "id+key");
    let fields = ["authorization", "x-amz-date", "x-amz-security-token"];
    assert!(
        fields
            .iter()
            .all(|field| credentials.fields().iter().any(|own| own == field))
    );
}

#[test]
fn words_that_would_change_the_scope_are_refused() {
    for region in ["", "us/east", "us east", "a\\nb"] {
        let text =
            format!(r#"{{"access_key":"a","secret_key":"b","region":"{region}","service":"s3"}}"#);
        assert!(serde_json::from_str::<Sigv4>(&text).is_err(), "{region}");
    }
}
