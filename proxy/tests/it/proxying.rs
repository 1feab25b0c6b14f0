//! The gate as a forward proxy: whole URLs and CONNECT.

use std::{env, process::Command};

use postern_daemon::environment;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{House, SECRET, config, soon},
    intercept::connect,
    upstream::{Answer, Upstream},
};

async fn stage() -> (Upstream, House) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    (upstream, house)
}

#[tokio::test]
async fn a_tools_own_url_is_the_same_tool() {
    let (upstream, house) = stage().await;
    let (at, sandbox) = (upstream.address, house.busy_sandbox().await);
    let line = format!("GET http://{at}/api/a/../b");
    let answer = sandbox
        .ask(&line, &[&format!("host: {at}"), "authorization: mine"])
        .await;
    assert_eq!(answer.status, 200);
    let request = upstream.only();
    assert!(request.starts_with("GET /api/b HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(SECRET) && !request.contains("mine"),
        "{request}"
    );
    assert_eq!(
        (&house.audit()[0]["door"], &house.audit()[0]["tool"]),
        (&"proxy".into(), &"crm".into())
    );
}

#[tokio::test]
async fn host_and_request_line_say_the_same_or_nothing_goes_out() {
    let (upstream, house) = stage().await;
    let (at, sandbox) = (upstream.address, house.busy_sandbox().await);
    for host in ["evil.example", "127.0.0.1:1", ""] {
        let fields = [format!("host: {host}")];
        let answer = sandbox
            .ask(&format!("GET http://{at}/api/"), &[&fields[0]])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &"BAD_REQUEST".into()),
            "{host}"
        );
    }
    for url in [
        "http://user@a.example/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://a..b/",
        "ftp://a.b/",
    ] {
        assert_eq!(
            sandbox.ask(&format!("GET {url}"), &[]).await.status,
            400,
            "{url}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_unknown_host_is_refused_without_a_look_up() {
    let (_upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    // A look-up would fail and say so: this name exists nowhere.
    let answer = sandbox.ask("GET http://nowhere.invalid/", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["rule"]),
        (403, &"default".into())
    );
    assert_eq!(
        house.audit()[0]["timings"]["dns_us"],
        serde_json::Value::Null
    );
    let tunnel = sandbox.ask("CONNECT nowhere.invalid:443", &[]).await;
    assert_eq!(tunnel.status, 403);
    assert_eq!(house.audit()[1]["door"], "connect");
}

#[tokio::test]
async fn no_tunnel_leads_to_a_tool() {
    let (upstream, house) = stage().await;
    let (at, sandbox) = (upstream.address, house.busy_sandbox().await);
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let connect = format!("CONNECT {at} HTTP/1.1\r\nhost: {at}\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let head = soon(crate::upstream::read_message(&mut stream)).await;
    assert!(head.unwrap().starts_with("HTTP/1.1 200"));
    // What is no request is carried nowhere, and what is one is decided like any other.
    stream
        .write_all(b"\x05\x01 by another protocol")
        .await
        .unwrap();
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    assert_eq!(house.audit()[0]["reason"], "BAD_REQUEST");
    let twice = sandbox
        .ask(&format!("CONNECT {at}"), &["host: other.example:1"])
        .await;
    assert_eq!(twice.status, 400);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_rule_alone_does_not_open_a_private_address() {
    let config = r#"
[[policies.open.rules]]
name = "anything local"
permission = "allow"
resource = "http://127.0.0.1:9/*"

[agents.desk]
policies = ["open"]
"#;
    let house = House::start(config).await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox.ask("GET http://127.0.0.1:9/", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &"DESTINATION_BLOCKED".into())
    );
    let mut inside = connect(&sandbox, "127.0.0.1:9").await;
    let request = b"GET / HTTP/1.1\r\nhost: 127.0.0.1:9\r\n\r\n";
    inside.write_all(request).await.unwrap();
    let answer = soon(crate::upstream::read_message(&mut inside)).await;
    assert!(answer.unwrap().contains("DESTINATION_BLOCKED"));
}

/// An address that is nobody's business, put on the loopback device of a namespace made for this one test.
const PUBLIC: &str = "93.184.215.14";

/// Says to this program that it was started again by itself, inside the namespace.
const INSIDE: &str = "POSTERN_TEST_INSIDE";

/// The gate dials no private address for a host that is no tool, so this needs a public one that leads nowhere: the test starts itself
/// again in a network namespace of its own.
#[test]
fn a_whole_host_that_is_no_tool_is_looked_into_and_nothing_is_carried_there_unread() {
    if environment::read(INSIDE).is_some() {
        let tasks = tokio::runtime::Runtime::new().unwrap();
        return tasks.block_on(inside_a_namespace());
    }
    let script =
        format!("ip link set lo up && ip addr add {PUBLIC}/32 dev lo && exec \"$0\" \"$@\"");
    let inside = [
        "--exact",
        "proxying::a_whole_host_that_is_no_tool_is_looked_into_and_nothing_is_carried_there_unread",
    ];
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", &script]);
    unshare.env(INSIDE, "1");
    let output = unshare
        .arg(env::current_exe().unwrap())
        .args(inside)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

async fn inside_a_namespace() {
    let upstream = Upstream::start_at(&format!("{PUBLIC}:0"), |_| Answer::ok("hello")).await;
    let at = upstream.address;
    let config = format!(
        "[[policies.open.rules]]\nname = \"the database\"\npermission = \"allow\"\nresource = \"http://{at}/*\"\n\
         [agents.desk]\npolicies = [\"open\"]\n"
    );
    let house = House::start(&config).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = connect(&sandbox, &at.to_string()).await;
    let inside = format!("GET /inside HTTP/1.1\r\nhost: {at}\r\n\r\n");
    stream.write_all(inside.as_bytes()).await.unwrap();
    let answer = soon(crate::upstream::read_message(&mut stream))
        .await
        .unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(upstream.only().starts_with("GET /inside "));
    let lines = house.audit();
    assert_eq!(lines[0]["decision"], "intercepted");
    assert_eq!(
        (&lines[1]["decision"], &lines[1]["rule"]),
        (&"allowed".into(), &"the database".into())
    );
    let dialled = upstream.connections();
    let mut other = connect(&sandbox, &at.to_string()).await;
    other
        .write_all(b"\x05\x01 by another protocol")
        .await
        .unwrap();
    let mut rest = Vec::new();
    drop(soon(other.read_to_end(&mut rest)).await);
    assert_eq!(upstream.connections(), dialled);
    // A host that is no tool, asked by a whole URL: nothing is added, and the agent's own fields pass.
    let plain = sandbox
        .ask(&format!("GET http://{at}/plain"), &["authorization: mine"])
        .await;
    assert_eq!(plain.status, 200);
    assert!(upstream.requests()[1].contains("authorization: mine"));
}
