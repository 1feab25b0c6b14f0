//! Requests that say two things at once, and ways in that do not exist. Attacks 2, 7 and 8.

use postern_contract::link::Origin;

use crate::{
    house::{House, config},
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
async fn malformed_framing_is_refused_before_anything_is_dialled() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for fields in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: +1",
        "content-length: -1",
        "transfer-encoding: chunked, identity",
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
