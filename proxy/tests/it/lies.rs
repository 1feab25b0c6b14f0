//! Upstreams that lie about their length, say too much, or stop too early: an agent never takes half an answer for a whole
//! one, nor another's answer for its own.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{House, Sandbox, config, soon},
    intercept::lines,
};

/// A server that reads one head, says this, and closes.
async fn liar(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            drop(stream.write_all(answer).await);
        }
    });
    address
}

async fn stage(answer: &'static [u8]) -> (House, Sandbox) {
    let address = liar(answer).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    (house, sandbox)
}

/// All that comes back, and whether the connection was left open for more.
async fn raw(sandbox: &Sandbox, request: &str) -> String {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    String::from_utf8(bytes).unwrap()
}

const GET: &str = "GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn an_answer_that_is_shorter_than_it_said_is_cut_and_written_down_as_such() {
    for (answer, last) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"[..],
            "half",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "half",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
            "half",
        ),
    ] {
        let (house, sandbox) = stage(answer).await;
        let said = raw(&sandbox, GET).await;
        assert!(said.contains(last), "{said}");
        // Neither a length that fits nor a last chunk says that this was all.
        assert!(
            !said.contains("content-length: 4\r\n") && !said.contains("0\r\n\r\n"),
            "{said}"
        );
        let line = &lines(&house, 1).await[0];
        assert!(line["cut"].is_string(), "{line}");
        assert_eq!(line["bytes_down"], 4);
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\npoison!";
    let (_house, sandbox) = stage(answer).await;
    for _ in 0..3 {
        let said = raw(&sandbox, GET).await;
        assert!(said.ends_with("\r\n\r\nhello"), "{said}");
    }
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_is_the_answer() {
    let answer =
        b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge";
    let (house, sandbox) = stage(answer).await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let head =
        "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\ncontent-length: 1000000\r\n\r\nonly a little";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"large") {
        assert_ne!(soon(stream.read_buf(&mut bytes)).await.unwrap(), 0);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 413 "));
    drop(stream);
    assert_eq!(lines(&house, 1).await[0]["status"], 413);
}

#[tokio::test]
async fn an_answer_that_is_framed_twice_is_no_answer() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: 1\r\n folded\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx a: 1\r\ncontent-length: 5\r\n\r\nhello",
        b"hello there",
        b"",
    ] {
        let (house, sandbox) = stage(answer).await;
        let said = raw(&sandbox, GET).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{answer:?}: {said}");
        assert_eq!(lines(&house, 1).await[0]["reason"], "UPSTREAM_UNREACHABLE");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while sent.is_ok() {
                sent = stream
                    .write_all(format!("x-a: {}\r\n", "x".repeat(4000)).as_bytes())
                    .await;
            }
        }
    });
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let said = raw(&sandbox, GET).await;
    assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
}
