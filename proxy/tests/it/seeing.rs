//! What the gate shows: numbers and status on its admin socket, traces carried through and sent to a collector. Never a
//! label that an agent chose.

use std::{
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::{
    house::{House, SECRET, config, parse, soon},
    upstream::{Answer, Upstream},
};

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) async fn admin(directory: &Path, path: &str) -> crate::house::Answer {
    let mut stream = UnixStream::connect(directory.join("admin.sock"))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    parse(&text)
}

#[tokio::test]
async fn numbers_and_status_are_on_a_socket_of_the_gates_own() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    for path in ["/one", "/two"] {
        let call = format!("GET /tools/crm{path}");
        assert_eq!(sandbox.ask(&call, &[]).await.status, 200);
    }
    assert_eq!(
        sandbox.ask("DELETE /tools/crm/three", &[]).await.status,
        403
    );
    let directory = house.directory.path();
    let socket = std::fs::metadata(directory.join("admin.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    let metrics = admin(directory, "/metrics").await;
    assert!(metrics.head.contains("openmetrics"), "{metrics:?}");
    let allowed = "decision=\"allowed\",code=\"none\",agent=\"desk\",tool=\"crm\",model=\"\"} 2";
    let refused =
        "decision=\"refused\",code=\"POLICY_DENIED\",agent=\"desk\",tool=\"crm\",model=\"\"} 1";
    for wanted in [
        allowed,
        refused,
        "postern_calls_in_flight 0",
        "postern_body_bytes_total{direction=\"down\"} ",
        "postern_upstream_connections_total{from=\"dialled\"} ",
        "postern_policy_generation 1",
        "postern_audit_trouble 0",
    ] {
        assert!(metrics.body.contains(wanted), "{wanted}\n{}", metrics.body);
    }
    for chosen in ["/one", "/two", "/three", SECRET] {
        assert!(!metrics.body.contains(chosen), "{chosen}");
    }
    let status = admin(directory, "/status").await.json();
    assert_eq!(
        (&status["policy_generation"], &status["troubles"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert_eq!(status["audit"]["hash"].as_str().unwrap().len(), 64);
    assert_eq!(admin(directory, "/else").await.status, 404);
}

#[tokio::test]
async fn a_trace_passes_as_it_is_and_what_is_none_stays_behind() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    sandbox
        .ask("GET /tools/crm/", &[PARENT, "tracestate: a=1"])
        .await;
    sandbox
        .ask(
            "GET /tools/crm/",
            &["traceparent: 00-garbage", "tracestate: a=1"],
        )
        .await;
    sandbox.ask("GET /tools/crm/", &[]).await;
    let seen = upstream.requests();
    assert!(
        seen[0].contains(PARENT) && seen[0].contains("tracestate: a=1"),
        "{}",
        seen[0]
    );
    for request in &seen[1..] {
        assert!(
            !request.contains("traceparent") && !request.contains("tracestate"),
            "{request}"
        );
    }
    let lines = house.audit();
    assert_eq!(lines[0]["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(
        (&lines[1]["trace"], &lines[2]["trace"]),
        (&().into(), &().into())
    );
}

/// The first message that a collector got at a path.
async fn delivered(collector: &Upstream, path: &str) -> serde_json::Value {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let start = format!("POST {path} ");
    soon(async {
        loop {
            ticks.tick().await;
            let all = collector.requests();
            let found = all.iter().find(|request| request.starts_with(&start));
            if let Some((_, body)) = found.and_then(|request| request.split_once("\r\n\r\n")) {
                return serde_json::from_str(body).unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_collector_gets_spans_and_numbers_and_the_call_goes_on_under_the_gates_span() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let collector = Upstream::start(|_| Answer::ok("{}")).await;
    let endpoint = format!("http://{}/otlp", collector.address);
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", Path::new(&endpoint))];
    let house = House::program(&config(upstream.address), &environment).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(
        sandbox
            .ask("GET /tools/crm/?token=hidden", &[PARENT])
            .await
            .status,
        200
    );

    let spans = delivered(&collector, "/otlp/v1/traces").await;
    let span = &spans["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(span["name"], "GET crm");
    let own = span["spanId"].as_str().unwrap();
    let sent = upstream.requests().remove(0);
    assert!(
        sent.contains(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{own}-01")),
        "{sent}"
    );
    let unsampled = PARENT.replace("-01", "-00");
    sandbox.ask("GET /tools/crm/", &[&unsampled]).await;
    let sent = upstream.requests().remove(1);
    assert!(sent.contains(&unsampled), "{sent}");

    let text = spans.to_string();
    assert!(!text.contains("hidden") && !text.contains(SECRET), "{text}");

    let numbers = delivered(&collector, "/otlp/v1/metrics").await;
    let metrics = &numbers["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    assert!(
        metrics
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "postern_policy_generation")
    );
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let environment = [(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        Path::new("http://127.0.0.1:9"),
    )];
    let house = House::program(&config(upstream.address), &environment).await;
    let sandbox = house.busy_sandbox().await;
    for _ in 0..20 {
        assert_eq!(sandbox.ask("GET /tools/crm/", &[PARENT]).await.status, 200);
    }
    assert_eq!(house.audit().len(), 20);
}
