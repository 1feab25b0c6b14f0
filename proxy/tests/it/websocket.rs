//! WebSockets through every door, and what only looks like one.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::{
    house::{House, SECRET, Sandbox, config, soon},
    intercept::{connect, lines},
    tls,
    two::{Two, acceptor},
    upstream::{Answer, Upstream, read_message},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn accept() -> String {
    let text = format!("{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

pub(crate) fn switching(more: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n{more}\r\n",
        accept()
    )
}

/// A server that switches and says everything back in capitals, until the other side is done.
async fn echo(head: String) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_message(&mut stream).await else {
                continue;
            };
            requests.lock().await.push(request);
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::spawn(async move {
                let mut chunk = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                    chunk[..length].make_ascii_uppercase();
                    stream.write_all(&chunk[..length]).await.unwrap();
                }
            });
        }
    });
    (address, seen)
}

pub(crate) fn handshake(line: &str, host: &str, more: &str) -> String {
    format!(
        "GET {line} HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    )
}

async fn opened(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(read_message(stream)).await.unwrap()
}

async fn dialled(sandbox: &Sandbox) -> TcpStream {
    TcpStream::connect(sandbox.address).await.unwrap()
}

async fn says(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    String::from_utf8(back).unwrap()
}

#[tokio::test]
async fn a_websocket_passes_every_door_with_the_tools_credential_and_no_extension() {
    let (address, seen) = echo(switching("")).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let hostile =
        "authorization: mine\r\nte: trailers\r\nsec-websocket-extensions: permessage-deflate\r\n";
    let host = address.to_string();
    let inside = connect(&sandbox, &host).await;
    for (mut stream, line, host) in [
        (
            dialled(&sandbox).await,
            "/tools/crm/live".to_owned(),
            "gate",
        ),
        (
            dialled(&sandbox).await,
            format!("http://{address}/api/live"),
            &host,
        ),
        (inside, "/api/live".to_owned(), &host),
    ] {
        let head = opened(&mut stream, &handshake(&line, host, hostile)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{line}: {head}");
        assert!(head.contains(&accept()), "{head}");
        assert!(!head.to_lowercase().contains("extensions"), "{head}");
        assert_eq!(says(&mut stream, "hello").await, "HELLO");
        assert_eq!(says(&mut stream, "again").await, "AGAIN");
        drop(stream);
    }
    // One line says that the CONNECT was looked into.
    let lines = lines(&house, 4).await;
    let allowed = lines.iter().filter(|line| line["decision"] == "allowed");
    let carried = allowed.map(|line| (line["status"].clone(), line["bytes_up"].clone()));
    assert_eq!(
        carried.collect::<Vec<_>>(),
        vec![(101.into(), 10.into()); 3]
    );
    for request in seen.lock().await.iter() {
        assert!(
            request.starts_with("GET /api/live HTTP/1.1\r\n"),
            "{request}"
        );
        let told = request.to_lowercase();
        assert!(
            told.contains(&format!("authorization: bearer {SECRET}")),
            "{request}"
        );
        assert!(
            !told.contains("mine") && !told.contains("extensions"),
            "{request}"
        );
        assert!(told.contains("upgrade: websocket\r\n"), "{request}");
    }
}

#[tokio::test]
async fn connection_cannot_strip_the_handshake() {
    let (address, seen) = echo(switching("")).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let more = "connection: sec-websocket-key, authorization\r\nsec_websocket_extensions: permessage-deflate\r\n";
    let mut stream = dialled(&sandbox).await;
    let head = opened(&mut stream, &handshake("/tools/crm/live", "gate", more)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let request = seen.lock().await[0].clone();
    assert!(
        request.contains(KEY) && request.contains(SECRET),
        "{request}"
    );
    assert!(!request.contains("deflate"), "{request}");
}

#[tokio::test]
async fn what_is_switched_to_is_what_was_asked_for_or_nothing() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n";
    for (head, words) in [
        (other.to_owned(), "no WebSocket"),
        (
            switching("").replace("accept: s3", "accept: x3"),
            "does not answer the key",
        ),
        (
            switching("sec-websocket-extensions: permessage-deflate\r\n"),
            "extension",
        ),
        (switching("sec-websocket-protocol: mqtt\r\n"), "subprotocol"),
    ] {
        let (address, _seen) = echo(head).await;
        let house = House::start(&config(address)).await;
        let sandbox = house.busy_sandbox().await;
        let asked = handshake(
            "/tools/crm/live",
            "gate",
            "sec-websocket-protocol: chat\r\n",
        );
        let answer = opened(&mut dialled(&sandbox).await, &asked).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
}

#[tokio::test]
async fn nobody_switches_who_was_not_asked_to() {
    let switched = switching("");
    let upstream = Upstream::start(move |_| Answer::raw(&switched)).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    for fields in [
        &[][..],
        &[
            "upgrade: h2c",
            "connection: upgrade, http2-settings",
            "http2-settings: AAMAAABkAAQ",
        ],
        &["upgrade: websocket"],
    ] {
        let answer = sandbox.ask("GET /tools/crm/", fields).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (502, &"UPSTREAM_UNREACHABLE".into())
        );
    }
    for request in upstream.requests() {
        let request = request.to_lowercase();
        assert!(
            !request.contains("upgrade") && !request.contains("http2-settings"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_handshake_that_says_two_things_is_refused() {
    let (address, seen) = echo(switching("")).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let good = handshake("/tools/crm/live", "gate", "");
    for bad in [
        handshake("/tools/crm/live", "gate", "upgrade: h2c\r\n"),
        handshake(
            "/tools/crm/live",
            "gate",
            &format!("sec-websocket-key: {KEY}\r\n"),
        ),
        handshake("/tools/crm/live", "gate", "content-length: 5\r\n"),
        good.replace("version: 13", "version: 8"),
        good.replace(KEY, "c2hvcnQ="),
        good.replacen("GET", "POST", 1),
    ] {
        let answer = opened(&mut dialled(&sandbox).await, &bad).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}{answer}");
        assert!(answer.contains("BAD_REQUEST"), "{answer}");
    }
    assert!(seen.lock().await.is_empty());
}

#[tokio::test]
async fn a_refused_websocket_and_an_answer_instead_are_answers() {
    let upstream = Upstream::start(|_| Answer::ok("not here")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let answer = opened(
        &mut dialled(&sandbox).await,
        &handshake("/tools/crm/live", "gate", ""),
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("not here"),
        "{answer}"
    );
    let elsewhere = handshake("/tools/elsewhere/live", "gate", "");
    let refused = opened(&mut dialled(&sandbox).await, &elsewhere).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_websocket_over_tls_is_offered_http1_alone() {
    let ca = tls::ca();
    let acceptor = acceptor(ca.leaf("localhost"), &["h2", "http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream.write_all(switching("").as_bytes()).await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(&said.to_ascii_uppercase()).await.unwrap();
        (agreed, String::from_utf8(head).unwrap())
    });
    let house = House::program(&tls::config(address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = dialled(&sandbox).await;
    let head = opened(&mut stream, &handshake("/tools/crm/live", "gate", "")).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(says(&mut stream, "hello").await, "HELLO");
    let (agreed, head) = soon(server).await.unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    assert!(head.contains(SECRET), "{head}");
}

#[tokio::test]
async fn a_websocket_that_carries_nothing_is_closed() {
    let (address, _seen) = echo(switching("")).await;
    let text = format!("[patience]\ntunnel = \"200ms\"\n{}", config(address));
    let house = House::start(&text).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = dialled(&sandbox).await;
    opened(&mut stream, &handshake("/tools/crm/live", "gate", "")).await;
    assert_eq!(says(&mut stream, "hello").await, "HELLO");
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(rest.is_empty());
    let line = &lines(&house, 1).await[0];
    assert!(line["cut"].is_string(), "{line}");
}

/// What an idle WebSocket may cost, in KiB: 25 in a release build, and this is none.
const IDLE_KIB_MAX: u64 = 40;

#[tokio::test]
async fn an_idle_websocket_costs_little() {
    let (address, _seen) = echo(switching("")).await;
    let house = House::program(&config(address), &[]).await;
    let sandbox = house.busy_sandbox().await;
    let request = handshake("/tools/crm/live", "gate", "");
    let mut open = Vec::new();
    for count in 0..600 {
        let mut stream = dialled(&sandbox).await;
        opened(&mut stream, &request).await;
        assert_eq!(says(&mut stream, "hello").await, "HELLO");
        open.push((stream, house.held_kib()));
        assert_eq!(open.len(), count + 1);
    }
    // The first hundred pay for what is there once.
    let each = (open[599].1.saturating_sub(open[99].1)) / 500;
    assert!(each < IDLE_KIB_MAX, "{each} KiB");
}

#[tokio::test]
async fn a_websocket_is_cut_by_a_policy_that_denies_it_and_not_by_one_that_does_not() {
    let (address, _seen) = echo(switching("")).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = dialled(&sandbox).await;
    let head = opened(&mut stream, &handshake("/tools/told/live", "gate", "")).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    house.rewrite(&format!("# The same.\n{}", config(address)));
    house.until(|status| status.policy_generation == 2).await;
    assert_eq!(says(&mut stream, "hello").await, "HELLO");
    house.rewrite(&config(address).replacen("\"allow\"", "\"deny\"", 1));
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(rest.is_empty());
    assert_eq!(
        lines(&house, 1).await[0]["cut"],
        "cut by a new policy, generation 3: POLICY_DENIED"
    );
}

#[tokio::test]
async fn a_websocket_outlives_the_value_that_it_began_with_where_its_tool_says_so() {
    let (address, _seen) = echo(switching("")).await;
    for (on_rotation, goes_on) in [("cut", false), ("finish", true)] {
        let more = format!(
            "private = true\nanswers = {{ mask = \"off\" }}\non_rotation = \"{on_rotation}\"\n"
        );
        let house = House::start(&config(address).replace("private = true\n", &more)).await;
        let sandbox = house.busy_sandbox().await;
        let mut stream = dialled(&sandbox).await;
        let head = opened(&mut stream, &handshake("/tools/crm/live", "gate", "")).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        house.replace("key", "sk_second");
        house.until(|status| status.policy_generation == 2).await;
        if goes_on {
            assert_eq!(says(&mut stream, "hello").await, "HELLO");
            std::fs::remove_file(house.directory.path().join("key")).unwrap();
        }
        let mut rest = Vec::new();
        drop(soon(stream.read_to_end(&mut rest)).await);
        assert!(rest.is_empty());
    }
}

/// A rule that lets this operation of GraphQL pass, one that looks at bodies, and one that only reads a host that is no tool.
fn careful(address: SocketAddr) -> String {
    let resource =
        |path: &str| format!("permission = \"allow\"\nresource = \"http://{address}/{path}\"\n");
    format!(
        "[tools.graph]\nurl = \"http://{address}/graph\"\nprivate = true\n\
         [tools.pay]\nurl = \"http://{address}/pay\"\nprivate = true\n\
         [[policies.p.rules]]\nname = \"reads\"\n{}graphql = {{ operations = [\"query\"] }}\n\
         [[policies.p.rules]]\nname = \"pay\"\n{}\
         [[policies.p.rules]]\nname = \"large\"\n{}when = \"body.amount > 10000\"\n\
         [agents.desk]\ntools = [\"graph\", \"pay\"]\npolicies = [\"p\"]\n",
        resource("graph/*"),
        resource("pay/*"),
        resource("pay/*").replace("allow", "deny"),
    )
}

#[tokio::test]
async fn a_rule_that_must_see_the_body_opens_no_websocket() {
    let (address, seen) = echo(switching("")).await;
    let house = House::start(&careful(address)).await;
    let sandbox = house.busy_sandbox().await;
    for (line, rule) in [
        ("/tools/graph/x?query=%7Bviewer%7Bid%7D%7D", "reads"),
        ("/tools/pay/live", "large"),
    ] {
        let answer = opened(&mut dialled(&sandbox).await, &handshake(line, "gate", "")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
        assert!(
            answer.contains(rule) && answer.contains("not looked at"),
            "{answer}"
        );
    }
    assert!(seen.lock().await.is_empty());
    // The same without a WebSocket has no body, which is certain.
    let plain = upstream_answers(&sandbox, "GET /tools/graph/x?query=%7Bviewer%7Bid%7D%7D").await;
    assert!(plain, "the rule reads a query that nothing can follow");
}

/// Whether a request comes as far as the server, which is no server for plain requests.
async fn upstream_answers(sandbox: &Sandbox, line: &str) -> bool {
    let answer = sandbox.ask(line, &[]).await;
    answer.status == 502
}

#[tokio::test]
async fn a_websocket_belongs_to_a_run_whoever_lives_there() {
    let (address, seen) = echo(switching("")).await;
    let config = format!(
        "[[policies.p.rules]]\nname = \"page\"\npermission = \"allow\"\nresource = \"http://{address}/*\"\n\
         [agents.desk]\npolicies = [\"p\"]\n"
    );
    let house = House::start(&config).await;
    let sandbox = house.sandbox(postern_contract::link::Origin::Sandbox).await;
    let request = handshake(&format!("http://{address}/live"), &address.to_string(), "");
    let answer = opened(&mut dialled(&sandbox).await, &request).await;
    assert!(answer.contains("NO_ACTIVE_RUN"), "{answer}");
    assert!(seen.lock().await.is_empty());
}

#[tokio::test]
async fn a_websocket_that_an_upstream_does_not_speak_shuts_it_for_nobody() {
    let ca = tls::ca();
    let two = Two::start(Some(ca.leaf("localhost"))).await;
    let house = House::program(&tls::config(two.address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let (asking, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    for _ in 0..8 {
        let request = handshake("/tools/crm/live", "gate", "");
        let answer = opened(&mut dialled(&asking).await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
    assert_eq!(other.ask("GET /tools/crm/a", &[]).await.status, 200);
}
