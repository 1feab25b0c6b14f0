//! HTTP as people speak it: trailers, events, ranges, answers without a body, and bodies larger than any memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::{
    house::{House, Sandbox, config, soon},
    intercept::lines,
    upstream::{Answer, Upstream, read_message},
};

/// What is too large to be held.
const LARGE: u64 = 256 << 20;

/// What the gate may grow by while something that large passes, in KiB. Its own share is well under one MiB; the rest is what the
/// allocator keeps for threads that free what others made: 7 to 26 MiB were seen, more where many threads compete for a processor.
const GROWTH_KIB_MAX: u64 = (LARGE / 4) >> 10;

async fn stage(answer: &'static str) -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(move |_| Answer::raw(answer)).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

async fn dialled(sandbox: &Sandbox) -> TcpStream {
    TcpStream::connect(sandbox.address).await.unwrap()
}

#[tokio::test]
async fn trailers_pass_both_ways_but_for_what_a_trailer_must_not_carry() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, set-cookie\r\n\r\n5\r\nhello\r\n0\r\n\
                  x-sum: 2\r\nset-cookie: a=b\r\nx-postern-decision: allow\r\n\r\n";
    let (upstream, house, sandbox) = stage(answer).await;
    let request = "POST /tools/headed/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nte: trailers, gzip\r\n\
                   trailer: x-sum, x-token, authorization, content-length\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 1\r\nx-token: mine\r\nauthorization: mine\r\ncontent-length: 99\r\n\
                   x-unannounced: 1\r\n\r\n";
    let answer = sandbox.send(request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with("0\r\nx-sum: 2\r\n\r\n"), "{answer:?}");
    assert!(
        answer.head.contains("trailer: x-sum\r\n"),
        "{}",
        answer.head
    );
    let request = upstream.only();
    assert!(request.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{request}");
    assert!(request.contains("te: trailers\r\n"), "{request}");
    assert!(!request.contains("mine"), "{request}");
    assert_eq!(house.audit()[0]["bytes_up"], 5);
}

#[tokio::test]
async fn events_arrive_as_they_are_said() {
    let go = Arc::new(Notify::new());
    let then = Arc::clone(&go);
    let upstream = Upstream::start(move |_| Answer {
        now: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
               9\r\ndata: 1\n\n\r\n"
            .to_vec(),
        then: Some((Arc::clone(&then), b"9\r\ndata: 2\n\n\r\n0\r\n\r\n".to_vec())),
    })
    .await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = dialled(&sandbox).await;
    let request = "GET /tools/crm/events HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut chunk = [0; 256];
    while !text.contains("data: 1\n\n") {
        let length = soon(stream.read(&mut chunk)).await.unwrap();
        assert_ne!(length, 0, "{text}");
        text += &String::from_utf8_lossy(&chunk[..length]);
    }
    // Only now does the upstream say more.
    assert!(!text.contains("data: 2"));
    go.notify_one();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("data: 2\n\n"), "{rest}");
}

#[tokio::test]
async fn answers_without_a_body_keep_what_they_say_of_it() {
    for (line, raw, status, field) in [
        (
            "HEAD /tools/crm/a",
            "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n",
            200,
            "content-length: 5000",
        ),
        (
            "GET /tools/crm/a",
            "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n",
            304,
            "etag: \"x\"",
        ),
        (
            "GET /tools/crm/a",
            "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
            204,
            "x-a: 1",
        ),
    ] {
        let (_upstream, house, sandbox) = stage(raw).await;
        let answer = sandbox.ask(line, &["host: gate"]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, ""),
            "{line}"
        );
        assert!(answer.head.contains(field), "{}", answer.head);
        assert_eq!(house.audit()[0]["bytes_down"], 0);
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_asked_for_and_answered_as_such() {
    let raw = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-4/10\r\ncontent-length: 3\r\n\r\ncde";
    let (upstream, _house, sandbox) = stage(raw).await;
    let answer = sandbox.ask("GET /tools/crm/a", &["range: bytes=2-4"]).await;
    assert_eq!((answer.status, answer.body.as_str()), (206, "cde"));
    assert!(answer.head.contains("content-range: bytes 2-4/10"));
    assert!(upstream.only().contains("range: bytes=2-4\r\n"));
}

#[tokio::test]
async fn what_comes_before_the_answer_is_not_taken_for_it() {
    let raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
               HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (_upstream, _house, sandbox) = stage(raw).await;
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_kept_connection_that_ended_is_replaced_and_the_request_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let requests = Arc::clone(&seen);
    // One answer a connection, and then the end without a word of warning.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_message(&mut stream).await.is_some() {
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    for count in 1..=30 {
        let answer = sandbox.post("/tools/crm/notes", "{}").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello"),
            "{count}"
        );
        assert_eq!(seen.load(Ordering::SeqCst), count);
    }
}

/// A server that sends, or takes, something large; it counts the bytes.
async fn large_server(sent: Arc<AtomicU64>, taken: Arc<AtomicU64>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(large(stream, Arc::clone(&sent), Arc::clone(&taken)));
        }
    });
    address
}

async fn large(mut stream: TcpStream, sent: Arc<AtomicU64>, taken: Arc<AtomicU64>) {
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let block = vec![b'x'; 64 << 10];
    if head.starts_with(b"POST") {
        let mut count = (head.len() - end) as u64;
        let mut chunk = vec![0; 64 << 10];
        while count < LARGE {
            match stream.read(&mut chunk).await {
                Ok(length @ 1..) => count += length as u64,
                _ => return,
            }
            taken.store(count, Ordering::SeqCst);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken";
        drop(stream.write_all(answer).await);
        return;
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    for _ in 0..LARGE / block.len() as u64 {
        if stream.write_all(&block).await.is_err() {
            return;
        }
        sent.fetch_add(block.len() as u64, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_download_and_an_upload_larger_than_memory_pass_and_are_not_held() {
    let (sent, taken) = (Arc::default(), Arc::default());
    let address = large_server(Arc::clone(&sent), Arc::clone(&taken)).await;
    let house = House::program(&config(address), &[]).await;
    let sandbox = house.busy_sandbox().await;
    let before = house.peak_kib();

    let mut stream = dialled(&sandbox).await;
    let request = "GET /tools/crm/large HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut count, mut chunk) = (0, vec![0; 64 << 10]);
    while let length @ 1.. = soon(stream.read(&mut chunk)).await.unwrap() {
        count += length as u64;
    }
    assert!((LARGE..LARGE + 1024).contains(&count), "{count}");

    let mut stream = dialled(&sandbox).await;
    let head = "POST /tools/crm/large HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n";
    let head = format!("{head}content-length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..LARGE / chunk.len() as u64 {
        soon(stream.write_all(&chunk)).await.unwrap();
    }
    let answer = soon(read_message(&mut stream)).await.unwrap();
    assert!(answer.ends_with("taken"), "{answer}");
    assert_eq!(taken.load(Ordering::SeqCst), LARGE);

    let growth = house.peak_kib() - before;
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    let lines = lines(&house, 2).await;
    assert_eq!(
        (&lines[0]["bytes_down"], &lines[1]["bytes_up"]),
        (&LARGE.into(), &LARGE.into())
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let sent: Arc<AtomicU64> = Arc::default();
    let address = large_server(Arc::clone(&sent), Arc::default()).await;
    let house = House::start(&config(address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = dialled(&sandbox).await;
    let request = "GET /tools/crm/large HTTP/1.1\r\nhost: gate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // It stands still once nothing more was taken while the gate did many other things.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut still = (0, 0);
    let stopped = soon(async {
        while still.1 < 60 || still.0 == 0 {
            ticks.tick().await;
            assert_eq!(sandbox.ask("GET /healthz", &[]).await.status, 200);
            let now = sent.load(Ordering::SeqCst);
            still = if now == still.0 {
                (now, still.1 + 1)
            } else {
                (now, 0)
            };
        }
        still.0
    })
    .await;
    // What the kernel keeps for four ends of two connections is most of this.
    assert!(stopped < LARGE / 4, "{stopped}");
}
