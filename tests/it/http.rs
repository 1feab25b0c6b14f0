//! The public API as a caller sees it: versions, routes, JSON errors, ids, drain.

use std::{
    fs,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::Path,
    process::{self, Command},
};

use nix::sys::signal::Signal;
use postern_testkit::{Answer, Curl, Devbox, Latch, Upstream, curl::Response, wait};
use serde_json::json;

use crate::fixture;

#[test]
fn both_http_versions_answer_on_one_port() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let old = Curl::get(devbox.api("/healthz")).flag("--http1.1").send();
    let new = Curl::get(devbox.api("/healthz"))
        .flag("--http2-prior-knowledge")
        .send();
    assert_eq!((old.status, old.version.as_str()), (200, "1.1"), "{old:?}");
    assert_eq!((new.status, new.version.as_str()), (200, "2"), "{new:?}");
    assert_eq!(old.json(), new.json());
    let message = json!({"message": json!({"do": "identity"}).to_string()}).to_string();
    let invoked = Curl::post(devbox.api("/invoke"), message)
        .flag("--http2-prior-knowledge")
        .send();
    assert_eq!(
        (invoked.status, invoked.version.as_str()),
        (200, "2"),
        "{invoked:?}"
    );
}

#[test]
fn health_and_readiness_have_the_contracts_shape() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    for path in ["/", "/healthz"] {
        let answer = Curl::get(devbox.api(path)).send();
        let expected = json!({"status": "ok", "agent": "hands", "model": "fast", "tools": 3, "user_code": true});
        assert_eq!((answer.status, answer.json()), (200, expected), "{path}");
    }
    let ready = Curl::get(devbox.api("/readyz")).send();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["status"], "ready");
    assert_eq!(ready.json()["llm_gateway"], "reachable");
    let parts = &ready.json()["parts"];
    assert_eq!(parts["stores"]["runs"], json!({"status": "writable"}));
    assert_eq!(parts["gate"]["status"], "ready");
    let agent = &parts["agents"]["hands"];
    assert_eq!(agent["installed"], json!({"status": "ready"}));
    assert_eq!(agent["worker"], json!({"status": "up"}));
    assert_eq!(agent["models"]["fast"], json!({"status": "not asked yet"}));
}

/// What `/readyz` says of posternd's store, once it says this.
fn until_runs_are(devbox: &Devbox, status: &str) -> Response {
    wait::until(&format!("the store is {status}"), || {
        let ready = Curl::get(devbox.api("/readyz")).send();
        let runs = &ready.json()["parts"]["stores"]["runs"]["status"];
        (runs == status).then_some(ready)
    })
}

#[test]
fn a_full_disk_shows_in_readyz_and_so_does_room_on_it() {
    let setup = fixture::setup(&fixture::tool());
    let state = setup.folder().join("state");
    fs::create_dir(&state).unwrap();
    let Some(_small) = Small::mount(&state) else {
        eprintln!("skipped: nobody here may mount a small filesystem");
        return;
    };
    let devbox = setup.start();
    let filler = state.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let ready = until_runs_are(&devbox, "not writable");
    assert_eq!(ready.status, 503, "{ready:?}");
    fs::remove_file(&filler).unwrap();
    drop(file);
    until_runs_are(&devbox, "writable");
    let _ended = devbox.stop();
}

/// A filesystem with little room, as long as this lives, wherever its directory is moved to meanwhile.
struct Small(fs::File);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=24m,mode=755", "small"])
            .arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(fs::File::open(at).unwrap()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let at = format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd());
        drop(Command::new("umount").arg("-l").arg(at).status());
    }
}

#[test]
fn what_cannot_be_served_gets_a_json_error_that_says_why() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let invoke = |body: &str| Curl::post(devbox.api("/invoke"), body).send();
    for body in ["{x", "[1]", "\"text\"", "\u{feff}{}", "nul"] {
        let answer = invoke(body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{body}: {answer:?}");
    }
    assert_eq!(invoke("{x").json()["error"], "invalid JSON body");
    for body in ["{}", "", "{\"message\":\"\"}"] {
        let answer = invoke(body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.json()["error"], "message is required", "{body}");
    }
    for request in [
        Curl::get(devbox.api("/nope")),
        Curl::get(devbox.api("/invoke/../nope")),
    ] {
        let answer = request.send();
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({"error": "not found"}))
        );
    }
    assert!(
        devbox.invoke(&json!({"do": "identity"}).to_string()).status == 200,
        "still serves"
    );
}

#[test]
fn an_oversized_body_is_refused_and_the_daemon_lives() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let path = devbox.folder().join("large.json");
    let text = format!("{{\"message\":\"{}\"}}", "x".repeat(64 << 20));
    fs::write(&path, text).unwrap();
    let answer = Curl::post(devbox.api("/invoke"), format!("@{}", path.display())).send();
    assert_eq!(answer.status, 413, "{:?}", answer.error);
    assert!(answer.json()["error"].is_string());
    assert_eq!(Curl::get(devbox.api("/healthz")).send().status, 200);
}

#[test]
fn ids_come_back_and_are_made_where_none_came() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let body = json!({"message": json!({"do": "identity"}).to_string()}).to_string();
    let named = Curl::post(devbox.api("/invoke"), body.as_str())
        .header("X-Request-Id: req-of-mine")
        .header("X-Run-ID: run-of-mine")
        .send();
    assert_eq!(named.json()["request_id"], "req-of-mine");
    assert_eq!(named.json()["run_id"], "run-of-mine");
    assert_eq!(named.json()["handler"], "user");
    assert!(named.json()["duration_ms"].is_u64());
    let fresh = Curl::post(devbox.api("/invoke"), body).send();
    assert!(!fresh.json()["request_id"].as_str().unwrap().is_empty());
    assert_eq!(fresh.json()["run_id"].as_str(), fresh.header("x-run-id"));
}

#[test]
fn one_idempotency_key_is_one_run() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let add = json!({
        "do": "fetch", "method": "POST", "url": "http://127.127.0.1:4180/tools/shop/items", "body": "{}",
    });
    let body = json!({ "message": add.to_string() }).to_string();
    let invoke = |key: &str| {
        let header = format!("Idempotency-Key: {key}");
        Curl::post(devbox.api("/invoke"), body.as_str())
            .header(&header)
            .send()
    };
    let (first, second) = (invoke("one"), invoke("one"));
    assert_eq!((first.status, second.status), (200, 200), "{second:?}");
    assert_eq!(first.json()["run_id"], second.json()["run_id"]);
    assert_eq!(first.json()["result"], second.json()["result"]);
    assert_eq!(tool.requests().len(), 1, "the effect happened once");
    assert_ne!(invoke("two").json()["run_id"], first.json()["run_id"]);
    assert_eq!(tool.requests().len(), 2);
}

#[test]
fn a_running_call_is_finished_after_sigterm() {
    let latch = Latch::default();
    let held = latch.clone();
    let tool = Upstream::start(move |_| Answer::json(&json!({"late": true})).held_by(&held));
    let devbox = fixture::setup(&tool).start();
    let get = json!({"do": "fetch", "url": "http://127.127.0.1:4180/tools/shop/items/1"});
    let body = json!({ "message": get.to_string() }).to_string();
    let call = Curl::post(devbox.api("/invoke"), body)
        .command()
        .stdout(process::Stdio::piped())
        .spawn()
        .unwrap();
    let _ = tool.wait_for(1);
    devbox.signal(Signal::SIGTERM);
    wait::until("new calls are refused", || {
        (Curl::get(devbox.api("/readyz")).send().status != 200).then_some(())
    });
    latch.open();
    let output = call.wait_with_output().unwrap();
    let answer = Response::read(&output.stdout, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["result"]["status"], 200);
    let ended = devbox.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_nothing_left();
}
