//! Agents with code that ask a human by themselves: the run is put aside, survives whatever happens to the devbox, and the handler is
//! called again after a yes, with what it wanted to be told. A yes to that is none to anything else.

use std::{fs, process::Command};

use postern_testkit::{Archive, Curl, Devbox, Setup, Upstream, binaries, curl::Response, wait};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    approver::{ADA, ASKS, with_key},
    waiting::{answer, comes_to, killed, operator, resume, run},
};

/// Asks before it goes on; then says what it was told, or adds something with whatever it was given.
const AGENT: &str = r#"
import json, os, urllib.error, urllib.request

def handler(request, ctx):
    resume = request.get("resume")
    if resume and request["message"] == "add":
        fields = {"Content-Type": "application/json", "X-Action-ID": resume["action_id"]}
        adding = urllib.request.Request(os.environ["TOOL_URL_SHOP"] + "/items", b"{}", fields, method="POST")
        try:
            return {"response": str(urllib.request.urlopen(adding).status)}
        except urllib.error.HTTPError as error:
            return {"response": str(error.code), "told": json.loads(error.read())["code"]}
    if resume:
        return {"response": "went on", "was": resume, "session": ctx.session["action_id"], "user": request.get("user_id")}
    if request["message"] == "raise":
        from runagents.runtime import ApprovalRequired
        raise ApprovalRequired("shop", {"message": "May I?"})
    asks = {"action_id": "act-9", "message": "May I pay \u202e5?", "amount": 5}
    return {"approval_required": asks, "resume": {"step": 2}}
"#;

fn setup(tool: &Upstream) -> Setup {
    setup_with(&fixture::config(&tool.url()), ASKS)
}

fn setup_with(config: &str, asks: &str) -> Setup {
    let archive = Archive::new().file("agent.py", AGENT).tar_gz();
    let setup = Setup::new(&[config, asks].concat());
    fixture::with_archive(setup, archive).secret("secrets/ada.key", ADA)
}

/// Asks the agent for something, for an end user.
fn ask(devbox: &Devbox, id: &str, message: &str) -> Response {
    let key = fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let body = json!({ "message": message }).to_string();
    Curl::post(devbox.api("/invoke"), body)
        .header(&format!("X-Run-ID: {id}"))
        .header("X-End-User-Id: eve")
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send()
}

/// The same, for whom nobody is named.
fn pause(devbox: &Devbox, id: &str, message: &str) -> String {
    let body = json!({ "message": message }).to_string();
    let paused = Curl::post(devbox.api("/invoke"), body)
        .header(&format!("X-Run-ID: {id}"))
        .send();
    assert_eq!(paused.status, 200, "{paused:?}");
    let action = &paused.json()["approval_required"]["action_id"];
    action.as_str().unwrap().to_owned()
}

fn shown(devbox: &Devbox, action: &str) -> Value {
    let url = operator(devbox, &format!("/approvals/requests/{action}"));
    with_key(Curl::get(url), ADA).json()
}

fn listed(devbox: &Devbox) -> Vec<Value> {
    let all = with_key(Curl::get(operator(devbox, "/approvals/requests")), ADA).json();
    all.as_array().unwrap().clone()
}

/// What a person at a terminal sees.
fn shown_by_command(devbox: &Devbox, action: &str) -> String {
    let output = Command::new(binaries::postern())
        .args(["approvals", "show", action, "--key-file"])
        .arg(devbox.folder().join("secrets/ada.key"))
        .args(["--operator", &devbox.operator_address().to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_handler_asks_and_is_called_again_after_a_yes_with_what_it_wanted_to_be_told() {
    let tool = fixture::tool();
    let devbox = setup(&tool).start();
    let paused = ask(&devbox, "run-1", "go").json();
    let asked = &paused["approval_required"];
    assert_eq!(
        (&asked["source"], &asked["message"], &paused["handler"]),
        (
            &json!("agent"),
            &json!("May I pay \u{202e}5?"),
            &json!("user")
        ),
        "{paused}"
    );
    // Ids are ours, and what the handler keeps for itself is told to nobody.
    let action = asked["action_id"].as_str().unwrap().to_owned();
    assert!(
        action.starts_with("act_") && !paused.to_string().contains("step"),
        "{paused}"
    );
    assert_eq!(run(&devbox, "run-1")["status"], "PAUSED_APPROVAL");
    let request = shown(&devbox, &action);
    for (key, value) in [
        ("origin", "agent"),
        ("status", "PENDING"),
        ("run_id", "run-1"),
        ("subject", "eve"),
        ("rule", ""),
        // Without the id that the handler chose.
        (
            "body_base64",
            "eyJhbW91bnQiOjUsIm1lc3NhZ2UiOiJNYXkgSSBwYXkg4oCuNT8ifQ==",
        ),
    ] {
        assert_eq!(request[key], value, "{key}: {request}");
    }
    let told = shown_by_command(&devbox, &action);
    assert!(
        told.contains("agent hands asks by itself, and says: \"May I pay \\u{202e}5?\""),
        "{told}"
    );
    let strangers = resume(&devbox, &action, "run-1");
    assert_eq!(
        strangers.status, 404,
        "the run is another user's: {strangers:?}"
    );
    assert_eq!(answer(&devbox, &action, "approve").status, 200);
    let over = comes_to(&devbox, "run-1", "COMPLETED");
    let body = &over["outcome"]["body"];
    assert_eq!(
        body["was"],
        json!({ "action_id": action, "state": { "step": 2 }, "approved": true })
    );
    assert_eq!(
        (&body["session"], &body["user"]),
        (&json!(action), &json!("eve"))
    );
    assert_eq!(answer(&devbox, &action, "approve").status, 409);
}

#[test]
fn what_an_agent_asks_survives_kill_9_of_everything() {
    let tool = fixture::tool();
    let devbox = setup(&tool).start();
    let action = pause(&devbox, "run-1", "raise");
    let devbox = killed(devbox).start();
    assert_eq!(shown(&devbox, &action)["status"], "PENDING");
    assert_eq!(answer(&devbox, &action, "approve").status, 200);
    let over = comes_to(&devbox, "run-1", "COMPLETED");
    assert_eq!(over["outcome"]["body"]["was"]["state"], json!({}));
    let devbox = killed(devbox).start();
    let again = resume(&devbox, &action, "run-1");
    assert_eq!(again.json()["response"], "went on", "{again:?}");
}

/// What the gate knows is gone, as if it had been killed before it heard of the question.
fn forget_requests(state: &std::path::Path) {
    let script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('DELETE FROM approvals'); d.commit()";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(state.join("gate/gate.db"))
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn a_question_that_the_gate_never_heard_of_is_put_to_it_again() {
    let tool = fixture::tool();
    let devbox = setup(&tool).start();
    let action = pause(&devbox, "run-1", "go");
    let setup = killed(devbox);
    forget_requests(&setup.folder().join("state"));
    let devbox = setup.start();
    wait::until("a human is asked again", || {
        (shown(&devbox, &action)["status"] == "PENDING").then_some(())
    });
    assert_eq!(answer(&devbox, &action, "approve").status, 200);
    comes_to(&devbox, "run-1", "COMPLETED");
}

#[test]
fn a_no_the_end_of_the_time_and_whoever_began_it_end_a_run_that_asks() {
    let tool = fixture::tool();
    let devbox = setup(&tool).start();
    let action = pause(&devbox, "run-1", "go");
    assert_eq!(answer(&devbox, &action, "reject").status, 200);
    let over = comes_to(&devbox, "run-1", "FAILED");
    assert_eq!(over["outcome"]["body"]["code"], "APPROVAL_REJECTED");
    let action = pause(&devbox, "run-2", "go");
    let ended = Curl::get(devbox.api("/runs/run-2")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED", "{ended:?}");
    wait::until("nobody is asked any more", || {
        (shown(&devbox, &action)["status"] == "EXPIRED").then_some(())
    });
    drop(devbox);
    let brief = ASKS.replace("hold_for = \"1h\"", "pause_for = \"1s\"");
    let devbox = setup_with(&fixture::config(&tool.url()), &brief).start();
    let action = pause(&devbox, "run-3", "go");
    wait::until("the time is over", || {
        let told = resume(&devbox, &action, "run-3").json();
        (told["code"] == "APPROVAL_TIMEOUT").then_some(())
    });
    assert_eq!(run(&devbox, "run-3")["status"], "FAILED");
}

#[test]
fn a_yes_to_what_an_agent_asks_by_itself_satisfies_no_rule() {
    let tool = fixture::tool();
    let devbox = setup(&tool).start();
    let own = pause(&devbox, "run-1", "add");
    assert_eq!(answer(&devbox, &own, "approve").status, 200);
    // It goes on, adds something with the id of that yes, and the rule asks all the same.
    let asked = wait::until("the rule asks", || {
        let mut all = listed(&devbox).into_iter();
        all.find(|one| one["origin"] == "gate")
    });
    assert_eq!(asked["status"], "PENDING", "{asked}");
    assert_eq!(asked["rule"], "adding is for humans");
    assert!(tool.requests().is_empty());
    let action = asked["id"].as_str().unwrap();
    assert_eq!(answer(&devbox, action, "reject").status, 200);
    let over = comes_to(&devbox, "run-1", "COMPLETED");
    let body = &over["outcome"]["body"];
    assert_eq!(
        (&body["response"], &body["told"]),
        (&json!("403"), &json!("APPROVAL_REJECTED"))
    );
    assert!(tool.requests().is_empty());
}

#[test]
fn where_nobody_can_be_asked_the_run_ends_and_says_so() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url());
    let devbox = setup_with(&config, "").start();
    let ended = Curl::post(devbox.api("/invoke"), r#"{"message": "go"}"#).send();
    assert_eq!(
        (ended.status, &ended.json()["code"]),
        (503, &json!("APPROVAL_NOT_ASKED")),
        "{ended:?}"
    );
}
