//! AWS over its documented API, played by a server that makes each signature itself and compares.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{digest, hmac};
use postern_daemon::Clock;
use postern_testkit::{Answer, Upstream, upstream::Recorded};
use serde_json::{Value, json};
use std::time::Duration;

use super::*;
use crate::{
    dial::{Dialer, World},
    secret::{Errands, vault::Sessions},
};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "session-token-of-the-gate";

/// What the server says of everything that is signed rightly.
type Says = Arc<Mutex<(u16, Value)>>;

struct Stage {
    server: Upstream,
    says: Says,
    directory: tempfile::TempDir,
    errands: Arc<Errands>,
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// The signature as AWS's documents make it, by hand for the one kind of request that there is.
fn signature(asked: &Recorded, service: &str) -> String {
    let of = |name: &str| {
        asked
            .values(name)
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    let names = [
        "content-type",
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-target",
    ];
    let names: Vec<_> = names
        .into_iter()
        .filter(|name| !of(name).is_empty())
        .collect();
    let fields: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", of(name)))
        .collect();
    let (names, body) = (names.join(";"), sha256(&asked.body));
    let request = format!("POST\n/\n\n{fields}\n{names}\n{body}");
    let (stamp, day) = (of("x-amz-date"), of("x-amz-date")[..8].to_owned());
    let scope = format!("{day}/eu-central-1/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        sha256(request.as_bytes())
    );
    let first = format!("AWS4{SECRET_KEY}").into_bytes();
    let key = scope.split('/').fold(first, |key, word| mac(&key, word));
    let made = hex::encode(mac(&key, &text));
    format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={made}")
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn stage(says: Value) -> Stage {
    let says = Arc::new(Mutex::new((200, says)));
    let said = Arc::clone(&says);
    let server = Upstream::start(move |asked| {
        let target = asked.values("x-amz-target");
        let service = match target
            .first()
            .is_some_and(|target| target.starts_with("AmazonSSM."))
        {
            true => "ssm",
            false => "secretsmanager",
        };
        if asked.values("authorization") != [signature(asked, service)] {
            let refused = json!({ "__type": "com.amazon.coral.service#InvalidSignatureException" });
            return Answer::json(&refused).with_status(400);
        }
        let (status, body) = said.lock().unwrap().clone();
        Answer::json(&body).with_status(status)
    });
    let directory = tempfile::tempdir().unwrap();
    private(&directory.path().join("aws.key"), SECRET_KEY);
    private(&directory.path().join("aws.token"), TOKEN);
    let dialer = Arc::new(Dialer::new(World::default(), Clock::system()));
    Stage {
        server,
        says,
        directory,
        errands: Arc::new(Errands::new(&dialer, &Clock::system())),
    }
}

impl Stage {
    fn source(&self, more: &Value) -> Aws {
        let mut written = json!({
            "region": "eu-central-1", "access_key": KEY_ID, "secret_key_file": "aws.key",
            "endpoint": self.server.url(), "plaintext": true,
        });
        for (key, value) in more.as_object().unwrap() {
            written[key] = value.clone();
        }
        serde_json::from_value(written).unwrap()
    }

    fn ask(&self, source: &Aws) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let asking = Asking {
            directory: self.directory.path(),
            time: Duration::from_secs(60),
            last: None,
            errands: &self.errands,
            sessions: &Sessions::default(),
        };
        let came = runtime.unwrap().block_on(source.ask(asking));
        let value = came.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    fn says(&self, status: u16, body: Value) {
        *self.says.lock().unwrap() = (status, body);
    }
}

#[test]
fn a_secret_is_read_whole_by_field_or_out_of_bytes_and_signed_as_aws_has_it() {
    let stage = stage(json!({ "Name": "apps/stripe", "SecretString": "sk_1\n" }));
    let whole = stage.source(&json!({ "secret": "apps/stripe" }));
    assert_eq!(stage.ask(&whole), Ok("sk_1".to_owned()));
    let asked = stage.server.requests();
    assert_eq!(
        asked[0].values("x-amz-target"),
        ["secretsmanager.GetSecretValue"]
    );
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({ "SecretId": "apps/stripe" }));
    let field = stage.source(&json!({ "secret": "apps/stripe", "field": "key" }));
    stage.says(
        200,
        json!({ "SecretString": "{\"user\":\"u\",\"key\":\"sk_2\"}" }),
    );
    assert_eq!(stage.ask(&field), Ok("sk_2".to_owned()));
    stage.says(200, json!({ "SecretBinary": STANDARD.encode("sk_3") }));
    assert_eq!(stage.ask(&whole), Ok("sk_3".to_owned()));
}

#[test]
fn a_parameter_is_read_decrypted_in_the_name_of_a_session() {
    let stage = stage(json!({ "Parameter": { "Name": "/apps/key", "Value": "sk_4" } }));
    let source = json!({ "parameter": "/apps/key", "session_token_file": "aws.token" });
    assert_eq!(stage.ask(&stage.source(&source)), Ok("sk_4".to_owned()));
    let asked = stage.server.requests();
    assert_eq!(asked[0].values("x-amz-security-token"), [TOKEN]);
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({ "Name": "/apps/key", "WithDecryption": true }));
}

#[test]
fn another_key_is_read_anew_and_a_wrong_one_is_told() {
    let stage = stage(json!({ "SecretString": "sk_1" }));
    let source = stage.source(&json!({ "secret": "a" }));
    private(&stage.directory.path().join("aws.key"), "of-somebody-else");
    let error = stage.ask(&source).unwrap_err();
    assert!(
        error.contains("400: `secret_key_file` is another key's"),
        "{error}"
    );
    assert!(!error.contains("somebody"), "{error}");
    private(&stage.directory.path().join("aws.key"), SECRET_KEY);
    assert_eq!(stage.ask(&source), Ok("sk_1".to_owned()));
}

#[test]
fn what_is_wrong_is_told_without_a_word_of_theirs() {
    let stage = stage(json!({}));
    let source = stage.source(&json!({ "secret": "a", "field": "key" }));
    let marked = "a-word-that-only-they-said";
    for (status, body, wanted) in [
        (
            400,
            json!({ "__type": "ResourceNotFoundException", "message": marked }),
            "there is no such secret",
        ),
        (
            400,
            json!({ "__type": "x#AccessDeniedException", "Message": marked }),
            "may not read it",
        ),
        (
            400,
            json!({ "__type": "ThrottlingException" }),
            "asked too much",
        ),
        (500, json!({ "__type": marked }), "it answered 500"),
        (200, json!({ "SecretString": marked }), "is no JSON object"),
        (
            200,
            json!({ "SecretString": format!("{{\"other\":\"{marked}\"}}") }),
            "no such `field`",
        ),
        (
            200,
            json!({ "SecretString": "{\"key\":\"\"}" }),
            "it is empty",
        ),
        (
            200,
            json!({ "Parameter": { "Value": marked } }),
            "is no JSON as its API has it",
        ),
        (
            200,
            json!({ "SecretBinary": "not base64" }),
            "is no JSON as its API has it",
        ),
        (
            200,
            json!({ "SecretString": format!("{{\"key\":\"{}\"}}", "x".repeat(70_000)) }),
            "larger than 64 KiB",
        ),
    ] {
        stage.says(status, body);
        let error = stage.ask(&source).unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(error.starts_with("AWS at 127.0.0.1:"), "{error}");
        assert!(!error.contains(marked), "{error}");
    }
}

#[test]
fn a_source_that_cannot_be_meant_is_refused() {
    let read =
        |written: Value| serde_json::from_value::<Aws>(written).map_err(|error| error.to_string());
    let good = json!({ "region": "eu-central-1", "secret": "a", "access_key": KEY_ID, "secret_key_file": "k" });
    let source = read(good.clone()).unwrap();
    assert_eq!(
        source.url.to_string(),
        "https://secretsmanager.eu-central-1.amazonaws.com/"
    );
    for (key, value, wanted) in [
        ("region", json!("eu/../x"), "`region` is one such as"),
        ("parameter", json!("b"), "one of `secret` and `parameter`"),
        ("secret", json!(null), "one of `secret` and `parameter`"),
        ("access_key", json!("a/b"), "letters and digits"),
        ("endpoint", json!("http://localhost:1"), "say https"),
        ("endpoint", json!("https://localhost:1/x"), "no path"),
        ("more", json!(1), "unknown field"),
    ] {
        let mut written = good.clone();
        written[key] = value;
        let error = read(written).unwrap_err();
        assert!(error.contains(wanted), "{key}: {error}");
    }
}
