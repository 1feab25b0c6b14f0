//! What a `session/update` is to us: pieces of the answer and tools that the agent uses. What it thinks, plans and offers besides
//! is nothing. Never fails.

use serde_json::Value;

use super::calls::Calls;
use crate::agents::command::Meaning;

/// The longest id of a message that is known again, in bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// What updates are told apart by.
#[derive(Debug, Default)]
pub(super) struct Updates {
    pub(super) calls: Calls,
    /// The message that the last piece belonged to.
    message: Option<String>,
}

impl Updates {
    pub(super) fn read(&mut self, update: &Value) -> Vec<Meaning> {
        match update["sessionUpdate"].as_str() {
            Some("agent_message_chunk") => self.piece(update),
            Some("tool_call" | "tool_call_update") => self.calls.hear(update),
            _ => Vec::new(),
        }
    }

    fn piece(&mut self, update: &Value) -> Vec<Meaning> {
        let content = &update["content"];
        let text = match content["type"].as_str() {
            Some("text") => content["text"].as_str(),
            Some("resource_link") => content["uri"].as_str(),
            _ => None,
        };
        let Some(text) = text else { return Vec::new() };
        let piece = Meaning::Content(text.to_owned());
        if self.is_another(update["messageId"].as_str()) {
            return vec![Meaning::Break, piece];
        }
        vec![piece]
    }

    /// Whether a piece begins a message, where the agent says so.
    fn is_another(&mut self, message: Option<&str>) -> bool {
        let Some(message) = message.filter(|message| message.len() <= MESSAGE_BYTES_MAX) else {
            return false;
        };
        let before = self.message.replace(message.to_owned());
        before.is_some_and(|before| before != message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_content_and_messages_are_set_apart() {
        let mut updates = Updates::default();
        let chunk = |text: &str, message: Value| json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": text }, "messageId": message });
        let content = |text: &str| Meaning::Content(text.to_owned());
        assert_eq!(updates.read(&chunk("a", json!("1"))), [content("a")]);
        assert_eq!(updates.read(&chunk("b", json!(null))), [content("b")]);
        assert_eq!(
            updates.read(&chunk("c", json!("2"))),
            [Meaning::Break, content("c")]
        );
        for nothing in [
            json!(null),
            json!([]),
            json!({ "sessionUpdate": "agent_thought_chunk", "content": { "type": "text", "text": "hm" } }),
            json!({ "sessionUpdate": "plan", "entries": [] }),
            json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "image", "data": "" } }),
            json!({ "sessionUpdate": "agent_message_chunk", "content": "text" }),
        ] {
            assert_eq!(updates.read(&nothing), [], "{nothing}");
        }
    }
}
