//! How long an upstream is waited for, how often it is tried, how much of it a sandbox may have, and whom it is believed to
//! be.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{io::AsyncWriteExt, net::TcpListener, net::TcpStream, sync::Notify};

use crate::{
    house::{House, soon},
    tls,
    upstream::{Answer, Upstream},
};

/// A config with one private tool at this URL.
fn config(url: &str, tool: &str) -> String {
    format!(
        "[tools.crm]\nurl = \"{url}/\"\nprivate = true\n{tool}\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"{url}/*\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n"
    )
}

#[tokio::test]
async fn a_tools_own_authority_is_believed_about_it_and_no_other() {
    let (ours, stranger) = (tls::ca(), tls::ca());
    for (ca, status) in [(&ours, 200), (&stranger, 502)] {
        let (address, _seen) = tls::upstream(ours.leaf("localhost")).await;
        let url = format!("https://localhost:{}", address.port());
        let tool = format!("ca = \"{}\"", ca.file.display());
        let house = House::start(&config(&url, &tool)).await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_takes_too_long_ends_the_call_at_every_step() {
    // It accepts and never speaks: no TLS, and no answer either.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (scheme, timeouts, words) in [
        ("https", "connect = \"100ms\"", "connecting"),
        ("http", "first_byte = \"100ms\"", "did not begin its answer"),
        ("http", "total = \"100ms\"", "did not begin its answer"),
    ] {
        let url = format!("{scheme}://127.0.0.1:{port}");
        let tool = format!("timeouts = {{ {timeouts} }}\nretries = 0");
        let ca = tls::ca();
        let tool = format!("{tool}\nca = \"{}\"", ca.file.display());
        let house = House::start(&config(&url, &tool)).await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.status, 504, "{timeouts}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["code"], "UPSTREAM_TIMEOUT", "{timeouts}");
        assert!(told["message"].as_str().unwrap().contains(words), "{told}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_or_never_ends_is_cut_off_and_the_audit_says_so() {
    let never = Arc::new(Notify::new());
    let upstream = Upstream::start(move |_| Answer {
        now: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec(),
        then: Some((Arc::clone(&never), Vec::new())),
    })
    .await;
    let url = format!("http://{}", upstream.address);
    for (timeouts, words) in [
        ("idle = \"100ms\"", "nothing came for too long"),
        ("total = \"100ms\"", "longer than this tool may take"),
    ] {
        let house = House::start(&config(&url, &format!("timeouts = {{ {timeouts} }}"))).await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        let cut = house.audit()[0]["cut"].as_str().unwrap().to_owned();
        assert!(cut.contains(words), "{cut}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_again_and_again_is_left_alone_for_a_while() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let house = House::start(&config(&url, "retries = 0")).await;
    let sandbox = house.busy_sandbox().await;
    for _ in 0..5 {
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.json()["code"], "UPSTREAM_UNREACHABLE");
    }
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["code"], "CIRCUIT_OPEN");
    assert!(answer.head.contains("retry-after: 5\r\n"), "{answer:?}");
    assert_eq!(house.audit()[5]["reason"], "CIRCUIT_OPEN");
}

#[tokio::test]
async fn an_upstream_that_answers_badly_is_still_there() {
    let upstream = Upstream::start(|_| {
        Answer::raw("HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
    .await;
    let house = House::start(&config(&format!("http://{}", upstream.address), "")).await;
    let sandbox = house.busy_sandbox().await;
    // An agent can provoke answers like this one; its neighbours must not lose the tool by it.
    for _ in 0..9 {
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert!(!answer.body.contains("CIRCUIT_OPEN"), "{answer:?}");
    }
    assert_eq!(upstream.requests().len(), 9);
}

#[tokio::test]
async fn a_sandbox_has_so_many_calls_at_once_and_another_has_its_own() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let upstream = Upstream::start(move |request| {
        if request.contains("/held") {
            Answer {
                now: b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_vec(),
                then: Some((Arc::clone(&held), b"x".to_vec())),
            }
        } else {
            Answer::ok("hello")
        }
    })
    .await;
    let url = format!("http://{}", upstream.address);
    let house = House::start(&config(&url, "limits = { concurrent = 1 }")).await;
    let (one, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut first = TcpStream::connect(one.address).await.unwrap();
    let request = b"GET /tools/crm/held HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    first.write_all(request).await.unwrap();
    let mut byte = [0];
    soon(first.peek(&mut byte)).await.unwrap();
    let answer = one.ask("GET /tools/crm/", &[]).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["code"], "RATE_LIMITED");
    assert!(answer.head.contains("retry-after: 1\r\n"), "{answer:?}");
    assert_eq!(other.ask("GET /tools/crm/", &[]).await.status, 200);
    go.notify_one();
    let mut rest = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(&mut first, &mut rest))
        .await
        .unwrap();
    assert_eq!(one.ask("GET /tools/crm/", &[]).await.status, 200);
}

#[tokio::test]
async fn of_a_hundred_calls_at_once_one_has_the_only_place() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let upstream = Upstream::start(move |_| Answer {
        now: b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_vec(),
        then: Some((Arc::clone(&held), b"x".to_vec())),
    })
    .await;
    let url = format!("http://{}", upstream.address);
    let limits = "limits = { together = { concurrent = 1 } }";
    let house = House::start(&config(&url, limits)).await;
    let (one, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    // The one that passes ends only once all others were answered, so that its place is never free meanwhile.
    let mut refused = 0;
    let mut passed = Vec::new();
    let calls = (0..100).map(|call| {
        let sandbox = if call % 2 == 0 { &one } else { &other };
        sandbox.ask("GET /tools/crm/", &[])
    });
    let mut calls: FuturesUnordered<_> = calls.collect();
    while let Some(answer) = soon(calls.next()).await {
        match answer.status {
            429 => refused += 1,
            _ => passed.push(answer.status),
        }
        if refused == 99 {
            go.notify_one();
        }
    }
    assert_eq!((passed, refused), (vec![200], 99));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_sandbox_calls_so_often_and_another_as_often_again() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let url = format!("http://{}", upstream.address);
    // One call a second on the whole: what comes at once is the burst and no more.
    let limits = "limits = { per_second = 1, burst = 3 }";
    let house = House::start(&config(&url, limits)).await;
    let (one, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut refused = 0;
    // So few that each refusal has a line of its own in the audit.
    for _ in 0..10 {
        let answer = one.ask("GET /tools/crm/", &[]).await;
        refused += usize::from(answer.status == 429);
    }
    assert!(refused > 0);
    assert_eq!(other.ask("GET /tools/crm/", &[]).await.status, 200);
    // The first are there whole; what repeats is counted.
    let lines = house.audit();
    assert!(lines.iter().any(|line| line["reason"] == "RATE_LIMITED"));
}

#[tokio::test]
async fn all_sandboxes_together_have_no_more_than_the_tool_says() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let url = format!("http://{}", upstream.address);
    let limits = "limits = { together = { per_second = 1, burst = 3 } }";
    let house = House::start(&config(&url, limits)).await;
    let (one, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut refused = 0;
    for sandbox in [&one, &other, &one, &other, &one, &other, &one, &other] {
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        if answer.status == 429 {
            refused += 1;
            let told = answer.json();
            assert!(
                told["message"].as_str().unwrap().contains("together"),
                "{told}"
            );
            assert!(answer.head.contains("retry-after: "), "{answer:?}");
        }
    }
    assert!(refused > 0);
    assert_eq!(upstream.requests().len() + refused, 8);
}
