//! The plain answer to a call: a status and a body, the same whether it comes fresh from the run or out of the store. Never
//! decides how a run ended.

use postern_contract::RunId;
use postern_invoke::{Event, Outcome};
use postern_store::runs::Run;
use serde_json::{Value, json};

/// What a caller gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The run.
    pub run: RunId,
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: Value,
}

impl Answer {
    /// The answer to a run that has just ended.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let run = outcome.facts.run.clone();
        let mut body = outcome.body();
        if let Some(fields) = body.as_object_mut() {
            fields
                .entry("run_id")
                .or_insert_with(|| run.as_str().into());
        }
        Self {
            run,
            status: outcome.http_status(),
            body,
        }
    }

    /// The answer and the last event when the end of a run cannot be stored: what happened may not be told, since it would not be told again.
    #[must_use]
    pub fn not_stored(run: RunId) -> (Self, Event) {
        let (message, code) = (
            "the end of the run could not be stored".to_owned(),
            "STORE_UNAVAILABLE".to_owned(),
        );
        let body = json!({ "error": message, "code": code, "run_id": run });
        let answer = Self {
            run,
            status: 503,
            body,
        };
        (answer, Event::Error { message, code })
    }

    /// The answer to a run that ended before, as it was given then.
    #[must_use]
    pub fn stored(run: &Run) -> Self {
        let told = run.outcome.as_ref().and_then(|outcome| {
            let status = outcome.get("status")?.as_u64()?;
            Some((u16::try_from(status).ok()?, outcome.get("body")?.clone()))
        });
        let (status, body) = told.unwrap_or_else(|| {
            let body = json!({
                "error": "the run was interrupted",
                "code": "INTERRUPTED",
                "run_id": run.run,
                "request_id": run.request_id,
            });
            (500, body)
        });
        Self {
            run: run.run.clone(),
            status,
            body,
        }
    }

    /// What it weighs in memory, in bytes, roughly and rather too much.
    #[must_use]
    pub fn weight(&self) -> usize {
        weight(&self.body)
    }

    /// The form that the store keeps.
    #[must_use]
    pub fn to_stored(&self) -> Value {
        json!({ "status": self.status, "body": self.body })
    }
}

/// The room of a map's leaf, which has several places, and of a value with its key.
const LEAF_BYTES: usize = 700;
const VALUE_BYTES: usize = 64;

fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(weight).sum(),
            Value::Object(fields) => {
                let inner = fields.iter().map(|(key, value)| key.len() + weight(value));
                LEAF_BYTES + inner.sum::<usize>()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
