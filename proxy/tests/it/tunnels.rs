//! `tls = "tunnel"`: carried unread to one tool's host and port, for whoever greets that very host.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{House, soon},
    intercept::{client, connect, hiding, lines, provider, secure},
    tls,
};

pub(crate) fn pinned(address: SocketAddr) -> String {
    let url = format!("https://localhost:{}", address.port());
    format!(
        "[tools.pinned]\nurl = \"{url}\"\nprivate = true\ntls = \"tunnel\"\n\
         [[policies.open.rules]]\nname = \"all of it\"\npermission = \"allow\"\nresource = \"{url}/*\"\n\
         [agents.desk]\ntools = [\"pinned\"]\npolicies = [\"open\"]\n"
    )
}

/// Trust in this authority and in nobody else: not in the gate's.
pub(crate) fn trusting(ca: &tls::Ca) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&ca.file).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn a_client_that_pins_its_tools_certificate_sees_that_one_and_the_audit_says_what_nobody_saw()
{
    let ca = tls::ca();
    let (address, mut seen) = tls::upstream(ca.leaf("localhost")).await;
    let house = House::start(&pinned(address)).await;
    let sandbox = house.busy_sandbox().await;
    let authority = format!("localhost:{}", address.port());
    let stream = connect(&sandbox, &authority).await;
    let mut stream = secure(trusting(&ca), "localhost", stream).await.unwrap();
    stream
        .write_all(b"GET /unseen HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
    assert!(String::from_utf8_lossy(&answer).ends_with("hello"));
    assert!(seen.recv().await.unwrap().starts_with("GET /unseen "));
    let line = lines(&house, 1).await.remove(0);
    assert_eq!(
        (&line["decision"], &line["tool"], &line["tunnel"]),
        (
            &"allowed".into(),
            &"pinned".into(),
            &"anything behind this front end".into()
        )
    );
}

/// A server that takes connections and keeps what comes.
async fn listening() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

#[tokio::test]
async fn a_tunnel_is_for_whoever_greets_its_host_openly_and_for_nobody_else() {
    let (address, upstream) = listening().await;
    let house = House::start(&pinned(address)).await;
    let sandbox = house.busy_sandbox().await;
    let authority = format!("localhost:{}", address.port());
    let greetings = [
        (client(&house), "other.example"),
        (client(&house), "localhost.example"),
        (hiding(&house), "localhost"),
    ];
    for (count, (greeting, name)) in greetings.into_iter().enumerate() {
        let stream = connect(&sandbox, &authority).await;
        let (mut there, _) = soon(upstream.accept()).await.unwrap();
        assert!(secure(greeting, name, stream).await.is_err());
        let mut bytes = Vec::new();
        soon(there.read_to_end(&mut bytes)).await.unwrap();
        assert!(bytes.is_empty(), "not a byte of it went out");
        let line = lines(&house, count + 1).await.remove(count);
        assert_eq!(
            (&line["decision"], &line["reason"]),
            (&"refused".into(), &"MISDIRECTED".into())
        );
    }
    let mut stream = connect(&sandbox, &authority).await;
    let (mut there, _) = soon(upstream.accept()).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    soon(there.read_to_end(&mut bytes)).await.unwrap();
    assert!(bytes.is_empty(), "no TLS, no tunnel");
    assert_eq!(lines(&house, 4).await[3]["reason"], "BAD_REQUEST");
}

/// What a client of this host says first.
fn greeting(house: &House) -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client(house)), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

async fn standing() -> (House, TcpStream, TcpStream) {
    let (address, upstream) = listening().await;
    let house = House::start(&pinned(address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = connect(&sandbox, &format!("localhost:{}", address.port())).await;
    let greeting = greeting(&house);
    stream.write_all(&greeting).await.unwrap();
    let (mut there, _) = soon(upstream.accept()).await.unwrap();
    let mut bytes = vec![0; greeting.len()];
    soon(there.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, greeting);
    (house, stream, there)
}

#[tokio::test]
async fn a_tunnel_is_cut_when_its_rule_is_gone_and_not_before() {
    let (house, mut here, mut there) = standing().await;
    let config = std::fs::read_to_string(house.directory.path().join("postern.toml")).unwrap();
    house.rewrite(&format!("# The same.\n{config}"));
    house.until(|status| status.policy_generation == 2).await;
    there.write_all(b"still").await.unwrap();
    let mut bytes = [0; 5];
    soon(here.read_exact(&mut bytes)).await.unwrap();

    house.rewrite(&config.replace("permission = \"allow\"", "permission = \"deny\""));
    let mut rest = Vec::new();
    soon(here.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    let line = lines(&house, 1).await.remove(0);
    assert_eq!(
        line["cut"],
        "cut by a new policy, generation 3: POLICY_DENIED"
    );
}
