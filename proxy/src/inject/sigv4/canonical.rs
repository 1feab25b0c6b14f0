//! AWS Signature Version 4 as its documents say it: what is signed, and how. Pure; never knows a request beyond its parts.
//!
//! ```text
//! method, path, query, fields, digest ─▶ canonical request ─▶ text to sign ─▶ HMAC with the day's key ─▶ signature
//! ```

use aws_lc_rs::{digest, hmac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use zeroize::Zeroizing;

/// The algorithm, as it is called in texts and header fields.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const ENCODED_BUT_SLASH: &AsciiSet = &ENCODED.remove(b'/');

const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// When, where and for what a signature counts.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// `20130524T000000Z`.
    pub(super) stamp: String,
    /// `20130524/us-east-1/s3/aws4_request`.
    pub(super) words: String,
}

impl Scope {
    /// The scope at a time in milliseconds of Unix; `None` for a time that no calendar has.
    pub(super) fn at(unix_ms: i64, region: &str, service: &str) -> Option<Self> {
        let time = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)).ok()?;
        let stamp = time.format(STAMP).ok()?;
        let day = stamp.get(..8)?;
        let words = format!("{day}/{region}/{service}/aws4_request");
        Some(Self { stamp, words })
    }

    /// The key of this scope.
    pub(super) fn key(&self, secret: &[u8]) -> hmac::Key {
        let first = Zeroizing::new([b"AWS4", secret].concat());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &first);
        self.words.split('/').fold(key, |key, word| {
            hmac::Key::new(
                hmac::HMAC_SHA256,
                hmac::sign(&key, word.as_bytes()).as_ref(),
            )
        })
    }

    /// What is signed of a request.
    pub(super) fn text(&self, canonical: &[u8]) -> String {
        let digest = digest_of(canonical);
        format!("{ALGORITHM}\n{}\n{}\n{digest}", self.stamp, self.words)
    }
}

/// A signature, in hexadecimal digits.
pub(super) fn signature(key: &hmac::Key, text: &str) -> String {
    hex::encode(hmac::sign(key, text.as_bytes()))
}

/// SHA-256 in hexadecimal digits.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// A path or query with every character escaped that may be, and no other.
pub(super) fn strictly(text: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    percent_encode(&bytes, ENCODED_BUT_SLASH).to_string()
}

/// A query whose pairs are in the one spelling that everybody signs alike, in their order. `+` is a space, as forms have it.
pub(super) fn spelt(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{}={}", piece(name), piece(value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn piece(text: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(&text.replace('+', "%20")).collect();
    percent_encode(&bytes, ENCODED).to_string()
}

/// The path as it is signed by every service but S3: each escape escaped once more.
pub(super) fn escaped_again(path: &str) -> String {
    percent_encode(path.as_bytes(), ENCODED_BUT_SLASH).to_string()
}

/// The header fields that are signed: names in lower case, in order, each with its value.
pub(super) type Fields = Vec<(String, Vec<u8>)>;

/// A field's value as it is signed: without spaces at its ends, and with one where there are several.
pub(super) fn plain(value: &[u8]) -> Vec<u8> {
    let words = value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

/// The names of fields as they stand in a signature.
pub(super) fn names(fields: &Fields) -> String {
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.join(";")
}

/// The canonical request of a method, a path as it is signed, a query in the one spelling, fields and a word for the body.
pub(super) fn request(
    method: &str,
    (path, query): (&str, &str),
    fields: &Fields,
    payload: &str,
) -> Vec<u8> {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    pairs.sort_unstable();
    let mut text = format!("{method}\n{path}\n");
    for (place, (name, value)) in pairs.iter().enumerate() {
        let separator = if place > 0 { "&" } else { "" };
        text.extend([separator, name, "=", value]);
    }
    text.push('\n');
    let mut bytes = text.into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(format!("\n{}\n{payload}", names(fields)).as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// 24 May 2013 and 30 August 2015, 12:36.
    const THEN: i64 = 1_369_353_600_000;
    const LATER: i64 = 1_440_938_160_000;

    #[track_caller]
    fn signs(
        (secret, scope): (&[u8], &Scope),
        (line, payload): (&str, &str),
        fields: &[(&str, &str)],
        wanted: &str,
    ) {
        let mut parts = line.split(' ');
        let (method, path) = (parts.next().unwrap(), parts.next().unwrap());
        let query = spelt(parts.next().unwrap_or_default());
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| ((*name).to_owned(), plain(value.as_bytes())));
        let request = request(method, (path, &query), &fields.collect(), payload);
        let shown = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(
            signature(&scope.key(secret), &scope.text(&request)),
            wanted,
            "{shown}"
        );
    }

    /// Amazon S3's own examples (API Reference, "Signature Calculations for the Authorization Header").
    #[test]
    fn s3_signs_so() {
        let secret = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let scope = Scope::at(THEN, "us-east-1", "s3").unwrap();
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let (digest, date) = (
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", &*scope.stamp),
        );
        signs(
            (secret, &scope),
            ("GET /test.txt", EMPTY),
            &[host, ("range", "bytes=0-9"), digest, date],
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        signs(
            (secret, &scope),
            ("GET / lifecycle", EMPTY),
            &[host, digest, date],
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
        signs(
            (secret, &scope),
            ("GET / prefix=J&max-keys=2", EMPTY),
            &[host, digest, date],
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
        let welcome = digest_of(b"Welcome to Amazon S3.");
        signs(
            (secret, &scope),
            (&format!("PUT {}", strictly("/test$file.text")), &welcome),
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                host,
                ("x-amz-content-sha256", &welcome),
                date,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
    }

    /// The test suite of Signature Version 4 and the example of its documents.
    #[test]
    fn other_services_sign_so() {
        let secret = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let scope = Scope::at(LATER, "us-east-1", "service").unwrap();
        let fields = [
            ("host", "example.amazonaws.com"),
            ("x-amz-date", &*scope.stamp),
        ];
        for (line, wanted) in [
            (
                "GET /",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                &format!("GET {}", escaped_again("/ሴ")),
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            (
                "GET / Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            signs((secret, &scope), (line, EMPTY), &fields, wanted);
        }
        let secret = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let scope = Scope::at(LATER, "us-east-1", "iam").unwrap();
        signs(
            (secret, &scope),
            ("GET / Action=ListUsers&Version=2010-05-08", EMPTY),
            &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded;  charset=utf-8 ",
                ),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", &*scope.stamp),
            ],
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
    }

    #[test]
    fn spellings_that_mean_the_same_are_signed_alike() {
        assert_eq!(strictly("/a%28b(c)/%7e~ü"), "/a%28b%28c%29/~~%C3%BC");
        assert_eq!(
            spelt("b=1+2&a&&c=%2b(x)%3d=y"),
            "b=1%202&a=&c=%2B%28x%29%3D%3Dy"
        );
        assert_eq!(escaped_again("/a%20b/c:d"), "/a%2520b/c%3Ad");
    }
}
