//! Agents of kind `command` through the whole devbox: how the message goes in, how the answer comes out, how a run ends, and what
//! a hostile program can do to posternd and to other runs: nothing.

use std::{
    process::{Child, Stdio},
    thread,
};

use postern_testkit::{Archive, Curl, Devbox, Setup, wait};
use serde_json::{Value, json};

use crate::fixture;

/// Does what its message says; the shell is the sandbox's own.
const PROGRAM: &str = r#"
order=$(cat)
mark="$POSTERN_RUN_ID"
case "$order" in
  hello) echo "hello from $(pwd), run $POSTERN_RUN_ID, user ${POSTERN_USER_ID:-nobody}" ;;
  pieces) printf 'one '; read -r _ < /tmp/go || true ;;
  tool) curl -s -o /dev/null -w '%{http_code}' "$TOOL_URL_SHOP/items/1" ;;
  fail) echo 'first words' >&2; echo 'no such thing' >&2; exit 3 ;;
  die) kill -9 $$ ;;
  wait) echo started; sh -c 'sleep 1000; : '"$mark" & sleep 1000; : "$mark" ;;
  leave) sh -c 'sleep 1000; : left-'"$mark" & echo gone ;;
  closed) exec >&- 2>&-; sleep 1000 ;;
  endless) while :; do printf 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; done ;;
  warn) echo "last words of $POSTERN_RUN_ID" >&2; echo done ;;
  complain) yes complaint | head -c 60000000 >&2; echo done ;;
  bytes) printf 'a\377\355\240\200b' ;;
  unread) : ;;
esac
"#;

fn setup(agent: &str, files: Archive, tool: &str) -> Setup {
    let config = fixture::config(tool);
    let (rest, _) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "{rest}[agents.hands]\nkind = \"command\"\nsource = {{ object = {{ path = \"hands.tar.gz\" }} }}\n\
         tools = [\"shop\"]\npolicies = [\"hands\"]\n{agent}"
    );
    fixture::with_archive(Setup::new(&config), files.tar_gz())
}

/// The program above, on these terms.
fn start(terms: &str) -> Devbox {
    let tool = fixture::tool();
    start_with(terms, &tool.url())
}

fn start_with(terms: &str, tool: &str) -> Devbox {
    let agent = format!("{terms}\n[agents.hands.command]\nargv = [\"sh\", \"/agent/run.sh\"]\n");
    let setup = setup(&agent, Archive::new().file("run.sh", PROGRAM), tool);
    setup.variable("POSTERN_LOG", "info").start()
}

/// A program of one line, with the rest of its config.
fn one_line(command: &str, more: &str) -> Devbox {
    let tool = fixture::tool();
    let agent = format!("[agents.hands.command]\nargv = {command}\n{more}\n");
    setup(&agent, Archive::new().file("x", ""), &tool.url()).start()
}

fn waiting(devbox: &Devbox, run: &str) -> Child {
    let call = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"wait"}"#);
    let call = call.header(&format!("X-Run-ID: {run}"));
    let child = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("the run goes on", || is_told(devbox, run, "started"));
    child
}

fn is_told(devbox: &Devbox, run: &str, what: &str) -> Option<()> {
    let url = devbox.api(&format!("/runs/{run}/stream"));
    let open = Curl::get(url).flag("--max-time").flag("1").send();
    open.body.contains(what).then_some(())
}

/// Processes of this machine that name this on their command line.
fn processes(mark: &str) -> usize {
    let list = std::fs::read_dir("/proc").unwrap().flatten();
    let named = list.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| {
            let word = String::from_utf8_lossy(word);
            word.ends_with(mark) && word.starts_with("sleep 1000; : ")
        })
    });
    named.count()
}

fn none_left(mark: &str) {
    wait::until("no process is left", || {
        (processes(mark) == 0).then_some(())
    });
}

#[test]
fn a_program_is_given_the_message_and_its_output_is_the_answer() {
    let tool = fixture::tool();
    let devbox = start_with("", &tool.url());
    let hello = Curl::post(devbox.api("/invoke"), r#"{"message":"hello"}"#)
        .header("X-Run-ID: run-1")
        .send();
    assert_eq!(
        hello.json()["response"],
        "hello from /workspace, run run-1, user nobody"
    );
    assert_eq!(devbox.invoke("tool").json()["response"], "200");
    let seen = tool.wait_for(1);
    assert_eq!(
        seen[0].values("authorization"),
        [format!("Bearer {}", fixture::KEY)]
    );
    let failed = devbox.invoke("fail");
    assert_eq!(
        (failed.status, failed.json()["code"].clone()),
        (500, json!("AGENT_FAILED"))
    );
    assert_eq!(
        failed.json()["error"],
        "sh: it exited with code 3: first words\nno such thing"
    );
    let died = devbox.invoke("die").json();
    assert_eq!(died["error"], "sh: it was ended by signal 9");
    let long = "x".repeat(100_000);
    assert_eq!(devbox.invoke(&long).json()["response"], "");
    let bytes = devbox.invoke("bytes").json();
    assert_eq!(bytes["response"], "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
    assert!(
        devbox.stderr().contains("no such thing"),
        "stderr is in the log"
    );
}

#[test]
fn what_a_program_complains_of_last_is_in_the_log_when_its_run_is_over() {
    let devbox = start("");
    for number in 0..10 {
        let run = format!("run-warn-{number}");
        let answer = Curl::post(devbox.api("/invoke"), r#"{"message":"warn"}"#)
            .header(&format!("X-Run-ID: {run}"))
            .send();
        assert_eq!(answer.json()["response"], "done");
        let last = format!("last words of {run}");
        assert!(devbox.stderr().contains(&last), "{}", devbox.stderr());
    }
}

#[test]
fn text_is_streamed_as_it_comes() {
    let devbox = one_line(
        r#"["sh", "-c", "cat >/dev/null; printf 'one '; mkfifo /tmp/go; read -r _ < /tmp/go"]"#,
        "",
    );
    let call = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"hi"}"#);
    let call = call.header("X-Run-ID: run-p");
    let mut child = call.command().stdout(Stdio::null()).spawn().unwrap();
    wait::until("the first piece is told while it runs", || {
        is_told(&devbox, "run-p", "\"delta\":\"one \"")
    });
    let ended = Curl::get(devbox.api("/runs/run-p")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED");
    child.wait().unwrap();
}

#[test]
fn a_message_as_an_argument_in_a_file_and_as_a_request() {
    for (command, input, response) in [
        (r#"["echo", "-n", "got"]"#, "argument", "got hi --there"),
        (
            r#"["echo", "-n", "{message}", "got"]"#,
            "argument",
            "hi --there got",
        ),
        (r#"["cat"]"#, "file", "hi --there"),
        (
            r#"["sh", "-c", "cat $0; read x || echo .", "{file}"]"#,
            "file",
            "hi --there.",
        ),
        (r#"["jq-less"]"#, "stdin", ""),
    ] {
        let devbox = one_line(command, &format!("input = \"{input}\""));
        let answer = devbox.invoke("hi --there");
        if response.is_empty() {
            assert_eq!(answer.status, 500);
            let told = answer.json()["error"].to_string();
            assert!(told.contains("jq-less: it did not start"), "{told}");
        } else {
            assert_eq!(answer.json()["response"], response, "{command}");
        }
    }
    let devbox = one_line(r#"["cat"]"#, "input = \"request\"");
    let asked = json!({ "message": "hi", "history": [{ "role": "user", "content": "before" }] });
    let answer = Curl::post(devbox.api("/invoke"), asked.to_string()).send();
    let request: Value = serde_json::from_str(answer.json()["response"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&request["message"], &request["history"][0]["content"]),
        (&json!("hi"), &json!("before"))
    );
}

#[test]
fn lines_of_json_become_events() {
    let said = r#"
{"type":"content","delta":"I look. "}
{"type":"tool_call","id":"1","tool":"Read","arguments":"{}"}
{"type":"tool_result","id":"1","result":"text"}
{"type":"approval_required","tool":"x","detail":{}}
{"type":"answer","response":"Done.","score":7}
"#;
    let script = format!("['sh', '-c', '''cat >/dev/null; printf %s '{said}' ''']");
    let devbox = one_line(&script, "output = \"events\"");
    let stream = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"hi"}"#).send();
    let told = fixture::events(&stream);
    let kinds: Vec<_> = told
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["content", "tool_call", "tool_result", "done"],
        "{stream:?}"
    );
    assert_eq!(
        (&told[1]["source"], &told[2]["tool"]),
        (&json!("agent"), &json!("Read"))
    );
    let answer = devbox.invoke("hi").json();
    assert_eq!(
        (&answer["response"], &answer["score"]),
        (&json!("Done."), &json!(7))
    );
    assert_eq!(answer["tool_calls_made"], json!([]));
}

#[test]
fn a_map_makes_a_programs_own_lines_our_events() {
    let said = r#"
{"kind":"part","body":{"text":"one "}}
{"kind":"tools","list":[{"n":"Bash","a":{"x":1}},{"n":"Edit"}]}
{"kind":"end","ok":false,"why":"out of money"}
"#;
    let script = format!("['sh', '-c', '''cat >/dev/null; printf %s '{said}'; exit 1''']");
    let map = r#"
[[agents.hands.command.map]]
when = { "/kind" = "part" }
becomes = "content"
text = "/body/text"
[[agents.hands.command.map]]
when = { "/kind" = "tools" }
each = "/list"
becomes = "tool_call"
tool = "/n"
text = "/a"
[[agents.hands.command.map]]
when = { "/kind" = "end", "/ok" = false }
becomes = "error"
text = "/why"
"#;
    let devbox = one_line(&script, map);
    let stream = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"hi"}"#).send();
    let told = fixture::events(&stream);
    assert_eq!(told[0]["delta"], "one ");
    assert_eq!(
        (&told[1]["tool"], &told[1]["arguments"]),
        (&json!("Bash"), &json!("{\"x\":1}"))
    );
    assert_eq!(
        (&told[2]["tool"], &told[3]["type"]),
        (&json!("Edit"), &json!("error"))
    );
    assert_eq!(told[3]["message"], "sh: out of money");
}

#[test]
fn a_run_that_ends_takes_all_its_processes_with_it() {
    for isolation in ["run", "agent", "user"] {
        let devbox = start(&format!("isolation = \"{isolation}\"\n"));
        let user = format!("{isolation}-w");
        if isolation == "user" {
            // Nobody names a user here: there is nothing to place.
            assert_eq!(devbox.invoke("hello").status, 400);
            continue;
        }
        let mut caller = waiting(&devbox, &user);
        assert!(processes(&user) > 0, "{isolation}");
        let other = devbox.invoke("hello");
        assert_eq!(other.status, 200, "others go on: {other:?}");
        let url = devbox.api(&format!("/runs/{user}"));
        let ended = Curl::get(url).flag("-XDELETE").send();
        assert_eq!(ended.json()["code"], "CANCELLED");
        none_left(&user);
        caller.wait().unwrap();
        let left = Curl::post(devbox.api("/invoke"), r#"{"message":"leave"}"#)
            .header(&format!("X-Run-ID: {isolation}-l"))
            .send();
        assert_eq!(left.json()["response"], "gone");
        none_left(&format!("left-{isolation}-l"));
        assert_eq!(devbox.invoke("hello").status, 200);
    }
}

#[test]
fn a_run_that_takes_too_long_is_killed_whole() {
    let devbox = start("isolation = \"agent\"\nsandbox = { wall_time = \"2s\" }\n");
    let late = Curl::post(devbox.api("/invoke"), r#"{"message":"wait"}"#)
        .header("X-Run-ID: run-late")
        .send();
    assert_eq!(
        (late.status, late.json()["code"].clone()),
        (504, json!("DEADLINE_PASSED"))
    );
    none_left("run-late");
    let closed = devbox.invoke("closed");
    assert_eq!(closed.status, 504, "{closed:?}");
}

#[test]
fn hostile_output_is_bounded_and_hurts_nobody_else() {
    let devbox = start("isolation = \"agent\"\nsandbox = { wall_time = \"30s\" }\n");
    thread::scope(|scope| {
        let endless = scope.spawn(|| devbox.invoke("endless").json());
        let complain = scope.spawn(|| devbox.invoke("complain").json());
        let mut answered = 0;
        while answered < 20 && !endless.is_finished() {
            let hello = devbox.invoke("hello");
            assert_eq!(hello.status, 200, "{hello:?}");
            answered += 1;
        }
        let endless = endless.join().unwrap();
        assert_eq!(
            endless["error"],
            "sh: its answer is over the limit of 8388608 bytes"
        );
        let complain = complain.join().unwrap();
        assert_eq!(complain["response"], "done", "{complain}");
    });
    assert!(devbox.stderr().len() < 8 << 20, "the log stays small");
    assert!(devbox.stderr().contains("it complains without end"));
    assert_eq!(devbox.invoke("hello").status, 200);
}
