//! Upstreams that break off, stall and lie at every point, and a gate that is killed under load: an agent never takes half
//! an answer for a whole one or another's for its own, and no request goes out twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use crate::{
    house::{Answer, House, SECRET, Sandbox, config, parse, soon, written},
    upstream::{self, Upstream, read_message},
};

const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhelloworld";

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";

/// An answer that somebody prepared for the next one.
const PLANTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

/// How an upstream goes away.
#[derive(Clone, Copy)]
enum End {
    /// It says that nothing more comes.
    Close,
    /// The connection is reset.
    Reset,
    /// It stays, and says nothing.
    Stall,
}

/// A server that answers `/api/KIND/END/N` with the first N bytes of an answer and then goes as told. It counts what it
/// was asked and tells when an agent's end of a stalled connection is gone.
struct Breaker {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    stalled: mpsc::UnboundedReceiver<&'static str>,
}

impl Breaker {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (told, stalled) = mpsc::unbounded_channel();
        let counts = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, told) = (Arc::clone(&counts), told.clone());
                tokio::spawn(async move { break_off(stream, &counts, &told).await });
            }
        });
        Self {
            address,
            asked,
            stalled,
        }
    }
}

async fn break_off(
    mut stream: TcpStream,
    counts: &Mutex<BTreeMap<String, usize>>,
    told: &mpsc::UnboundedSender<&'static str>,
) {
    let Some(request) = read_message(&mut stream).await else {
        return;
    };
    let target = request.split(' ').nth(1).unwrap().to_owned();
    *counts.lock().unwrap().entry(target.clone()).or_default() += 1;
    let mut parts = target.trim_start_matches("/api/").split('/');
    let (kind, end, length) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let answer = if kind == "whole" { WHOLE } else { CHUNKED };
    let answer = &answer[..length.parse().unwrap()];
    drop(stream.write_all(answer.as_bytes()).await);
    match end {
        "close" => {}
        "reset" => stream.set_zero_linger().unwrap(),
        _ => {
            told.send("stalled").unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            told.send("left").unwrap();
        }
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Reset => "reset",
            Self::Stall => "stall",
        }
    }
}

/// Whether an answer claims to be whole.
fn is_whole(answer: &Answer) -> bool {
    if answer.head.contains("transfer-encoding: chunked") {
        answer.body.ends_with("0\r\n\r\n")
    } else {
        let length = format!("content-length: {}", answer.body.len());
        answer.head.lines().any(|line| line == length)
    }
}

/// All that comes back before the gate closes.
async fn raw(sandbox: &Sandbox, request: &str) -> String {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn post(path: &str) -> String {
    format!(
        "POST /tools/crm/{path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody"
    )
}

#[tokio::test]
async fn half_an_answer_is_never_a_whole_one_wherever_it_is_cut() {
    let breaker = Breaker::start().await;
    let house = House::start(&config(breaker.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut count = 0;
    for (kind, answer) in [("whole", WHOLE), ("chunked", CHUNKED)] {
        for end in [End::Close, End::Reset] {
            for length in 0..answer.len() {
                let path = format!("{kind}/{}/{length}", end.name());
                let text = raw(&sandbox, &post(&path)).await;
                count += 1;
                assert!(!text.contains(SECRET), "{path}: {text}");
                // The end of the connection alone is no answer either.
                if !text.is_empty() {
                    let answer = parse(&text);
                    assert!(
                        answer.status == 502 || !is_whole(&answer),
                        "{path}: {answer:?}"
                    );
                }
            }
        }
    }
    // What an upstream began to do is not asked of it a second time.
    let asked = breaker.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), count);
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    assert_eq!(house.audit().len(), count);
    let whole = sandbox
        .send(&post(&format!("whole/close/{}", WHOLE.len())))
        .await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "helloworld"));
    followed(house.directory.path(), 0);
}

#[tokio::test]
async fn an_agent_that_leaves_a_stalled_upstream_leaves_nothing_open() {
    let mut breaker = Breaker::start().await;
    let house = House::start(&config(breaker.address)).await;
    let sandbox = house.busy_sandbox().await;
    for length in [0, 9, 20, WHOLE.len() - 10, WHOLE.len() - 1] {
        let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
        let request = post(&format!("whole/{}/{length}", End::Stall.name()));
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(soon(breaker.stalled.recv()).await, Some("stalled"));
        drop(stream);
        assert_eq!(soon(breaker.stalled.recv()).await, Some("left"), "{length}");
    }
}

#[tokio::test]
async fn an_answer_that_was_planted_is_nobodys() {
    // Every answer has another one behind it, which would be the next request's.
    let upstream = Upstream::start(|request| {
        let id = request.split(' ').nth(1).unwrap();
        let own = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{id}",
            id.len()
        );
        upstream::Answer::raw(&(own + PLANTED))
    })
    .await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    for number in 0..50 {
        let answer = sandbox.ask(&format!("GET /tools/crm/{number}"), &[]).await;
        let own = answer.status == 200 && answer.body == format!("/api/{number}");
        assert!(own || answer.status == 502, "{answer:?}");
    }
}

/// Posts one thing after the other until the gate is gone; gives what was answered whole.
async fn insist(address: SocketAddr, name: String) -> Vec<String> {
    let mut answered = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return answered;
    };
    for number in 0.. {
        let id = format!("{name}-{number}");
        let request =
            format!("POST /tools/crm/{id} HTTP/1.1\r\nhost: gate\r\ncontent-length: 4\r\n\r\nbody");
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let Some(answer) = read_message(&mut stream).await else {
            break;
        };
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            break;
        };
        // An answer is the one to this request, or it was cut by the kill.
        let path = format!("/api/{id}");
        assert!(path.starts_with(body), "{id}: {answer}");
        if body == path && head.starts_with("HTTP/1.1 200") {
            answered.push(path);
        }
    }
    answered
}

/// Follows the chain of a log; as many lines as are said are cut, and nothing else is unreadable. Gives the calls.
#[track_caller]
fn followed(directory: &Path, cut: usize) -> Vec<serde_json::Value> {
    let bytes = fs::read(directory.join("audit.jsonl")).unwrap();
    let lines = bytes
        .strip_suffix(b"\n")
        .unwrap()
        .split(|byte| *byte == b'\n');
    let mut before = "0".repeat(64);
    let (mut calls, mut unreadable) = (Vec::new(), 0);
    for line in lines {
        match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(value) => {
                assert_eq!(value["before"], before.as_str(), "the chain breaks");
                calls.extend((value["kind"] == "call").then_some(value));
            }
            Err(_) => unreadable += 1,
        }
        before = hex::encode(Sha256::digest(line));
    }
    assert_eq!(unreadable, cut);
    calls
}

async fn killed_under_load(
    house: House,
    sandbox: &Sandbox,
    round: usize,
    seen: &Notify,
) -> (postern_testkit::Folder, Vec<String>) {
    let workers: Vec<_> = (0..6)
        .map(|worker| tokio::spawn(insist(sandbox.address, format!("{round}-{worker}"))))
        .collect();
    for _ in 0..60 {
        soon(seen.notified()).await;
    }
    let directory = house.kill();
    let mut answered = Vec::new();
    for worker in workers {
        answered.extend(soon(worker).await.unwrap());
    }
    // While there is no gate there is no way out.
    assert!(TcpStream::connect(sandbox.address).await.is_err());
    (directory, answered)
}

#[tokio::test]
async fn a_gate_killed_under_load_sends_nothing_twice_and_its_log_goes_on() {
    let seen = Arc::new(Notify::new());
    let told = Arc::clone(&seen);
    let upstream = Upstream::start(move |request| {
        told.notify_one();
        upstream::Answer::ok(request.split(' ').nth(1).unwrap())
    })
    .await;
    let (mut directory, _) = written(&config(upstream.address));
    let mut answered = Vec::new();
    for round in 0..3 {
        let house = House::program_in(directory, &[]).await;
        let sandbox = house.busy_sandbox().await;
        let (left, more) = killed_under_load(house, &sandbox, round, &seen).await;
        directory = left;
        answered.extend(more);
        if round == 1 {
            // As if the power had gone in the middle of a line.
            let log = fs::OpenOptions::new()
                .write(true)
                .open(directory.path().join("audit.jsonl"));
            let log = log.unwrap();
            log.set_len(log.metadata().unwrap().len() - 9).unwrap();
        }
    }
    let house = House::program_in(directory, &[]).await;
    assert_eq!(
        house
            .busy_sandbox()
            .await
            .ask("GET /tools/crm/last", &[])
            .await
            .status,
        200
    );
    let calls = followed(house.directory.path(), 1);

    let requests = upstream.requests();
    let sent: Vec<_> = requests
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap())
        .collect();
    let once: BTreeSet<_> = sent.iter().collect();
    assert_eq!(once.len(), sent.len(), "something was sent twice");
    let recorded = calls.iter().filter(|line| line["status"] == 200);
    let recorded: Vec<_> = recorded
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    // The line that was cut is the one answer whose record is gone.
    let missing = answered
        .iter()
        .filter(|path| !recorded.contains(&path.as_str()))
        .count();
    assert!(missing <= 1, "{missing} answers without a line");
    assert!(
        answered.len() > 100,
        "{} answers are no load",
        answered.len()
    );
    assert!(answered.iter().all(|path| sent.contains(&path.as_str())));
}
