//! A run that waits for a human: what it tells, what it keeps, and how it goes on from what was kept alone.

use super::*;
use crate::{Awaits, outcome::Pause};

fn asks(call_id: &str, action: &ActionId) -> Input {
    Input::ToolPaused {
        call_id: call_id.to_owned(),
        action: action.clone(),
        awaits: Awaits::Approval,
        detail: json!({ "code": "APPROVAL_REQUIRED", "tool": "calc", "message": "Ask first.", "action_id": action }),
    }
}

/// Two calls in one turn, the second of which waits after the first was made.
fn paused(action: &ActionId) -> (Vec<Action>, Pause) {
    let mut machine = builtin(&json!({ "message": "sum" }));
    let calls = [
        ("c1", "calc__get", "{\"id\":7}"),
        ("c2", "calc__add", "{\"a\":1}"),
        ("c3", "calc__get", "{\"id\":8}"),
    ];
    let inputs = vec![
        Input::Start,
        wants(&calls),
        returned("c1", 200, "seven"),
        asks("c2", action),
    ];
    let actions = play(&mut machine, inputs);
    assert!(machine.is_finished());
    let Ending::Paused(pause) = outcome(&actions).ending.clone() else {
        panic!("{actions:?}")
    };
    (actions, *pause)
}

#[test]
fn a_call_that_waits_ends_the_run_for_now_and_says_so() {
    let action = ActionId::fresh();
    let (actions, _) = paused(&action);
    let told = events(&actions);
    let last: Vec<_> = told[told.len() - 3..].iter().map(|e| &e["type"]).collect();
    assert_eq!(last, ["tool_call", "approval_required", "done"]);
    let asked = &told[told.len() - 2];
    assert_eq!(
        (&asked["tool"], &asked["detail"]["action_id"]),
        (&json!("calc__add"), &json!(action))
    );
    let body = outcome(&actions).body();
    assert_eq!(outcome(&actions).http_status(), 200);
    assert_eq!(body["response"], "Ask first.");
    assert_eq!(body["approval_required"]["action_id"], json!(action));
    assert_eq!(body["tool_calls_made"].as_array().unwrap().len(), 1);
}

#[test]
fn it_goes_on_from_what_was_stored_with_the_call_that_waited_and_the_rest_of_its_turn() {
    let action = ActionId::fresh();
    let (_, pause) = paused(&action);
    let stored = serde_json::to_string(&pause.checkpoint).unwrap();
    let checkpoint: Checkpoint = serde_json::from_str(&stored).unwrap();
    assert_eq!(checkpoint, pause.checkpoint);
    let mut machine = Machine::resume(plan(), (checkpoint, action.clone()), facts()).unwrap();
    let inputs = vec![
        Input::Start,
        returned("c2", 200, "added"),
        returned("c3", 200, "eight"),
        says("done"),
    ];
    let actions = play(&mut machine, inputs);
    let calls: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::CallTool(request) => Some((
                request.call_id.as_str(),
                request.turn,
                request.action.clone(),
            )),
            _ => None,
        })
        .collect();
    // In the turn that it was in, so that the call is the very one that was shown.
    assert_eq!(
        calls,
        [("c2", 0, Some(action.clone())), ("c3", 0, Some(action))]
    );
    let asked = &questions(&actions)[0].messages;
    let results: Vec<_> = asked[3..]
        .iter()
        .map(postern_llm::Message::plain_text)
        .collect();
    assert_eq!(results, ["seven", "added", "eight"]);
    let body = outcome(&actions).body();
    assert_eq!(
        (
            &body["response"],
            body["tool_calls_made"].as_array().unwrap().len()
        ),
        (&json!("done"), 3)
    );
}

#[test]
fn a_yes_is_for_the_turn_that_waited_and_for_no_later_one() {
    let action = ActionId::fresh();
    let (_, pause) = paused(&action);
    let mut machine = Machine::resume(plan(), (pause.checkpoint, action), facts()).unwrap();
    let again = [("c9", "calc__add", "{\"a\":1}")];
    let inputs = vec![
        Input::Start,
        returned("c2", 200, "added"),
        returned("c3", 200, "eight"),
        wants(&again),
    ];
    let actions = play(&mut machine, inputs);
    let Some(Action::CallTool(request)) = actions.last() else {
        panic!("{actions:?}")
    };
    assert_eq!((request.call_id.as_str(), &request.action), ("c9", &None));
}

#[test]
fn a_pause_of_another_call_is_late_and_changes_nothing() {
    let mut machine = builtin(&json!({ "message": "sum" }));
    let calls = [("c1", "calc__add", "{}")];
    play(&mut machine, vec![Input::Start, wants(&calls)]);
    assert!(machine.on(asks("c7", &ActionId::fresh()), 1).is_empty());
    assert!(!machine.is_finished());
}

#[test]
fn a_resumed_run_whose_model_fails_goes_on_again_without_the_calls_it_made() {
    let action = ActionId::fresh();
    let (_, pause) = paused(&action);
    let mut checkpoint = pause.checkpoint;
    let made = vec![
        Input::Start,
        returned("c2", 200, "added"),
        returned("c3", 200, "eight"),
    ];
    let out_of_order = Input::ModelFailed {
        status: Some(500),
        detail: "out of order".to_owned(),
    };
    for inputs in [
        [made, vec![out_of_order]].concat(),
        vec![Input::Start, Input::Stopping],
    ] {
        let mut machine = Machine::resume(plan(), (checkpoint, action.clone()), facts()).unwrap();
        let actions = play(&mut machine, inputs);
        let last = events(&actions).pop().unwrap();
        assert_eq!(last["type"], "error", "{last}");
        assert_eq!(outcome(&actions).body()["action_id"], json!(action));
        let Ending::Halted(halt) = outcome(&actions).ending.clone() else {
            panic!("{actions:?}")
        };
        assert_eq!(halt.action, action);
        checkpoint = halt.checkpoint;
    }
    let mut machine = Machine::resume(plan(), (checkpoint, action), facts()).unwrap();
    let actions = play(&mut machine, vec![Input::Start, says("done")]);
    assert!(!actions.iter().any(|a| matches!(a, Action::CallTool(_))));
    let asked = &questions(&actions)[0].messages;
    assert_eq!(asked.last().unwrap().plain_text(), "eight");
    let body = outcome(&actions).body();
    assert_eq!(body["tool_calls_made"].as_array().unwrap().len(), 3);
}

#[test]
fn a_run_that_is_ended_while_a_call_of_it_is_out_does_not_go_on_again() {
    let action = ActionId::fresh();
    let (_, pause) = paused(&action);
    let mut machine = Machine::resume(plan(), (pause.checkpoint, action), facts()).unwrap();
    let actions = play(&mut machine, vec![Input::Start, Input::Stopping]);
    let ending = &outcome(&actions).ending;
    assert_eq!(*ending, Ending::Failed(Failure::Stopping));
}

#[test]
fn a_run_that_finds_no_place_to_go_on_waits_with_all_its_calls() {
    let action = ActionId::fresh();
    let (_, pause) = paused(&action);
    let kept = pause.checkpoint.clone();
    let mut machine = Machine::resume(plan(), (pause.checkpoint, action), facts()).unwrap();
    let why = Failure::NoPlace("gone".to_owned());
    let Ending::Halted(halt) = machine.without_place(why.clone()).ending else {
        panic!()
    };
    assert_eq!((halt.failure, halt.checkpoint), (why.clone(), kept));
    let fresh = builtin(&json!({ "message": "sum" })).without_place(why.clone());
    assert_eq!(fresh.ending, Ending::Failed(why));
}

/// A handler's value that asks for a pause, and what the machine ends with once its question has this id.
fn handler_asks(value: Value, action: &ActionId) -> Vec<Action> {
    let mut machine = worker();
    let inputs = vec![Input::Start, Input::WorkerReturned(value)];
    let asked = play(&mut machine, inputs);
    assert_eq!(asked.last(), Some(&Action::Ask), "{asked:?}");
    play(&mut machine, vec![Input::Asked(action.clone())])
}

#[test]
fn a_handler_that_asks_is_called_again_with_what_it_wanted_to_be_told() {
    let action = ActionId::fresh();
    let value = json!({
        "approval_required": { "action_id": "act-9", "message": "May I?", "amount": 5 },
        "response": "Please wait.", "resume": { "step": 2 },
    });
    let actions = handler_asks(value, &action);
    let told = events(&actions);
    let kinds: Vec<_> = told.iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["content", "approval_required", "done"]);
    let body = outcome(&actions).body();
    assert_eq!(body["response"], "Please wait.");
    assert_eq!(body["handler"], "user");
    let asked = &body["approval_required"];
    assert_eq!(asked["action_id"], json!(action));
    assert_eq!(
        (&asked["message"], &asked["source"]),
        (&json!("May I?"), &json!("agent"))
    );
    assert!(!body.to_string().contains("act-9") && !body.to_string().contains("step"));
    let Ending::Paused(pause) = outcome(&actions).ending.clone() else {
        panic!("{actions:?}")
    };
    let stored = serde_json::to_value(&pause.checkpoint).unwrap();
    assert_eq!(
        (&stored["resume_mode"], &stored["resume_state"]),
        (&json!("user_handler"), &json!({ "step": 2 }))
    );
    let checkpoint: Checkpoint = serde_json::from_value(stored).unwrap();
    let asks = checkpoint.asks().unwrap();
    assert_eq!(asks.detail, r#"{"amount":5,"message":"May I?"}"#);
    let waits = (checkpoint, action.clone());
    assert!(Machine::resume(plan(), waits.clone(), facts()).is_none());
    let worker = Plan::Worker(Worker {
        model: "fast".to_owned(),
        resumes: Resumes::Always,
    });
    let mut machine = Machine::resume(worker, waits, facts()).unwrap();
    let called = play(&mut machine, vec![Input::Start]);
    let Some(Action::CallWorker(request)) = called.last() else {
        panic!("{called:?}")
    };
    let request = serde_json::to_value(request).unwrap();
    assert_eq!(request["message"], "hi");
    assert_eq!(request["user_id"], "u@x");
    let wanted = json!({ "action_id": action, "state": { "step": 2 }, "approved": true });
    assert_eq!(request["resume"], wanted);
    let over = play(&mut machine, vec![Input::WorkerReturned(json!("done"))]);
    assert_eq!(outcome(&over).body()["response"], "done");
}

#[test]
fn what_a_handler_cannot_show_or_keep_whole_ends_its_run() {
    for value in [
        json!({ "approval_required": { "x": "y".repeat(17 << 10) } }),
        json!({ "approval_required": { "x": 1 }, "resume": { "x": "y".repeat(2 << 20) } }),
    ] {
        let inputs = vec![Input::Start, Input::WorkerReturned(value)];
        let actions = play(&mut worker(), inputs);
        assert_eq!(outcome(&actions).http_status(), 500);
    }
    // Long words are cut, for all of it is in the detail.
    let value = json!({ "approval_required": { "message": "\u{e9}".repeat(1000) } });
    let actions = handler_asks(value, &ActionId::fresh());
    let Ending::Paused(pause) = &outcome(&actions).ending else {
        panic!()
    };
    let asks = pause.checkpoint.asks().unwrap();
    assert!(asks.words.len() == 1024 && asks.detail.len() > 2000);
}

#[test]
fn what_a_handler_says_after_it_has_asked_is_late() {
    let mut machine = worker();
    let asks = json!({ "approval_required": { "x": 1 } });
    let inputs = vec![Input::Start, Input::WorkerReturned(asks)];
    play(&mut machine, inputs);
    let late = Input::WorkerReturned(json!("done"));
    assert_eq!(machine.on(late, 1), []);
    assert!(!machine.is_finished());
}

#[test]
fn a_call_that_needs_consent_says_where_and_goes_on_from_there() {
    let action = ActionId::fresh();
    let link = "https://gate.test/consent/x";
    let detail = json!({
        "code": "CONSENT_REQUIRED", "error": "CONSENT_REQUIRED", "tool": "calc", "message": "Say yes here:",
        "authorization_url": link, "resume_id": action,
    });
    let mut machine = builtin(&json!({ "message": "sum" }));
    let inputs = vec![
        Input::Start,
        wants(&[("c1", "calc__get", "{\"id\":7}")]),
        Input::ToolPaused {
            call_id: "c1".to_owned(),
            action: action.clone(),
            awaits: Awaits::Consent,
            detail: detail.clone(),
        },
    ];
    let actions = play(&mut machine, inputs);
    let words = format!("Say yes here: {link}");
    let told = events(&actions);
    let kinds: Vec<_> = told.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["tool_call", "consent_required", "content", "done"]);
    assert_eq!(
        (&told[1]["tool"], &told[2]["delta"]),
        (&json!("calc"), &json!(words))
    );
    let outcome = outcome(&actions);
    let body = outcome.body();
    assert_eq!(
        (outcome.http_status(), &body["code"]),
        (200, &detail["code"])
    );
    assert_eq!(body["response"], words);
    assert_eq!(
        (&body["resume_id"], &body["authorization_url"]),
        (&json!(action), &json!(link))
    );
    assert_eq!(
        (&body["consent_required"], &body["tool"]),
        (&detail, &json!("calc"))
    );
    assert!(body.get("approval_required").is_none() && body["message"] == "Say yes here:");
    let Ending::Paused(pause) = &outcome.ending else {
        panic!("{outcome:?}")
    };
    assert_eq!(pause.checkpoint.awaits(), Awaits::Consent);
    let kept = serde_json::to_value(&pause.checkpoint).unwrap();
    let kept: Checkpoint = serde_json::from_value(kept).unwrap();
    assert_eq!(kept.awaits(), Awaits::Consent);
}
