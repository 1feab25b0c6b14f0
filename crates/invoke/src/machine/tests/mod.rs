//! A run's whole course as values: what is fed in, and how what comes out is looked at.

mod builtin;
mod order;
mod pause;
mod worker;

use postern_contract::{RequestId, RunId};
use postern_llm::{FinishReason, Role, ToolCall, Usage};
use serde_json::json;

use super::*;
use crate::plan::{Builtin, MAX_ITERATIONS_DEFAULT, Resumes, ToolFunction, Worker};

fn facts() -> RunFacts {
    let (run, request_id): (RunId, RequestId) =
        ("run-2".parse().unwrap(), "rid-1".parse().unwrap());
    RunFacts {
        run,
        request_id,
        user: Some("u@x".to_owned()),
    }
}

fn function(name: &str, method: &str, path: &str) -> ToolFunction {
    ToolFunction {
        name: name.to_owned(),
        tool: "calc".parse().unwrap(),
        method: method.to_owned(),
        path: path.to_owned(),
        description: "Calculates".to_owned(),
        parameters: None,
    }
}

fn plan() -> Plan {
    Plan::Builtin(Builtin {
        model: "fast".to_owned(),
        system_prompt: "Be kind.".to_owned(),
        tools: vec![
            function("calc__add", "POST", "/add"),
            function("calc__get", "GET", "/items/{id}"),
        ],
        max_iterations: MAX_ITERATIONS_DEFAULT,
    })
}

fn builtin(body: &Value) -> Machine {
    let request = Request::parse(body.to_string().as_bytes()).unwrap();
    Machine::new(plan(), request, facts())
}

fn worker() -> Machine {
    let request = Request::parse(br#"{"message":"hi","history":[{"content":"before"}]}"#).unwrap();
    Machine::new(
        Plan::Worker(Worker {
            model: "fast".to_owned(),
            resumes: Resumes::Always,
        }),
        request,
        facts(),
    )
}

fn says(text: &str) -> Input {
    Input::ModelReplied(Completion {
        model: "gpt-4o".to_owned(),
        content: Some(text.to_owned()),
        usage: Some(Usage {
            prompt_tokens: 5,
            completion_tokens: 2,
            total_tokens: 7,
        }),
        ..Completion::default()
    })
}

fn wants(calls: &[(&str, &str, &str)]) -> Input {
    let call = |(id, name, arguments): &(&str, &str, &str)| ToolCall {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
    };
    Input::ModelReplied(Completion {
        tool_calls: calls.iter().map(call).collect(),
        finish: FinishReason::ToolCalls,
        usage: Some(Usage {
            prompt_tokens: 1,
            completion_tokens: 1,
            total_tokens: 2,
        }),
        ..Completion::default()
    })
}

fn returned(call_id: &str, status: u16, body: &str) -> Input {
    Input::ToolReturned {
        call_id: call_id.to_owned(),
        status,
        body: body.to_owned(),
    }
}

/// Feeds inputs one after the other, a millisecond apart, and gives all actions.
fn play(machine: &mut Machine, inputs: Vec<Input>) -> Vec<Action> {
    inputs
        .into_iter()
        .zip(1_000..)
        .flat_map(|(input, now)| machine.on(input, now))
        .collect()
}

fn events(actions: &[Action]) -> Vec<Value> {
    let event = |action: &Action| match action {
        Action::Emit(event) => Some(serde_json::to_value(event).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(event).collect()
}

fn outcome(actions: &[Action]) -> &Outcome {
    let Some(Action::Finish(outcome)) = actions.last() else {
        panic!("not finished: {actions:?}")
    };
    outcome
}

fn questions(actions: &[Action]) -> Vec<&Chat> {
    let mut chats = Vec::new();
    for action in actions {
        if let Action::CallModel(chat) = action {
            chats.push(&**chat);
        }
    }
    chats
}

fn told(actions: &[Action]) -> String {
    questions(actions)
        .last()
        .unwrap()
        .messages
        .last()
        .unwrap()
        .plain_text()
}
