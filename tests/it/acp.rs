//! Agents that speak the Agent Client Protocol, through the whole devbox: asked, streamed, called off, denied, answered what they ask
//! permission for, and never believed. One of ours, one made with the protocol's own SDK, and OpenCode as npm brings it; the last
//! two say that they are skipped where they are not installed (`scripts/test --only clients`).

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use postern_testkit::{
    Archive, Curl, Devbox, Latch, Setup, Upstream,
    play::{self, Turn},
    wait,
};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    approver::{ADA, ASKS, with_key},
    waiting::{answer, operator},
};

const AGENT: &str = include_str!("fixture/protocol.py");
const OF_THE_SDK: &str = include_str!("fixture/protocol_sdk.py");

fn setup(tool: &str, agent: &str, file: &str) -> Setup {
    let config = fixture::config(tool);
    let (rest, _) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "{rest}[agents.hands]\nkind = \"acp\"\nsource = {{ object = {{ path = \"hands.tar.gz\" }} }}\n\
         tools = [\"shop\"]\nmodels = [\"fast\"]\npolicies = [\"hands\"]\n{agent}"
    );
    let files = Archive::new().file("agent.py", file);
    fixture::with_archive(Setup::new(&config), files.tar_gz()).variable("POSTERN_LOG", "info")
}

/// The agent of ours, with these lines in its table of config and that of its kind.
fn start(tool: &Upstream, agent: &str, acp: &str) -> Devbox {
    let agent =
        format!("{agent}\n[agents.hands.acp]\nargv = [\"python3\", \"/agent/agent.py\"]\n{acp}\n");
    setup(&tool.url(), &agent, AGENT).start()
}

fn streamed(devbox: &Devbox, message: &str) -> Vec<Value> {
    let body = json!({ "message": message }).to_string();
    fixture::events(&Curl::post(devbox.api("/invoke/stream"), body).send())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

fn response(devbox: &Devbox, message: &str) -> String {
    let answer = devbox.invoke(message);
    assert_eq!(answer.status, 200, "{answer:?} {}", devbox.stderr());
    answer.json()["response"].as_str().unwrap().to_owned()
}

fn error(devbox: &Devbox, message: &str) -> String {
    let answer = devbox.invoke(message);
    assert_eq!(answer.json()["code"], "AGENT_FAILED", "{answer:?}");
    answer.json()["error"].as_str().unwrap().to_owned()
}

/// Begins a run that says `one ` and waits, and ends it.
fn is_called_off(devbox: &Devbox, message: &str, run: &str) {
    let body = json!({ "message": message }).to_string();
    let call = Curl::post(devbox.api("/invoke/stream"), body);
    let call = call.header(&format!("X-Run-ID: {run}"));
    let mut caller = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("its first piece is told while it works", || {
        let url = devbox.api(&format!("/runs/{run}/stream"));
        let open = Curl::get(url).flag("--max-time").flag("1").send();
        open.body.contains("\"delta\":\"one \"").then_some(())
    });
    let url = devbox.api(&format!("/runs/{run}"));
    let ended = Curl::get(url).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED", "{ended:?}");
    caller.wait().unwrap();
}

#[test]
fn an_agent_is_asked_streams_uses_tools_and_goes_on_where_it_is_denied() {
    let tool = fixture::tool();
    let devbox = start(&tool, "", "");
    let hello = Curl::post(devbox.api("/invoke"), r#"{"message":"hello"}"#)
        .header("X-Run-ID: run-1")
        .send();
    assert_eq!(
        (&hello.json()["response"], &hello.json()["stop_reason"]),
        (
            &json!("hello from /workspace, run run-1"),
            &json!("end_turn")
        ),
        "{}",
        devbox.stderr()
    );
    let told = streamed(&devbox, "tool");
    assert_eq!(
        kinds(&told),
        ["tool_call", "tool_result", "content", "done"],
        "{told:?}"
    );
    assert_eq!(
        (
            &told[0]["arguments"],
            &told[1]["result"],
            &told[1]["source"]
        ),
        (
            &json!(r#"{"path":"/items/1"}"#),
            &json!("200"),
            &json!("agent")
        )
    );
    let seen = tool.wait_for(1);
    assert_eq!(
        seen[0].values("authorization"),
        [format!("Bearer {}", fixture::KEY)]
    );
    assert_eq!(response(&devbox, "denied"), "got 403 and goes on");
    assert_eq!(response(&devbox, "files"), "-32601");
    assert_eq!(
        kinds(&streamed(&devbox, "hello")),
        ["content", "content", "done"]
    );
}

#[test]
fn what_an_agent_asks_permission_for_is_answered_as_the_config_says_and_the_gate_is_not_asked() {
    let tool = fixture::tool();
    let outcome = |acp: &str| -> Value {
        let devbox = start(&tool, "", acp);
        let told = streamed(&devbox, "ask");
        assert_eq!(kinds(&told), ["tool_call", "content", "done"], "{told:?}");
        assert_eq!(told[0]["tool"], "remove it");
        // Whatever it was told, the rule stands.
        assert_eq!(response(&devbox, "denied"), "got 403 and goes on");
        serde_json::from_str(told[1]["delta"].as_str().unwrap()).unwrap()
    };
    assert_eq!(outcome("")["optionId"], "never");
    assert_eq!(outcome("permissions = \"allow\"")["optionId"], "sure");
}

#[test]
fn a_human_says_what_an_agent_may_that_asks_permission() {
    let tool = fixture::tool();
    let agent =
        "[agents.hands.acp]\nargv = [\"python3\", \"/agent/agent.py\"]\npermissions = \"ask\"\n";
    // Where nobody can be asked, nobody has said yes.
    let alone = setup(&tool.url(), agent, AGENT).start();
    assert!(response(&alone, "ask").contains("never"));
    let agent = format!("{agent}{ASKS}");
    let setup = setup(&tool.url(), &agent, AGENT).secret("secrets/ada.key", ADA);
    let devbox = setup.start();
    for (verb, chosen) in [("approve", "sure"), ("reject", "never")] {
        let asking = std::thread::scope(|scope| {
            let asking = scope.spawn(|| response(&devbox, "ask"));
            let action = wait::until("the human is asked", || {
                let all = with_key(Curl::get(operator(&devbox, "/approvals/requests")), ADA).json();
                let all = all.as_array()?.clone();
                let pending = all.iter().find(|one| one["status"] == "PENDING")?;
                assert_eq!(pending["origin"], "agent", "{pending}");
                Some(pending["id"].as_str()?.to_owned())
            });
            answer(&devbox, &action, verb);
            asking.join().unwrap()
        });
        assert!(asking.contains(chosen), "{verb}: {asking}");
    }
    // Whatever was said, the rule stands.
    assert_eq!(response(&devbox, "denied"), "got 403 and goes on");
}

#[test]
fn a_run_that_nobody_wants_is_called_off_and_its_agent_is_gone() {
    let tool = fixture::tool();
    let devbox = start(&tool, "", "");
    is_called_off(&devbox, "wait", "run-w");
    wait::until("the agent has heard it", || {
        devbox
            .stderr()
            .contains("heard session/cancel")
            .then_some(())
    });
    // One that hears nothing is gone all the same, beside others that go on.
    let shared = start(&tool, "isolation = \"agent\"", "");
    is_called_off(&shared, "deaf-wait", "run-d");
    assert!(response(&shared, "hello").starts_with("hello from"));
    let late = start(&tool, "sandbox = { wall_time = \"2s\" }", "");
    let answer = late.invoke("wait");
    assert_eq!(answer.json()["code"], "DEADLINE_PASSED", "{answer:?}");
    wait::until("the agent has heard it", || {
        late.stderr().contains("heard session/cancel").then_some(())
    });
}

#[test]
fn what_an_agent_says_is_bounded_and_never_believed() {
    let tool = fixture::tool();
    let devbox = start(&tool, "isolation = \"agent\"", "");
    assert_eq!(response(&devbox, "garbage"), "still here");
    for (message, why) in [
        ("refuse", "it refused to go on"),
        (
            "die",
            "it ended before it answered: it exited with code 7: out of luck",
        ),
        ("close", "it closed its standard output"),
        ("endless", "its answer is over the limit"),
        ("flood", "it told more than"),
        ("deaf", "it does not read what it is told"),
    ] {
        let told = error(&devbox, message);
        assert!(told.contains(why), "{message}: {told}");
        assert!(response(&devbox, "hello").starts_with("hello from"));
    }
    for (odd, why) in [
        ("version", "does not speak version 1"),
        ("login", "Authentication required"),
    ] {
        let devbox = start(&tool, &format!("env = {{ ODD = \"{odd}\" }}"), "");
        let told = error(&devbox, "hello");
        assert!(told.contains(why), "{told}");
    }
}

/// What the protocol's own SDK for Python needs, if it is installed.
fn sdk() -> Option<PathBuf> {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients/python/lib");
    let packages = std::fs::read_dir(&clients).into_iter().flatten().flatten();
    let mut packages = packages.map(|found| found.path().join("site-packages"));
    let found = packages.find(|path| path.join("acp").exists());
    if found.is_none() {
        eprintln!("skipped: agent-client-protocol is not installed (scripts/test --only clients)");
    }
    found?.canonicalize().ok()
}

#[test]
fn an_agent_of_the_protocols_own_sdk_streams_asks_is_called_off_and_denied() {
    let Some(packages) = sdk() else { return };
    let packages = packages.display();
    let tool = fixture::tool();
    let agent = format!(
        "env = {{ PYTHONPATH = \"{packages}\" }}\n\
         [agents.hands.acp]\nargv = [\"python3\", \"/agent/agent.py\"]\npermissions = \"allow\"\n\
         [agents.hands.sandbox]\nread_only = [\"{packages}\"]\n"
    );
    let devbox = setup(&tool.url(), &agent, OF_THE_SDK).start();
    let told = streamed(&devbox, "go");
    assert_eq!(
        kinds(&told),
        [
            "tool_call",
            "tool_result",
            "content",
            "tool_call",
            "content",
            "done"
        ],
        "{told:?} {}",
        devbox.stderr()
    );
    assert_eq!(told[1]["result"], "200");
    let answer = response(&devbox, "go");
    assert_eq!(answer, "elsewhere is 403; \n\npermission: yes");
    is_called_off(&devbox, "wait", "run-w");
    wait::until("the agent has heard it", || {
        devbox
            .stderr()
            .contains("the client cancelled")
            .then_some(())
    });
}

/// npm's folder, if OpenCode is there.
fn opencode() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients/node");
    let found = folder.join("node_modules/.bin/opencode");
    if !found.exists() {
        let found = found.display();
        eprintln!("skipped: {found} is not installed (scripts/test --only clients)");
        return None;
    }
    folder.canonicalize().ok()
}

fn start_opencode(npm: &Path, models: &Upstream, more: &str) -> Devbox {
    let url = models.url();
    let program = npm
        .join("node_modules/.bin/opencode")
        .canonicalize()
        .unwrap();
    let (program, npm) = (program.display(), npm.display());
    let config = format!(
        r#"
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[secrets.key]
file = "secrets/key"

[providers.openai]
format = "openai"
url = "{url}/v1"
private = true
credential = {{ kind = "bearer", secret = "key" }}

[models.gpt]
provider = "openai"
upstream = "gpt-upstream"

[[policies.coder.rules]]
name = "models"
permission = "allow"
resource = "{url}/*"

[agents.coder]
kind = "acp"
models = ["gpt"]
policies = ["coder"]
{more}

[agents.coder.acp]
argv = ["{program}", "acp"]
permissions = "allow"

[agents.coder.env]
OPENCODE_CONFIG_CONTENT = '{{"autoupdate":false,"share":"disabled","model":"gate/gpt","small_model":"gate/gpt","permission":{{"edit":"ask"}},"provider":{{"gate":{{"npm":"@ai-sdk/openai-compatible","options":{{"baseURL":"http://127.127.0.1:4180/v1","apiKey":"platform-managed"}},"models":{{"gpt":{{}}}}}}}}}}'
OPENCODE_DISABLE_AUTOUPDATE = "1"
OPENCODE_DISABLE_MODELS_FETCH = "1"
OPENCODE_DISABLE_LSP_DOWNLOAD = "1"

[agents.coder.sandbox]
read_only = ["{npm}"]
"#
    );
    let setup = Setup::new(&config).secret("secrets/key", "a-key-of-the-provider-0123456789");
    let is_root = nix::unistd::geteuid().is_root();
    let setup = if is_root {
        setup
    } else {
        setup.flag("--allow-weaker").flag("separate_uid")
    };
    setup.variable("POSTERN_LOG", "info").start()
}

#[test]
fn opencode_edits_a_file_asks_before_streams_and_is_called_off() {
    let Some(npm) = opencode() else { return };
    let latch = Latch::default();
    let held = latch.clone();
    let models = play::start(move |scene| {
        if scene.asked.contains("please wait") {
            return Turn::Wait(held.clone());
        }
        if scene.results > 0 {
            return Turn::Say("The file is written.".to_owned());
        }
        let input = json!({ "filePath": "/workspace/notes.txt", "content": "written by a model" });
        let tool = "write".to_owned();
        Turn::Use { tool, input }
    });
    let devbox = start_opencode(&npm, &models, "");
    let told = streamed(&devbox, "write notes");
    let of =
        |kind: &str| -> Vec<&Value> { told.iter().filter(|event| event["type"] == kind).collect() };
    let log = devbox.stderr();
    assert_eq!(of("tool_call").len(), 1, "{told:#?} {log}");
    assert!(
        of("tool_call")[0]["arguments"]
            .to_string()
            .contains("notes.txt")
    );
    assert_eq!(of("tool_result").len(), 1, "{told:#?}");
    assert!(of("content").len() > 1, "{told:#?}");
    assert_eq!(of("done").len(), 1, "{told:#?}");
    assert!(log.contains("permission asked for"), "{log}");
    assert_eq!(response(&devbox, "write notes"), "The file is written.");
    let before = models.requests().len();
    let call = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"please wait"}"#);
    let call = call.header("X-Run-ID: run-w");
    let mut caller = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("it has asked its model", || {
        let asked = models.requests();
        let mut new = asked[before..].iter();
        let waits = |body: &[u8]| String::from_utf8_lossy(body).contains("please wait");
        new.any(|request| waits(&request.body)).then_some(())
    });
    let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED", "{ended:?}");
    caller.wait().unwrap();
    latch.open();
}

#[test]
fn opencode_loads_the_session_of_a_conversation_and_tells_nothing_of_before() {
    let Some(npm) = opencode() else { return };
    let models = play::start(|_| Turn::Say("Noted.".to_owned()));
    let devbox = start_opencode(&npm, &models, "isolation = \"user\"");
    let key = std::fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let ask = |conversation: &str, message: &str| {
        let body = json!({ "message": message, "conversation_id": conversation });
        let answer = Curl::post(devbox.api("/invoke"), body.to_string())
            .header(&format!("Authorization: Bearer {}", key.trim()))
            .header("X-End-User-Id: ada")
            .send();
        assert_eq!(
            answer.json()["response"],
            "Noted.",
            "{answer:?} {}",
            devbox.stderr()
        );
        let requests = models.requests();
        let bodies = requests
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body));
        let of_it: Vec<_> = bodies.filter(|body| body.contains(message)).collect();
        of_it.iter().any(|body| body.contains("the word is tulip"))
    };
    assert!(ask("c1", "the word is tulip"));
    assert!(ask("c1", "which one is it"));
    assert!(!ask("c2", "of another conversation"));
}
