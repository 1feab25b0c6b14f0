//! Inputs in any order: no panic, one end, and every call of a model answered once.

use proptest::prelude::*;

use super::*;

fn any_input() -> impl Strategy<Value = Input> {
    let id = prop::sample::select(vec!["c1", "c2", "call_1_0", ""]);
    let name = prop::sample::select(vec!["calc__add", "calc__get", "nope"]);
    let arguments = prop::sample::select(vec!["{}", "{\"id\":1}", "[]", "", "x"]);
    let calls = prop::collection::vec((id.clone(), name, arguments), 0..4);
    prop_oneof![
        2 => Just(Input::Start),
        1 => "[a-z]{0,3}".prop_map(Input::ModelSaid),
        6 => calls.prop_map(|calls| wants(&calls)),
        1 => Just(says("hi")),
        1 => Just(Input::ModelFailed { status: None, detail: String::new() }),
        6 => (id.clone(), 100_u16..600).prop_map(|(id, status)| returned(id, status, "{}")),
        3 => id.prop_map(|id| Input::ToolFailed { call_id: id.to_owned(), detail: String::new() }),
        1 => Just(Input::WorkerSaid(Event::Content { delta: None })),
        1 => Just(Input::WorkerReturned(json!({ "x": 1 }))),
        1 => Just(Input::WorkerReturned(json!({ "approval_required": { "x": 1 } }))),
        2 => Just(Input::Asked("act_1".parse().unwrap())),
        1 => Just(Input::WorkerFailed { detail: String::new() }),
        1 => Just(Input::Cancelled),
        1 => Just(Input::Stopping),
        1 => Just(Input::DeadlinePassed),
    ]
}

proptest! {
    #[test]
    fn any_order_of_inputs_ends_at_most_once_and_last(
        inputs in prop::collection::vec((any_input(), any::<i64>()), 0..60),
        has_code in any::<bool>(),
    ) {
        let mut machine = if has_code { worker() } else { builtin(&json!({ "message": "x" })) };
        let mut actions = Vec::new();
        for (input, now) in inputs {
            actions.extend(machine.on(input, now));
        }
        actions.extend(machine.on(Input::Cancelled, i64::MIN));
        prop_assert!(machine.is_finished());
        let ends = actions.iter().filter(|action| matches!(action, Action::Finish(_))).count();
        prop_assert_eq!(ends, 1);
        let body = outcome(&actions).body();
        prop_assert_eq!(&body["run_id"], "run-2");
        let waits = actions.iter().filter(|a| matches!(a, Action::CallModel(_))).count();
        prop_assert!(waits <= MAX_ITERATIONS_DEFAULT as usize);
    }

    #[test]
    fn every_call_of_the_model_gets_exactly_one_answer(calls in prop::collection::vec(
        (prop::sample::select(vec!["a", "b", ""]), prop::sample::select(vec!["calc__add", "nope"])), 1..40,
    )) {
        let mut machine = builtin(&json!({ "message": "x" }));
        let calls: Vec<_> = calls.into_iter().map(|(id, name)| (id, name, "{}")).collect();
        let mut actions = play(&mut machine, vec![Input::Start, wants(&calls)]);
        while let Some(Action::CallTool(request)) = actions.last() {
            let id = request.call_id.clone();
            actions = machine.on(returned(&id, 200, "{}"), 0);
        }
        let messages = &questions(&actions).last().unwrap().messages;
        let mut asked: Vec<_> = messages[2].tool_calls.iter().map(|call| call.id.clone()).collect();
        let mut answered: Vec<_> = messages[3..].iter().filter_map(|m| m.tool_call_id.clone()).collect();
        prop_assert_eq!(answered.len(), calls.len());
        asked.sort();
        answered.sort();
        prop_assert_eq!(&answered, &asked);
        asked.dedup();
        prop_assert_eq!(asked.len(), calls.len());
    }
}
