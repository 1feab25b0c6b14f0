//! The course of an agent with code: ask its worker once, pass on what it says, make its value an answer. Never believes a worker
//! about tools of the gate, usage, pauses or consents: those come from the gate alone.

use serde_json::{Map, Value, json};

use super::{Action, Input, Step};
use crate::{
    event::Event,
    outcome::{Ending, Failure},
    plan::{RunFacts, Worker, WorkerRequest},
    request::{Request, is_empty},
};

/// Words by which a caller would take an answer for a pause.
const PAUSE_CODES: [&str; 2] = ["APPROVAL_REQUIRED", "CONSENT_REQUIRED"];

/// Keys by which a handler asks for a pause, or a caller would take an answer for one.
const PAUSE_KEYS: [&str; 2] = ["approval_required", "consent_required"];

/// A worker's run.
#[derive(Debug)]
pub(super) struct Errand {
    model: String,
    request: Option<Request>,
    is_asked: bool,
    has_said: bool,
}

impl Errand {
    pub(super) fn new(agent: Worker, request: Request) -> Self {
        Self {
            model: agent.model,
            request: Some(request),
            is_asked: false,
            has_said: false,
        }
    }

    pub(super) fn on(&mut self, input: Input, facts: &RunFacts, step: &mut Step) {
        match input {
            Input::Start => self.ask(facts, step),
            _ if !self.is_asked => {}
            Input::WorkerSaid(said @ Event::Content { .. }) => {
                self.has_said = true;
                step.emit(said);
            }
            Input::WorkerSaid(said @ (Event::OwnToolCall { .. } | Event::OwnToolResult { .. })) => {
                step.emit(said);
            }
            Input::WorkerReturned(value) => self.returned(value, step),
            Input::WorkerFailed { detail } => step.fail(Failure::Worker(detail)),
            _ => {}
        }
    }

    fn ask(&mut self, facts: &RunFacts, step: &mut Step) {
        let Some(request) = self.request.take() else {
            return;
        };
        self.is_asked = true;
        let history = request.history.into_iter();
        let history = history.map(|e| json!({ "role": e.role.word(), "content": e.content }));
        step.act(Action::CallWorker(Box::new(WorkerRequest {
            message: request.message,
            history: history.collect(),
            request_id: facts.request_id.clone(),
            run_id: facts.run.clone(),
            user_id: facts.user.clone(),
        })));
    }

    fn returned(&mut self, value: Value, step: &mut Step) {
        let value = normalised(value);
        // The dialect's documents look for either.
        let mut words = ["code", "error"].into_iter();
        let code = words.find_map(|key| {
            let word = value.get(key).and_then(Value::as_str)?;
            PAUSE_CODES.contains(&word).then_some(word)
        });
        let asks_for_pause = PAUSE_KEYS
            .iter()
            .any(|key| value.get(*key).is_some_and(|v| !is_empty(v)));
        if asks_for_pause || code.is_some() {
            step.fail(Failure::PauseNotKept);
            return;
        }
        if !self.has_said {
            let delta = value.get("response").and_then(as_text);
            step.emit(Event::Content { delta });
        }
        step.end(Ending::Returned {
            value,
            model: std::mem::take(&mut self.model),
        });
    }
}

/// A handler's value as an object with a `response`: an object is kept and lacks nothing but perhaps that, anything else is
/// its text.
fn normalised(value: Value) -> Map<String, Value> {
    let mut fields = match value {
        Value::Object(fields) => fields,
        other => {
            let response = json!(as_text(&other).unwrap_or_default());
            return Map::from_iter([("response".to_owned(), response)]);
        }
    };
    if !fields.contains_key("response") {
        let response = fields.get("output").cloned();
        let response = response.unwrap_or_else(|| json!(Value::Object(fields.clone()).to_string()));
        fields.insert("response".to_owned(), response);
    }
    fields
}

/// A value as text: texts as they are, null as nothing, the rest as JSON.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
