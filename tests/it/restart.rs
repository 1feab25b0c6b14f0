//! The gate is killed and started again while everything else lives on: runs, sandboxes, cached names, runs that wait for a
//! human. Meanwhile nothing passes, and everybody who asks is told so.

use std::{fs::File, thread};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_testkit::{Answer, Archive, Curl, Devbox, Setup, Upstream, curl::Response, wait};
use serde_json::{Value, json};

use crate::fixture::{
    self, NameServer,
    approver::{ADA, ASKS, with_key},
    victim::Victim,
};

const STEADY: &str = include_str!("fixture/steady.py");

const SHOP: &str = "http://127.127.0.1:4180/tools/shop";

fn setup(config: &str) -> Setup {
    let archive = Archive::new().file("agent.py", STEADY).tar_gz();
    fixture::with_archive(Setup::new(config), archive)
}

fn gate(devbox: &Devbox) -> Option<Pid> {
    Victim::Gate.find(devbox.folder())
}

/// Kills the gate that is there.
fn strike(devbox: &Devbox) {
    kill(gate(devbox).unwrap(), Signal::SIGKILL).unwrap();
}

/// Runs something, strikes once the agent has said by a call that it waits, and gives what came of the run.
fn struck_meanwhile(
    devbox: &Devbox,
    tool: &Upstream,
    order: &Value,
    struck: impl FnOnce(),
) -> Response {
    let seen = tool.requests().len();
    thread::scope(|scope| {
        let run = scope.spawn(|| devbox.invoke(&order.to_string()));
        let _sign = tool.wait_for(seen + 1);
        struck();
        run.join().unwrap()
    })
}

fn result(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"].clone()
}

fn is_ready(devbox: &Devbox) -> bool {
    Curl::get(devbox.api("/readyz")).send().status == 200
}

fn outlive() -> Value {
    json!({"do": "outlive", "sign": format!("{SHOP}/items/sign"), "url": format!("{SHOP}/items/2")})
}

#[test]
fn a_run_outlives_the_gate_and_is_known_to_the_next_one() {
    for isolation in ["agent", "run"] {
        let tool = fixture::tool();
        let config = format!(
            "{}isolation = \"{isolation}\"\n",
            fixture::config(&tool.url())
        );
        let devbox = setup(&config).start();
        let first = gate(&devbox);
        let answer = struck_meanwhile(&devbox, &tool, &outlive(), || strike(&devbox));
        assert_eq!(result(&answer)["status"], 200, "{isolation}: {answer:?}");
        assert_ne!(gate(&devbox), first);
        let run = answer.json()["run_id"].clone();
        let lines = devbox.audit();
        let of_run: Vec<_> = lines
            .iter()
            .filter(|line| line["run"] == run && line["authority"].is_string())
            .collect();
        let sandboxes = of_run.iter().map(|line| line["sandbox"].clone());
        let mut sandboxes: Vec<_> = sandboxes.map(|id| id.to_string()).collect();
        sandboxes.dedup();
        assert!(
            !of_run.is_empty() && sandboxes.len() == 1,
            "{isolation}: one run, one sandbox: {lines:#?}"
        );
        // A gate that is told so by its operator goes at once, and comes back as well.
        kill(gate(&devbox).unwrap(), Signal::SIGINT).unwrap();
        wait::until("a call goes through another gate", || {
            (devbox
                .invoke(&json!({"do": "fetch", "url": format!("{SHOP}/items/3")}).to_string())
                .status
                == 200)
                .then_some(())
        });
        let stopped = devbox.stop();
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        stopped.assert_nothing_left();
    }
}

/// Keeps the next gate from its audit log, and so from serving, until this is dropped.
fn held_away(devbox: &Devbox) -> File {
    let lock = File::open(devbox.state().join("gate/audit.lock")).unwrap();
    wait::until("the lock is ours", || {
        // Whoever comes first has it; the next gate takes longer to start than this look.
        if let Some(gate) = gate(devbox) {
            let _ = kill(gate, Signal::SIGKILL);
        }
        lock.try_lock().ok()
    });
    lock
}

#[test]
fn while_the_gate_is_away_nothing_passes_and_everybody_is_told() {
    let tool = fixture::tool();
    let devbox = setup(&fixture::config(&tool.url())).start();
    let seen = tool.requests().len();
    let away = || {
        let lock = held_away(&devbox);
        wait::until("the gate is missed", || (!is_ready(&devbox)).then_some(()));
        let told = Curl::get(devbox.api("/readyz")).send();
        assert!(told.body.contains("the gate is awaited"), "{}", told.body);
        assert_eq!(Curl::get(devbox.api("/healthz")).send().status, 200);
        let refused = devbox.invoke(&json!({"do": "fetch", "url": SHOP}).to_string());
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.body.contains("gate"), "{refused:?}");
        assert_eq!(tool.requests().len(), seen + 1, "the sign and nothing else");
        drop(lock);
    };
    let answer = struck_meanwhile(&devbox, &tool, &outlive(), away);
    assert_eq!(result(&answer)["status"], 200, "{answer:?}");
    wait::until("the devbox is ready again", || {
        is_ready(&devbox).then_some(())
    });
}

#[test]
fn an_address_that_a_program_remembers_stands_for_the_same_name_after_the_gates_restart() {
    let (tool, names) = (fixture::tool(), NameServer::start());
    let port = tool.address().port();
    let rules = format!(
        "[[policies.hands.rules]]\nname = \"others\"\npermission = \"allow\"\n\
         resource = \"http://other.example:{port}/*\"\n"
    );
    let url = format!("http://shop.example:{port}");
    let config = [names.config(), fixture::config(&url), rules].concat();
    let devbox = setup(&config).start();
    let order = json!({
        "do": "remember", "sign": format!("http://shop.example:{port}/base/items/sign"), "name": "shop.example",
        "port": port, "other": "other.example",
    });
    let answer = struck_meanwhile(&devbox, &tool, &order, || strike(&devbox));
    let expected = json!({"again": ["200", "421"], "kept": true, "other": true});
    assert_eq!(result(&answer), expected, "{answer:?}");
}

/// A model that adds something, once.
fn model() -> Upstream {
    Upstream::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let messages = asked["messages"].as_array().cloned().unwrap_or_default();
        let is_told = messages.iter().any(|message| message["role"] == "tool");
        let call = json!({ "id": "call_1", "type": "function", "function": { "name": "shop__add", "arguments": "{}" } });
        let message = if is_told {
            json!({ "role": "assistant", "content": "added" })
        } else {
            json!({ "role": "assistant", "content": null, "tool_calls": [call] })
        };
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        Answer::json(&json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
        }))
    })
}

#[test]
fn a_call_that_waits_for_a_human_ends_with_its_gate_and_a_run_that_waits_does_not() {
    let model = model();
    let tool = fixture::tool();
    let desk = format!(
        "[providers.real]\nformat = \"openai\"\nurl = \"{}/v1\"\nprivate = true\n[agents.desk]\nkind = \"builtin\"\n\
         tools = [\"shop\"]\nmodels = [\"fast\"]\npolicies = [\"hands\"]\n",
        model.url()
    );
    let config =
        fixture::config(&tool.url()).replace("provider = \"playground\"", "provider = \"real\"");
    let config = ["default_agent = \"hands\"\n", &config, ASKS, &desk].concat();
    let devbox = setup(&config).secret("secrets/ada.key", ADA).start();
    let paused = Curl::post(devbox.api("/agents/desk/invoke"), r#"{"message": "add"}"#).send();
    let paused = paused.json()["approval_required"].clone();
    let adds =
        json!({"do": "fetch", "method": "POST", "url": format!("{SHOP}/items"), "body": "{}"});
    let status = |which: &dyn Fn(&Value) -> bool| {
        let operator = format!(
            "http://{}/api/v1/approvals/requests",
            devbox.operator_address()
        );
        let all = with_key(Curl::get(operator), ADA);
        if all.status != 200 {
            return None;
        }
        let all = all.json().as_array().cloned().unwrap_or_default();
        let one = all.iter().find(|one| which(one));
        one.map(|one| one["status"].as_str().unwrap_or_default().to_owned())
    };
    let is_paused = |one: &Value| one["id"] == paused["action_id"];
    let is_held = |one: &Value| one["agent_id"] == "hands";
    let ended = thread::scope(|scope| {
        let run = scope.spawn(|| devbox.invoke(&adds.to_string()));
        wait::until("a call waits", || {
            (status(&is_held)? == "PENDING").then_some(())
        });
        strike(&devbox);
        run.join().unwrap()
    });
    let said = result(&ended);
    assert!(
        said.as_str()
            .is_some_and(|said| said.contains("Error") || said.contains("RemoteDisconnected")),
        "{ended:?}"
    );
    wait::until(
        "the next gate says that nobody waits there any more",
        || (status(&is_held)? == "EXPIRED").then_some(()),
    );
    assert_eq!(status(&is_paused).as_deref(), Some("PENDING"));
    assert!(tool.requests().is_empty());
    let action = paused["action_id"].as_str().unwrap();
    let url = format!(
        "http://{}/api/v1/approvals/requests/{action}/approve",
        devbox.operator_address()
    );
    let answered = with_key(Curl::post(url, "{}"), ADA);
    assert_eq!(answered.status, 200, "{answered:?}");
    let _added = tool.wait_for(1);
}

#[test]
fn a_gate_with_another_authority_gets_sandboxes_that_trust_it() {
    let tool = fixture::tool();
    let devbox = setup(&fixture::config(&tool.url())).start();
    let state = devbox.state().join("gate");
    let trusted = || {
        let answer = devbox.invoke(&json!({"do": "trusted"}).to_string());
        (answer.status == 200).then(|| result(&answer).as_str().unwrap_or_default().to_owned())
    };
    let old = std::fs::read_to_string(state.join("ca.crt")).unwrap();
    assert!(trusted().unwrap().contains(old.trim()));
    for name in ["ca.key", "ca.crt"] {
        std::fs::remove_file(state.join(name)).unwrap();
    }
    strike(&devbox);
    let list = wait::until("a sandbox is made for the new authority", || {
        trusted().filter(|list| !list.contains(old.trim()))
    });
    let new = std::fs::read_to_string(state.join("ca.crt")).unwrap();
    assert!(list.contains(new.trim()), "{new}");
    assert_eq!(
        result(
            &devbox.invoke(&json!({"do": "fetch", "url": format!("{SHOP}/items/1")}).to_string())
        )["status"],
        200
    );
}
