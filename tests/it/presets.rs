//! Coding agents that people use, as they come from npm, through the whole devbox: each does a task in two turns with its own
//! tools in its workspace, streams, and is gone whole when its run is ended. Skipped with a printed reason where they are not
//! installed: `scripts/test --only clients` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use postern_testkit::{
    Curl, Devbox, Latch, Setup, Upstream,
    play::{self, Scene, Turn},
    wait,
};
use serde_json::{Value, json};

/// One program.
struct Program {
    preset: &'static str,
    /// Beneath npm's folder.
    path: &'static str,
    /// The folder of npm's that its processes alone name.
    mark: &'static str,
    /// Its tool that writes a file, and how it is told which and what.
    write: fn(&Scene) -> Turn,
    /// Which of our two models it asks.
    model: &'static str,
}

const CLAUDE: Program = Program {
    preset: "claude-code",
    path: "node_modules/.bin/claude",
    mark: "node_modules/@anthropic-ai/",
    write: |_| {
        let input = json!({"file_path": "/workspace/notes.txt", "content": "written by a model"});
        using("Write", input)
    },
    model: "claude",
};

const CODEX: Program = Program {
    preset: "codex",
    path: "node_modules/.bin/codex",
    mark: "node_modules/@openai/",
    write: |_| {
        let input = json!({"cmd": "echo hello > notes.txt; cat notes.txt"});
        using("exec_command", input)
    },
    model: "gpt",
};

const OPENCODE: Program = Program {
    preset: "opencode",
    path: "node_modules/.bin/opencode",
    mark: "node_modules/opencode-ai/",
    write: |_| {
        let input = json!({"filePath": "/workspace/notes.txt", "content": "written by a model"});
        using("write", input)
    },
    model: "gpt",
};

fn using(tool: &str, input: Value) -> Turn {
    let tool = tool.to_owned();
    Turn::Use { tool, input }
}

/// npm's folder, if the program is there.
fn installed(program: &Program) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients/node");
    let folder = folder.canonicalize().unwrap_or(folder);
    let is_there = folder.join(program.path).exists();
    if !is_there {
        let shown = folder.join(program.path);
        eprintln!(
            "skipped: {} is not installed (scripts/test --only clients)",
            shown.display()
        );
    }
    is_there.then_some(folder)
}

fn start(program: &Program, npm: &Path, models: &Upstream, more: &str) -> Devbox {
    let (url, preset, model) = (models.url(), program.preset, program.model);
    let (npm, path) = (
        npm.display(),
        npm.join(program.path).canonicalize().unwrap(),
    );
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

[providers.anthropic]
format = "anthropic"
url = "{url}"
private = true
credential = {{ kind = "header", name = "x-api-key", secret = "key" }}

[models.gpt]
provider = "openai"
upstream = "gpt-upstream"

[models.claude]
provider = "anthropic"
upstream = "claude-upstream"

[[policies.coder.rules]]
name = "models"
permission = "allow"
resource = "{url}/*"

[agents.coder]
kind = "command"
models = ["{model}"]
policies = ["coder"]
{more}

[agents.coder.command]
preset = "{preset}"
argv = ["{path}"]

[agents.coder.sandbox]
read_only = ["{npm}"]
"#,
        path = path.display(),
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

/// Processes of this machine that name the program's folder first.
fn processes(program: &Program) -> usize {
    let list = std::fs::read_dir("/proc").unwrap().flatten();
    let named = list.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).take(2);
        words.any(|word| String::from_utf8_lossy(word).contains(program.mark))
    });
    named.count()
}

fn works(program: &Program) {
    let Some(npm) = installed(program) else {
        return;
    };
    let (latch, write) = (Latch::default(), program.write);
    let held = latch.clone();
    let models = play::start(move |scene| {
        if scene.asked.contains("please wait") {
            return Turn::Wait(held.clone());
        }
        match scene.results {
            0 => write(scene),
            _ => Turn::Say("The file is written.".to_owned()),
        }
    });
    let devbox = start(program, &npm, &models, "");
    writes_a_file(program, &devbox, &models);
    is_ended(program, &devbox, &models);
    latch.open();
}

fn writes_a_file(program: &Program, devbox: &Devbox, models: &Upstream) {
    let stream = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"write notes"}"#);
    let stream = stream.send();
    let lines = stream
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |kind: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect()
    };
    assert_eq!(of("tool_call").len(), 1, "{stream:#?} {}", devbox.stderr());
    assert_eq!(of("tool_call")[0]["source"], "agent");
    assert!(
        of("tool_call")[0]["arguments"]
            .to_string()
            .contains("notes.txt")
    );
    assert_eq!(of("tool_result")[0]["tool"], of("tool_call")[0]["tool"]);
    let deltas = of("content").len();
    assert!(
        deltas
            >= if program.preset == "claude-code" {
                3
            } else {
                1
            },
        "{stream:?}"
    );
    assert_eq!(of("done").len(), 1, "{stream:?}");
    // The result of its tool went back to the model.
    let asked = models.requests();
    let last = asked
        .iter()
        .rev()
        .find(|request| request.body.len() > 100)
        .unwrap();
    assert!(!String::from_utf8_lossy(&last.body).contains("platform-managed"));
    let answer = Curl::post(devbox.api("/invoke"), r#"{"message":"write notes"}"#).send();
    assert_eq!(
        answer.json()["response"],
        "The file is written.",
        "{answer:?}"
    );
    let refused: Vec<_> = devbox.audit();
    let refused = refused
        .iter()
        .filter(|line| line["decision"] == "refused" && !line["model"].is_null());
    assert_eq!(refused.count(), 0, "{:#?}", devbox.audit());
}

fn is_ended(program: &Program, devbox: &Devbox, models: &Upstream) {
    let before = models.requests().len();
    let call = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"please wait"}"#);
    let call = call.header("X-Run-ID: run-w");
    let mut caller = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("it has asked its model", || {
        let asked = models.requests();
        let new = asked[before..].iter();
        let mut new = new.map(|request| String::from_utf8_lossy(&request.body).into_owned());
        new.any(|body| body.contains("please wait")).then_some(())
    });
    assert!(processes(program) > 0);
    let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED", "{ended:?}");
    wait::until("no process is left", || {
        (processes(program) == 0).then_some(())
    });
    caller.wait().unwrap();
}

/// A later run of a conversation knows what was said before, of the same user and conversation alone.
fn goes_on(program: &Program) {
    let Some(npm) = installed(program) else {
        return;
    };
    let models = play::start(|_| Turn::Say("Noted.".to_owned()));
    let devbox = start(program, &npm, &models, "isolation = \"user\"");
    let key = std::fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let ask = |user: &str, conversation: &str, message: &str| {
        let body = json!({ "message": message, "conversation_id": conversation });
        let asked = Curl::post(devbox.api("/invoke"), body.to_string())
            .header(&format!("Authorization: Bearer {}", key.trim()))
            .header(&format!("X-End-User-Id: {user}"));
        let answer = asked.send();
        assert_eq!(answer.status, 200, "{answer:?} {}", devbox.stderr());
        let requests = models.requests();
        let bodies = requests
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body));
        let of_it: Vec<_> = bodies.filter(|body| body.contains(message)).collect();
        assert!(!of_it.is_empty());
        of_it.iter().any(|body| body.contains("the word is tulip"))
    };
    assert!(ask("ada", "c1", "the word is tulip"));
    assert!(ask("ada", "c1", "which one is it"));
    assert!(ask("ada", "c1", "and once more"));
    assert!(!ask("ada", "c2", "of another conversation"));
    assert!(!ask("eve", "c1", "of another user"));
}

#[test]
fn claude_code_goes_on_with_a_conversation() {
    goes_on(&CLAUDE);
}

#[test]
fn codex_goes_on_with_a_conversation() {
    goes_on(&CODEX);
}

#[test]
fn opencode_goes_on_with_a_conversation() {
    goes_on(&OPENCODE);
}

#[test]
fn claude_code_edits_a_file_streams_and_is_ended() {
    works(&CLAUDE);
}

#[test]
fn codex_edits_a_file_streams_and_is_ended() {
    works(&CODEX);
}

#[test]
fn opencode_edits_a_file_streams_and_is_ended() {
    works(&OPENCODE);
}
