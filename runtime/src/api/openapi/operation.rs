//! One operation of the API, in words of OpenAPI: what it asks for, answers and refuses. Never knows where it is served.

use postern_contract::AgentName;
use serde_json::{Map, Value, json};

use super::schemas::named;

/// One operation.
pub(in crate::api) struct Operation {
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    /// The parts of the path that it has names for, and headers.
    parameters: Vec<Value>,
    body: Option<Value>,
    /// What it answers when all is well: status, kind and shape.
    answers: Vec<(u16, &'static str, Value)>,
    refuses: Vec<u16>,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

impl Operation {
    pub(super) fn new(method: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            id,
            summary,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refuses: Vec::new(),
        }
    }

    pub(super) fn answering(mut self, status: u16, shape: &str) -> Self {
        self.answers.push((status, JSON, named(shape)));
        self
    }

    pub(super) fn streaming(self) -> Self {
        self.telling("Event")
    }

    /// Answers with server-sent events of this shape, beside what else it answers.
    pub(super) fn telling(mut self, shape: &str) -> Self {
        self.answers.push((200, EVENTS, named(shape)));
        self
    }

    pub(super) fn refusing(mut self, statuses: &[u16]) -> Self {
        self.refuses.extend(statuses);
        self
    }

    pub(super) fn with(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    pub(super) fn reading(mut self, shape: &str, is_required: bool) -> Self {
        self.body = Some(json!({
            "required": is_required,
            "content": { JSON: { "schema": named(shape) } },
        }));
        self
    }

    /// The path's item, where it is served for the default agent or for all.
    pub(super) fn at_the_root(&self) -> Value {
        self.item(self.id, &self.parameters, &self.refuses)
    }

    /// The path's item, where it is served for the agent that the path names.
    pub(super) fn of_agent(&self, agents: &[&AgentName]) -> Value {
        let mut parameters = vec![json!({
            "name": "name", "in": "path", "required": true, "description": "The agent.",
            "schema": { "type": "string", "enum": agents },
        })];
        parameters.extend(self.parameters.iter().cloned());
        let refuses = [&self.refuses[..], &[404]].concat();
        self.item(&format!("{}_of_agent", self.id), &parameters, &refuses)
    }

    fn item(&self, id: &str, parameters: &[Value], refuses: &[u16]) -> Value {
        let mut responses = Map::new();
        for (status, kind, shape) in &self.answers {
            let answer = responses
                .entry(status.to_string())
                .or_insert_with(|| response(*status, kind, shape));
            answer["content"][*kind] = json!({ "schema": shape });
        }
        for status in refuses {
            let refusal = response(*status, JSON, &named("Refusal"));
            responses.insert(status.to_string(), refusal);
        }
        let mut operation = json!({
            "operationId": id,
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        json!({ self.method: operation })
    }
}

fn response(status: u16, kind: &str, shape: &Value) -> Value {
    let word = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    json!({ "description": word.unwrap_or("?"), "content": { kind: { "schema": shape } } })
}
