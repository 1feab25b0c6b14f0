//! A question on its way through: read strictly, judged, and sent on byte for byte but for the name of the model. Never
//! writes a body anew.

use std::{collections::BTreeMap, ops::Range};

use serde_json::value::RawValue;

use crate::{
    RequestError,
    act::{Act, Found},
    api::Api,
    json::Json,
};

/// A client's body.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    body: &'a [u8],
    api: Api,
    model: String,
    model_at: Range<usize>,
    store_at: Option<Range<usize>>,
    acts: Vec<Found>,
}

impl<'a> Question<'a> {
    /// Reads a body that came by a route.
    ///
    /// # Errors
    /// See [`RequestError`]; all are 400.
    pub fn read(api: Api, body: &'a [u8]) -> Result<Self, RequestError> {
        let json = Json::read(body)?;
        if !matches!(json, Json::Object(_)) {
            return Err(RequestError::NotAnObject);
        }
        let model = match json.get("model") {
            None => return Err(RequestError::ModelRequired),
            Some(Json::Text(name)) if name.is_empty() => return Err(RequestError::ModelRequired),
            Some(Json::Text(name)) => name.clone().into_owned(),
            Some(_) => return Err(field("model", "must be a text")),
        };
        for flag in ["stream", "store", "background"] {
            if json
                .get(flag)
                .is_some_and(|value| !matches!(value, Json::Bool(_)))
            {
                return Err(field(flag, "must be true or false"));
            }
        }
        let acts = api.acts(&json)?;
        let spans: BTreeMap<String, &RawValue> =
            serde_json::from_slice(body).map_err(|_| RequestError::NotJson)?;
        let span = |key: &str| spans.get(key).map(|raw| span(body, raw.get()));
        Ok(Self {
            body,
            api,
            model,
            model_at: span("model").ok_or(RequestError::ModelRequired)?,
            store_at: span("store"),
            acts,
        })
    }

    /// The model that is asked for, in the client's words.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What the provider would do besides answering, each once.
    #[must_use]
    pub fn acts(&self) -> &[Found] {
        &self.acts
    }

    /// The body for a provider that calls the model so. Nothing else changes, but for one thing: a provider that would
    /// keep the answer unasked is told not to (`"store":false`), unless it may.
    #[must_use]
    pub fn addressed_to(&self, upstream: &str, allowed: &[Act]) -> Vec<u8> {
        let mut edits = vec![(self.model_at.clone(), quoted(upstream))];
        if self.api.keeps_unasked() && !allowed.contains(&Act::StoredState) {
            edits.push(match &self.store_at {
                Some(at) => (at.clone(), "false".to_owned()),
                None => {
                    let start = self
                        .body
                        .iter()
                        .position(|b| *b == b'{')
                        .map_or(0, |at| at + 1);
                    (start..start, r#""store":false,"#.to_owned())
                }
            });
        }
        edits.sort_by_key(|(at, _)| at.start);
        let mut sent = Vec::with_capacity(self.body.len() + upstream.len() + 16);
        let mut done = 0;
        for (at, text) in edits {
            sent.extend_from_slice(&self.body[done..at.start]);
            sent.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        sent.extend_from_slice(&self.body[done..]);
        sent
    }
}

fn field(name: &str, why: &'static str) -> RequestError {
    RequestError::Field {
        field: name.to_owned(),
        why,
    }
}

/// Where a part that was read out of a text stands in it.
fn span(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
