//! The link: who may speak, and what closes when it ends.

use std::net::TcpListener as StdListener;

use postern_contract::{
    SandboxId,
    link::{FromGate, LINK_VERSION, LISTENING_MAX, ListenerKind, News, Origin, Reply, ToGate},
};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    house::{House, config, connected, soon},
    upstream::{Answer, Upstream},
};

async fn house() -> House {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    House::start(&config(upstream.address)).await
}

fn started(agent: &str, listeners: usize) -> News {
    News::SandboxStarted {
        sandbox: SandboxId::fresh(),
        agent: agent.parse().unwrap(),
        origin: Origin::Sandbox,
        listeners: vec![ListenerKind::Gate; listeners],
    }
}

#[track_caller]
fn why(reply: Reply) -> String {
    match reply {
        Reply::Refused { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ending_a_sandbox_closes_its_listener_and_its_connections() {
    let house = house().await;
    let (going, staying) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut idle = TcpStream::connect(going.address).await.unwrap();
    assert_eq!(going.ask("GET /healthz", &[]).await.status, 200);
    house
        .done(News::SandboxEnded {
            sandbox: going.id.clone(),
        })
        .await;
    assert!(soon(idle.read_u8()).await.is_err());
    assert!(TcpStream::connect(going.address).await.is_err());
    assert_eq!(staying.ask("GET /tools/crm/", &[]).await.status, 200);
}

#[tokio::test]
async fn the_end_of_the_link_closes_every_listener() {
    let house = house().await;
    let sandbox = house.busy_sandbox().await;
    let mut idle = TcpStream::connect(sandbox.address).await.unwrap();
    assert_eq!(sandbox.ask("GET /healthz", &[]).await.status, 200);
    let House {
        directory, link, ..
    } = house;
    drop(link);
    assert!(soon(idle.read_u8()).await.is_err());
    // The next runtime is welcome only after everything of the last one is closed.
    let next = connected(directory.path().join("link.sock")).await;
    let hello = ToGate {
        seq: 1,
        news: News::Hello {
            version: LINK_VERSION,
            token: None,
        },
    };
    soon(next.send(&hello, &[])).await.unwrap();
    let (answer, _) = soon(next.receive::<FromGate>()).await.unwrap().unwrap();
    assert!(
        matches!(
            &answer,
            FromGate {
                re: 1,
                reply: Reply::Welcome(_)
            }
        ),
        "{answer:?}"
    );
    assert!(TcpStream::connect(sandbox.address).await.is_err());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_the_link_goes_on() {
    let house = house().await;
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    assert!(why(house.tell(started("nobody", 1), Some(&listener)).await).contains("no agent"));
    assert!(why(house.tell(started("desk", 2), Some(&listener)).await).contains("2 listeners"));
    assert!(why(house.tell(started("desk", 1), None).await).contains("0 came"));
    let stranger = News::SandboxEnded {
        sandbox: SandboxId::fresh(),
    };
    assert!(why(house.tell(stranger, None).await).contains("no sandbox"));
    let again = News::Hello {
        version: LINK_VERSION,
        token: None,
    };
    assert!(why(house.tell(again, None).await).contains("once"));
    assert_eq!(
        house
            .busy_sandbox()
            .await
            .ask("GET /healthz", &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_socket_that_does_not_listen_is_of_no_use() {
    let house = house().await;
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let fd = std::os::fd::OwnedFd::from(connected);
    let pretended = StdListener::from(fd);
    assert!(why(house.tell(started("desk", 1), Some(&pretended)).await).contains("no use"));
}

#[tokio::test]
async fn where_the_runtime_listens_is_no_destination_whatever_port_it_was_given() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    // The config said port 0; only the runtime knows which port it was given.
    let addresses = vec![upstream.address];
    house.done(News::Listening { addresses }).await;
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    assert_eq!(answer.json()["code"], "DESTINATION_BLOCKED", "{answer:?}");
    assert_eq!(upstream.requests().len(), 1);
    let addresses = vec![upstream.address; LISTENING_MAX + 1];
    assert!(why(house.tell(News::Listening { addresses }, None).await).contains("at most"));
}
