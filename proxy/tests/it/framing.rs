//! Requests that say two things at once, and ways in that do not exist.

use postern_contract::link::Origin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{House, config, soon},
    upstream::{Answer, Upstream},
};

async fn stage() -> (Upstream, House) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    (upstream, house)
}

#[tokio::test]
async fn two_hosts_are_refused() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox
        .ask("GET /tools/crm/", &["host: a", "host: b"])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (400, &"BAD_REQUEST".into())
    );
    assert_eq!(upstream.connections(), 0);
    assert_eq!(house.audit().len(), 1);
}

#[tokio::test]
async fn a_request_that_names_too_many_hops_is_refused_and_the_last_of_many_does_not_pass() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let named = |names: usize| {
        let names: Vec<_> = (1..=names).map(|n| format!("x-hop-{n}")).collect();
        format!("connection: {}", names.join(", "))
    };
    let answer = sandbox
        .ask("GET /tools/crm/", &[&named(33), "x-hop-33: 1"])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (400, &"BAD_REQUEST".into())
    );
    assert_eq!(upstream.connections(), 0);
    // The request itself names one more: `close`.
    let answer = sandbox
        .ask("GET /tools/crm/", &[&named(31), "x-hop-31: 1", "x-kept: 1"])
        .await;
    assert_eq!(answer.status, 200);
    let sent = upstream.requests().remove(0);
    assert!(!sent.contains("x-hop"), "{sent}");
    assert!(sent.contains("x-kept"), "{sent}");
}

#[tokio::test]
async fn two_lengths_never_make_two_requests() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let smuggled = "GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let body = format!("0\r\n\r\n{smuggled}");
    let fields = format!(
        "content-length: {}\r\ntransfer-encoding: chunked",
        body.len()
    );
    let head = "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n";
    sandbox.send(&format!("{head}{fields}\r\n\r\n{body}")).await;
    for request in upstream.requests() {
        assert!(!request.contains("smuggled"), "{request}");
        assert!(
            !(request.contains("content-length") && request.contains("transfer-encoding")),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_body_is_sent_whatever_the_method() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let head = "GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for body in [chunked, "content-length: 5\r\n\r\nhello"] {
        assert_eq!(sandbox.send(&format!("{head}{body}")).await.status, 200);
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.contains("hello"), "{request}");
    }
}

#[tokio::test]
async fn malformed_framing_is_refused_before_anything_is_dialled() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for fields in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: +1",
        "content-length: -1",
        "content-length: 1 1",
        "content-length: 1, 2",
        "content-length: 0x1",
        "content-length: 18446744073709551616",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: \x0bchunked",
        "x-folded: a\r\n b",
        "bad name: x",
    ] {
        let request = format!("POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\n{fields}\r\n\r\nxx");
        let answer = sandbox.send(&request).await;
        assert_eq!(answer.status, 400, "{fields}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_sent_on_in_either_order() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let smuggled = "GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for (first, second) in [
        ("content-length: 4", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 4"),
    ] {
        let head = "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n";
        let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        sandbox
            .send(&format!("{head}{first}\r\n{second}\r\n\r\n{chunks}"))
            .await;
    }
    // However it is read, the text is a body, and it has one frame.
    for request in upstream.requests() {
        assert!(request.starts_with("POST /api/a HTTP/1.1\r\n"), "{request}");
        assert!(!request.contains("content-length"), "{request}");
        assert!(
            request.contains("transfer-encoding: chunked\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_request_in_a_body_on_a_kept_connection_is_a_body() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let hidden = "DELETE /tools/crm/people HTTP/1.1\r\nhost: gate\r\n\r\n";
    let first = format!(
        "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\ncontent-length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    // What follows in the same packet is decided by itself.
    let second = "DELETE /tools/crm/b HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    let answer = sandbox.send(&format!("{first}{second}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("helloHTTP/1.1 403 "), "{answer:?}");
    assert!(upstream.only().ends_with(hidden));
    assert_eq!(house.audit().len(), 2);
}

#[tokio::test]
async fn chunks_are_framed_anew_and_broken_ones_never_end_a_request() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let head = "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let extended = "5;name=\"a\\\"b\"\r\nhello\r\n0;last\r\n\r\n";
    assert_eq!(sandbox.send(&format!("{head}{extended}")).await.status, 200);
    let request = upstream.only();
    assert!(
        request.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "{request}"
    );
    for broken in [
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
        stream
            .write_all(format!("{head}{broken}").as_bytes())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        drop(soon(stream.read_to_end(&mut bytes)).await);
        assert!(!bytes.starts_with(b"HTTP/1.1 2"), "{broken:?}");
    }
    // The upstream kept whatever was whole: nothing but the first.
    let whole = upstream.requests().into_iter();
    let whole = whole.filter(|request| request.ends_with("0\r\n\r\n"));
    assert_eq!(whole.count(), 1);
}

#[tokio::test]
async fn a_long_chunk_extension_is_not_read_for_ever() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let head = "POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5;";
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.split();
    let flood = async {
        let mut sent = writes.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            sent = writes.write_all(&[b'x'; 4096]).await;
        }
    };
    let mut bytes = Vec::new();
    let ended = reads.read_to_end(&mut bytes);
    soon(async {
        tokio::select! {
            () = flood => {}
            _ = ended => {}
        }
    })
    .await;
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn bare_line_feeds_frame_nothing_that_is_sent_on() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let request = "GET /tools/crm/a HTTP/1.1\nhost: gate\nconnection: close\nx-a: 1\n\n";
    let answer = sandbox.send(request).await;
    // Read leniently or refused; what goes out has proper lines in either case.
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    for request in upstream.requests() {
        assert_eq!(
            request.matches('\n').count(),
            request.matches("\r\n").count()
        );
    }
    for value in ["x-a: 1\rx-b: 2", "x-a: 1\0"] {
        assert_eq!(
            sandbox.ask("GET /tools/crm/a", &[value]).await.status,
            400,
            "{value:?}"
        );
    }
}

#[tokio::test]
async fn who_sends_a_head_drop_by_drop_is_not_waited_for() {
    let (upstream, house) = patient("head = \"200ms\"").await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.split();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    let drops = async {
        let start = b"GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nx-a: ";
        let mut sent = writes.write_all(start).await;
        while sent.is_ok() {
            ticks.tick().await;
            sent = writes.write_all(b"x").await;
        }
    };
    let mut bytes = Vec::new();
    let ended = reads.read_to_end(&mut bytes);
    soon(async {
        tokio::select! {
            () = drops => {}
            _ = ended => {}
        }
    })
    .await;
    assert!(!bytes.starts_with(b"HTTP/1.1 2"));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_body_is_not_waited_for() {
    let (upstream, house) = patient("silence = \"200ms\"").await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox
        .send("POST /tools/crm/a HTTP/1.1\r\nhost: gate\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &"UPSTREAM_UNREACHABLE".into())
    );
    assert_eq!(house.audit()[0]["bytes_up"], 4);
    // What the upstream got is half a request, which it knows.
    assert!(
        upstream
            .requests()
            .iter()
            .all(|request| request.ends_with("half"))
    );
}

async fn patient(limit: &str) -> (Upstream, House) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let text = format!("[patience]\n{limit}\n{}", config(upstream.address));
    let house = House::start(&text).await;
    (upstream, house)
}

#[tokio::test]
async fn a_head_without_bounds_is_refused() {
    let (upstream, house) = stage().await;
    let long = format!("x-long: {}", "a".repeat(200 * 1024));
    let answer = house
        .busy_sandbox()
        .await
        .ask("GET /tools/crm/", &[&long])
        .await;
    assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_the_gate_answers_itself() {
    let (_upstream, house) = stage().await;
    let sandbox = house.sandbox(Origin::Sandbox).await;
    for path in ["/healthz", "/v1/healthz"] {
        let answer = sandbox.ask(&format!("GET {path}"), &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &"ok".into()),
            "{path}"
        );
    }
    let nowhere = sandbox.ask("GET /nowhere", &[]).await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.json()["served"].as_array().unwrap().len() > 3);
    assert_eq!(
        sandbox.ask("GET /governance/runs/r/x", &[]).await.status,
        404
    );
    let method = sandbox.ask("DELETE /healthz", &[]).await;
    assert_eq!(method.status, 405);
    assert!(method.head.contains("allow: get"), "{}", method.head);
    assert!(house.audit().is_empty());
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_the_same_gate() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let url = format!("http://{}/tools/crm/two", sandbox.address);
    let curl = tokio::process::Command::new("curl")
        .args([
            "-sS",
            "--http2-prior-knowledge",
            "--max-time",
            "30",
            "-w",
            " %{http_version}",
            &url,
        ])
        .output();
    let output = curl.await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello 2",
        "{output:?}"
    );
    assert!(upstream.only().starts_with("GET /api/two HTTP/1.1\r\n"));
}
