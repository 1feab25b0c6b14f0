//! `Expect: 100-continue`: a client that waits sends its body only after the decision, with an upstream there to take it.
//! Upstreams are never asked to wait: the gate answers for them.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    house::{House, Sandbox, config, soon},
    upstream::{Answer, Upstream},
};

/// A connection on which a request waits for leave to send its body of four bytes.
async fn waiting(sandbox: &Sandbox, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nexpect: 100-continue\r\n\
         content-length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon(stream.read_u8()).await.unwrap();
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_and_the_upstream_gets_the_whole() {
    let upstream = Upstream::start(|_| Answer::ok("taken")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = waiting(&sandbox, "/tools/crm/notes").await;
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    // The decision was taken without the body, and an upstream was reached for it.
    assert_eq!(upstream.connections(), 1);
    stream.write_all(b"body").await.unwrap();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("taken"),
        "{rest}"
    );
    let request = upstream.only();
    assert!(request.ends_with("\r\n\r\nbody"), "{request}");
    assert!(!request.to_lowercase().contains("expect"), "{request}");
    assert_eq!(house.audit()[0]["bytes_up"], 4);
}

#[tokio::test]
async fn who_is_refused_is_never_told_to_go_on() {
    let upstream = Upstream::start(|_| Answer::ok("taken")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    // By policy, by its form, and because it leads to an address that nobody may dial.
    for path in [
        "/tools/elsewhere/notes",
        "/tools/crm/%zz",
        "/tools/shut/notes",
    ] {
        let mut stream = waiting(&sandbox, path).await;
        let first = head(&mut stream).await;
        assert!(first.starts_with("HTTP/1.1 4"), "{path}: {first}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_answer_before_the_body_reaches_a_client_that_waits() {
    // An upstream that says no as soon as it has the head.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let no = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
            stream.write_all(no).await.unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    });
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = waiting(&sandbox, "/tools/crm/notes").await;
    let mut first = head(&mut stream).await;
    if first.starts_with("HTTP/1.1 100 ") {
        first = head(&mut stream).await;
    }
    assert!(first.starts_with("HTTP/1.1 413 "), "{first}");
}
