//! A run that waits for a human: what it tells, what it keeps, and how it goes on from what was kept alone.

use super::*;
use crate::outcome::Pause;

fn asks(call_id: &str, action: &ActionId) -> Input {
    Input::ToolPaused {
        call_id: call_id.to_owned(),
        action: action.clone(),
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
    let Plan::Builtin(agent) = plan() else {
        panic!()
    };
    let mut machine = Machine::resume(agent, (checkpoint, action.clone()), facts());
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
    let Plan::Builtin(agent) = plan() else {
        panic!()
    };
    let mut machine = Machine::resume(agent, (pause.checkpoint, action), facts());
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
