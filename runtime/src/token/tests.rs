//! Tokens as they should be and as attackers make them. The keys are of this file alone.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const ED: &str = "MC4CAQAwBQYDK2VwBCIEIL3h402kZA38euZfzFSZwiHt57LftrsUeBwgMC0o/B/J";
const ED_X: &str = "WquNqGBrpUyQ2LK9Kn9zSUmmo463KnN1dmSPXMWkYFY";
const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZy6iGPjf6IOa9G5hUCF2AHxvSdrDik9TYGkFMdGJHimhRANCAAQKZIGDN8LwkVB+1vGpW/eCpINei1+Jn7acS8TR9RD7sPvRMckjV24uXZfhhpV/EpG4kI/575YsT7foEx4Scvv+";
const EC_X: &str = "CmSBgzfC8JFQftbxqVv3gqSDXotfiZ-2nEvE0fUQ-7A";
const EC_Y: &str = "-9ExySNXbi5dl-GGlX8SkbiQj_nvlixPt-gTHhJy-_4";

fn key_set() -> Value {
    json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "ed", "alg": "EdDSA", "use": "sig" },
        { "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": "ec" },
        // What anybody could sign with who has read the file.
        { "kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256" },
    ] })
}

fn terms(directory: &std::path::Path) -> Terms {
    Terms {
        issuer: "https://issuer.test".to_owned(),
        audience: "postern".to_owned(),
        jwks: Jwks::File(directory.join("keys.json")),
        user_claim: "sub".to_owned(),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        leeway: Duration::from_secs(30),
    }
}

async fn tokens() -> (tempfile::TempDir, Tokens) {
    let directory = tempfile::tempdir().unwrap();
    let terms = terms(directory.path());
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_set().to_string()).unwrap();
    let tokens = Tokens::with(terms, Keys::watch(&path).await.unwrap());
    (directory, tokens)
}

fn now() -> i64 {
    postern_daemon::Clock::system().unix_ms() / 1000
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.test", "aud": ["other", "postern"], "sub": "ada", "exp": now() + 600 })
}

fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
    Header {
        kid: id.map(str::to_owned),
        ..Header::new(algorithm)
    }
}

fn signed(header: &Header, claims: &Value) -> String {
    let der = |text| STANDARD.decode(text).unwrap();
    let key = match header.alg {
        Algorithm::EdDSA => EncodingKey::from_ed_der(&der(ED)),
        Algorithm::ES256 => EncodingKey::from_ec_der(&der(EC)),
        _ => EncodingKey::from_secret(b"secret"),
    };
    encode(header, claims, &key).unwrap()
}

#[tokio::test]
async fn a_token_names_its_user() {
    let (_directory, tokens) = tokens().await;
    for (algorithm, id) in [(Algorithm::EdDSA, "ed"), (Algorithm::ES256, "ec")] {
        for id in [Some(id), None] {
            let token = signed(&header(algorithm, id), &claims());
            assert_eq!(tokens.user(token.as_bytes()), Ok("ada".to_owned()));
        }
    }
}

#[tokio::test]
async fn claims_that_are_not_as_they_should_be_are_refused() {
    let (_directory, tokens) = tokens().await;
    let cases = [
        ("iss", json!("https://issuer.test/"), "issuer"),
        ("iss", Value::Null, "lacks"),
        ("aud", json!("poster"), "audience"),
        ("aud", Value::Null, "lacks"),
        ("exp", json!(now() - 60), "expired"),
        ("exp", Value::Null, "lacks"),
        ("nbf", json!(now() + 60), "time has not come"),
        ("sub", Value::Null, "names no end user"),
        ("sub", json!(""), "names no end user"),
        ("sub", json!("a\nb"), "names no end user"),
        ("sub", json!(["ada"]), "cannot be read"),
    ];
    for (claim, value, why) in cases {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value;
        }
        let token = signed(&header(Algorithm::EdDSA, None), &claims);
        let refused = tokens.user(token.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(why), "{claim}: {refused}");
    }
    // A clock that is a little off is forgiven.
    let mut late = claims();
    late["exp"] = json!(now() - 10);
    late["nbf"] = json!(now() + 10);
    let token = signed(&header(Algorithm::EdDSA, None), &late);
    assert!(tokens.user(token.as_bytes()).is_ok());
}

#[tokio::test]
async fn a_token_that_is_signed_in_another_way_or_with_another_key_is_refused() {
    let (_directory, tokens) = tokens().await;
    let hs = signed(&header(Algorithm::HS256, Some("oct")), &claims());
    assert_eq!(tokens.user(hs.as_bytes()), Err(BadToken::Algorithm));
    // Symmetric, with the public key as the secret.
    let public = EncodingKey::from_secret(ED_X.as_bytes());
    let hs = encode(&header(Algorithm::HS256, Some("ed")), &claims(), &public).unwrap();
    assert_eq!(tokens.user(hs.as_bytes()), Err(BadToken::Algorithm));
    let good = signed(&header(Algorithm::EdDSA, Some("ed")), &claims());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let coded =
        |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    for name in ["none", "None", "nOnE", ""] {
        let none = coded(json!({ "alg": name, "typ": "JWT" }));
        for token in [
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
        ] {
            assert_eq!(
                tokens.user(token.as_bytes()),
                Err(BadToken::Malformed),
                "{name}"
            );
        }
    }
    let other = coded(
        json!({ "iss": "https://issuer.test", "aud": "postern", "sub": "eve", "exp": now() + 600 }),
    );
    let forged = format!("{head}.{other}.{signature}");
    let refused = tokens.user(forged.as_bytes());
    assert_eq!(refused, Err(BadToken::Invalid("its signature is wrong")));
    for id in ["ec", "oct", "../keys.json", ""] {
        let token = signed(&header(Algorithm::EdDSA, Some(id)), &claims());
        assert_eq!(
            tokens.user(token.as_bytes()),
            Err(BadToken::UnknownKey),
            "{id}"
        );
    }
    // What must be understood, and an own key or one from elsewhere that the token brings along.
    let critical = Header {
        crit: Some(vec!["exp".to_owned()]),
        ..header(Algorithm::EdDSA, None)
    };
    let token = signed(&critical, &claims());
    assert_eq!(tokens.user(token.as_bytes()), Err(BadToken::Malformed));
    let elsewhere = Header {
        jku: Some("https://evil.test/keys".to_owned()),
        ..header(Algorithm::EdDSA, Some("evil"))
    };
    let token = signed(&elsewhere, &claims());
    assert_eq!(tokens.user(token.as_bytes()), Err(BadToken::UnknownKey));
}

#[tokio::test]
async fn what_is_no_token_is_refused_whatever_it_is() {
    let (_directory, tokens) = tokens().await;
    for nonsense in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "e30.e30.e30",
        "\u{fffd}.x.y",
    ] {
        assert_eq!(
            tokens.user(nonsense.as_bytes()),
            Err(BadToken::Malformed),
            "{nonsense}"
        );
    }
    let huge = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(tokens.user(huge.as_bytes()), Err(BadToken::TooLong));
    let deep = format!("{}.e30.e30", STANDARD.encode("[".repeat(4000)));
    assert_eq!(tokens.user(deep.as_bytes()), Err(BadToken::Malformed));
}

#[tokio::test]
async fn keys_are_read_anew_and_a_broken_file_changes_nothing() {
    let (directory, tokens) = tokens().await;
    let token = signed(&header(Algorithm::EdDSA, Some("ed")), &claims());
    let path = directory.path().join("keys.json");
    tokio::time::pause();
    let look = || async {
        for _turn in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
    };
    std::fs::write(&path, "{\"keys\":[").unwrap();
    look().await;
    assert!(tokens.user(token.as_bytes()).is_ok());
    let mut set = key_set();
    set["keys"].as_array_mut().unwrap().remove(0);
    std::fs::write(&path, set.to_string()).unwrap();
    look().await;
    assert_eq!(tokens.user(token.as_bytes()), Err(BadToken::UnknownKey));
    for unusable in [
        "{}",
        "[]",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
    ] {
        std::fs::write(&path, unusable).unwrap();
        assert!(Keys::watch(&path).await.is_err(), "{unusable}");
    }
}
