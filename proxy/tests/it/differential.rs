//! What was decided on against what left: over generated requests through every door, the audit line and the rules' own
//! conditions must agree with the bytes that an upstream received. Never a request that one of the two did not see.
//! `PROPTEST_CASES` says how many.

mod received;

use std::{cell::RefCell, sync::Arc};

use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::{
    prelude::*,
    test_runner::{Config as Cases, TestCaseError, TestRunner},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::received::{Received, careless, received};
use crate::{
    house::{House, SECRET, Sandbox, soon},
    tls,
    upstream::{Answer, Upstream, read_message},
};

/// Fields that mean nothing to anybody, so they must arrive as they were sent.
const FREE: &str = "x-free";

/// What a path is made of: names, and everything that has ever meant something else to somebody.
const ATOMS: [&str; 22] = [
    "a", "secret", "SECRET", "s%65cret", "..", ".", "%2e%2e", "%2E", ".%2e", "%2F", "%252e", "%41",
    "%7e", "%zz", "%00", "", ";x=y", "\\", "%5c", "a+b", "@me", "%C3%A9",
];

const QUERIES: [&str; 9] = [
    "q=1",
    "mode=drop",
    "mode=keep",
    "m%6fde=drop",
    "mode=dr%6Fp",
    "a=1&a=2",
    "x=a+b%20c",
    "mode",
    "=&&=%26",
];

#[derive(Debug, Clone, Copy)]
enum Door {
    /// `/tools/NAME/…`.
    Tool,
    /// The same over HTTP/2.
    ToolTwo,
    /// A whole URL in the request line.
    Absolute,
    /// In the clear inside a CONNECT.
    Inside,
    /// Over TLS inside a CONNECT.
    Tls,
    /// HTTP/2 over TLS inside a CONNECT.
    TlsTwo,
}

#[derive(Debug, Clone)]
struct Case {
    door: Door,
    method: &'static str,
    path: String,
    query: Option<String>,
    fields: Vec<(&'static str, &'static str)>,
    body: Option<String>,
    chunked: bool,
}

fn case() -> impl Strategy<Value = Case> {
    use proptest::{collection::vec, option, sample::select};
    let doors = vec![
        Door::Tool,
        Door::ToolTwo,
        Door::Absolute,
        Door::Inside,
        Door::Tls,
        Door::TlsTwo,
    ];
    let field = (
        select(vec![
            "x-free-a",
            "X-Free-B",
            "x-free-a",
            "x-env",
            "x_env",
            "authorization",
        ]),
        select(vec!["1", "prod", "dev", "", "a, b", "prod, dev"]),
    );
    let path = vec(select(&ATOMS[..]), 0..4).prop_map(|parts| format!("/{}", parts.join("/")));
    let query = vec(select(&QUERIES[..]), 1..3).prop_map(|parts| parts.join("&"));
    (
        select(doors),
        select(vec!["GET", "POST", "PATCH", "DELETE"]),
        path,
        option::of(query),
        vec(field, 0..4),
        option::of(select(vec![
            "",
            "{}",
            "{\"a\":1}",
            "0\r\n\r\nGET /api/smuggled HTTP/1.1\r\n\r\n",
        ])),
        any::<bool>(),
    )
        .prop_map(|(door, method, path, query, fields, body, chunked)| Case {
            door,
            method,
            path,
            query,
            fields,
            body: body.map(str::to_owned),
            chunked,
        })
}

fn config(plain: &Upstream, safe: &Upstream) -> String {
    let mut text = "[secrets.crm]\nfile = \"key\"\n[agents.desk]\ntools = [\"crm\", \"safe\"]\npolicies = [\"p\"]\n"
        .to_owned();
    for (tool, base) in [
        ("crm", format!("http://{}", plain.address)),
        ("safe", format!("https://localhost:{}", safe.address.port())),
    ] {
        text += &format!(
            "[tools.{tool}]\nurl = \"{base}/api\"\nprivate = true\n\
             credential = {{ kind = \"bearer\", secret = \"crm\" }}\n"
        );
        for (name, permission, resource, keys) in [
            (
                "open",
                "allow",
                "/*",
                "operations = [\"GET\", \"POST\", \"DELETE\"]",
            ),
            ("secret", "deny", "/api/secret/*", ""),
            ("the secret", "deny", "/api/secret", ""),
            ("prod", "deny", "/*", "headers = { x-env = \"prod\" }"),
            (
                "drop",
                "deny",
                "/*",
                "operations = [\"DELETE\"]\nquery = { mode = \"drop\" }",
            ),
        ] {
            text += &format!(
                "[[policies.p.rules]]\nname = \"{name} {tool}\"\npermission = \"{permission}\"\n\
                 resource = \"{base}{resource}\"\n{keys}\n"
            );
        }
    }
    text
}

struct Stage {
    plain: Upstream,
    safe: Upstream,
    house: House,
    sandbox: Sandbox,
    _ca: tls::Ca,
    /// How much of each record was looked at already: both upstreams' and the audit's.
    seen: RefCell<(usize, usize, usize)>,
}

/// What a request led to.
struct Outcome {
    lines: Vec<serde_json::Value>,
    plain: Vec<String>,
    safe: Vec<String>,
}

impl Stage {
    async fn new() -> Self {
        let ca = tls::ca();
        let (certificate, key) = ca.leaf("localhost");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let plain = Upstream::start(|_| Answer::ok("hello")).await;
        let safe =
            Upstream::start_tls(TlsAcceptor::from(Arc::new(server)), |_| Answer::ok("hello"));
        let safe = safe.await;
        let house = House::program(&config(&plain, &safe), &[("SSL_CERT_FILE", &ca.file)]).await;
        let sandbox = house.busy_sandbox().await;
        Self {
            plain,
            safe,
            house,
            sandbox,
            _ca: ca,
            seen: RefCell::default(),
        }
    }

    /// What came since it was last asked.
    fn outcome(&self) -> Outcome {
        let mut seen = self.seen.borrow_mut();
        let (plain, safe, audit) = (
            self.plain.requests(),
            self.safe.requests(),
            self.house.audit(),
        );
        let outcome = Outcome {
            lines: audit[seen.2..].to_vec(),
            plain: plain[seen.0..].to_vec(),
            safe: safe[seen.1..].to_vec(),
        };
        *seen = (plain.len(), safe.len(), audit.len());
        outcome
    }

    async fn send(&self, case: &Case) -> Option<u16> {
        let stream = TcpStream::connect(self.sandbox.address).await.unwrap();
        let query = case
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let target = format!("{}{query}", case.path);
        let own = self.sandbox.address.to_string();
        let (plain, safe) = (
            self.plain.address.to_string(),
            format!("localhost:{}", self.safe.address.port()),
        );
        match case.door {
            Door::Tool => one(stream, case, &format!("/tools/crm{target}"), &own).await,
            Door::ToolTwo => two(stream, case, &format!("http://{own}/tools/crm{target}")).await,
            Door::Absolute => {
                one(stream, case, &format!("http://{plain}/api{target}"), &plain).await
            }
            Door::Inside => {
                let stream = connect(stream, &plain).await;
                one(stream, case, &format!("/api{target}"), &plain).await
            }
            Door::Tls => {
                let stream = self.secure(connect(stream, &safe).await, "http/1.1").await;
                one(stream, case, &format!("/api{target}"), &safe).await
            }
            Door::TlsTwo => {
                let stream = self.secure(connect(stream, &safe).await, "h2").await;
                two(stream, case, &format!("https://{safe}/api{target}")).await
            }
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        protocol: &str,
    ) -> impl AsyncRead + AsyncWrite + use<> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.house.ca()).unwrap())
            .unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await
            .unwrap()
    }
}

async fn connect(mut stream: TcpStream, authority: &str) -> TcpStream {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = soon(read_message(&mut stream)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

/// Asks over HTTP/1.1, byte for byte as the case says; the status, if there was an answer.
async fn one<S>(mut stream: S, case: &Case, target: &str, host: &str) -> Option<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!(
        "{} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n",
        case.method
    );
    for (name, value) in &case.fields {
        request += &format!("{name}: {value}\r\n");
    }
    match &case.body {
        Some(body) if case.chunked && body.is_empty() => {
            request += "transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        }
        Some(body) if case.chunked => {
            let length = body.len();
            request +=
                &format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
        }
        Some(body) => request += &format!("content-length: {}\r\n\r\n{body}", body.len()),
        None => request += "\r\n",
    }
    // The gate may answer and close before it has read all; what it said counts.
    drop(stream.write_all(request.as_bytes()).await);
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    let text = String::from_utf8_lossy(&bytes);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
}

/// Asks over HTTP/2, where the client can say it at all.
async fn two<S>(stream: S, case: &Case, uri: &str) -> Option<u16>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = http::Request::builder().method(case.method).uri(uri);
    for (name, value) in &case.fields {
        request = request.header(*name, *value);
    }
    let body = case.body.clone().unwrap_or_default();
    let request = request
        .body(http_body_util::Full::new(bytes::Bytes::from(body)))
        .ok()?;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = soon(handshake).await.unwrap();
    let serving = tokio::spawn(connection);
    let answer = soon(sender.send_request(request)).await.ok()?;
    let status = answer.status().as_u16();
    // The line is there before the end of the answer.
    drop(soon(http_body_util::BodyExt::collect(answer.into_body())).await);
    serving.abort();
    Some(status)
}

fn check(case: &Case, status: Option<u16>, outcome: &Outcome) -> Result<bool, TestCaseError> {
    let calls: Vec<_> = outcome
        .lines
        .iter()
        .filter(|line| line["decision"] != "intercepted")
        .collect();
    let messages: Vec<_> = outcome.plain.iter().chain(&outcome.safe).collect();
    prop_assert!(calls.len() <= 1, "one request, one line: {calls:?}");
    let Some(line) = calls.first().filter(|line| line["decision"] == "allowed") else {
        prop_assert!(messages.is_empty(), "{status:?}, and yet {messages:?}");
        prop_assert!(status.is_none_or(|status| status >= 400), "{status:?}");
        return Ok(false);
    };
    prop_assert_eq!(status, Some(200));
    prop_assert_eq!(messages.len(), 1);
    let got = received(messages[0]);
    let one = |name: &str| {
        let mut values = got.fields.iter().filter(|(named, _)| named == name);
        (
            values.next().map(|(_, value)| *value),
            values.next().is_none(),
        )
    };
    prop_assert_eq!(&line["method"], got.method);
    prop_assert_eq!(got.method, case.method);
    prop_assert_eq!(&line["path"], got.target.split('?').next().unwrap());
    let (host, alone) = one("host");
    let scheme = if outcome.safe.is_empty() {
        "http"
    } else {
        "https"
    };
    prop_assert!(alone);
    prop_assert_eq!(
        &line["authority"],
        &format!("{scheme}://{}", host.unwrap_or_default())
    );
    prop_assert_eq!(&got.body, case.body.as_deref().unwrap_or_default());
    check_fields(case, &got)?;
    check_rules(&got)?;
    let credential = format!("Bearer {SECRET}");
    prop_assert_eq!(one("authorization"), (Some(credential.as_str()), true));
    Ok(true)
}

/// What was sent for nobody's eyes arrives; nothing was made up.
fn check_fields(case: &Case, got: &Received<'_>) -> Result<(), TestCaseError> {
    let sent: Vec<_> = case
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), *value))
        .collect();
    for (name, _) in &sent {
        let of = |fields: &[(String, &str)]| -> Vec<String> {
            let named = fields.iter().filter(|(named, _)| named == name);
            named.map(|(_, value)| (*value).to_owned()).collect()
        };
        if name.starts_with(FREE) {
            prop_assert_eq!(of(&sent), of(&got.fields), "{}", name);
        }
    }
    let gates = [
        "host",
        "authorization",
        "content-length",
        "transfer-encoding",
    ];
    for (name, _) in &got.fields {
        let known = gates.contains(&name.as_str()) || sent.iter().any(|(named, _)| named == name);
        prop_assert!(known, "{} was made up", name);
    }
    Ok(())
}

/// What the rules forbid is not in the bytes, read by somebody else than the gate.
fn check_rules(got: &Received<'_>) -> Result<(), TestCaseError> {
    let path = careless(got.target);
    prop_assert!(path.starts_with("/api"), "{} left its tool", path);
    prop_assert!(
        path != "/api/secret" && !path.starts_with("/api/secret/"),
        "{}",
        path
    );
    for (name, value) in &got.fields {
        prop_assert!(
            name.replace('_', "-") != "x-env" || *value != "prod",
            "{}: {}",
            name,
            value
        );
    }
    let query = got
        .target
        .split_once('?')
        .map(|(_, query)| query)
        .unwrap_or_default();
    let decoded = query
        .split('&')
        .map(|pair| percent_encoding::percent_decode_str(pair).decode_utf8_lossy());
    let dropping = decoded.into_iter().any(|pair| pair == "mode=drop");
    prop_assert!(got.method != "DELETE" || !dropping, "{}", got.target);
    prop_assert!(got.method != "PATCH", "no rule allows it");
    Ok(())
}

#[test]
fn what_was_decided_on_is_what_was_sent_through_every_door() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new());
    let allowed = RefCell::new(0);
    let mut runner = TestRunner::new(Cases {
        failure_persistence: None,
        ..Cases::default()
    });
    let result = runner.run(&case(), |case| {
        let status = runtime.block_on(stage.send(&case));
        *allowed.borrow_mut() += u32::from(check(&case, status, &stage.outcome())?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let allowed = allowed.into_inner();
    assert!(
        allowed > 20,
        "only {allowed} requests were allowed: nothing was compared"
    );
}
