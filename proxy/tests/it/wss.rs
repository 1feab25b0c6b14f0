//! WebSockets inside TLS that the gate looks into, by CONNECT and by address: the credential goes in, both ends are checked,
//! and a new policy ends them.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    house::{House, SECRET, soon},
    intercept::{client, connect, lines, secure},
    tls,
    two::acceptor,
    upstream::read_message,
    websocket::{handshake, switching},
};

/// A server behind TLS that switches and says everything back in capitals. It tells what it agreed to speak, and what it was
/// asked.
async fn secure_echo(ca: &tls::Ca) -> (SocketAddr, mpsc::UnboundedReceiver<(String, String)>) {
    let acceptor = acceptor(ca.leaf("localhost"), &["h2", "http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            let agreed = String::from_utf8_lossy(agreed).into_owned();
            let request = read_message(&mut stream).await.unwrap();
            sender.send((agreed, request)).unwrap();
            stream.write_all(switching("").as_bytes()).await.unwrap();
            tokio::spawn(async move {
                let mut chunk = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                    chunk[..length].make_ascii_uppercase();
                    stream.write_all(&chunk[..length]).await.unwrap();
                }
            });
        }
    });
    (address, receiver)
}

fn config(ca: &tls::Ca, address: SocketAddr) -> String {
    let own = format!("private = true\nca = \"{}\"", ca.file.display());
    tls::config(address).replace("private = true", &own)
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, host: &str) {
    let request = handshake("/live", host, "authorization: mine\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = soon(read_message(stream)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

async fn says<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    String::from_utf8(back).unwrap()
}

#[tokio::test]
async fn a_websocket_inside_tls_passes_by_connect_and_by_address_with_the_tools_credential() {
    let ca = tls::ca();
    let (address, mut seen) = secure_echo(&ca).await;
    let house = House::start(&config(&ca, address)).await;
    let host = format!("localhost:{}", address.port());
    let tunnel = connect(&house.busy_sandbox().await, &host).await;
    let meant = SocketAddr::from(([127, 5, 0, 2], address.port()));
    let by_address = house.captured(meant).await;
    let captured = TcpStream::connect(by_address.address).await.unwrap();
    for stream in [tunnel, captured] {
        let mut stream = secure(client(&house), "localhost", stream).await.unwrap();
        open(&mut stream, &host).await;
        assert_eq!(says(&mut stream, "hello").await, "HELLO");
        assert_eq!(says(&mut stream, "again").await, "AGAIN");
        let (agreed, request) = soon(seen.recv()).await.unwrap();
        assert_eq!(agreed, "http/1.1");
        assert!(request.starts_with("GET /live HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("Bearer {SECRET}\r\n")));
        assert!(!request.contains("mine"), "{request}");
    }
    let lines = lines(&house, 4).await;
    let carried = lines.iter().filter(|line| line["decision"] == "allowed");
    let mut doors = Vec::new();
    for line in carried {
        assert_eq!(
            (&line["status"], &line["bytes_up"]),
            (&101.into(), &10.into())
        );
        assert_eq!(
            (&line["sni"], &line["tool"]),
            (&"localhost".into(), &"crm".into())
        );
        doors.push(line["door"].as_str().unwrap());
    }
    doors.sort_unstable();
    assert_eq!(doors, ["captured", "connect"]);
}

#[tokio::test]
async fn a_websocket_inside_tls_is_cut_by_a_policy_that_denies_it() {
    let ca = tls::ca();
    let (address, _seen) = secure_echo(&ca).await;
    let house = House::start(&config(&ca, address)).await;
    let host = format!("localhost:{}", address.port());
    let tunnel = connect(&house.busy_sandbox().await, &host).await;
    let mut stream = secure(client(&house), "localhost", tunnel).await.unwrap();
    open(&mut stream, &host).await;
    assert_eq!(says(&mut stream, "hello").await, "HELLO");
    house.rewrite(&config(&ca, address).replace("\"allow\"", "\"deny\""));
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(rest.is_empty());
    let lines = lines(&house, 2).await;
    let cut = lines.iter().find(|line| line["status"] == 101).unwrap();
    assert_eq!(
        cut["cut"],
        "cut by a new policy, generation 2: POLICY_DENIED"
    );
}
