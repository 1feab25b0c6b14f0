//! The sandboxes that put an agent's files in place: each stage reaches what its own policies name, the fetch with its own
//! tools' credentials, the setup with none and for reading alone; and the agent has nothing of it.

use std::{
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    os::fd::AsFd as _,
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use postern_contract::{
    SandboxId,
    link::{ListenerKind, News, Origin, Reply},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, net::UdpSocket};

use crate::{
    asking::question,
    house::{House, SECRET, Sandbox, soon},
    intercept::{ask, client, connect, secure},
    upstream::{Answer, Upstream, read_message},
    websocket::handshake,
};

/// A repository, a registry and what the agent itself may call, all at `UPSTREAM`.
const CONFIG: &str = r#"
[secrets.crm]
file = "key"

[tools.git]
url = "http://UPSTREAM/team/agent.git"
private = true
credential = { kind = "bearer", secret = "crm" }

[tools.registry]
url = "http://UPSTREAM/packages"
private = true
forward_identity = true
credential = { kind = "header", name = "X-Token", secret = "crm" }

[tools.own]
url = "http://UPSTREAM/own"
private = true
credential = { kind = "bearer", secret = "crm" }

[tools.pinned]
url = "https://pinned.invalid"
tls = "tunnel"

[tools.lines]
url = "tcp://lines.invalid:5000"
protocol = "tcp"

[[policies.own.rules]]
name = "everything here"
permission = "allow"
resource = "http://UPSTREAM/*"

[[policies.own.rules]]
name = "own page"
permission = "allow"
resource = "https://own.invalid/*"

[[policies.sources.rules]]
name = "the repository"
permission = "allow"
resource = "http://UPSTREAM/team/agent.git/*"

[[policies.sources.rules]]
name = "is asked"
permission = "approval_required"
resource = "http://UPSTREAM/team/agent.git/asked"

[[policies.sources.rules]]
name = "the archive"
permission = "allow"
resource = "http://sources.invalid:8181/*"

[[policies.packages.rules]]
name = "the registry"
permission = "allow"
resource = "http://UPSTREAM/packages/*"

[[policies.packages.rules]]
name = "a mirror"
permission = "allow"
resource = "https://packages.invalid/*"

[[policies.packages.rules]]
name = "a tunnel"
permission = "allow"
resource = "https://pinned.invalid/*"

[[policies.packages.rules]]
name = "no http"
permission = "allow"
resource = "tcp://lines.invalid:5000"

[agents.desk]
tools = ["own"]
policies = ["own"]

[agents.desk.install]
tools = ["git"]
fetch = ["sources"]
setup = ["packages"]
"#;

fn config(upstream: SocketAddr) -> String {
    CONFIG.replace("UPSTREAM", &upstream.to_string())
}

async fn stage() -> (Upstream, House) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    (upstream, house)
}

#[track_caller]
fn refused(answer: &crate::house::Answer, rule: &str, words: &str) {
    assert_eq!(answer.status, 403, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["rule"], rule, "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_fetch_reaches_what_its_policy_names_with_its_tools_credential_and_nothing_else() {
    let (upstream, house) = stage().await;
    let fetch = house.sandbox(Origin::Fetch).await;
    let refs = fetch.ask("GET /tools/git/info/refs", &[]).await;
    assert_eq!((refs.status, refs.body.as_str()), (200, "hello"));
    let pack = fetch.post("/tools/git/git-upload-pack", "{}").await;
    assert_eq!(pack.status, 200, "no run is needed: {pack:?}");
    let sent = upstream.requests();
    assert!(sent.iter().all(|sent| sent.contains(SECRET)), "{sent:?}");

    let own = fetch.ask("GET /tools/own/a", &[]).await;
    refused(&own, "default", "the fetch of agent `desk`");
    let url = format!("GET http://{}/packages/a", upstream.address);
    refused(
        &fetch.ask(&url, &[]).await,
        "default",
        "the fetch of agent `desk`",
    );
    let asked = fetch.ask("GET /tools/git/asked", &[]).await;
    refused(&asked, "is asked", "nobody is asked during an install");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let model = fetch.post("/v1/chat/completions", body).await;
    assert_eq!(model.json()["code"], "MODEL_NOT_FOUND");
    assert_eq!(upstream.requests().len(), 2);
    let audit = house.audit();
    assert!(audit.iter().all(|line| line["stage"] == "fetch"));
    assert_eq!(audit[0]["credential"], "crm");
    assert_eq!(audit[0]["rule"], "the repository");
}

#[tokio::test]
async fn the_agent_has_nothing_of_its_install_and_no_run_is_active_there() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/own/a", &[]).await.status, 200);
    let git = sandbox.ask("GET /tools/git/info/refs", &[]).await;
    refused(&git, "default", "has not been given the tool `git`");
    let mirror = sandbox.ask("CONNECT packages.invalid:443", &[]).await;
    assert_eq!(mirror.status, 403);
    assert_eq!(upstream.requests().len(), 1);
    assert!(house.audit().iter().all(|line| line["stage"].is_null()));
    for origin in [Origin::Fetch, Origin::Setup] {
        let started = News::RunStarted {
            sandbox: house.sandbox(origin).await.id,
            run: "run_2".parse().unwrap(),
            user: None,
        };
        let said = house.tell(started, None).await;
        assert!(matches!(said, Reply::Refused { .. }), "{said:?}");
    }
}

#[tokio::test]
async fn a_setup_has_no_credential_though_the_url_is_a_tools_and_shows_none_of_its_own() {
    let (upstream, house) = stage().await;
    let setup = house.sandbox(Origin::Setup).await;
    let shown = [
        "authorization: Bearer mine",
        "proxy-authorization: Basic mine",
        "cookie: a=mine",
        "x-api-key: mine",
        "x-token: mine",
    ];
    let url = format!("GET http://{}/packages/left-pad", upstream.address);
    for line in [url.as_str(), "GET /tools/registry/left-pad"] {
        let answer = setup.ask(line, &shown).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    assert_eq!(setup.ask("HEAD /tools/registry/a", &[]).await.status, 200);
    for sent in upstream.requests() {
        assert!(!sent.contains("mine") && !sent.contains(SECRET), "{sent}");
        assert!(
            !sent.contains("x-run-id") && !sent.contains("x-request-id"),
            "{sent}"
        );
    }
    let audit = house.audit();
    let line = &audit[0];
    assert_eq!(
        (&line["stage"], &line["rule"], &line["dropped_credentials"]),
        (&"setup".into(), &"the registry".into(), &5.into())
    );
    assert!(audit.iter().all(|line| line["credential"].is_null()));
}

#[tokio::test]
async fn a_setup_reads_and_nothing_of_it_is_beyond_a_look() {
    let (upstream, house) = stage().await;
    let setup = house.sandbox(Origin::Setup).await;
    let words = "GET or HEAD, looked into by the gate";
    refused(
        &setup.post("/tools/registry/a", "{}").await,
        "install",
        words,
    );
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let line = format!("{method} /tools/registry/a");
        refused(&setup.ask(&line, &[]).await, "install", words);
    }
    for place in ["pinned.invalid:443", "lines.invalid:5000"] {
        let answer = setup.ask(&format!("CONNECT {place}"), &[]).await;
        refused(&answer, "install", words);
    }
    let mut stream = TcpStream::connect(setup.address).await.unwrap();
    let socket = handshake("/tools/registry/live", "gate", "");
    stream.write_all(socket.as_bytes()).await.unwrap();
    let answer = soon(read_message(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("a WebSocket is neither"), "{answer}");

    let stream = connect(&setup, "packages.invalid:443").await;
    let mut stream = secure(client(&house), "packages.invalid", stream)
        .await
        .unwrap();
    let inside = "POST /a HTTP/1.1\r\nhost: packages.invalid\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    refused(&ask(&mut stream, inside).await, "install", words);
    let sources = setup.ask("CONNECT sources.invalid:8181", &[]).await;
    assert_eq!(sources.status, 403);
    let own = setup.ask("GET /tools/own/a", &[]).await;
    refused(&own, "default", "the setup of agent `desk`");
    assert_eq!(upstream.connections(), 0);
    assert!(house.audit().iter().all(|line| line["stage"] == "setup"));
}

/// What a name is to a sandbox.
async fn named(house: &House, origin: Origin, name: &str) -> ResponseCode {
    let desk = StdSocket::bind("127.0.0.1:0").unwrap();
    let news = News::SandboxStarted {
        sandbox: SandboxId::fresh(),
        agent: "desk".parse().unwrap(),
        origin,
        listeners: vec![ListenerKind::Names],
    };
    assert_eq!(house.hand(news, &[desk.as_fd()]).await, Reply::Done);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(desk.local_addr().unwrap()).await.unwrap();
    socket.send(&question(name, RecordType::A)).await.unwrap();
    let mut answer = [0; 600];
    let length = soon(socket.recv(&mut answer)).await.unwrap();
    let answer = Message::from_vec(&answer[..length]).unwrap();
    answer.metadata.response_code
}

#[tokio::test]
async fn a_name_of_one_stage_is_none_in_another() {
    let (_upstream, house) = stage().await;
    let names = ["own.invalid.", "sources.invalid.", "packages.invalid."];
    for (at, origin) in [Origin::Sandbox, Origin::Fetch, Origin::Setup]
        .into_iter()
        .enumerate()
    {
        for (of, name) in names.into_iter().enumerate() {
            let wanted = if at == of {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            };
            assert_eq!(
                named(&house, origin, name).await,
                wanted,
                "{origin:?} {name}"
            );
        }
    }
}

/// Whether a connection to a port that nobody named at the start is answered at all.
async fn is_answered(house: &House, origin: Origin, at: &str) -> bool {
    let listener = StdListener::bind(at).unwrap();
    let news = News::SandboxStarted {
        sandbox: SandboxId::fresh(),
        agent: "desk".parse().unwrap(),
        origin,
        listeners: vec![ListenerKind::Others],
    };
    assert_eq!(house.tell(news, Some(&listener)).await, Reply::Done);
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: elsewhere.invalid:8181\r\n\r\n";
    // Where nobody is there the connection is reset, perhaps before this.
    drop(stream.write_all(request).await);
    let answer = soon(read_message(&mut stream)).await;
    answer.is_some_and(|answer| answer.contains("UNKNOWN_DESTINATION"))
}

#[tokio::test]
async fn a_port_of_one_stage_is_nobodys_in_another() {
    let (_upstream, house) = stage().await;
    assert!(is_answered(&house, Origin::Fetch, "127.5.0.41:8181").await);
    assert!(!is_answered(&house, Origin::Setup, "127.5.0.42:8181").await);
    assert!(!is_answered(&house, Origin::Sandbox, "127.5.0.43:8181").await);
}

async fn status(sandbox: &Sandbox, line: &str) -> u16 {
    sandbox.ask(line, &[]).await.status
}

#[tokio::test]
async fn a_policy_or_a_tool_that_is_taken_away_counts_at_once() {
    let (upstream, house) = stage().await;
    let fetch = house.sandbox(Origin::Fetch).await;
    let setup = house.sandbox(Origin::Setup).await;
    assert_eq!(status(&fetch, "GET /tools/git/a").await, 200);
    assert_eq!(status(&setup, "GET /tools/registry/a").await, 200);
    let less = config(upstream.address)
        .replace("tools = [\"git\"]\n", "")
        .replace("setup = [\"packages\"]\n", "");
    house.rewrite(&less);
    house.until(|status| status.policy_generation == 2).await;
    let git = fetch.ask("GET /tools/git/a", &[]).await;
    refused(&git, "default", "`tools` of `[agents.desk.install]`");
    let registry = setup.ask("GET /tools/registry/a", &[]).await;
    refused(&registry, "default", "`setup` of `[agents.desk.install]`");
    assert_eq!(upstream.requests().len(), 2);
}
