//! A human's yes in the middle of a run, as people give it: the agent waits inside its sandbox, the operator sees that
//! somebody is asked, and an approver's key answers through the operator API.

use std::{fs, process::Command, thread};

use postern_testkit::{Curl, Devbox, Setup, binaries, wait};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    approver::{ADA, ASKS, with_key},
    order,
};

fn requests(devbox: &Devbox, path: &str) -> String {
    format!(
        "http://{}/api/v1/approvals/requests{path}",
        devbox.operator_address()
    )
}

fn operators_key(devbox: &Devbox) -> String {
    let key = fs::read_to_string(devbox.state().join("runtime/operator.key"));
    key.unwrap().trim().to_owned()
}

/// The one request that waits.
fn waiting(devbox: &Devbox, key: &str) -> Value {
    wait::until("a call waits for a human", || {
        let all = with_key(Curl::get(requests(devbox, "")), key).json();
        let mut pending = all.as_array().unwrap().iter();
        pending.find(|one| one["status"] == "PENDING").cloned()
    })
}

/// Reads a request and answers it, as a person at a terminal does.
fn answer_by_command(devbox: &Devbox, asked: &Value, verb: &str) {
    let key = devbox.folder().join("secrets/ada.key");
    let (id, operator) = (asked["id"].as_str().unwrap(), devbox.operator_address());
    let postern = |words: &[&str]| {
        let mut command = Command::new(binaries::postern());
        command.arg("approvals").args(words).arg("--key-file");
        let output = command
            .arg(&key)
            .arg("--operator")
            .arg(operator.to_string())
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {output:?}");
        said
    };
    assert!(postern(&["list"]).contains(&format!("{id}  PENDING")));
    let whole = postern(&["show", id]);
    assert!(whole.ends_with("\n\n{\"name\": \"lamp\"}\n"), "{whole}");
    let hash = asked["payload_hash"].as_str().unwrap();
    let answered = postern(&[verb, id, "--json", "--payload-hash", hash]);
    let answered: Value = serde_json::from_str(&answered).unwrap();
    assert_eq!(answered["approver_id"], "ada");
}

#[test]
fn an_approver_says_yes_or_no_in_the_middle_of_a_run() {
    let tool = fixture::tool();
    let config = [&fixture::config(&tool.url()), ASKS].concat();
    let devbox = fixture::files(Setup::new(&config))
        .secret("secrets/ada.key", ADA)
        .start();
    let operator = operators_key(&devbox);
    let adds = json!({
        "do": "fetch", "method": "POST", "url": format!("{}/base/items", tool.url()), "body": "{\"name\": \"lamp\"}",
        "headers": {"Content-Type": "application/json"}, "proxied": true,
    });
    for (verb, status) in [("approve", 200), ("reject", 403)] {
        let before = tool.requests().len();
        let came = thread::scope(|scope| {
            let run = scope.spawn(|| order(&devbox, &adds));
            let asked = waiting(&devbox, &operator);
            let id = asked["id"].as_str().unwrap();
            assert_eq!(
                (&asked["agent_id"], &asked["tool_id"]),
                (&json!("hands"), &json!("shop"))
            );
            let whole = with_key(Curl::get(requests(&devbox, &format!("/{id}"))), ADA).json();
            assert!(whole["body_base64"].is_string(), "{whole}");
            let url = requests(&devbox, &format!("/{id}/{verb}"));
            // The operator may look, and posternd could make itself one: neither is a human's yes.
            for key in [operator.as_str(), "", fixture::KEY] {
                let answer = with_key(Curl::post(&url, ""), key);
                assert_eq!(answer.status, 401, "{answer:?}");
            }
            assert_eq!(tool.requests().len(), before);
            // Its run is a hint, in a sandbox that runs share.
            let yes = requests(&devbox, &format!("/{id}/approve"));
            let wider = with_key(Curl::post(yes, r#"{"scope": "run"}"#), ADA);
            assert_eq!(wider.status, 400, "{wider:?}");
            answer_by_command(&devbox, &asked, verb);
            let again = with_key(Curl::post(&url, ""), ADA);
            assert_eq!(again.status, 409, "{again:?}");
            run.join().unwrap()
        });
        assert_eq!(came["status"], status, "{came}");
    }
    assert_eq!(tool.requests().len(), 1, "the yes, once");
    let lines = devbox.audit();
    let told = lines.iter().filter(|line| line["approver"] == "ada");
    assert!(told.count() >= 2, "{lines:#?}");
    let unknown = requests(&devbox, "/act_0/approve");
    assert_eq!(with_key(Curl::post(unknown, ""), ADA).status, 404);
    assert_eq!(Curl::get(requests(&devbox, "")).send().status, 401);
}
