//! The record of calls: there before the answer ends, one for each, chained.

use std::{fs, sync::Arc};

use postern_contract::link::{News, Reply};
use postern_store::gate::{DecisionFilter, Gate as Store};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    house::{House, config, soon},
    upstream::{Answer, Upstream},
};

/// Reads until the bytes so far end with `wanted`.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(wanted.as_bytes()) {
        assert_ne!(
            soon(stream.read_buf(&mut bytes)).await.unwrap(),
            0,
            "ended early"
        );
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_line_is_there_before_the_last_byte() {
    for (head, first, last) in [
        ("content-length: 10", "hello", "world"),
        (
            "transfer-encoding: chunked",
            "5\r\nhello\r\n",
            "5\r\nworld\r\n0\r\n\r\n",
        ),
    ] {
        let go = Arc::new(Notify::new());
        let held = Arc::clone(&go);
        let upstream = Upstream::start(move |_| Answer {
            now: format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}").into_bytes(),
            then: Some((Arc::clone(&held), last.as_bytes().to_vec())),
        })
        .await;
        let house = House::start(&config(upstream.address)).await;
        let sandbox = house.busy_sandbox().await;
        let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
        stream
            .write_all(b"GET /tools/crm/ HTTP/1.1\r\nhost: gate\r\n\r\n")
            .await
            .unwrap();
        let end = if head.starts_with("content") {
            "hello"
        } else {
            "hello\r\n"
        };
        read_until(&mut stream, end).await;
        assert!(house.audit().is_empty(), "a line before the end");
        go.notify_one();
        let end = if head.starts_with("content") {
            "world"
        } else {
            "0\r\n\r\n"
        };
        read_until(&mut stream, end).await;
        let lines = house.audit();
        assert_eq!(
            (lines.len(), &lines[0]["bytes_down"]),
            (1, &10.into()),
            "{head}"
        );
        assert_eq!(
            (&lines[0]["status"], &lines[0]["cut"]),
            (&200.into(), &().into())
        );
    }
}

#[tokio::test]
async fn an_agent_that_leaves_is_recorded_too() {
    let go = Arc::new(Notify::new());
    let upstream = Upstream::start(move |_| Answer {
        now: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec(),
        then: Some((Arc::clone(&go), Vec::new())),
    })
    .await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream
        .write_all(b"GET /tools/crm/ HTTP/1.1\r\nhost: gate\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "hello").await;
    // The sandbox goes with all its connections, before the gate says that it has closed.
    house
        .done(News::SandboxEnded {
            sandbox: sandbox.id.clone(),
        })
        .await;
    let line = &house.audit()[0];
    assert!(
        line["cut"].as_str().unwrap().contains("went away"),
        "{line}"
    );
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_recorded_and_not_hidden() {
    let upstream = Upstream::start(|_| Answer {
        now: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhello".to_vec(),
        then: None,
    });
    let upstream = upstream.await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream
        .write_all(b"GET /tools/crm/ HTTP/1.1\r\nhost: gate\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "hello").await;
    house
        .done(News::SandboxEnded {
            sandbox: sandbox.id.clone(),
        })
        .await;
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(house.audit().len(), 1);
}

#[tokio::test]
async fn the_chain_holds_over_a_restart_and_the_store_has_every_refusal() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    assert_eq!(sandbox.ask("DELETE /tools/crm/", &[]).await.status, 403);
    let Reply::Status(status) = house.tell(News::Status, None).await else {
        panic!("no status")
    };
    assert_eq!(
        (status.sandboxes, status.troubles, status.policy_generation),
        (1, vec![], 1)
    );
    let directory = house.stop().await;

    let text = fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let mut before = "0".repeat(64);
    for (at, line) in text.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&value["before"], &value["seq"]),
            (&before.into(), &(at + 1).into())
        );
        before = hex::encode(Sha256::digest(line));
    }
    assert_eq!(text.lines().count(), 3);

    let store = Store::open(&directory.path().join("gate.db"))
        .await
        .unwrap();
    let decisions = store
        .decisions(&DecisionFilter::default(), 10)
        .await
        .unwrap();
    let rules: Vec<_> = decisions
        .iter()
        .map(|one| one.rule.as_deref().unwrap())
        .collect();
    assert_eq!(rules, ["nothing is deleted"]);
}

/// The lines of a kind in a gate's directory.
fn lines_of(directory: &std::path::Path, kind: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(directory.join("audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &serde_json::Value| line["kind"] == kind)
        .collect()
}

#[tokio::test]
async fn a_gate_killed_in_the_middle_leaves_the_call_as_begun_and_not_ended() {
    let (go, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = Arc::clone(&seen);
    let upstream = Upstream::start(move |_| {
        told.notify_one();
        Answer {
            now: Vec::new(),
            then: Some((Arc::clone(&go), Vec::new())),
        }
    })
    .await;
    let house = House::program(&config(upstream.address), &[]).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream
        .write_all(b"POST /tools/crm/charges HTTP/1.1\r\nhost: gate\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    // The effect may have happened: the upstream has the request, and its answer never comes.
    soon(seen.notified()).await;
    let directory = house.kill();
    let begun = lines_of(directory.path(), "begun");
    assert_eq!(
        (begun.len(), &begun[0]["method"], &begun[0]["path"]),
        (1, &"POST".into(), &"/api/charges".into())
    );
    assert_eq!(begun[0]["tool"], "crm");
    assert!(lines_of(directory.path(), "call").is_empty());
}

#[tokio::test]
async fn an_intent_stands_before_its_call_and_reading_leaves_none() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    assert_eq!(sandbox.post("/tools/crm/", "{}").await.status, 200);
    assert_eq!(sandbox.ask("DELETE /tools/crm/", &[]).await.status, 403);
    let calls = house.audit();
    let begun = lines_of(house.directory.path(), "begun");
    assert_eq!((calls.len(), begun.len()), (3, 1));
    assert_eq!(begun[0]["request"], calls[1]["request"]);
    assert!(begun[0]["seq"].as_u64() < calls[1]["seq"].as_u64());
    assert_eq!(calls[1]["credential"], "crm");
    assert_eq!(calls[1]["credential_generation"], 1);
}
