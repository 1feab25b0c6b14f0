//! Questions for names, over the sockets of a pretend sandbox: answered by the gate alone, from the address that was asked.
//! Never with a name server in reach.

use std::{
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    os::fd::AsFd,
};

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use postern_contract::{
    SandboxId,
    link::{ListenerKind, News, Origin, Reply},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use crate::house::{House, soon};

const CONFIG: &str = "[tools.crm]\nurl = \"https://crm.invalid/v1\"\n\
    [[policies.open.rules]]\nname = \"read\"\npermission = \"allow\"\nresource = \"https://*.zone.invalid/*\"\n\
    [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n";

/// A sandbox whose names are asked for at this port, of any address, by datagram and by connection.
struct Asking {
    house: House,
    id: SandboxId,
    port: u16,
}

impl Asking {
    /// `any` is the address that stands for all: of version 4, or of both.
    async fn start(any: &str) -> Self {
        let house = House::start(CONFIG).await;
        let (datagrams, connections) = loop {
            let datagrams = StdSocket::bind(SocketAddr::new(any.parse().unwrap(), 0)).unwrap();
            // The same port for both; somebody else may have the other one.
            if let Ok(connections) = StdListener::bind(datagrams.local_addr().unwrap()) {
                break (datagrams, connections);
            }
        };
        let port = datagrams.local_addr().unwrap().port();
        let id = SandboxId::fresh();
        let news = News::SandboxStarted {
            sandbox: id.clone(),
            agent: "desk".parse().unwrap(),
            origin: Origin::Sandbox,
            listeners: vec![ListenerKind::Names; 2],
        };
        let fds = [datagrams.as_fd(), connections.as_fd()];
        assert_eq!(house.hand(news, &fds).await, Reply::Done);
        Self { house, id, port }
    }

    /// Asks in a datagram, and takes an answer from nobody but whom it asked.
    async fn asked(&self, server: &str, name: &str, kind: RecordType) -> Message {
        let own = if server.contains(':') {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        };
        let socket = UdpSocket::bind(own).await.unwrap();
        let server = SocketAddr::new(server.parse().unwrap(), self.port);
        socket.connect(server).await.unwrap();
        socket.send(&question(name, kind)).await.unwrap();
        let mut answer = [0; 600];
        let length = soon(socket.recv(&mut answer)).await.unwrap();
        Message::from_vec(&answer[..length]).unwrap()
    }

    async fn connection(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

pub(crate) fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

fn addresses(answer: &Message) -> Vec<String> {
    let records = answer.answers.iter();
    records.map(|record| record.data.to_string()).collect()
}

async fn next(stream: &mut TcpStream) -> Message {
    let length = soon(stream.read_u16()).await.unwrap();
    let mut answer = vec![0; length.into()];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn a_datagram_is_answered_from_the_address_that_was_asked() {
    for (any, servers) in [
        ("0.0.0.0", &["127.0.0.1", "127.0.0.53", "127.8.8.8"][..]),
        ("::", &["127.0.0.1", "127.8.8.8", "::1"]),
    ] {
        if any == "::" && !std::path::Path::new("/proc/net/if_inet6").exists() {
            continue;
        }
        let asking = Asking::start(any).await;
        for server in servers {
            let answer = asking.asked(server, "crm.invalid.", RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert_eq!(addresses(&answer), ["198.18.0.1"], "{any} {server}");
            let answer = asking.asked(server, "evil.invalid.", RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        }
    }
}

#[tokio::test]
async fn a_connection_asks_one_question_after_the_other() {
    let asking = Asking::start("0.0.0.0").await;
    let mut stream = asking.connection().await;
    let names = ["crm.invalid.", "a.zone.invalid.", "evil.invalid."];
    for name in names {
        let question = question(name, RecordType::AAAA);
        let length = u16::try_from(question.len()).unwrap();
        stream.write_u16(length).await.unwrap();
        stream.write_all(&question).await.unwrap();
    }
    assert_eq!(
        addresses(&next(&mut stream).await),
        ["fd70:6f73:7465:726e::1"]
    );
    assert_eq!(
        addresses(&next(&mut stream).await),
        ["fd70:6f73:7465:726e::2"]
    );
    assert_eq!(
        next(&mut stream).await.metadata.response_code,
        ResponseCode::NXDomain
    );
    // The same names by datagram have the same addresses.
    let answer = asking
        .asked("127.0.0.1", "a.zone.invalid.", RecordType::A)
        .await;
    assert_eq!(addresses(&answer), ["198.18.0.2"]);
    // What claims to be larger than any question is not waited for.
    stream.write_u16(60_000).await.unwrap();
    assert!(soon(stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_in_bounds_and_the_next_question_too() {
    let asking = Asking::start("0.0.0.0").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", asking.port)).await.unwrap();
    let good = question("crm.invalid.", RecordType::A);
    let mut answer_like = good.clone();
    answer_like[2] |= 0x80;
    for noise in [&b"\0\x07"[..], &[0xff; 1200], &[0; 3000], &answer_like] {
        socket.send(noise).await.unwrap();
    }
    let mut counts = good.clone();
    counts[5] = 9;
    socket.send(&counts).await.unwrap();
    let mut reply = [0; 600];
    let length = soon(socket.recv(&mut reply)).await.unwrap();
    let read = Message::from_vec(&reply[..length]).unwrap();
    assert_eq!(read.metadata.response_code, ResponseCode::FormErr);
    let answer = asking
        .asked("127.0.0.1", "crm.invalid.", RecordType::A)
        .await;
    assert_eq!(addresses(&answer), ["198.18.0.1"]);
}

#[tokio::test]
async fn once_the_sandbox_ends_nobody_answers_there() {
    let asking = Asking::start("0.0.0.0").await;
    let mut idle = asking.connection().await;
    let sandbox = asking.id.clone();
    asking.house.done(News::SandboxEnded { sandbox }).await;
    assert!(soon(idle.read_u8()).await.is_err());
    assert!(
        TcpStream::connect(("127.0.0.1", asking.port))
            .await
            .is_err()
    );
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", asking.port)).await.unwrap();
    socket
        .send(&question("crm.invalid.", RecordType::A))
        .await
        .unwrap();
    assert!(soon(socket.recv(&mut [0; 600])).await.is_err());
}

#[tokio::test]
async fn a_socket_of_the_wrong_sort_is_of_no_use() {
    let house = House::start(CONFIG).await;
    let datagrams = StdSocket::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    for (kind, fd) in [
        (ListenerKind::Gate, datagrams.as_fd()),
        (ListenerKind::Captured, datagrams.as_fd()),
        (ListenerKind::Names, unix.as_fd()),
    ] {
        let news = News::SandboxStarted {
            sandbox: SandboxId::fresh(),
            agent: "desk".parse().unwrap(),
            origin: Origin::Sandbox,
            listeners: vec![kind],
        };
        match house.hand(news, &[fd]).await {
            Reply::Refused { why } => assert!(why.contains("no use"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
