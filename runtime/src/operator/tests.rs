//! The operator API in process: nothing without the key, the dialect's shapes with it.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use postern_contract::launch::Trusted;
use postern_daemon::{
    Clock,
    channel::{Channel, Listener},
};
use postern_store::runs::Runs;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    api,
    install::{Cache, Installer, Progress},
    printed::Printed,
    questions::Questions,
    runs::{
        RunDesk,
        tests::{Bench, bench},
    },
    sandbox::Launcher,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A link that nobody answers on any more.
async fn no_link() -> Link {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let listener = Listener::bind(&path).unwrap();
    let link = Link::over(Channel::connect(&path).unwrap());
    drop(listener.accept().await.unwrap());
    link
}

/// What agents are started with, where no launcher and no gate is.
async fn around() -> Surroundings {
    let (link, clock) = (no_link().await, Clock::system());
    let questions = Questions::new(link.clone(), clock.clone());
    let printed = Printed::new(clock.clone());
    let directory = tempfile::tempdir().unwrap();
    let launcher = Arc::new(Launcher::at(directory.path()));
    let store = Runs::open(&directory.path().join("runs.db")).await.unwrap();
    let trusted = Trusted {
        list: "/none".into(),
        java: "/none".into(),
    };
    Surroundings {
        installer: Installer {
            agents: directory.path().to_owned(),
            program: "/none".into(),
            launcher: Arc::clone(&launcher),
            link: link.clone(),
            sockets: directory.path().to_owned(),
            trusted: trusted.clone(),
            clock: clock.clone(),
            progress: Progress::new(clock.clone()),
            cache: Cache::new(directory.path(), postern_contract::config::Cache::default()),
        },
        launcher,
        link: link.clone(),
        shims: directory.path().to_owned(),
        trusted,
        sockets: directory.path().to_owned(),
        store: store.clone(),
        desk: RunDesk::new(store, (link, questions.clone()), printed.clone()),
        printed,
        questions,
        clock,
    }
}

async fn get(
    bench: &Bench,
    path: &str,
    header: Option<(&'static str, String)>,
) -> (StatusCode, Value) {
    let mut request = Request::get(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let router = router(bench.app.clone(), around().await, Secret::new(KEY.into()));
    let answer = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn with_key(bench: &Bench, path: &str) -> (StatusCode, Value) {
    get(
        bench,
        path,
        Some(("authorization", format!("Bearer {KEY}"))),
    )
    .await
}

#[tokio::test]
async fn without_the_key_every_path_is_401() {
    let bench = bench(0).await;
    for path in ["/api/v1/agents", "/api/v1/runs", "/nope", "/"] {
        for header in [
            None,
            Some(("authorization", "Bearer wrong".to_owned())),
            Some(("authorization", KEY.to_owned())),
        ] {
            let (status, body) = get(&bench, path, header).await;
            assert_eq!(
                (status.as_u16(), &body["code"]),
                (401, &json!("UNAUTHORIZED")),
                "{path}"
            );
        }
    }
    let (status, _) = get(
        &bench,
        "/api/v1/agents",
        Some(("x-runagents-api-key", KEY.to_owned())),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(with_key(&bench, "/nope").await.0, 404);
}

#[tokio::test]
async fn agents_runs_and_events_have_the_shapes_of_the_dialect() {
    let bench = bench(1).await;
    let (_, agents) = with_key(&bench, "/api/v1/agents").await;
    assert_eq!(
        (&agents[0]["name"], &agents[0]["status"]["phase"]),
        (&json!("desk"), &json!("Running"))
    );
    let ask = Request::post("/invoke")
        .header("x-run-id", "run-1")
        .body(Body::from("{\"message\":\"hi\"}"))
        .unwrap();
    assert_eq!(
        api::router(bench.app.clone())
            .oneshot(ask)
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(with_key(&bench, "/api/v1/runs").await.1, json!([]));
    let (_, runs) = with_key(&bench, "/api/v1/runs?agent_id=desk").await;
    assert_eq!(
        (&runs[0]["id"], &runs[0]["status"]),
        (&json!("run-1"), &json!("COMPLETED"))
    );
    let (_, run) = with_key(&bench, "/api/v1/runs/run-1").await;
    assert_eq!(
        (&run["initial_message"], &run["outcome"]["status"]),
        (&json!("hi"), &json!(200))
    );
    let (_, events) = with_key(&bench, "/api/v1/runs/run-1/events?after_seq=1").await;
    assert_eq!(
        (&events[0]["seq"], &events[0]["type"]),
        (&json!(2), &json!("AGENT_MESSAGE"))
    );
    for (path, status) in [
        ("/api/v1/runs/run-9", 404),
        ("/api/v1/runs/..%2Fx", 404),
        ("/api/v1/runs?limit=many", 400),
        ("/api/v1/runs?status=SLEEPING", 400),
    ] {
        let (got, body) = with_key(&bench, path).await;
        assert_eq!(
            (got.as_u16(), body["error"].is_string()),
            (status, true),
            "{path}"
        );
    }
}

#[tokio::test]
async fn requests_for_approval_need_a_key_and_one_without_end_goes_nowhere() {
    let bench = bench(0).await;
    let path = "/api/v1/approvals/requests";
    for header in [
        None,
        Some(("authorization", format!("Bearer {}", "k".repeat(1025)))),
    ] {
        assert_eq!(get(&bench, path, header).await.0, StatusCode::UNAUTHORIZED);
    }
    // A key that fits is the gate's to judge, which is not there.
    let stranger = Some(("authorization", "Bearer stranger".to_owned()));
    let (status, _) = get(&bench, path, stranger).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}
