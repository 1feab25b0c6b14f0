//! Agents without code: what the caller sees, what the model is told, and what a wrong model cannot do.

use super::*;

#[test]
fn a_plain_answer() {
    let body = json!({ "message": "hello", "history": [
        { "content": "first" }, { "role": "assistant", "content": "" }, { "role": "assistant", "content": "yes" },
    ] });
    let actions = play(&mut builtin(&body), vec![Input::Start, says("hi")]);
    let asked = questions(&actions)[0];
    let said: Vec<_> = asked
        .messages
        .iter()
        .map(|m| (m.role, m.plain_text()))
        .collect();
    let wanted = [
        (Role::System, "Be kind."),
        (Role::User, "first"),
        (Role::Assistant, "yes"),
        (Role::User, "hello"),
    ];
    assert_eq!(said, wanted.map(|(role, text)| (role, text.to_owned())));
    let done = json!({
        "type": "done", "model": "gpt-4o", "tool_calls_made": [], "duration_ms": 1, "run_id": "run-2", "request_id": "rid-1",
        "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 },
    });
    assert_eq!(
        events(&actions),
        [json!({ "type": "content", "delta": "hi" }), done]
    );
    assert_eq!(outcome(&actions).http_status(), 200);
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 });
    assert_eq!(
        outcome(&actions).body(),
        json!({
            "response": "hi", "model": "gpt-4o", "usage": usage, "tool_calls_made": [],
            "duration_ms": 1, "request_id": "rid-1", "run_id": "run-2",
        })
    );
}

#[test]
fn tools_are_called_one_after_the_other_and_their_results_told() {
    let mut machine = builtin(&json!({ "message": "sum" }));
    let calls = [
        ("c1", "calc__add", "{\"a\":1}"),
        ("c2", "calc__get", "{\"id\":7}"),
    ];
    let first = play(&mut machine, vec![Input::Start, wants(&calls)]);
    let Some(Action::CallTool(add)) = first.last() else {
        panic!("{first:?}")
    };
    assert_eq!(
        (add.method.as_str(), add.path.as_str(), add.turn),
        ("POST", "/add", 0)
    );
    assert_eq!(add.body.as_deref(), Some(br#"{"a":1}"#.as_slice()));
    let long = "x".repeat(5_000);
    let rest = play(
        &mut machine,
        vec![
            returned("c1", 200, &long),
            returned("c2", 500, "boom"),
            says("done"),
        ],
    );
    let Action::CallTool(get) = &rest[2] else {
        panic!("{rest:?}")
    };
    assert_eq!(
        (get.path.as_str(), get.body.as_deref(), get.call_id.as_str()),
        ("/items/7", None, "c2")
    );
    let asked = &questions(&rest)[0].messages;
    assert_eq!(asked[2].tool_calls.len(), 2);
    assert_eq!(
        (asked[3].plain_text(), asked[3].tool_call_id.as_deref()),
        (long, Some("c1"))
    );
    assert_eq!(
        asked[4].plain_text(),
        r#"{"detail":"boom","error":"HTTP 500"}"#
    );
    let seen = events(&rest);
    assert_eq!(seen[0]["result"].as_str().unwrap().len(), 1_000);
    assert_eq!(
        seen[1],
        json!({ "type": "tool_call", "tool": "calc__get", "arguments": "{\"id\":7}" })
    );
    let body = outcome(&rest).body();
    assert_eq!(
        body["tool_calls_made"],
        json!([
            { "function": "calc__add", "method": "POST", "url": "http://127.127.0.1:4180/tools/calc/add" },
            { "function": "calc__get", "method": "GET", "url": "http://127.127.0.1:4180/tools/calc/items/7" },
        ])
    );
    assert_eq!(body["usage"]["total_tokens"], 9);
}

#[test]
fn what_the_model_gets_wrong_is_told_to_it() {
    for (name, arguments, why) in [
        ("calc__sub", "{}", "there is no such function"),
        ("calc__add", "[1]", "list"),
        ("calc__add", "{oops", "not valid JSON"),
        ("calc__get", "{}", "`id` is required"),
        ("calc__get", "{\"id\":\"..\"}", "dots"),
    ] {
        let mut machine = builtin(&json!({ "message": "x" }));
        let actions = play(
            &mut machine,
            vec![Input::Start, wants(&[("c1", name, arguments)])],
        );
        assert!(
            told(&actions).contains(why),
            "{name} {arguments}: {}",
            told(&actions)
        );
        assert!(!machine.is_finished());
    }
}

#[test]
fn an_unreachable_tool_is_a_result_and_an_unreachable_model_an_end() {
    let mut machine = builtin(&json!({ "message": "x" }));
    let failed = Input::ToolFailed {
        call_id: "c1".to_owned(),
        detail: "refused".to_owned(),
    };
    let calls = wants(&[("c1", "calc__add", "{}")]);
    let actions = play(&mut machine, vec![Input::Start, calls, failed]);
    assert!(told(&actions).contains("could not be reached"));
    let gone = Input::ModelFailed {
        status: None,
        detail: "connection refused".to_owned(),
    };
    let actions = play(&mut machine, vec![gone]);
    assert_eq!(outcome(&actions).http_status(), 502);
    assert_eq!(
        outcome(&actions).body()["error"],
        "LLM Gateway unreachable: connection refused"
    );
    let mut machine = builtin(&json!({ "message": "x" }));
    let wrong = Input::ModelFailed {
        status: Some(500),
        detail: "sorry".to_owned(),
    };
    let actions = play(&mut machine, vec![Input::Start, wrong]);
    assert_eq!(
        events(&actions),
        [json!({ "type": "error", "message": "LLM Gateway returned 500", "code": "MODEL_FAILED" })]
    );
    let body = outcome(&actions).body();
    assert_eq!(
        (&body["error"], &body["detail"]),
        (&json!("LLM Gateway returned 500"), &json!("sorry"))
    );
    assert_eq!(body["request_id"], "rid-1");
}

#[test]
fn the_cap_ends_the_run_after_ten_questions_and_ten_calls() {
    let mut machine = builtin(&json!({ "message": "x" }));
    let mut actions = machine.on(Input::Start, 0);
    for _ in 0..12 {
        actions.extend(machine.on(wants(&[("c", "calc__add", "{}")]), 1));
        actions.extend(machine.on(returned("c", 200, "{}"), 1));
    }
    assert_eq!(questions(&actions).len(), 10);
    let body = outcome(&actions).body();
    assert_eq!(body["tool_calls_made"].as_array().unwrap().len(), 10);
    assert!(
        body["response"]
            .as_str()
            .unwrap()
            .contains("after 10 rounds")
    );
    assert_eq!(outcome(&actions).http_status(), 200);
}

#[test]
fn the_tool_cache_answers_exact_calls() {
    let cached = json!({ "function_name": "calc__add", "arguments": "{\"a\":1}", "result": "two" });
    let mut machine = builtin(&json!({ "message": "x", "tool_cache": [cached] }));
    let calls = [
        ("c1", "calc__add", "{\"a\":1}"),
        ("c2", "calc__add", "{\"a\": 1}"),
    ];
    let actions = play(
        &mut machine,
        vec![
            Input::Start,
            wants(&calls),
            returned("c2", 200, "fresh"),
            says("ok"),
        ],
    );
    let out: Vec<_> = actions
        .iter()
        .filter(|a| matches!(a, Action::CallTool(_)))
        .collect();
    assert_eq!(out.len(), 1);
    assert_eq!(
        outcome(&actions).body()["tool_calls_made"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(questions(&actions)[1].messages[3].plain_text(), "two");
}

#[test]
fn streamed_text_is_not_said_twice() {
    let pieces = ["Hel", "lo"].map(|piece| Input::ModelSaid(piece.to_owned()));
    let mut inputs = vec![Input::Start];
    inputs.extend(pieces);
    inputs.push(says("Hello"));
    let actions = play(&mut builtin(&json!({ "message": "x" })), inputs);
    let seen = events(&actions);
    assert_eq!(
        seen.iter()
            .filter(|event| event["type"] == "content")
            .count(),
        2
    );
    assert_eq!(outcome(&actions).body()["response"], "Hello");
}

#[test]
fn call_ids_that_cannot_travel_are_replaced_everywhere() {
    let mut machine = builtin(&json!({ "message": "x" }));
    let calls = [
        ("", "calc__add", "{}"),
        ("a\r\nX-Evil: 1", "calc__add", "{}"),
        ("c", "calc__add", "{}"),
        ("c", "calc__add", "{}"),
    ];
    let mut actions = play(&mut machine, vec![Input::Start, wants(&calls)]);
    let mut ids = Vec::new();
    while let Some(Action::CallTool(request)) = actions.last() {
        ids.push(request.call_id.clone());
        actions = machine.on(returned(ids.last().unwrap(), 200, "{}"), 0);
    }
    assert_eq!(ids, ["call_1_0", "call_1_1", "c", "call_1_3"]);
    let asked: Vec<_> = questions(&actions)[0].messages[2]
        .tool_calls
        .iter()
        .map(|c| c.id.clone())
        .collect();
    assert_eq!(asked, ids);
}

/// Lets every call that goes out return; gives their ids, and the actions after the last.
fn carry_out(machine: &mut Machine, mut actions: Vec<Action>) -> (Vec<String>, Vec<Action>) {
    let mut ids = Vec::new();
    while let Some(Action::CallTool(request)) = actions.last() {
        let id = request.call_id.clone();
        actions = machine.on(returned(&id, 200, "{}"), 0);
        ids.push(id);
    }
    (ids, actions)
}

#[test]
fn of_a_flood_of_calls_the_first_go_out_and_the_rest_are_refused_in_words() {
    let mut machine = builtin(&json!({ "message": "x" }));
    let ids: Vec<_> = (0..100).map(|n| format!("c{n}")).collect();
    let flood: Vec<_> = ids
        .iter()
        .map(|id| (id.as_str(), "calc__add", "{}"))
        .collect();
    let first = play(&mut machine, vec![Input::Start, wants(&flood)]);
    let (out, actions) = carry_out(&mut machine, first);
    assert_eq!(out, ids[..32]);
    let results = &questions(&actions)[0].messages[3..];
    let answered: Vec<_> = results
        .iter()
        .filter_map(|m| m.tool_call_id.clone())
        .collect();
    assert_eq!(answered, ids);
    let refused = r#"{"error":"not called: at most 32 calls are made in one turn"}"#;
    for (position, result) in results.iter().enumerate() {
        let wanted = if position < 32 { "{}" } else { refused };
        assert_eq!(result.plain_text(), wanted, "{position}");
    }
    let second = machine.on(wants(&flood), 0);
    let (out, _) = carry_out(&mut machine, second);
    assert_eq!(out, ids[..32], "the next turn has calls of its own");
}

#[test]
fn calls_that_never_go_out_take_no_place_of_those_that_do() {
    let cached = json!({ "function_name": "calc__add", "arguments": "{\"a\":1}", "result": "two" });
    let mut machine = builtin(&json!({ "message": "x", "tool_cache": [cached] }));
    let mut turn = Vec::new();
    turn.extend((0..40).map(|_| ("", "calc__add", "{\"a\":1}")));
    turn.extend((0..40).map(|_| ("", "calc__none", "{}")));
    turn.extend([("real", "calc__add", "{}")]);
    let first = play(&mut machine, vec![Input::Start, wants(&turn)]);
    assert_eq!(carry_out(&mut machine, first).0, ["real"]);
}
