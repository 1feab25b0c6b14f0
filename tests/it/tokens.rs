//! Callers with tokens, through the whole devbox: signed by openssl as an issuer would, shown with curl.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postern_testkit::{
    Curl, Devbox, Setup,
    curl::Response,
    upstream::{Answer, Upstream},
    wait,
};
use serde_json::{Value, json};

use crate::fixture;

const JWT: &str = r#"
[callers.jwt]
issuer = "https://issuer.test"
audience = "postern"
jwks_file = "keys.json"
user_claim = "email"
"#;

fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A devbox whose callers have tokens of an issuer with an RSA key, which lies beside its config.
fn start() -> Devbox {
    start_with(JWT)
}

fn start_with(jwt: &str) -> Devbox {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url()) + jwt;
    let setup = fixture::files(Setup::new(&config));
    let folder = setup.folder();
    openssl(
        folder,
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            "issuer.key",
        ],
    );
    let modulus = openssl(folder, &["rsa", "-in", "issuer.key", "-noout", "-modulus"]);
    let modulus = String::from_utf8(modulus).unwrap();
    let modulus = hex::decode(modulus.trim().trim_start_matches("Modulus=")).unwrap();
    let keys = json!({ "keys": [{
        "kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig",
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
    }] });
    setup.file("keys.json", keys.to_string()).start()
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.unwrap().as_secs()
}

fn token(devbox: &Devbox, user: &str, ends: u64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "RS256", "kid": "one", "typ": "JWT" }));
    let claims =
        part(json!({ "iss": "https://issuer.test", "aud": "postern", "email": user, "exp": ends }));
    let signed = format!("{head}.{claims}");
    fs::write(devbox.folder().join("signed"), &signed).unwrap();
    let signature = openssl(
        devbox.folder(),
        &["dgst", "-sha256", "-sign", "issuer.key", "signed"],
    );
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn with(curl: Curl, token: &str) -> Curl {
    curl.header(&format!("Authorization: Bearer {token}"))
}

fn ask(devbox: &Devbox, run: &str) -> Curl {
    let body = json!({ "message": {"do": "whoami"}, "run_id": run }).to_string();
    Curl::post(devbox.api("/invoke"), body)
}

fn refused(got: &Response, why: &str) {
    assert_eq!(
        (got.status, got.json()["code"].clone()),
        (401, json!("UNAUTHORIZED")),
        "{got:?}"
    );
    assert!(
        got.json()["error"].as_str().unwrap().contains(why),
        "{got:?}"
    );
    assert!(
        got.header("www-authenticate")
            .unwrap()
            .starts_with("Bearer"),
        "{got:?}"
    );
}

#[test]
fn a_token_names_the_user_of_a_call_and_nobody_calls_without_one() {
    let devbox = start();
    let (ada, eve) = (
        token(&devbox, "ada@x", now() + 600),
        token(&devbox, "eve@x", now() + 600),
    );
    refused(&ask(&devbox, "run-0").send(), "needs a token");
    let run = with(ask(&devbox, "run-1"), &ada).send();
    assert_ne!(run.status, 401, "{run:?}");
    let logs = Curl::get(devbox.api("/runs/run-1/logs"));
    assert_eq!(with(logs.clone(), &ada).send().status, 200);
    assert_eq!(with(logs.clone(), &eve).send().status, 404);
    refused(&logs.send(), "needs a token");
    // A header names nobody else.
    let other = with(ask(&devbox, "run-2"), &ada).header("X-End-User-Id: eve@x");
    assert_eq!(other.send().status, 400);
    let same = with(Curl::get(devbox.api("/runs/run-1/logs")), &ada).header("X-End-User-Id: ada@x");
    assert_eq!(same.send().status, 200);
    // Whoever has the callers' key names users as before.
    let key = fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let front = with(Curl::get(devbox.api("/runs/run-1/logs")), key.trim());
    assert_eq!(front.clone().send().status, 404);
    assert_eq!(front.header("X-End-User-Id: ada@x").send().status, 200);
}

#[test]
fn a_token_that_does_not_count_is_401_and_probes_need_none() {
    let devbox = start();
    let good = token(&devbox, "ada@x", now() + 600);
    let late = token(&devbox, "ada@x", now() - 600);
    refused(&with(ask(&devbox, "run-1"), &late).send(), "expired");
    refused(&with(ask(&devbox, "run-1"), "nonsense").send(), "no signed");
    let huge = format!("{good}{}", "A".repeat(9000));
    refused(&with(ask(&devbox, "run-1"), &huge).send(), "longer");
    let mut cut = good.clone();
    cut.truncate(good.len() - 8);
    refused(&with(ask(&devbox, "run-1"), &cut).send(), "");
    let twice = with(with(ask(&devbox, "run-1"), &good), &late);
    refused(&twice.send(), "come once");
    for path in ["/", "/healthz", "/readyz", "/startupz", "/openapi.json"] {
        assert_eq!(Curl::get(devbox.api(path)).send().status, 200, "{path}");
    }
    assert_eq!(
        with(ask(&devbox, "run-1"), &good).send().json()["run_id"],
        "run-1"
    );
}

/// An issuer's keys by their numbers in `shown`, or 503 where there are none.
fn issuer(shown: &Arc<Mutex<Vec<Value>>>) -> Upstream {
    let shown = Arc::clone(shown);
    Upstream::start(move |request| {
        let keys = shown.lock().unwrap();
        match (request.target.as_str(), keys.is_empty()) {
            ("/keys?tenant=a", false) => Answer::json(&json!({ "keys": *keys })),
            _ => Answer::json(&json!({ "error": "not now" })).with_status(503),
        }
    })
}

#[test]
fn keys_of_an_issuer_in_the_world_are_asked_for_by_the_gate_alone() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let issuer = issuer(&shown);
    let jwks = format!("jwks_url = \"{}/keys?tenant=a\"", issuer.url());
    let devbox = start_with(&JWT.replace("jwks_file = \"keys.json\"", &jwks));
    let good = token(&devbox, "ada@x", now() + 600);
    // The issuer is down: the devbox is ready, says so, and lets nobody in.
    refused(&with(ask(&devbox, "run-0"), &good).send(), "not known");
    wait::until("the devbox says so", || {
        let ready = Curl::get(devbox.api("/readyz")).send();
        assert_eq!(ready.status, 200, "{ready:?}");
        ready.body.contains("jwks_url").then_some(())
    });
    let key = fs::read(devbox.folder().join("keys.json")).unwrap();
    let key: Value = serde_json::from_slice(&key).unwrap();
    shown.lock().unwrap().push(key["keys"][0].clone());
    wait::until("the keys are there", || {
        (with(ask(&devbox, "run-1"), &good).send().status != 401).then_some(())
    });
    wait::until("nothing is wrong any more", || {
        let ready = Curl::get(devbox.api("/readyz")).send();
        (!ready.body.contains("jwks_url")).then_some(())
    });
    let peers = issuer.requests();
    assert!(peers.iter().all(|asked| asked.method == "GET"), "{peers:?}");
}
