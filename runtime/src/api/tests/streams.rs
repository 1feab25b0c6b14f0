//! Streams in process, by a clock that the test moves: shapes, heartbeats, picking up, cancelling, a reader that is too slow.

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use postern_contract::Secret;
use postern_daemon::Clock;

use super::*;
use crate::{
    api::sse::HEARTBEAT,
    config::Terms,
    runs::{Asker, Found, tests::bench_on},
};

const ASKED: &str = "{\"message\":\"hi\"}";

/// A stream that is open.
struct Open {
    status: StatusCode,
    headers: http::HeaderMap,
    body: BodyDataStream,
}

impl Open {
    /// The next chunk, which is one event; empty at the end.
    async fn next(&mut self) -> String {
        match self.body.next().await {
            Some(chunk) => String::from_utf8(chunk.unwrap().to_vec()).unwrap(),
            None => String::new(),
        }
    }

    async fn rest(mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                end if end.is_empty() => return all,
                event => all.push(event),
            }
        }
    }
}

async fn open(bench: &Bench, request: Request<Body>) -> Open {
    let answer = router(bench.app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    Open {
        status: parts.status,
        headers: parts.headers,
        body: body.into_data_stream(),
    }
}

fn named(run: &str) -> Request<Body> {
    let mut asked = request("POST", "/invoke/stream", ASKED);
    asked.headers_mut().insert("x-run-id", run.parse().unwrap());
    asked
}

fn after(mut request: Request<Body>, event: &str) -> Request<Body> {
    request
        .headers_mut()
        .insert("last-event-id", event.parse().unwrap());
    request
}

/// The JSON of an event with its id.
fn data(event: &str) -> (String, Value) {
    let mut lines = event.lines();
    let id = lines.next().unwrap().strip_prefix("id: ").unwrap();
    let json = lines.next().unwrap().strip_prefix("data: ").unwrap();
    (id.to_owned(), serde_json::from_str(json).unwrap())
}

#[tokio::test]
async fn events_come_while_the_run_goes_on() {
    let bench = bench(0).await;
    let mut stream = open(&bench, named("run-1")).await;
    assert_eq!(stream.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("connection", "close"),
        ("x-run-id", "run-1"),
    ] {
        assert_eq!(stream.headers[name], value);
    }
    assert!(stream.headers.contains_key("x-request-id"));
    bench.agent.say("he").await;
    let content = |text: &str| json!({ "type": "content", "delta": text });
    assert_eq!(
        data(&stream.next().await),
        ("run-1:1".into(), content("he"))
    );
    bench.agent.say("llo").await;
    assert_eq!(
        data(&stream.next().await),
        ("run-1:2".into(), content("llo"))
    );
    bench.agent.may_answer.add_permits(1);
    let (id, done) = data(&stream.next().await);
    assert_eq!(id, "run-1:3");
    assert_eq!(
        (&done["type"], &done["model"], &done["tool_calls_made"]),
        (&json!("done"), &json!("fast"), &json!([]))
    );
    assert_eq!(done["run_id"], "run-1");
    assert_eq!(stream.next().await, "data: [DONE]\n\n");
    assert_eq!(stream.next().await, "");
}

#[tokio::test]
async fn an_agent_that_says_nothing_on_the_way_is_one_content_event() {
    let bench = bench(1).await;
    let events = open(&bench, named("run-1")).await.rest().await;
    assert_eq!(
        data(&events[0]).1,
        json!({ "type": "content", "delta": "hello" })
    );
    assert_eq!(
        (data(&events[1]).1["type"].clone(), events.len()),
        (json!("done"), 3)
    );
    let asked = request("POST", "/agents/desk/invoke/stream", ASKED);
    bench.agent.may_answer.add_permits(1);
    assert_eq!(open(&bench, asked).await.rest().await.len(), 3);
}

#[tokio::test]
async fn a_silent_stream_has_a_heartbeat_every_ten_seconds() {
    let clock = Clock::manual(0);
    let bench = bench_on(0, Terms::default(), clock.clone()).await;
    let mut stream = open(&bench, named("run-1")).await;
    for _beat in 0..3 {
        let (beat, ()) = tokio::join!(stream.next(), async { clock.advance(HEARTBEAT) });
        assert_eq!(beat, ": still here\n\n");
    }
    bench.agent.say("at last").await;
    assert_eq!(data(&stream.next().await).0, "run-1:1");
}

#[tokio::test]
async fn a_broken_stream_is_picked_up_where_it_broke() {
    let bench = bench(0).await;
    let mut stream = open(&bench, named("run-1")).await;
    bench.agent.say("a").await;
    bench.agent.say("b").await;
    assert_eq!(data(&stream.next().await).0, "run-1:1");
    drop(stream);
    bench.agent.say("c").await;
    // By the same request again, as clients of POST do, and by a GET, as browsers do.
    let mut same = open(
        &bench,
        after(request("POST", "/invoke/stream", ""), "run-1:1"),
    )
    .await;
    let by_get = after(request("GET", "/runs/run-1/stream", ""), "run-1:1");
    let mut other = open(&bench, by_get).await;
    for stream in [&mut same, &mut other] {
        assert_eq!(data(&stream.next().await).1["delta"], "b");
        assert_eq!(data(&stream.next().await).1["delta"], "c");
    }
    bench.agent.may_answer.add_permits(1);
    assert_eq!(same.rest().await.len(), 2);
    assert_eq!(other.rest().await.len(), 2);
    // And after its end, for the missing rest and from the beginning.
    let last = after(
        request("GET", "/agents/desk/runs/run-1/stream", ""),
        "run-1:4",
    );
    assert_eq!(open(&bench, last).await.rest().await, ["data: [DONE]\n\n"]);
    let whole = open(&bench, request("GET", "/runs/run-1/stream", "")).await;
    assert_eq!(whole.rest().await.len(), 5);
    assert_eq!(
        bench.agent.called.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn what_cannot_be_picked_up_is_said() {
    let bench = bench(1).await;
    open(&bench, named("run-1")).await.rest().await;
    for (event, status, code) in [
        ("run-1:9", 410, "EVENTS_GONE"),
        ("run-2:1", 404, "NOT_FOUND"),
        ("nonsense", 400, "BAD_REQUEST"),
        ("run-1:-1", 400, "BAD_REQUEST"),
    ] {
        let got = send(
            &bench,
            after(request("POST", "/invoke/stream", ASKED), event),
        )
        .await;
        assert_eq!(
            (got.status.as_u16(), &got.body["code"]),
            (status, &json!(code)),
            "{event}"
        );
    }
    let other = after(request("GET", "/runs/run-1/stream", ""), "run-3:1");
    assert_eq!(send(&bench, other).await.status, 400);
}

#[tokio::test]
async fn bad_requests_of_a_stream_are_plain_json() {
    let bench = bench(0).await;
    for (body, error) in [("{x", "invalid JSON body"), ("{}", "message is required")] {
        let got = send(&bench, request("POST", "/invoke/stream", body)).await;
        assert_eq!(
            (got.status.as_u16(), &got.body["error"]),
            (400, &json!(error))
        );
    }
    let got = send(&bench, request("GET", "/invoke/stream", "")).await;
    assert_eq!(got.status, 404);
}

#[tokio::test]
async fn a_run_is_cancelled_by_its_id() {
    let bench = bench(0).await;
    let mut stream = open(&bench, named("run-1")).await;
    bench.agent.say("a").await;
    assert_eq!(data(&stream.next().await).0, "run-1:1");
    let got = send(&bench, request("DELETE", "/runs/run-1", "")).await;
    assert_eq!(
        (got.status.as_u16(), got.body),
        (
            200,
            json!({ "run_id": "run-1", "status": "FAILED", "code": "CANCELLED" })
        )
    );
    let rest = stream.rest().await;
    assert_eq!(
        data(&rest[0]).1,
        json!({ "type": "error", "message": "the run was cancelled", "code": "CANCELLED" })
    );
    assert_eq!(rest[1], "data: [DONE]\n\n");
    for (path, status) in [
        ("/runs/run-1", 409),
        ("/agents/desk/runs/run-1", 409),
        ("/runs/run-2", 404),
        ("/runs/..%2f", 404),
        ("/agents/nobody/runs/run-1", 404),
    ] {
        let got = send(&bench, request("DELETE", path, "")).await;
        assert_eq!(got.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_run_for_a_user_is_told_to_that_user_alone_and_ended_by_no_other() {
    let key = "0123456789abcdef0123456789abcdef";
    let mut bench = bench(0).await;
    bench.app = bench.app.believing(Secret::new(key.into()));
    let of = |mut request: Request<Body>, user: &str, key: &str| {
        let headers = request.headers_mut();
        headers.insert("x-end-user-id", user.parse().unwrap());
        let shown = format!("Bearer {key}");
        headers.insert("authorization", shown.parse().unwrap());
        request
    };
    let mut stream = open(&bench, of(named("run-1"), "ada", key)).await;
    bench.agent.say("a").await;
    assert_eq!(data(&stream.next().await).0, "run-1:1");
    let attempts = || {
        [
            request("GET", "/runs/run-1/stream", ""),
            after(request("POST", "/invoke/stream", ASKED), "run-1:1"),
            request("DELETE", "/runs/run-1", ""),
        ]
    };
    let refused = async |request| send(&bench, request).await.status.as_u16();
    for is_over in [false, true] {
        for attempt in attempts() {
            assert_eq!(refused(attempt).await, 404, "nobody, over: {is_over}");
        }
        for attempt in attempts() {
            assert_eq!(refused(of(attempt, "eve", key)).await, 404);
        }
        for attempt in attempts() {
            assert_eq!(refused(of(attempt, "ada", "forged")).await, 404);
        }
        let told = of(request("GET", "/runs/run-1/stream", ""), "ada", key);
        let mut again = open(&bench, told).await;
        assert_eq!(data(&again.next().await).0, "run-1:1");
        let ended = send(&bench, of(request("DELETE", "/runs/run-1", ""), "ada", key)).await;
        assert_eq!(ended.status.as_u16(), if is_over { 409 } else { 200 });
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_and_holds_nobody_up() {
    let bench = bench(0).await;
    let stream = open(&bench, named("run-1")).await;
    let long = "x".repeat(1 << 20);
    for _piece in 0..6 {
        bench.agent.say(&long).await;
    }
    // They wait in a queue until the run has told them.
    let (agent, run) = ("desk".parse().unwrap(), "run-1".parse().unwrap());
    let asker = Asker {
        agent: &agent,
        user: None,
    };
    while !matches!(bench.app.desk.find(asker, &run, 6), Found::Updates(_)) {
        tokio::task::yield_now().await;
    }
    bench.agent.may_answer.add_permits(1);
    let whole = send(&bench, after(request("DELETE", "/runs/run-9", ""), "x:1")).await;
    assert_eq!(whole.status, 404);
    let mut last = open(
        &bench,
        after(request("GET", "/runs/run-1/stream", ""), "run-1:6"),
    )
    .await;
    assert_eq!(data(&last.next().await).1["type"], "done");
    let rest = stream.rest().await;
    assert!(rest[0].contains("EVENTS_GONE"), "{}", rest[0]);
    assert_eq!(
        (rest.len(), rest[0].ends_with("data: [DONE]\n\n")),
        (1, true)
    );
}

#[tokio::test]
async fn the_same_key_gets_the_same_stream() {
    let bench = bench(1).await;
    let keyed = || {
        let mut asked = request("POST", "/invoke/stream", ASKED);
        asked
            .headers_mut()
            .insert("idempotency-key", "k".parse().unwrap());
        asked
    };
    let first = open(&bench, keyed()).await.rest().await;
    assert_eq!(open(&bench, keyed()).await.rest().await, first);
    assert_eq!(
        bench.agent.called.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn more_than_there_are_places_for_wait_or_are_told_when_to_come_again() {
    let clock = Clock::manual(0);
    let terms = Terms {
        at_once: 1,
        queue: 0,
        ..Terms::default()
    };
    let bench = bench_on(0, terms, clock).await;
    let mut keyed = named("run-1");
    let key = keyed.headers_mut();
    key.insert("idempotency-key", "k".parse().unwrap());
    let stream = open(&bench, keyed).await;
    let got = send(&bench, request("POST", "/invoke/stream", ASKED)).await;
    assert_eq!(
        (got.status.as_u16(), &got.body["code"]),
        (429, &json!("TOO_MANY_RUNS"))
    );
    assert!(got.headers.contains_key("retry-after"));
    // Who asks again for what goes on needs no place.
    let mut again = request("POST", "/invoke/stream", ASKED);
    again
        .headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    let again = open(&bench, again).await;
    assert_eq!(again.status, 200);
    bench.agent.may_answer.add_permits(1);
    assert_eq!(stream.rest().await.len(), 3);
    assert_eq!(again.rest().await.len(), 3);
}
