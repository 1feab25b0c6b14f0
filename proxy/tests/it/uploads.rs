//! Uploads whose call is over: nothing more of them passes, whatever the upstream says or goes on reading.

use std::{future::pending, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    house::{House, SECRET, config, soon},
    intercept::lines,
    tls,
    upstream::{Answer, Upstream},
};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Reads until this came.
async fn read_to(stream: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(wanted) {
        let length = soon(stream.read_buf(&mut bytes)).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_upload_ends_with_its_answer_though_the_upstream_goes_on_reading() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::start(&config(listener.local_addr().unwrap())).await;
    let sandbox = house.busy_sandbox().await;
    let accomplice = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = read_to(&mut stream, "\r\n\r\n1\r\na\r\n")
            .await
            .into_bytes();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // A reset is an end too.
        drop(soon(stream.read_to_end(&mut seen)).await);
        String::from_utf8(seen).unwrap()
    });
    let mut agent = TcpStream::connect(sandbox.address).await.unwrap();
    let head =
        "POST /tools/crm/x HTTP/1.1\r\nhost: gate\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    agent.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to(&mut agent, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(lines(&house, 1).await[0]["bytes_up"], 1);
    // What comes now belongs to no call; the gate may have closed already.
    drop(agent.write_all(b"6\r\nleaked\r\n").await);
    let seen = accomplice.await.unwrap();
    assert!(!seen.contains("leaked"), "{seen}");
    let mut rest = Vec::new();
    drop(soon(agent.read_to_end(&mut rest)).await);
    assert_eq!(rest, b"", "the agent's connection ends as well");
}

/// An HTTP/2 server that answers at once, and what it reads afterwards, as it ends.
async fn hasty_two(listener: TcpListener, seen: mpsc::Sender<Result<usize, String>>) {
    let (stream, _) = listener.accept().await.unwrap();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    let read = frame.map(|frame| frame.into_data().map_or(0, |data| data.len()));
                    if seen
                        .send(read.map_err(|error| error.to_string()))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
            Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

#[tokio::test]
async fn an_upload_over_http_2_ends_with_its_answer_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let config = format!(
        "[tools.rpc]\nurl = \"http://{at}/\"\nprivate = true\nprotocol = \"grpc\"\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"http://{at}/*\"\n\
         [agents.desk]\ntools = [\"rpc\"]\npolicies = [\"open\"]\n"
    );
    let house = House::start(&config).await;
    let sandbox = house.busy_sandbox().await;
    let (told, mut seen) = mpsc::channel(16);
    tokio::spawn(hasty_two(listener, told));
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"a")))]);
    let silent = futures_util::stream::once(pending());
    let body: Body = StreamBody::new(futures_util::StreamExt::chain(first, silent)).boxed_unsync();
    let url = format!("http://{}/tools/rpc/x", sandbox.address);
    let request = Request::post(url)
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    soon(response.into_body().collect()).await.unwrap();
    lines(&house, 1).await;
    // At most the byte that came before; then an end that is none of the agent's making.
    let mut read = soon(seen.recv()).await.unwrap();
    if read == Ok(1) {
        read = soon(seen.recv()).await.unwrap();
    }
    assert!(read.is_err(), "{read:?}");
}

/// How many calls are dialling when the secret changes.
const AT_ONCE: usize = 16;

#[tokio::test]
async fn a_secret_that_is_withdrawn_during_the_dial_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let house = House::start(&tls::config(at)).await;
    let sandbox = house.busy_sandbox().await;
    let asking = (0..AT_ONCE).map(|_| sandbox.ask("GET /tools/crm/a", &[]));
    let asking = futures_util::future::join_all(asking);
    let changing = async {
        // They are connected, and wait for a TLS that never comes.
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(soon(listener.accept()).await.unwrap());
        }
        house.replace("key", "sk_second");
        house.until(|status| status.policy_generation == 2).await;
        held
    };
    let (answers, held) = tokio::join!(soon(asking), changing);
    for answer in answers {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &"POLICY_DENIED".into())
        );
        assert!(
            answer.body.contains("another credential") || answer.body.contains("no longer good"),
            "{answer:?}"
        );
    }
    drop(held);
}

#[tokio::test]
async fn what_waits_while_the_policy_changes_is_refused_even_if_its_answer_is_here() {
    // Every call waits for its answer when the change comes, and the answers come with it.
    let go = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&go);
    let upstream = Upstream::start(move |_| Answer {
        now: Vec::new(),
        then: Some((
            Arc::clone(&told),
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )),
    })
    .await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let asking = (0..AT_ONCE).map(|_| sandbox.ask("GET /tools/crm/a", &[]));
    let changing = async {
        soon(async {
            while upstream.requests().len() < AT_ONCE {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(
            upstream
                .requests()
                .iter()
                .all(|request| request.contains(SECRET))
        );
        house.replace("key", "sk_second");
        house.until(|status| status.policy_generation == 2).await;
        go.notify_waiters();
    };
    let (answers, ()) = tokio::join!(soon(futures_util::future::join_all(asking)), changing);
    assert!(answers.iter().all(|answer| answer.status == 403));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_not_held_for_ever() {
    let long = "x".repeat(64 << 20);
    let upstream = Upstream::start(move |_| Answer::ok(&long)).await;
    let text = format!(
        "[patience]\nsilence = \"300ms\"\n{}",
        config(upstream.address)
    );
    let house = House::start(&text).await;
    let sandbox = house.busy_sandbox().await;
    let mut agent = TcpStream::connect(sandbox.address).await.unwrap();
    let request = b"GET /tools/crm/x HTTP/1.1\r\nhost: gate\r\n\r\n";
    agent.write_all(request).await.unwrap();
    let line = lines(&house, 1).await.remove(0);
    assert!(line["cut"].is_string(), "{line}");
    drop(agent);
}

#[tokio::test]
async fn a_sandbox_has_a_share_of_the_audit_log_and_another_has_its_own() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let text = format!(
        "[audit]\nper_sandbox = \"4KiB\"\n{}",
        config(upstream.address)
    );
    let house = House::start(&text).await;
    let (flooding, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut passed = 0;
    let refused = loop {
        let answer = flooding.ask("GET /tools/crm/x", &[]).await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed < 10);
    };
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &"RATE_LIMITED".into())
    );
    // Nothing was dialled for it, so that any number of them is a count.
    for _ in 0..20 {
        assert_eq!(flooding.ask("GET /tools/crm/x", &[]).await.status, 429);
    }
    assert_eq!(upstream.requests().len(), passed);
    assert!(house.audit().len() < passed + 10);
    assert_eq!(other.ask("GET /tools/crm/x", &[]).await.status, 200);
}
