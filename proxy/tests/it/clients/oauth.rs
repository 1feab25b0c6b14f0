//! Every kind of grant against an authorization server that others wrote (Authlib), which judges it as a vendor's would, and a
//! tool that takes only tokens of that server. Skipped with a printed reason where it is not installed.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::installed;
use crate::{
    house::{House, Sandbox, soon},
    tls,
};

/// What clients prove themselves with; every character that a form or a Basic pair could get wrong is in it.
const SECRET: &str = "s3cret/+ &=:%ü";

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

struct Vendor {
    child: Child,
    told: BufReader<ChildStdout>,
    port: u16,
}

impl Drop for Vendor {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Vendor {
    fn start(python: &Path, directory: &Path, authority: &tls::Ca) -> Self {
        let (certificate, key) = authority.leaf("localhost");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/oauth.py");
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let mut child = Command::new(python)
            .arg(script)
            .arg(write("tls.crt", pem("CERTIFICATE", certificate.der())))
            .arg(write("tls.key", pem("PRIVATE KEY", &key.serialize_der())))
            .arg(directory.join("signer.pub"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{line}"));
        Self { child, told, port }
    }

    /// What it says of the next grant.
    fn told(&mut self) -> Value {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
}

/// Tools whose credentials are these, all of the same vendor.
fn config(port: u16, ca: &Path, credentials: &[(&str, &str)]) -> String {
    let url = format!("https://localhost:{port}");
    let ca = ca.display();
    let endpoint = format!(r#"{{ url = "{url}/token", private = true, ca = "{ca}" }}"#);
    let api = format!(r#"{{ url = "{url}", private = true, ca = "{ca}" }}"#);
    let tools = credentials.iter().map(|(name, credential)| {
        let credential = credential.replace("AT", &endpoint).replace("API", &api);
        format!(
            "[tools.{name}]\nurl = \"{url}/api/{name}\"\nprivate = true\nca = \"{ca}\"\n\
             credential = {{ {credential} }}\n"
        )
    });
    let tools: String = tools.collect();
    let names: Vec<_> = credentials
        .iter()
        .map(|(name, _)| format!("{name:?}"))
        .collect();
    format!(
        "[secrets.client]\nfile = \"client\"\n[secrets.first]\nfile = \"first\"\n\
         [secrets.signer]\nfile = \"signer\"\n[secrets.account]\nfile = \"account\"\n\
         [secrets.workload]\nfile = \"workload\"\n{tools}\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"{url}/*\"\n\
         [agents.desk]\ntools = [{}]\npolicies = [\"open\"]\n",
        names.join(", ")
    )
}

const KINDS: &[(&str, &str)] = &[
    (
        "header",
        r#"kind = "oauth2", token_url = AT, client_id = "by header", client_secret = "client", scopes = ["read", "write"]"#,
    ),
    (
        "form",
        r#"kind = "oauth2", token_url = AT, client_id = "by form", client_secret = "client", client_auth = "post""#,
    ),
    (
        "refresh",
        r#"kind = "refresh_token", token_url = AT, client_id = "public", refresh_token = "first""#,
    ),
    (
        "signed",
        r#"kind = "jwt_bearer", token_url = AT, secret = "signer", issuer = "signer@example", scopes = ["read"]"#,
    ),
    (
        "account",
        r#"kind = "jwt_bearer", token_url = AT, secret = "account", scopes = ["read"]"#,
    ),
    (
        "exchange",
        r#"kind = "token_exchange", token_url = AT, client_id = "by form", client_secret = "client", client_auth = "post", subject = "workload", subject_type = "jwt", audience = ["crm"]"#,
    ),
    (
        "app",
        r#"kind = "github_app", api_url = API, app = "Iv1.app", installation = 42, secret = "signer", permissions = { contents = "read" }"#,
    ),
];

/// A token that a workload has: claims signed with the same key, by Authlib's own library.
fn workload(python: &Path, key: &Path) -> String {
    let script = "import sys; from joserfc import jwt; from joserfc.jwk import RSAKey; \
                  key = RSAKey.import_key(open(sys.argv[1]).read()); \
                  print(jwt.encode({'alg': 'RS256'}, {'sub': 'workload'}, key), end='')";
    let output = Command::new(python).args(["-c", script]).arg(key).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter, if it has Authlib.
fn authlib() -> Result<PathBuf, String> {
    let python = installed("python/bin/python")?;
    let has = Command::new(&python)
        .args(["-c", "import authlib, flask"])
        .output();
    if has.is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    Err("skipped: Authlib is not installed (scripts/test --only clients)".to_owned())
}

/// A vendor, and a gate that has a tool of its for each kind.
async fn stage(python: &Path) -> (Vendor, House) {
    let (directory, authority) = (tempfile::tempdir().unwrap(), tls::ca());
    let signer = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let own = |name: &str| directory.path().join(name);
    let private = pem("PRIVATE KEY", &signer.serialize_der());
    let public = pem("PUBLIC KEY", &signer.subject_public_key_info());
    fs::write(own("signer.pub"), public).unwrap();
    fs::write(own("signer"), &private).unwrap();
    let account = json!({ "type": "service_account", "client_email": "signer@example",
        "private_key": &private, "private_key_id": "k1" });
    let workload = workload(python, &own("signer"));
    let vendor = Vendor::start(python, directory.path(), &authority);
    let text = config(vendor.port, &authority.file, KINDS);
    let house = House::start_with(&text, |home| {
        for (name, value) in [
            ("client", SECRET),
            ("first", "first-refresh"),
            ("signer", &private),
            ("account", &account.to_string()),
            ("workload", &workload),
        ] {
            let path = home.join(name);
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    });
    (vendor, house.await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_server_of_others_takes_every_grant() {
    let python = match authlib() {
        Ok(python) => python,
        Err(why) => return println!("{why}"),
    };
    let (mut vendor, house) = stage(&python).await;
    let sandbox = house.busy_sandbox().await;
    for (name, client, scope) in [
        ("header", "by header", "read write"),
        ("form", "by form", ""),
        ("refresh", "public", "read"),
        ("signed", "signer@example", "read"),
        ("account", "signer@example", ""),
        ("exchange", "by form", "read"),
        ("app", "app", "contents"),
    ] {
        let answer = sandbox.ask(&format!("GET /tools/{name}/"), &[]).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let answer = answer.json();
        assert_eq!(answer["client"], client, "{name}: {answer}");
        let given = answer["scope"].as_str().unwrap_or_default();
        assert_eq!(given, scope, "{name}: {answer}");
        let told = vendor.told();
        assert_eq!(told["client"], client, "{name}: {told}");
    }
    let calls = rotated(vendor, &sandbox).await;
    println!("Authlib took every grant; refresh tokens rotated through {calls} calls");
}

/// Calls until the vendor has given three more refresh tokens, each for the one before: an old one would end them all.
async fn rotated(mut vendor: Vendor, sandbox: &Sandbox) -> u32 {
    let mut calls = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut telling = spawn_blocking(move || {
        let told: Vec<_> = (0..3).map(|_| vendor.told()).collect();
        (vendor, told)
    });
    let rotating = async {
        loop {
            tokio::select! {
                done = &mut telling => return done.unwrap(),
                _ = ticks.tick() => {}
            }
            calls += 1;
            let answer = sandbox.ask("GET /tools/refresh/", &[]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let (_vendor, told) = soon(rotating).await;
    let all = told.iter().all(|told| told["grant"] == "refresh_token");
    assert!(all, "{told:?}");
    calls
}
