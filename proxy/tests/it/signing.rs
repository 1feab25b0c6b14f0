//! Credentials that sign, and certificates: upstreams check them as their vendors do, and the agent's own stay behind.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_testkit::wait;
use tokio::task::{block_in_place, spawn_blocking};

use crate::{
    clients::installed,
    house::{House, SECRET},
    tls,
    upstream::{Answer, Upstream},
};

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A config with these tools, each at its URL with its credential; all secrets are files of their names.
fn config(tools: &[(&str, &str, &str)], secrets: &[&str]) -> String {
    let secrets = secrets
        .iter()
        .map(|name| format!("[secrets.{name}]\nfile = \"{name}\"\n"));
    let rules = tools.iter().map(|(name, url, credential)| {
        format!(
            "[tools.{name}]\nurl = \"{url}\"\nprivate = true\ncredential = {credential}\n\
             [[policies.open.rules]]\nname = \"{name}\"\npermission = \"allow\"\nresource = \"{url}/*\"\n"
        )
    });
    let names: Vec<_> = tools.iter().map(|tool| format!("\"{}\"", tool.0)).collect();
    format!(
        "{}{}[agents.desk]\ntools = [{}]\npolicies = [\"open\"]\n",
        secrets.collect::<String>(),
        rules.collect::<String>(),
        names.join(", ")
    )
}

fn keep(directory: &Path, name: &str, value: &str) {
    let path = directory.join(name);
    fs::write(&path, value).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn sigv4(service: &str, more: &str) -> String {
    format!(
        "{{ kind = \"sigv4\", access_key = \"id\", secret_key = \"key\", region = \"eu-central-1\", service = \"{service}\"{more} }}"
    )
}

/// A gate with one tool whose calls are signed for S3.
async fn stage(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    service: &str,
) -> (Upstream, House) {
    let upstream = Upstream::start(answer).await;
    let url = format!("http://{}", upstream.address);
    let config = config(&[("s3", &url, &sigv4(service, ""))], &["id", "key"]);
    let house = House::start_with(&config, |directory| keep(directory, "id", "AKIDREAL")).await;
    (upstream, house)
}

fn field<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let lines = request
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let own = pairs.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    own.map(|(_, value)| value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3s_calls_are_signed_anew_and_botocore_finds_them_right() {
    let python = match installed("python/bin/python") {
        Ok(python) => python,
        Err(why) => return println!("{why}"),
    };
    let tried = Command::new(&python)
        .args(["-c", "import boto3"])
        .output()
        .unwrap();
    if !tried.status.success() {
        return println!("skipped: boto3 is not installed (scripts/test --only clients)");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/aws.py");
    let scratch = tempfile::tempdir().unwrap();
    let ports = scratch.path().join("ports");
    let mut serving = Command::new(&python);
    serving.arg(&script).arg("serve").arg(&ports);
    let _services = Running(serving.spawn().unwrap());
    let told = ports.clone();
    let told =
        spawn_blocking(move || wait::until("the services", || fs::read_to_string(&told).ok()));
    let told = told.await.unwrap();
    let urls: Vec<_> = told
        .split(' ')
        .map(|port| format!("http://127.0.0.1:{port}"))
        .collect();
    let token = sigv4("sts", ", session_token = \"token\"");
    let tools = [
        ("s3", &*urls[0], &*sigv4("s3", "")),
        ("dynamodb", &*urls[1], &*sigv4("dynamodb", "")),
        ("sts", &*urls[2], &*token),
    ];
    let house = House::start_with(&config(&tools, &["id", "key", "token"]), |directory| {
        keep(directory, "id", "AKIDGATEREAL");
        keep(directory, "key", "gate/real+secret");
        keep(directory, "token", "gate-session");
    })
    .await;
    let sandbox = house.busy_sandbox().await;
    let mut client = Command::new(&python);
    client
        .arg(&script)
        .arg("call")
        .arg(format!("http://{}", sandbox.address));
    client
        .env("NO_PROXY", "127.0.0.1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = spawn_blocking(move || client.output().unwrap())
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn what_an_agent_signs_itself_stays_behind_and_no_date_moves_the_clock_by_years() {
    let ahead = "HTTP/1.1 403 Forbidden\r\ndate: Tue, 01 Jan 2036 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n";
    let (upstream, house) = stage(move |_| Answer::raw(ahead), "s3").await;
    let sandbox = house.busy_sandbox().await;
    let fields = [
        "authorization: AWS4-HMAC-SHA256 Credential=mine/20130524/x/s3/aws4_request, SignedHeaders=host, Signature=00",
        "x-amz-date: 20130524T000000Z",
        "X_Amz_Security_Token: mine",
    ];
    let line = "GET /tools/s3/b/k?X-Amz-Signature=mine&x=1";
    assert_eq!(sandbox.ask(line, &fields).await.status, 403);
    let request = upstream.only();
    assert!(
        request.starts_with("GET /b/k?x=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        !request.contains("mine") && !request.contains(SECRET),
        "{request}"
    );
    let shown = field(&request, "authorization");
    assert!(
        shown.len() == 1 && shown[0].contains("Credential=AKIDREAL/"),
        "{request}"
    );
    // Ten years is no error of a clock: nobody is followed that far.
    sandbox.ask(line, &[]).await;
    let dates: Vec<_> = upstream
        .requests()
        .iter()
        .map(|r| field(r, "x-amz-date").concat())
        .collect();
    assert!(
        dates.iter().all(|date| !date.starts_with("2036")),
        "{dates:?}"
    );
    assert_eq!(
        house.audit()[0]["dropped_credentials"],
        4,
        "{:?}",
        house.audit()
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_signed_is_refused_with_a_reason() {
    let (upstream, house) = stage(|_| Answer::ok(""), "sqs").await;
    let sandbox = house.busy_sandbox().await;
    let events = ["x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-EVENTS"];
    let refused = sandbox.ask("GET /tools/s3/b/k", &events).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("piece by piece"), "{refused:?}");
    let large = format!("content-length: {}", 9 << 20);
    let refused = sandbox.ask("POST /tools/s3/b/k", &[&large]).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(
        refused.body.contains("at most 8388608 bytes"),
        "{refused:?}"
    );
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn what_acts_beyond_its_url_is_signed_where_the_config_permits_it_alone() {
    let (upstream, house) = stage(|_| Answer::ok(""), "s3").await;
    let sandbox = house.busy_sandbox().await;
    for field in [
        "x-amz-copy-source: /private/k",
        "X_Amz_Copy_Source: /private/k",
        "x-amz-acl: public-read",
        "x-amz-grant-read: id=1",
    ] {
        let refused = sandbox.ask("PUT /tools/s3/public/x", &[field]).await;
        assert_eq!(refused.status, 403, "{field}: {refused:?}");
        assert!(refused.body.contains("permits"), "{refused:?}");
    }
    assert!(upstream.requests().is_empty());
    let url = format!("http://{}", upstream.address);
    let kind = sigv4("s3", ", permits = [\"copy\"]");
    let text = config(&[("s3", &url, &kind)], &["id", "key"]);
    let house = House::start_with(&text, |directory| keep(directory, "id", "AKIDREAL")).await;
    let sandbox = house.busy_sandbox().await;
    let copied = ["x-amz-copy-source: /private/k"];
    let answer = sandbox.ask("PUT /tools/s3/public/x", &copied).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let given = ["x-amz-acl: public-read"];
    let refused = sandbox.ask("PUT /tools/s3/public/x", &given).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}

#[tokio::test]
async fn a_key_whose_place_lies_outside_of_its_tool_goes_nowhere() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let url = format!("http://{}/api", upstream.address);
    let credential = "{ kind = \"path\", at = \"/{}\", secret = \"key\" }";
    let house = House::start(&config(&[("odd", &url, credential)], &["key"])).await;
    let sandbox = house.busy_sandbox().await;
    let refused = sandbox.ask("GET /tools/odd/x", &[]).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(upstream.requests().is_empty());
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// A server that takes only clients whom this authority vouches for.
fn strict(directory: &Path, ca: &tls::Ca) -> (Running, SocketAddr) {
    let (certificate, key) = ca.leaf("localhost");
    fs::write(
        directory.join("server.pem"),
        pem("CERTIFICATE", certificate.der()) + &pem("PRIVATE KEY", &key.serialize_der()),
    )
    .unwrap();
    let log = fs::File::create(directory.join("said")).unwrap();
    let mut command = Command::new("openssl");
    command.args([
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-Verify",
        "1",
        "-verify_return_error",
        "-www",
    ]);
    command.arg("-cert").arg(directory.join("server.pem"));
    command
        .arg("-CAfile")
        .arg(&ca.file)
        .stdin(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .stdout(log);
    let running = Running(command.spawn().unwrap());
    let address = wait::until("openssl listens", || {
        let said = fs::read_to_string(directory.join("said")).ok()?;
        let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT "))?;
        line.trim().parse().ok()
    });
    (running, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_asks_is_shown_the_gates_certificate_and_no_other() {
    let (ca, other) = (tls::ca(), tls::ca());
    let directory = tempfile::tempdir().unwrap();
    let (_server, address) = block_in_place(|| strict(directory.path(), &ca));
    let url = format!("https://localhost:{}", address.port());
    let shown = |name: &str| {
        format!(
            "{{ kind = \"client_certificate\", certificate = \"{name}-chain\", key = \"{name}-key\" }}"
        )
    };
    for (name, issuer, status) in [("good", &ca, 200), ("strange", &other, 502)] {
        let (certificate, key) = issuer.leaf("gate.example");
        let (chain, private) = (format!("{name}-chain"), format!("{name}-key"));
        let config = config(&[("strict", &url, &shown(name))], &[&chain, &private]);
        let config = config.replace(
            "private = true",
            &format!("private = true\nca = {:?}", ca.file),
        );
        let house = House::start_with(&config, |directory| {
            keep(directory, &chain, &pem("CERTIFICATE", certificate.der()));
            keep(
                directory,
                &private,
                &pem("PRIVATE KEY", &key.serialize_der()),
            );
        })
        .await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.ask("GET /tools/strict/", &[]).await;
        let said = fs::read_to_string(directory.path().join("said")).unwrap();
        assert_eq!(answer.status, status, "{name}: {answer:?} {said}");
        assert!(!answer.body.contains("PRIVATE"), "{answer:?}");
        let line = &house.audit()[0];
        assert_eq!(line["credential"], format!("{chain}+{private}"), "{line}");
    }
}

#[tokio::test]
async fn a_key_in_the_path_and_a_cookie_are_on_the_wire_and_nowhere_else() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let url = format!("http://{}", upstream.address);
    let credential = "[{ kind = \"path\", at = \"/bot{}\", secret = \"key\" }, { kind = \"cookie\", name = \"sid\", secret = \"key\" }]";
    let house = House::start(&config(&[("telegram", &url, credential)], &["key"])).await;
    let sandbox = house.busy_sandbox().await;
    for own in ["-", "123:mine"] {
        let line = format!("GET /tools/telegram/bot{own}/getMe?a=1");
        let fields = ["cookie: lang=de; SID=mine"];
        assert_eq!(sandbox.ask(&line, &fields).await.status, 200);
    }
    for request in upstream.requests() {
        let start = format!("GET /bot{SECRET}/getMe?a=1 HTTP/1.1\r\n");
        assert!(request.starts_with(&start), "{request}");
        assert_eq!(
            field(&request, "cookie"),
            [format!("sid={SECRET}; lang=de")]
        );
    }
    let refused = sandbox.ask("GET /tools/telegram/getMe", &[]).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("/bot-"), "{refused:?}");
    let lines = house.audit();
    let log = serde_json::to_string(&lines).unwrap();
    assert!(!log.contains(SECRET) && !log.contains("mine"), "{log}");
    assert!(lines[0]["path"] == "/bot-/getMe", "{log}");
}
