//! Connections by address: what a program greets is where its request goes, at the port that it meant, and never to the
//! address that it meant where it names a host. Every request is decided like any other.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{House, SECRET, config, soon},
    intercept::{ask, client, lines, secure},
    tls,
    tunnels::{pinned, trusting},
    upstream::{Answer, Upstream},
};

/// An address of its own that looks like any other to a program in a sandbox, at this port.
fn meant(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 5, 0, 1], port))
}

#[tokio::test]
async fn in_the_clear_the_host_field_says_where_and_the_connection_at_which_port() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.captured(meant(upstream.address.port())).await;
    let host = format!("host: {}", upstream.address);
    let answer = sandbox.ask("GET /api/people", &[&host]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert!(upstream.only().contains(&format!("Bearer {SECRET}\r\n")));
    let line = &house.audit()[0];
    assert_eq!(
        (&line["door"], &line["tool"], &line["address"]),
        (
            &"captured".into(),
            &"crm".into(),
            &upstream.address.to_string().into()
        )
    );
    let port = upstream.address.port();
    let nowhere = format!("host: nowhere.invalid:{port}");
    let synthetic = format!("host: 198.18.0.9:{port}");
    for (line, fields, status, code) in [
        (
            "DELETE /api/people",
            &[host.as_str()][..],
            403,
            "POLICY_DENIED",
        ),
        ("GET /", &[&nowhere], 403, "UNKNOWN_DESTINATION"),
        ("GET /", &[&synthetic], 403, "UNKNOWN_DESTINATION"),
        (
            "GET /api/people",
            &["host: 127.0.0.1:1"],
            421,
            "MISDIRECTED",
        ),
        ("GET /api/people", &["host: 127.0.0.1"], 421, "MISDIRECTED"),
        ("GET /api/people", &[], 400, "BAD_REQUEST"),
        ("CONNECT 127.0.0.1:9", &[&host], 400, "BAD_REQUEST"),
    ] {
        let answer = sandbox.ask(line, fields).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &code.into()),
            "{line} {fields:?}"
        );
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// A tool that lives nowhere, at a port of the test's.
fn nowhere(port: u16) -> String {
    format!(
        "[tools.crm]\nurl = \"https://crm.invalid:{port}/v1\"\n\
         [[policies.open.rules]]\nname = \"read\"\npermission = \"allow\"\n\
         resource = \"https://crm.invalid:{port}/v1/*\"\noperations = [\"GET\"]\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n"
    )
}

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn of_tls_the_server_name_says_where_and_nothing_is_dialled_before_a_request_is_decided() {
    let port = free_port();
    let house = House::start(&nowhere(port)).await;
    let sandbox = house.captured(meant(port)).await;
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let mut stream = secure(client(&house), "crm.invalid", stream).await.unwrap();
    let request =
        format!("PUT /v1/x HTTP/1.1\r\nhost: crm.invalid:{port}\r\nconnection: close\r\n\r\n");
    assert_eq!(ask(&mut stream, &request).await.status, 403);
    let told = lines(&house, 2).await;
    assert_eq!(
        (&told[0]["decision"], &told[0]["sni"], &told[0]["door"]),
        (
            &"intercepted".into(),
            &"crm.invalid".into(),
            &"captured".into()
        )
    );
    assert_eq!(
        (
            &told[1]["decision"],
            &told[1]["door"],
            &told[1]["authority"]
        ),
        (
            &"refused".into(),
            &"captured".into(),
            &format!("https://crm.invalid:{port}").into()
        )
    );
    assert!(told.iter().all(|line| line["address"].is_null()));

    // A host that nobody may call, and the address alone: not even a handshake.
    for name in ["other.invalid", "127.5.0.1"] {
        let stream = TcpStream::connect(sandbox.address).await.unwrap();
        assert!(secure(client(&house), name, stream).await.is_err());
    }
    let told = lines(&house, 4).await;
    for line in &told[2..] {
        assert_eq!(line["reason"], "UNKNOWN_DESTINATION");
    }
}

#[tokio::test]
async fn a_captured_connection_to_a_tool_with_tunnels_is_carried_to_the_tool() {
    let ca = tls::ca();
    let (address, mut seen) = tls::upstream(ca.leaf("localhost")).await;
    let house = House::start(&pinned(address)).await;
    let sandbox = house.captured(meant(address.port())).await;
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let mut stream = secure(trusting(&ca), "localhost", stream).await.unwrap();
    let request = b"GET /unseen HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
    assert!(String::from_utf8_lossy(&answer).ends_with("hello"));
    assert!(seen.recv().await.unwrap().starts_with("GET /unseen "));
    let line = lines(&house, 1).await.remove(0);
    assert_eq!(
        (&line["decision"], &line["door"], &line["tool"]),
        (&"allowed".into(), &"captured".into(), &"pinned".into())
    );
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_goes_nowhere_by_address_either() {
    let house = House::start(&nowhere(free_port())).await;
    let sandbox = house.captured(meant(free_port())).await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream
        .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    assert_eq!(lines(&house, 1).await[0]["reason"], "BAD_REQUEST");
}
