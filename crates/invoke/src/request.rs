//! The body of `/invoke`, parsed once. Never interprets the message.

use postern_contract::RunId;
use postern_llm::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The most entries of a history.
pub const HISTORY_ENTRIES_MAX: usize = 10_000;

/// The most entries of a tool cache.
pub const TOOL_CACHE_ENTRIES_MAX: usize = 1_000;

/// The longest name of a conversation, in characters.
pub const CONVERSATION_CHARS_MAX: usize = 255;

/// A question to an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked; any JSON that is not empty.
    pub message: Value,
    /// What went before, entries without role or content left out.
    pub history: Vec<HistoryEntry>,
    /// The run, if the body names it (the header goes before it).
    pub run_id: Option<RunId>,
    /// Tool results of an earlier attempt.
    pub tool_cache: Vec<CachedCall>,
    /// What the run is a part of, for agents that keep conversations by themselves.
    pub conversation_id: Option<String>,
}

/// One earlier turn.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// Who spoke; the user where the entry does not say.
    pub role: Role,
    /// What was said; never empty.
    pub content: Value,
}

/// A tool result that the caller already has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedCall {
    /// The function.
    pub function_name: String,
    /// Its arguments, byte for byte as the model wrote them.
    pub arguments: String,
    /// What it answered.
    pub result: String,
}

/// Why a body is refused: always 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not JSON.
    #[error("invalid JSON body")]
    NotJson,
    /// JSON, but no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// No message, or an empty one.
    #[error("message is required")]
    MessageRequired,
    /// A field has the wrong form.
    #[error("{field} {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        why: &'static str,
    },
}

impl BadRequest {
    /// The JSON body of the 400.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": self.to_string() })
    }
}

impl Request {
    /// Parses a body. An empty body is an empty object, and so lacks its message.
    ///
    /// # Errors
    /// See [`BadRequest`].
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        if body.is_empty() {
            return Err(BadRequest::MessageRequired);
        }
        let Value::Object(mut fields) =
            serde_json::from_slice(body).map_err(|_| BadRequest::NotJson)?
        else {
            return Err(BadRequest::NotAnObject);
        };
        let message = fields.remove("message").unwrap_or_default();
        if is_empty(&message) {
            return Err(BadRequest::MessageRequired);
        }
        Ok(Self {
            message,
            history: read_history(&mut fields)?,
            run_id: read_run_id(&fields)?,
            tool_cache: read_tool_cache(&mut fields)?,
            conversation_id: read_conversation_id(&fields)?,
        })
    }
}

/// What counts as nothing: null, false, zero, and whatever has no element.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn wrong<T>(field: &'static str, why: &'static str) -> Result<T, BadRequest> {
    Err(BadRequest::Field { field, why })
}

/// Takes a list out of the body; null is as good as nothing.
fn take_list(
    fields: &mut Map<String, Value>,
    field: &'static str,
    entries_max: usize,
) -> Result<Vec<Value>, BadRequest> {
    match fields.remove(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= entries_max => Ok(list),
        Some(Value::Array(_)) => wrong(field, "has too many entries"),
        Some(_) => wrong(field, "must be a list"),
    }
}

fn read_history(fields: &mut Map<String, Value>) -> Result<Vec<HistoryEntry>, BadRequest> {
    let mut history = Vec::new();
    for entry in take_list(fields, "history", HISTORY_ENTRIES_MAX)? {
        let Value::Object(mut entry) = entry else {
            return wrong("history", "must hold objects with role and content");
        };
        let role = match entry.get("role") {
            None => Role::User,
            Some(role) if is_empty(role) => continue,
            Some(role) => match role.as_str().and_then(Role::from_word) {
                // Its call is not in a history, and no provider takes it alone.
                Some(Role::Tool) => continue,
                Some(role) => role,
                None => {
                    return wrong(
                        "history",
                        "has a role that is not system, developer, user or assistant",
                    );
                }
            },
        };
        let content = entry.remove("content").unwrap_or_default();
        if !is_empty(&content) {
            history.push(HistoryEntry { role, content });
        }
    }
    Ok(history)
}

fn read_run_id(fields: &Map<String, Value>) -> Result<Option<RunId>, BadRequest> {
    match fields.get("run_id") {
        None => Ok(None),
        Some(value) if is_empty(value) => Ok(None),
        Some(value) => match value.as_str().map(str::parse) {
            Some(Ok(run)) => Ok(Some(run)),
            _ => wrong(
                "run_id",
                "must be 1 to 128 letters, digits, `-`, `_`, `.` or `:`",
            ),
        },
    }
}

fn read_conversation_id(fields: &Map<String, Value>) -> Result<Option<String>, BadRequest> {
    match fields.get("conversation_id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if id.is_empty() => Ok(None),
        Some(Value::String(id)) if id.chars().count() <= CONVERSATION_CHARS_MAX => {
            Ok(Some(id.clone()))
        }
        Some(_) => wrong(
            "conversation_id",
            "must be a text of at most 255 characters",
        ),
    }
}

fn read_tool_cache(fields: &mut Map<String, Value>) -> Result<Vec<CachedCall>, BadRequest> {
    let mut cache = Vec::new();
    for entry in take_list(fields, "tool_cache", TOOL_CACHE_ENTRIES_MAX)? {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let (Some(function_name), Some(arguments), Some(result)) =
            (text("function_name"), text("arguments"), text("result"))
        else {
            return wrong(
                "tool_cache",
                "must hold objects with function_name, arguments and result, all texts",
            );
        };
        cache.push(CachedCall {
            function_name,
            arguments,
            result,
        });
    }
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        Request::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_contracts_words_for_what_is_wrong() {
        for bad in ["{x", "{", "\u{feff}{}", "{}{}", &"[".repeat(1_000)] {
            assert_eq!(error(bad), "invalid JSON body", "{bad}");
        }
        assert_eq!(
            Request::parse(b"{\"message\":\"\xff\"}"),
            Err(BadRequest::NotJson)
        );
        for bad in [
            "",
            "{}",
            r#"{"message":""}"#,
            r#"{"message":null}"#,
            r#"{"message":0}"#,
            r#"{"message":[]}"#,
        ] {
            assert_eq!(error(bad), "message is required", "{bad}");
        }
        for bad in ["[1]", "\"x\"", "7", "null"] {
            assert_eq!(error(bad), "the body must be a JSON object", "{bad}");
        }
        assert_eq!(
            BadRequest::NotJson.body(),
            json!({ "error": "invalid JSON body" })
        );
    }

    #[test]
    fn a_message_may_be_any_json_and_unknown_fields_are_let_be() {
        let request =
            Request::parse(br#"{"message":{"a":1},"conversation_id":"c","x":[]}"#).unwrap();
        assert_eq!(request.message, json!({ "a": 1 }));
        assert_eq!(
            (request.history, request.run_id, request.tool_cache),
            (vec![], None, vec![])
        );
        assert_eq!(request.conversation_id.as_deref(), Some("c"));
    }

    #[test]
    fn history_keeps_what_has_role_and_content() {
        let body = json!({ "message": "hi", "history": [
            { "content": "no role" }, { "role": "assistant", "content": null }, { "role": "", "content": "x" },
            { "role": "assistant", "content": "yes" }, { "role": "tool", "content": "lost" },
        ] });
        let request = Request::parse(body.to_string().as_bytes()).unwrap();
        let kept: Vec<_> = request
            .history
            .iter()
            .map(|e| (e.role, e.content.as_str().unwrap()))
            .collect();
        assert_eq!(kept, [(Role::User, "no role"), (Role::Assistant, "yes")]);
    }

    #[test]
    fn wrong_fields_are_named() {
        for (bad, field) in [
            (r#"{"message":"x","history":"no"}"#, "history"),
            (r#"{"message":"x","history":["no"]}"#, "history"),
            (
                r#"{"message":"x","history":[{"role":"robot","content":"x"}]}"#,
                "history",
            ),
            (r#"{"message":"x","tool_cache":{}}"#, "tool_cache"),
            (r#"{"message":"x","tool_cache":[7]}"#, "tool_cache"),
            (r#"{"message":"x","run_id":"../../zz"}"#, "run_id"),
            (r#"{"message":"x","run_id":7}"#, "run_id"),
            (r#"{"message":"x","conversation_id":7}"#, "conversation_id"),
        ] {
            let error = error(bad);
            assert!(error.starts_with(field), "{bad}: {error}");
        }
        let request =
            Request::parse(br#"{"message":"x","run_id":"run-2","history":null}"#).unwrap();
        assert_eq!(request.run_id.unwrap().as_str(), "run-2");
    }
}
