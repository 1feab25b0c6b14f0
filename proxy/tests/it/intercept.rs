//! CONNECT, looked into, by the real curl and by clients that lie: what is asked inside is decided like any other request,
//! and no name but the one of the CONNECT counts.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc};

use postern_contract::link::Origin;
use rustls::{
    ClientConfig, RootCertStore,
    client::{EchGreaseConfig, EchMode},
    crypto::{CryptoProvider, aws_lc_rs, hpke::Hpke as _},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    house::{Answer, House, SECRET, Sandbox, config, parse, soon},
    tls,
    upstream::{self, Upstream},
};

/// A tool that lives nowhere: whatever needs it dialled fails.
const NOWHERE: &str = r#"
[secrets.crm]
file = "key"

[tools.crm]
url = "https://crm.invalid/v1"
credential = { kind = "bearer", secret = "crm" }

[tools.numbered]
url = "https://192.0.2.7/"

[[policies.open.rules]]
name = "read"
permission = "allow"
resource = "https://crm.invalid/v1/*"
operations = ["GET"]

[[policies.open.rules]]
name = "one page"
permission = "allow"
resource = "https://page.invalid/one"

[agents.desk]
tools = ["crm", "numbered"]
policies = ["open"]
"#;

async fn nowhere() -> (House, Sandbox) {
    let house = House::start(NOWHERE).await;
    let sandbox = house.busy_sandbox().await;
    (house, sandbox)
}

/// A connection after the gate has said 200 to a CONNECT.
pub(crate) async fn connect(sandbox: &Sandbox, authority: &str) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = soon(upstream::read_message(&mut stream)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Trust in this gate's authority and in nobody else.
pub(crate) fn roots(house: &House) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(house.ca()).unwrap();
    roots.add(certificate).unwrap();
    roots
}

pub(crate) fn client(house: &House) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider());
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(house))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

pub(crate) async fn secure(
    config: ClientConfig,
    name: &str,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    parse(&String::from_utf8_lossy(&bytes))
}

/// The lines about calls, as soon as there are so many.
pub(crate) async fn lines(house: &House, count: usize) -> Vec<Value> {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
    soon(async {
        loop {
            ticks.tick().await;
            let lines = house.audit();
            if lines.len() >= count {
                return lines;
            }
        }
    })
    .await
}

/// What the real curl gets through the gate, trusting the gate's authority alone: version, status and body.
async fn curl(house: &House, proxy: String, arguments: &[&str]) -> (String, u16, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "",
        "--max-time",
        "30",
    ]);
    curl.args([
        "--proxy",
        &proxy,
        "--write-out",
        "\n%{http_version} %{http_code}",
    ]);
    curl.arg("--cacert").arg(house.ca()).args(arguments);
    let output = tokio::task::spawn_blocking(move || curl.output().unwrap());
    let output = soon(output).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, last) = text.rsplit_once('\n').unwrap();
    let (version, status) = last.split_once(' ').unwrap();
    (version.to_owned(), status.parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn curl_calls_a_tool_by_its_own_url_in_both_versions() {
    let ca = tls::ca();
    let (address, mut seen) = tls::upstream(ca.leaf("localhost")).await;
    let house = House::program(&tls::config(address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    let url = format!("https://localhost:{}/a/../b?c=d", address.port());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let arguments = [flag, "--path-as-is", "-H", "authorization: mine", &url];
        let proxy = format!("http://{}", sandbox.address);
        let got = curl(&house, proxy, &arguments).await;
        assert_eq!(got, (version.to_owned(), 200, "hello".to_owned()));
        let request = seen.recv().await.unwrap();
        assert!(request.starts_with("GET /b?c=d HTTP/1.1\r\n"), "{request}");
        let bearer = format!("authorization: Bearer {SECRET}\r\n");
        assert!(request.contains(&bearer), "{request}");
        assert!(!request.contains("mine"), "{request}");
    }
    let lines = lines(&house, 4).await;
    let told = |line: &Value| (line["decision"].clone(), line["sni"].clone());
    assert_eq!(told(&lines[0]), ("intercepted".into(), "localhost".into()));
    assert_eq!(told(&lines[1]), ("allowed".into(), "localhost".into()));
    assert_eq!(
        (&lines[1]["door"], &lines[1]["tool"], &lines[1]["path"]),
        (&"connect".into(), &"crm".into(), &"/b".into())
    );
    assert!(lines[1]["timings"]["tls_us"].is_u64());
}

#[tokio::test]
async fn a_credential_waits_for_a_host_that_proves_its_name_inside_a_connect_too() {
    let ca = tls::ca();
    let (address, mut seen) = tls::upstream(ca.leaf("other.example")).await;
    let house = House::program(&tls::config(address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    let url = format!("https://localhost:{}/a", address.port());
    let got = curl(&house, format!("http://{}", sandbox.address), &[&url]).await;
    assert_eq!(got.1, 502, "{got:?}");
    assert!(got.2.contains("UPSTREAM_UNREACHABLE") && !got.2.contains(SECRET));
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn plain_http_inside_a_connect_is_the_same_tool() {
    let upstream = Upstream::start(|_| upstream::Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let at = upstream.address;
    let mut stream = connect(&sandbox, &at.to_string()).await;
    let request = format!("GET /api/a HTTP/1.1\r\nhost: {at}\r\nauthorization: mine\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = soon(upstream::read_message(&mut stream)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    let request = upstream.only();
    assert!(request.contains(SECRET) && !request.contains("mine"));
    // The next request on the same connection is decided by itself.
    let request = format!("DELETE /api/a HTTP/1.1\r\nhost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = soon(upstream::read_message(&mut stream)).await.unwrap();
    assert!(answer.contains("nothing is deleted"), "{answer}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_refusal_inside_is_told_in_words_before_anything_is_looked_up() {
    let (house, sandbox) = nowhere().await;
    let proxy = || format!("http://{}", sandbox.address);
    let got = curl(&house, proxy(), &["-XDELETE", "https://crm.invalid/v1/x"]).await;
    assert_eq!((got.0.as_str(), got.1), ("2", 403), "{got:?}");
    let body: Value = serde_json::from_str(&got.2).unwrap();
    assert_eq!(
        (&body["code"], &body["tool"]),
        (&"POLICY_DENIED".into(), &"crm".into())
    );
    // A rule about one page opens that page and no tunnel.
    let got = curl(&house, proxy(), &["https://page.invalid/two"]).await;
    assert_eq!(got.1, 403, "{got:?}");
    for line in lines(&house, 4).await {
        assert_eq!(line["timings"]["dns_us"], Value::Null, "{line}");
    }
    // Nobody lives there and no rule speaks of it: not even a certificate is made.
    let answer = sandbox.ask("CONNECT nobody.invalid:443", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["rule"]),
        (403, &"default".into())
    );
}

#[tokio::test]
async fn host_and_authority_inside_are_the_connects_or_nothing_goes_out() {
    let (house, sandbox) = nowhere().await;
    for version in ["--http1.1", "--http2"] {
        let arguments = [
            version,
            "-H",
            "Host: evil.invalid",
            "https://crm.invalid/v1/x",
        ];
        let got = curl(&house, format!("http://{}", sandbox.address), &arguments).await;
        assert_eq!(got.1, 421, "{got:?}");
        assert!(got.2.contains("MISDIRECTED"), "{got:?}");
    }
    for (request, status) in [
        ("GET /v1/x HTTP/1.1\r\nhost: evil.invalid\r\n\r\n", 421),
        (
            "GET https://evil.invalid/ HTTP/1.1\r\nhost: crm.invalid\r\n\r\n",
            421,
        ),
        (
            "GET http://crm.invalid/v1/x HTTP/1.1\r\nhost: crm.invalid\r\n\r\n",
            421,
        ),
        (
            "GET / HTTP/1.1\r\nhost: crm.invalid\r\nhost: evil.invalid\r\n\r\n",
            400,
        ),
        (
            "CONNECT evil.invalid:443 HTTP/1.1\r\nhost: evil.invalid:443\r\n\r\n",
            400,
        ),
        (
            "CONNECT crm.invalid:443 HTTP/1.1\r\nhost: crm.invalid:443\r\n\r\n",
            400,
        ),
        ("GET /v1/x HTTP/1.0\r\n\r\n", 400),
    ] {
        let stream = connect(&sandbox, "crm.invalid:443").await;
        let mut stream = secure(client(&house), "crm.invalid", stream).await.unwrap();
        let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = ask(&mut stream, &closing).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    for line in house.audit() {
        assert_eq!(line["timings"]["dns_us"], Value::Null, "{line}");
        assert_ne!(line["decision"], "allowed", "{line}");
    }
}

#[tokio::test]
async fn the_server_name_is_the_connects_or_there_is_no_handshake() {
    let (house, sandbox) = nowhere().await;
    let mut nameless = client(&house);
    nameless.enable_sni = false;
    for (config, name, told) in [
        (client(&house), "evil.invalid", Value::from("evil.invalid")),
        (nameless, "crm.invalid", Value::Null),
    ] {
        let seen = house.audit().len();
        let stream = connect(&sandbox, "crm.invalid:443").await;
        let error = secure(config, name, stream).await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");
        let line = &lines(&house, seen + 1).await[seen];
        assert_eq!(
            (&line["decision"], &line["reason"], &line["sni"]),
            (&"refused".into(), &"MISDIRECTED".into(), &told)
        );
    }
}

#[tokio::test]
async fn an_address_is_named_by_nobody_and_its_certificate_says_so() {
    let (house, sandbox) = nowhere().await;
    let stream = connect(&sandbox, "192.0.2.7:443").await;
    let mut stream = secure(client(&house), "192.0.2.7", stream).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: 192.0.2.7\r\nconnection: close\r\n\r\n";
    let answer = ask(&mut stream, request).await;
    assert_eq!(
        (answer.status, &answer.json()["tool"]),
        (403, &"numbered".into())
    );
}

#[tokio::test]
async fn a_name_split_over_records_and_a_hello_of_seventeen_kib_are_understood() {
    let (house, sandbox) = nowhere().await;
    let mut split = client(&house);
    split.max_fragment_size = Some(32);
    let mut large = client(&house);
    let protocols = (0..70).map(|number| format!("{number:0250}").into_bytes());
    large.alpn_protocols.extend(protocols);
    for config in [split, large] {
        let stream = connect(&sandbox, "crm.invalid:443").await;
        let mut stream = secure(config, "crm.invalid", stream).await.unwrap();
        let request = "PUT /v1/x HTTP/1.1\r\nhost: crm.invalid\r\nconnection: close\r\n\r\n";
        assert_eq!(ask(&mut stream, request).await.status, 403);
    }
}

pub(crate) fn hiding(house: &House) -> ClientConfig {
    let suite = aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (key, _) = suite.generate_key_pair().unwrap();
    let mode = EchMode::Grease(EchGreaseConfig::new(suite, key));
    ClientConfig::builder_with_provider(provider())
        .with_ech(mode)
        .unwrap()
        .with_root_certificates(roots(house))
        .with_no_client_auth()
}

#[tokio::test]
async fn an_encrypted_hello_behind_another_name_is_refused() {
    let (house, sandbox) = nowhere().await;
    let stream = connect(&sandbox, "crm.invalid:443").await;
    let error = secure(hiding(&house), "front.invalid", stream).await;
    assert!(error.is_err());
    let line = &lines(&house, 1).await[0];
    assert_eq!(
        (&line["reason"], &line["sni"]),
        (&"MISDIRECTED".into(), &"front.invalid".into())
    );
    // Browsers send the extension without a meaning; the name outside is all that counts.
    let stream = connect(&sandbox, "crm.invalid:443").await;
    let mut stream = secure(hiding(&house), "crm.invalid", stream).await.unwrap();
    let request = "PUT /v1/x HTTP/1.1\r\nhost: crm.invalid\r\nconnection: close\r\n\r\n";
    assert_eq!(ask(&mut stream, request).await.status, 403);
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_carried_nowhere() {
    let (house, sandbox) = nowhere().await;
    let endless = [&[22, 3, 1, 0x40, 0][..], &[1; 0x4000]].concat();
    for garbage in [
        &b"\0\0\0\x08"[..],
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\0\x01\x02",
        &endless,
    ] {
        let mut stream = connect(&sandbox, "crm.invalid:443").await;
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        drop(soon(stream.read_to_end(&mut rest)).await);
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{rest:?}");
    }
    for line in lines(&house, 4).await {
        assert_eq!(line["timings"]["dns_us"], Value::Null, "{line}");
        assert_ne!(line["decision"], "allowed", "{line}");
    }
}

#[tokio::test]
async fn a_sandbox_has_a_share_of_connections_that_are_looked_into() {
    let (house, sandbox) = nowhere().await;
    let mut held = Vec::new();
    for _ in 0..512 {
        held.push(connect(&sandbox, "crm.invalid:443").await);
    }
    let one_more = sandbox.ask("CONNECT crm.invalid:443", &[]).await;
    assert_eq!(
        (one_more.status, &one_more.json()["code"]),
        (429, &"RATE_LIMITED".into())
    );
    // Another sandbox has a share of its own.
    let other = house.busy_sandbox().await;
    connect(&other, "crm.invalid:443").await;
}

#[tokio::test]
async fn the_run_in_the_proxys_url_counts_inside() {
    let upstream = Upstream::start(|_| upstream::Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.sandbox(Origin::Sandbox).await;
    house.run(&sandbox, "run_1").await;
    house.run(&sandbox, "run_2").await;
    let url = format!("http://{}/api/a", upstream.address);
    let proxy = |user: &str| format!("http://{user}{}", sandbox.address);
    let got = curl(&house, proxy(""), &["--proxytunnel", &url]).await;
    assert_eq!(got.1, 403, "{got:?}");
    let got = curl(&house, proxy("run_2:@"), &["--proxytunnel", &url]).await;
    assert_eq!((got.1, got.2.as_str()), (200, "hello"));
    let lines = lines(&house, 4).await;
    assert_eq!(lines[1]["reason"], "NO_ACTIVE_RUN");
    assert_eq!(lines[3]["run"], "run_2");
    assert!(!upstream.only().contains("proxy-authorization"));
}

#[tokio::test]
async fn the_authoritys_key_is_the_gates_alone() {
    let (house, _sandbox) = nowhere().await;
    let key = house.directory.path().join("ca.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(fs::read_to_string(key).unwrap().contains("PRIVATE KEY"));
    let told = fs::read_to_string(house.ca()).unwrap();
    assert!(told.contains("BEGIN CERTIFICATE") && !told.contains("PRIVATE"));
}
