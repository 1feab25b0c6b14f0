//! The public API in process, with a played agent: statuses, strings and headers as the contract has them.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use postern_contract::{
    Code,
    link::{GateStatus, Sighting},
};
use postern_daemon::{Clock, Shutdown, serve};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

mod described;
mod streams;

use super::*;
use crate::{
    agents::Readiness,
    app::GateView,
    checks::Found,
    config::{ApiLimits, Terms},
    runs::tests::{Bench, bench, bench_on},
};

struct Got {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

async fn send(bench: &Bench, request: Request<Body>) -> Got {
    let answer = router(bench.app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap(),
    }
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn an_answer_carries_its_ids() {
    let bench = bench(2).await;
    let mut asked = request("POST", "/invoke", "{\"message\":\"hi\"}");
    asked
        .headers_mut()
        .insert("x-request-id", "rid-1".parse().unwrap());
    asked
        .headers_mut()
        .insert("x-run-id", "run-2".parse().unwrap());
    let got = send(&bench, asked).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["x-request-id"], "rid-1");
    assert_eq!(got.headers["x-run-id"], "run-2");
    assert_eq!(
        (
            &got.body["response"],
            &got.body["request_id"],
            &got.body["run_id"]
        ),
        (&json!("hello"), &json!("rid-1"), &json!("run-2"))
    );
    let mut asked = request("POST", "/agents/desk/invoke", "{\"message\":\"hi\"}");
    asked
        .headers_mut()
        .insert("x-request-id", "no id".parse().unwrap());
    let got = send(&bench, asked).await;
    let id = got.headers["x-request-id"].to_str().unwrap();
    assert!(id.parse::<uuid::Uuid>().is_ok(), "{id}");
    assert_eq!(got.body["request_id"], id);
    assert_eq!(
        got.body["run_id"],
        got.headers["x-run-id"].to_str().unwrap()
    );
}

#[tokio::test]
async fn bad_requests_get_the_strings_of_the_contract() {
    let bench = bench(0).await;
    let cases = [
        ("GET", "/nope", "", 404, "not found"),
        ("GET", "/invoke", "", 404, "not found"),
        ("POST", "/healthz", "", 404, "not found"),
        (
            "POST",
            "/agents/nobody/invoke",
            "{\"message\":\"hi\"}",
            404,
            "not found",
        ),
        ("PUT", "/invoke", "", 405, "method not allowed"),
        ("DELETE", "/healthz", "", 405, "method not allowed"),
        ("POST", "/invoke", "{x", 400, "invalid JSON body"),
        ("POST", "/invoke", "", 400, "message is required"),
        ("POST", "/invoke", "{}", 400, "message is required"),
        (
            "POST",
            "/invoke",
            "{\"message\":\"\"}",
            400,
            "message is required",
        ),
        (
            "POST",
            "/invoke",
            "[1]",
            400,
            "the body must be a JSON object",
        ),
    ];
    for (method, path, body, status, error) in cases {
        let got = send(&bench, request(method, path, body)).await;
        assert_eq!(
            (got.status.as_u16(), &got.body["error"]),
            (status, &json!(error)),
            "{method} {path} {body}"
        );
        assert!(got.headers.contains_key("x-request-id"), "{method} {path}");
        assert_eq!(
            got.body["code"].is_string(),
            status != 404,
            "{method} {path}"
        );
    }
    let mut odd = request("POST", "/invoke", "{\"message\":\"hi\"}");
    odd.headers_mut()
        .insert("x-run-id", "../x".parse().unwrap());
    assert_eq!(send(&bench, odd).await.status, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
    let bench = bench(0).await;
    let long = "x".repeat(ApiLimits::default().body_bytes_max + 1);
    let mut announced = request("POST", "/invoke", long.clone());
    announced
        .headers_mut()
        .insert("content-length", long.len().into());
    let chunks = [Ok::<_, std::io::Error>(long)];
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    for asked in [announced, request("POST", "/invoke", streamed)] {
        let got = send(&bench, asked).await;
        assert_eq!(
            (got.status.as_u16(), &got.body["code"]),
            (413, &json!("TOO_LARGE"))
        );
    }
}

#[tokio::test]
async fn probes_say_what_is_known() {
    let bench = bench(0).await;
    for path in ["/", "/healthz", "/agents/desk"] {
        let got = send(&bench, request("GET", path, "")).await;
        let five = json!({ "status": "ok", "agent": "desk", "model": "fast", "tools": 0, "user_code": false });
        assert_eq!((got.status.as_u16(), got.body), (200, five), "{path}");
    }
    let got = send(&bench, request("GET", "/readyz", "")).await;
    assert_eq!(
        (
            got.status.as_u16(),
            &got.body["status"],
            &got.body["llm_gateway"]
        ),
        (200, &json!("ready"), &json!("reachable"))
    );
    bench.gate.send_replace(GateView::Unreachable(
        "the link to the gate is broken".to_owned(),
    ));
    let got = send(&bench, request("GET", "/readyz", "")).await;
    assert_eq!(
        (got.status.as_u16(), &got.body["status"]),
        (503, &json!("not ready"))
    );
    assert_eq!(got.body["llm_gateway"], "the link to the gate is broken");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_503_and_a_provider_that_is_away_is_told() {
    let mut bench = bench(0).await;
    let models = |unreached| GateStatus {
        models: vec![Sighting {
            model: "fast".parse().unwrap(),
            answered_ms: Some(0),
            unreached,
        }],
        ..GateStatus::default()
    };
    let away = Some((Code::UpstreamTimeout, 1000));
    for (unreached, status) in [(None, "reachable"), (away, "unreachable")] {
        bench
            .gate
            .send_replace(GateView::Reachable(models(unreached)));
        let got = send(&bench, request("GET", "/readyz", "")).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.body["parts"]["stores"]["runs"]["status"], "writable");
        let model = &got.body["parts"]["agents"]["desk"]["models"]["fast"];
        assert_eq!(model["status"], status);
        assert_eq!(model["answered_at"], "1970-01-01T00:00:00.000Z");
    }
    let full = "database or disk is full".to_owned();
    let (found, told) = watch::channel(Found {
        store: Some(full.clone()),
        ..Found::default()
    });
    bench.app = bench.app.clone().checked(told);
    let got = send(&bench, request("GET", "/readyz", "")).await;
    let runs = &got.body["parts"]["stores"]["runs"];
    assert_eq!((got.status.as_u16(), &runs["why"]), (503, &json!(full)));
    found.send_replace(Found::default());
    let got = send(&bench, request("GET", "/readyz", "")).await;
    assert_eq!(got.status, 200, "{}", got.body);
}

#[tokio::test]
async fn an_agent_that_does_not_load_is_503_with_its_reason() {
    let bench = bench(0).await;
    let why = "agent.py: ModuleNotFoundError: No module named 'x'".to_owned();
    bench
        .agent
        .readiness
        .send_replace(Readiness::NotReady { why: why.clone() });
    let got = send(&bench, request("GET", "/readyz", "")).await;
    assert_eq!(
        (
            got.status.as_u16(),
            &got.body["parts"]["agents"]["desk"]["why"]
        ),
        (503, &json!(why))
    );
    let got = send(&bench, request("POST", "/invoke", "{\"message\":\"hi\"}")).await;
    assert_eq!(
        (got.status.as_u16(), &got.body["code"]),
        (503, &json!("AGENT_NOT_READY"))
    );
    assert!(
        got.body["error"]
            .as_str()
            .unwrap()
            .contains("ModuleNotFoundError")
    );
    assert!(got.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_running_call_is_answered_after_shutdown_is_asked_for() {
    let bench = bench(0).await;
    let shutdown = Shutdown::manual();
    let listener = serve::Listener::tcp(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let router = router(bench.app.clone());
    let server = tokio::spawn(serve::serve(
        listener,
        router,
        serve::Limits::default(),
        shutdown.clone(),
    ));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut asked = request("POST", "/invoke", "{\"message\":\"hi\"}");
    asked.headers_mut().insert("host", "x".parse().unwrap());
    let answer = tokio::spawn(async move { sender.send_request(asked).await.unwrap().status() });
    while bench.agent.called.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.trigger("test");
    bench.agent.may_answer.add_permits(1);
    assert_eq!(answer.await.unwrap(), 200);
    server.await.unwrap();
}

#[tokio::test]
async fn a_body_that_stalls_is_told_so_by_the_clock() {
    let clock = Clock::manual(0);
    let bench = bench_on(0, Terms::default(), clock.clone()).await;
    let body = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let (got, ()) = tokio::join!(send(&bench, request("POST", "/invoke", body)), async {
        clock.advance(ApiLimits::default().body);
    });
    assert_eq!(
        (got.status.as_u16(), &got.body["code"]),
        (408, &json!("BODY_TIMEOUT"))
    );
    assert_eq!(got.headers["connection"], "close");
}

#[tokio::test]
async fn a_history_over_the_limit_is_refused() {
    let mut bench = bench(2).await;
    bench.app = bench.app.clone().limited(ApiLimits {
        history_max: 1,
        ..ApiLimits::default()
    });
    for (entries, status) in [(1, 200), (2, 400)] {
        let history = vec![json!({ "role": "user", "content": "x" }); entries];
        let body = json!({ "message": "hi", "history": history }).to_string();
        assert_eq!(
            send(&bench, request("POST", "/invoke", body)).await.status,
            status
        );
    }
}

#[tokio::test]
async fn while_the_daemon_drains_running_calls_end_and_new_ones_are_503() {
    let clock = Clock::manual(0);
    let bench = bench_on(0, Terms::default(), clock.clone()).await;
    let running =
        || async { send(&bench, request("POST", "/invoke", "{\"message\":\"hi\"}")).await };
    let patience = std::time::Duration::from_secs(30);
    let draining = async {
        bench.agent.say("it works on").await;
        let desk = bench.app.desk.clone();
        let drained = tokio::spawn(async move { desk.drain(patience).await });
        while !bench.app.desk.is_stopping() {
            tokio::task::yield_now().await;
        }
        let refused = running().await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (503, &json!("STOPPING"))
        );
        let probe = send(&bench, request("GET", "/readyz", "")).await;
        assert_eq!(
            (probe.status.as_u16(), &probe.body["status"]),
            (503, &json!("stopping"))
        );
        assert_eq!(
            send(&bench, request("GET", "/startupz", "")).await.status,
            200
        );
        bench.agent.may_answer.add_permits(1);
        drained.await.unwrap();
    };
    let (answer, ()) = tokio::join!(running(), draining);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_ended_with_the_daemon() {
    let clock = Clock::manual(0);
    let bench = bench_on(0, Terms::default(), clock.clone()).await;
    let patience = std::time::Duration::from_secs(30);
    let draining = async {
        bench.agent.say("it works on").await;
        tokio::join!(bench.app.desk.drain(patience), async {
            clock.advance(patience);
        });
    };
    let asked = request("POST", "/invoke", "{\"message\":\"hi\"}");
    let (answer, ()) = tokio::join!(send(&bench, asked), draining);
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (503, &json!("STOPPING"))
    );
}
