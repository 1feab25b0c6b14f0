//! Tools that speak no HTTP: carried to their one host and port where a rule says so, in whichever words, and nowhere else.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{House, soon},
    intercept::{connect, lines},
};

/// A tool of lines at this address.
fn config(address: SocketAddr) -> String {
    let url = format!("tcp://{address}");
    format!(
        "[tools.lines]\nurl = \"{url}\"\nprotocol = \"tcp\"\nprivate = true\nlimits = {{ concurrent = 1 }}\n\
         [[policies.open.rules]]\nname = \"all of it\"\npermission = \"allow\"\nresource = \"{url}\"\n\
         [agents.desk]\ntools = [\"lines\"]\npolicies = [\"open\"]\n"
    )
}

async fn server() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// A gate, a connection through it, and its other end.
async fn standing() -> (House, TcpStream, TcpStream) {
    let (address, server) = server().await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let here = connect(&sandbox, &address.to_string()).await;
    let (there, _) = soon(server.accept()).await.unwrap();
    (house, here, there)
}

#[tokio::test]
async fn whoever_speaks_first_is_heard_and_the_audit_counts_both_ways() {
    let (house, mut here, mut there) = standing().await;
    there.write_all(b"220 hello\r\n").await.unwrap();
    let mut banner = [0; 11];
    soon(here.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 hello\r\n");
    // What looks like the greeting of something else is nothing to the gate.
    let first = [22, 3, 1, 0, 2, 1, 0, 0xff];
    here.write_all(&first).await.unwrap();
    let mut bytes = [0; 8];
    soon(there.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, first);
    drop(there);
    let mut rest = Vec::new();
    soon(here.read_to_end(&mut rest)).await.unwrap();
    let line = lines(&house, 1).await.remove(0);
    assert_eq!(
        (&line["decision"], &line["tool"], &line["tunnel"]),
        (
            &"allowed".into(),
            &"lines".into(),
            &"anything behind this front end".into()
        )
    );
    assert_eq!(
        (&line["bytes_up"], &line["bytes_down"]),
        (&8.into(), &11.into())
    );
    assert!(line["authority"].as_str().unwrap().starts_with("tcp://"));
}

#[tokio::test]
async fn a_connection_without_http_is_cut_when_its_rule_is_gone_and_not_before() {
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

#[tokio::test]
async fn a_tool_without_http_has_limits_and_no_request_is_sent_to_it() {
    let (address, server) = server().await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let _standing = connect(&sandbox, &address.to_string()).await;
    let (_there, _) = soon(server.accept()).await.unwrap();
    let place = address.to_string();
    let host = format!("host: {place}");
    for (line, status, code) in [
        (format!("CONNECT {place}"), 429, "RATE_LIMITED"),
        ("GET /tools/lines/".to_owned(), 403, "POLICY_DENIED"),
        (format!("GET http://{place}/"), 403, "UNKNOWN_DESTINATION"),
        (format!("GET tcp://{place}/"), 400, "BAD_REQUEST"),
    ] {
        let answer = sandbox.ask(&line, &[&host]).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &code.into()),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_tool_without_http_is_guarded_like_any_other() {
    let (address, _server) = server().await;
    let open = config(address).replace("private = true\n", "");
    let house = House::start(&open).await;
    let sandbox = house.busy_sandbox().await;
    let place = address.to_string();
    let answer = sandbox.ask(&format!("CONNECT {place}"), &[]).await;
    assert_eq!(answer.json()["code"], "DESTINATION_BLOCKED");
}

#[tokio::test]
async fn a_captured_connection_that_no_rule_allows_is_closed_before_a_byte_is_read() {
    // The listener stands for every address there is, this one too.
    let at = SocketAddr::from(([127, 5, 0, 1], server().await.0.port()));
    let denied = config(at).replace("\"allow\"", "\"deny\"");
    let watched = format!("{}mode = \"audit\"\n", nothing_allowed(at));
    for config in [denied, nothing_allowed(at), watched] {
        let house = House::start(&config).await;
        let sandbox = house.captured(at).await;
        let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
        let mut bytes = Vec::new();
        soon(stream.read_to_end(&mut bytes)).await.unwrap();
        assert!(bytes.is_empty());
        let line = lines(&house, 1).await.remove(0);
        assert_eq!(
            (&line["door"], &line["tool"], &line["reason"]),
            (&"captured".into(), &"lines".into(), &"POLICY_DENIED".into())
        );
        assert!(line["address"].is_null());
        house.stop().await;
    }
}

/// The tool, and no rule.
fn nothing_allowed(address: SocketAddr) -> String {
    format!(
        "[tools.lines]\nurl = \"tcp://{address}\"\nprotocol = \"tcp\"\nprivate = true\n\
         [agents.desk]\ntools = [\"lines\"]\npolicies = [\"open\"]\n[policies.open]\n"
    )
}
