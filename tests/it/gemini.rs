//! Gemini CLI as npm brings it, through the whole devbox: it asks its own provider, which is a tool, with a dummy for a key, writes a file
//! with a tool of its own, streams, goes on with a conversation, and is gone when its run is ended. Skipped with a printed reason
//! where it is not installed: `scripts/test --only clients` installs it.

use std::path::{Path, PathBuf};

use postern_testkit::{
    Answer, Curl, Devbox, Latch, Setup, Upstream, curl::Response, upstream::Recorded, wait,
};
use serde_json::{Value, json};

use crate::fixture;

const KEY: &str = "AIza-the-real-key-of-the-provider-0123456";

/// npm's folder, if the program is there.
fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients/node");
    let found = folder.join("node_modules/.bin/gemini");
    if !found.exists() {
        let shown = found.display();
        eprintln!("skipped: {shown} is not installed (scripts/test --only clients)");
    }
    found.canonicalize().ok().and(folder.canonicalize().ok())
}

/// One answer in the provider's format, as a stream of one event.
fn says(part: &Value) -> Answer {
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
    });
    Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
        body: format!("data: {answer}\r\n\r\n").into_bytes(),
        hold: None,
    }
}

/// Whether the question ends with what came of a tool.
fn has_result(request: &Recorded) -> bool {
    let question: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let last = question["contents"]
        .as_array()
        .and_then(|all| all.last().cloned());
    last.is_some_and(|last| last.to_string().contains("functionResponse"))
}

fn start(npm: &Path, models: &Upstream) -> Devbox {
    // The provider's own address needs no settings; another one needs to be told which kind of key there is.
    let config = format!(
        r#"
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[secrets.google]
file = "secrets/google"

[tools.google]
url = "{url}/"
private = true
credential = {{ kind = "header", name = "x-goog-api-key", secret = "google" }}
dummy = {{ env = "GEMINI_API_KEY", like = "AIza", length = 39 }}

[[policies.google.rules]]
name = "models"
permission = "allow"
resource = "{url}/*"

[agents.coder]
kind = "command"
tools = ["google"]
policies = ["google"]
isolation = "user"

[agents.coder.env]
GOOGLE_GEMINI_BASE_URL = "{url}"

[agents.coder.command]
preset = "gemini"
argv = ["/bin/sh", "-c", 'mkdir -p ~/.gemini && echo "$SETTINGS" >~/.gemini/settings.json && exec "$@"', "sh", "{npm}/node_modules/.bin/gemini", "--model", "gemini-2.5-pro"]

[agents.coder.sandbox]
read_only = ["{npm}"]
"#,
        url = models.url(),
        npm = npm.display(),
    );
    let settings = json!({"security": {"auth": {"selectedType": "gemini-api-key"}}}).to_string();
    let config = config.replace(
        "[agents.coder.env]\n",
        &format!("[agents.coder.env]\nSETTINGS = '{settings}'\n"),
    );
    let setup = Setup::new(&config).secret("secrets/google", KEY);
    let setup = match fixture::runs_as_root() {
        true => setup,
        false => setup.flag("--allow-weaker").flag("separate_uid"),
    };
    setup.variable("POSTERN_LOG", "info").start()
}

/// As whoever knows the callers' key, for one user.
fn for_ada(devbox: &Devbox, call: Curl) -> Response {
    let key = std::fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let call = call.header(&format!("Authorization: Bearer {}", key.trim()));
    call.header("X-End-User-Id: ada").send()
}

/// A run in the one conversation.
fn run(devbox: &Devbox, path: &str, message: &str, run: &str) -> Response {
    let body = json!({ "message": message, "conversation_id": "c1" });
    let call = Curl::post(devbox.api(path), body.to_string());
    for_ada(devbox, call.header(&format!("X-Run-ID: {run}")))
}

#[test]
fn gemini_writes_a_file_with_a_dummy_for_a_key_and_goes_on_with_its_conversation() {
    let Some(npm) = installed() else { return };
    let models = Upstream::start(|request| {
        let question = String::from_utf8_lossy(&request.body).into_owned();
        match question.contains("write notes")
            && !has_result(request)
            && !question.contains("which one")
        {
            true => says(
                &json!({"functionCall": {"name": "write_file", "args": {"file_path": "notes.txt", "content": "hello"}}}),
            ),
            false => says(&json!({"text": "The file is written."})),
        }
    });
    let devbox = start(&npm, &models);
    let stream = run(
        &devbox,
        "/invoke/stream",
        "write notes, the word is tulip",
        "run-1",
    );
    let lines = stream
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).cloned();
    let call = of("tool_call").unwrap_or_else(|| panic!("{stream:?} {}", devbox.stderr()));
    assert_eq!(
        (&call["tool"], &call["source"]),
        (&json!("write_file"), &json!("agent"))
    );
    assert_eq!(of("tool_result").unwrap()["tool"], "write_file");
    assert_eq!(of("content").unwrap()["delta"], "The file is written.");
    assert!(of("done").is_some(), "{stream:?}");
    let answer = run(&devbox, "/invoke", "which one is it", "run-2");
    assert_eq!(
        answer.json()["response"],
        "The file is written.",
        "{answer:?}"
    );
    let asked = models.requests();
    assert!(
        asked
            .iter()
            .all(|asked| asked.values("x-goog-api-key") == [KEY]),
        "{asked:?}"
    );
    let last = String::from_utf8_lossy(&asked.last().unwrap().body).into_owned();
    assert!(
        last.contains("the word is tulip") && last.contains("which one"),
        "{last}"
    );
    let _ended = devbox.stop();
}

#[test]
fn gemini_is_gone_when_its_run_is_ended() {
    let Some(npm) = installed() else { return };
    let latch = Latch::default();
    let held = latch.clone();
    let models = Upstream::start(move |_| Answer {
        hold: Some(held.clone()),
        ..says(&json!({"text": "late"}))
    });
    let devbox = start(&npm, &models);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| run(&devbox, "/invoke", "please wait", "run-w"));
        wait::until("it has asked its model", || {
            (!models.requests().is_empty()).then_some(())
        });
        let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE");
        let ended = for_ada(&devbox, ended);
        assert_eq!(ended.json()["code"], "CANCELLED", "{ended:?}");
        assert_eq!(call.join().unwrap().json()["code"], "CANCELLED");
    });
    latch.open();
    let _ended = devbox.stop();
}
