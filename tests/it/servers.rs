//! Agents of kind `http` through the whole devbox: waited for, asked, streamed, ended, started again, and never believed.

use std::{path::Path, process::Stdio};

use postern_testkit::{Archive, Curl, Devbox, Setup, wait};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    approver::{ADA, ASKS},
    waiting::{answer, comes_to, run},
};

const SERVER: &str = include_str!("fixture/server.py");

fn setup(tool: &str, http: &str, files: Archive) -> Setup {
    let config = fixture::config(tool);
    let (rest, _) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "{rest}[agents.hands]\nkind = \"http\"\nsource = {{ object = {{ path = \"hands.tar.gz\" }} }}\n\
         tools = [\"shop\"]\nmodels = [\"fast\"]\npolicies = [\"hands\"]\n{http}"
    );
    fixture::with_archive(Setup::new(&config), files.tar_gz())
}

fn start(tool: &str, more: &str) -> Devbox {
    let http = format!("[agents.hands.http]\nargv = [\"python3\", \"/agent/server.py\"{more}]\n");
    let files = Archive::new().file("server.py", SERVER);
    setup(tool, &http, files).start()
}

fn streamed(devbox: &Devbox, message: &str) -> Vec<Value> {
    let body = json!({ "message": message }).to_string();
    fixture::events(&Curl::post(devbox.api("/invoke/stream"), body).send())
}

fn error(devbox: &Devbox, message: &str) -> String {
    let answer = devbox.invoke(message);
    assert!(answer.status >= 500, "{answer:?}");
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_is_waited_for_asked_and_streams() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), "");
    let hello = Curl::post(devbox.api("/invoke"), r#"{"message":"hi"}"#)
        .header("X-Run-ID: run-1")
        .send();
    assert_eq!(
        hello.json()["response"],
        "one two run-1 http://127.127.0.1:4180/governance"
    );
    let told = streamed(&devbox, "tool");
    let kinds: Vec<_> = told
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["tool_call", "tool_result", "content", "content", "done"],
        "{told:?}"
    );
    assert_eq!(
        (&told[1]["result"], &told[1]["source"]),
        (&json!("200"), &json!("agent"))
    );
    let seen = tool.wait_for(1);
    assert_eq!(
        seen[0].values("authorization"),
        [format!("Bearer {}", fixture::KEY)]
    );
    assert_eq!(
        error(&devbox, "fail"),
        "its server answered 500 Internal Server Error: out of money"
    );
}

#[test]
fn a_server_asks_a_human_and_is_called_at_its_own_place_after_the_yes() {
    let tool = fixture::tool();
    let http = format!(
        "isolation = \"run\"\n[agents.hands.http]\nargv = [\"python3\", \"/agent/server.py\"]\n{ASKS}"
    );
    let files = Archive::new().file("server.py", SERVER);
    let setup = setup(&tool.url(), &http, files);
    let devbox = setup.secret("secrets/ada.key", ADA).start();
    let body = json!({ "message": "ask a human", "run_id": "run-1" }).to_string();
    let paused = Curl::post(devbox.api("/invoke"), body).send();
    let asked = paused.json()["approval_required"].clone();
    assert_eq!(asked["message"], "Refund order 7?", "{paused:?}");
    assert_eq!(run(&devbox, "run-1")["status"], "PAUSED_APPROVAL");
    let action = asked["action_id"].as_str().unwrap();
    assert_eq!(answer(&devbox, action, "approve").status, 200);
    let over = comes_to(&devbox, "run-1", "COMPLETED");
    let body = &over["outcome"]["body"];
    assert_eq!(
        (&body["response"], &body["approved"], &body["message"]),
        (&json!("refunded 7"), &json!(true), &json!("ask a human")),
        "{over}"
    );
}

#[test]
fn what_a_server_says_is_bounded_and_never_believed() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), "");
    for (message, why) in [
        ("garbage", "its server's answer is no JSON"),
        ("huge", "its server's answer was not read"),
        ("endless", "its answer is over the limit"),
        ("cut", "its server's answer broke off"),
    ] {
        let told = error(&devbox, message);
        assert!(told.contains(why), "{message}: {told}");
        assert_eq!(devbox.invoke("hi").status, 200);
    }
    assert!(
        devbox.invoke("odd").json()["response"]
            .to_string()
            .contains("one two")
    );
    for message in ["pause", "bare pause"] {
        let paused = devbox.invoke(message);
        assert_eq!(
            (paused.status, paused.json()["code"].clone()),
            (501, json!("PAUSE_NOT_KEPT"))
        );
    }
}

#[test]
fn what_a_server_takes_its_time_for_or_says_of_a_run_is_that_runs_alone() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), "");
    assert_eq!(devbox.invoke("hi").status, 200);
    // The path is there: this is an answer, and the run is not asked a second time.
    assert_eq!(
        error(&devbox, "absent"),
        "its server answered 404 Not Found: no such order"
    );
    let pieces = streamed(&devbox, "hi").len();
    assert_eq!(pieces, 3, "it streams as before");
    assert_eq!(devbox.invoke("lingers").json()["response"], "all of it");
    // More than a connection holds, to a server that does not read for longer than a dial may take.
    let body = json!({ "message": "x".repeat(900_000) }).to_string();
    let folder = devbox.folder().join("long.json");
    std::fs::write(&folder, body).unwrap();
    let long = Curl::get(devbox.api("/invoke"))
        .flag("--data-binary")
        .flag(&format!("@{}", folder.display()))
        .send();
    assert_eq!(long.status, 200, "{long:?}");
}

#[test]
fn a_run_is_ended_while_others_go_on_and_a_server_that_dies_is_started_again() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), "");
    let call = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"wait"}"#);
    let call = call.header("X-Run-ID: run-w");
    let mut caller = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("the first piece is told while it works", || {
        let url = devbox.api("/runs/run-w/stream");
        let open = Curl::get(url).flag("--max-time").flag("1").send();
        open.body.contains("\"delta\":\"one \"").then_some(())
    });
    assert_eq!(devbox.invoke("hi").status, 200);
    let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED");
    caller.wait().unwrap();
    assert_eq!(
        error(&devbox, "die"),
        "the agent's server ended: it exited with code 7"
    );
    wait::until("another server answers", || {
        (devbox.invoke("hi").status == 200).then_some(())
    });
}

#[test]
fn a_server_without_a_stream_and_one_for_each_run() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), ", \"plain\"");
    for _twice in 0..2 {
        assert_eq!(devbox.invoke("hi").json()["response"], "plain hi");
    }
    let http = "isolation = \"run\"\n[agents.hands.http]\nargv = [\"python3\", \"/agent/server.py\"]\nport = 9000\n";
    let devbox = setup(&tool.url(), http, Archive::new().file("server.py", SERVER)).start();
    for _twice in 0..2 {
        assert_eq!(devbox.invoke("tool").status, 200);
    }
    assert_eq!(
        error(&devbox, "die"),
        "the agent's server ended: it exited with code 7"
    );
    assert_eq!(devbox.invoke("hi").status, 200);
}

#[test]
fn a_server_that_never_answers_is_named() {
    let tool = fixture::tool();
    for (argv, why) in [
        (
            r#"["sleep", "1000"]"#,
            "sleep: port 8080 did not answer /healthz in 500ms",
        ),
        (r#"["sh", "-c", "exit 3"]"#, "sh: it exited with code 3"),
        (r#"["no-such-program"]"#, "no-such-program: "),
    ] {
        let http = format!("[agents.hands.http]\nargv = {argv}\nstart = \"500ms\"\n");
        let setup = setup(&tool.url(), &http, Archive::new().file("x", ""));
        let ended = setup.try_start().unwrap_err();
        assert!(ended.stderr.contains(why), "{argv}: {}", ended.stderr);
    }
}

fn history(devbox: &Devbox, run: &str) -> Vec<Value> {
    let key = std::fs::read_to_string(devbox.state().join("runtime/operator.key")).unwrap();
    let at = devbox.operator_address();
    let events = Curl::get(format!("http://{at}/api/v1/runs/{run}/events"));
    let events = events
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send();
    events.json().as_array().cloned().unwrap_or_default()
}

#[test]
fn what_an_agent_reports_is_kept_with_its_own_run_and_with_no_other() {
    let tool = fixture::tool();
    let devbox = start(&tool.url(), "");
    let call = Curl::post(devbox.api("/invoke"), r#"{"message":"report"}"#);
    let told = call.header("X-Run-ID: run-r").send().json();
    assert_eq!(told["response"], "reported", "{told} {}", devbox.stderr());
    for (what, expected) in [
        ("result", json!(200)),
        ("kept", json!([201, "act-1"])),
        ("found", json!(true)),
        ("absent", json!(404)),
        ("of another", json!([404, 404, 404, 404])),
        ("fetched of another", json!(404)),
        ("odd", json!([400, 400, 400, 413])),
        ("odd checkpoint", json!([400, 400])),
        ("too many", json!(true)),
    ] {
        assert_eq!(told[what], expected, "{what}: {told}");
    }
    let history = history(&devbox, "run-r");
    let mut responses = history
        .iter()
        .filter(|event| event["type"] == "TOOL_RESPONSE");
    let response = &responses.next().unwrap()["data"];
    assert_eq!(
        (&response["tool"], &response["source"], &response["turn"]),
        (&json!("shop__read"), &json!("agent"), &json!(0))
    );
    assert_eq!(response["result"].as_str().unwrap().len(), 4000);
    assert!(responses.next().is_none(), "{history:?}");
    // A run that is over is not reported of any more.
    let again = Curl::post(devbox.api("/invoke"), r#"{"message":"late report"}"#).send();
    assert_eq!(again.json()["status"], 404, "{again:?}");
}

/// RunAgents' own runtime as pip brings it, with a handler of the user's.
#[test]
fn runagents_own_runtime_is_an_agent() {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients/python/lib");
    let packages = std::fs::read_dir(&clients).into_iter().flatten().flatten();
    let mut packages = packages.map(|found| found.path().join("site-packages"));
    let Some(packages) = packages.find(|path| path.join("runagents").exists()) else {
        eprintln!("skipped: runagents is not installed (scripts/test --only clients)");
        return;
    };
    let packages = packages.canonicalize().unwrap();
    let packages = packages.display();
    let tool = fixture::tool();
    let http = format!(
        "entry = \"agent.py\"\nenv = {{ PYTHONPATH = \"{packages}\" }}\n\
         [agents.hands.http]\nargv = [\"python3\", \"-c\", \"from runagents.runtime import main; main()\"]\n\
         [agents.hands.sandbox]\nread_only = [\"{packages}\"]\n"
    );
    let handler = "import urllib.request\n\
        def handler(request, ctx):\n  \
          urllib.request.urlopen(ctx.tools['shop'] + '/items/1').read()\n  \
          return {'response': 'hello ' + request['message'], 'tools': list(ctx.tools)}";
    let devbox = setup(&tool.url(), &http, Archive::new().file("agent.py", handler)).start();
    let answer = Curl::post(devbox.api("/invoke"), r#"{"message":"you"}"#);
    let answer = answer.header("X-Run-ID: run-g").send();
    assert_eq!(
        answer.json()["response"],
        "hello you",
        "{}",
        devbox.stderr()
    );
    let history = history(&devbox, "run-g");
    let response = history
        .iter()
        .find(|event| event["type"] == "TOOL_RESPONSE");
    let response = response.unwrap_or_else(|| panic!("{history:?}"));
    assert_eq!(
        (&response["data"]["tool_id"], &response["data"]["source"]),
        (&json!("shop"), &json!("agent"))
    );
    let told = streamed(&devbox, "you");
    let content = told.iter().find(|event| event["type"] == "content");
    assert_eq!(content.unwrap()["delta"], "hello you", "{told:?}");
}
