//! The playground model: a small, deterministic, rule-based stand-in that lets an agent be tried without a provider. It is no
//! language model, says so, and never pretends to be one; it does no I/O and reads no clock.
//!
//! ```text
//!   last message is a tool's result ──▶ say what the tool said
//!   a function's words are in the last user message
//!       ├─ all its required arguments are there too ──▶ call it
//!       └─ one is missing ──▶ ask for it
//!   else ──▶ a greeting, who it is, or an echo with advice
//! ```

mod choose;
mod retell;

use serde_json::Value;

use super::{Dialect, Hub, openai};
use crate::{
    Api, Assembly, Chat, Completion, Delta, FinishReason, Message, Role, ToolChoice, Usage,
};
use choose::Wish;

pub(super) struct Playground;

/// How much of a message the echo repeats, in characters.
const ECHO_CHARS_MAX: usize = 200;

/// How many functions an answer names.
const FUNCTIONS_NAMED_MAX: usize = 8;

/// How many stop texts are looked for, the first ones.
const STOPS_MAX: usize = 16;

/// What it is, in its own words.
const WHO: &str = "I am the playground model: a small set of rules, not a language model";

/// The playground's answer, word by word: [`Delta::Start`], the pieces, [`Delta::Finish`], [`Delta::Usage`]. `id` names the
/// answer; `created_s` is the time in seconds since 1970 (UTC). The same chat always gets the same answer.
#[must_use]
pub fn answer(chat: &Chat, id: &str, created_s: u64) -> Vec<Delta> {
    let start = Delta::Start {
        id: id.to_owned(),
        created_s,
        model: chat.model.clone(),
    };
    let mut deltas = vec![start];
    let (finish, words_said) = match respond(chat) {
        Response::Say(text) => say(chat, &text, &mut deltas),
        Response::Call { name, arguments } => {
            let words = words(&arguments) + 1;
            let call_id = format!("call_playground_{}", calls_so_far(chat) + 1);
            deltas.push(Delta::ToolCall {
                index: 0,
                id: Some(call_id),
                name: Some(name),
                arguments: String::new(),
            });
            deltas.push(Delta::ToolCall {
                index: 0,
                id: None,
                name: None,
                arguments,
            });
            (FinishReason::ToolCalls, words)
        }
    };
    deltas.push(Delta::Finish(finish));
    let heard: u64 = chat
        .messages
        .iter()
        .map(|message| words(&message.plain_text()))
        .sum();
    deltas.push(Delta::Usage(Usage {
        prompt_tokens: heard,
        completion_tokens: words_said,
        total_tokens: heard + words_said,
    }));
    deltas
}

/// The same answer, whole.
#[must_use]
pub fn complete(chat: &Chat, id: &str, created_s: u64) -> Completion {
    let mut whole = Assembly::new();
    for delta in answer(chat, id, created_s) {
        whole.add(&delta);
    }
    whole.into_completion()
}

/// What it does: words, or one call.
enum Response {
    Say(String),
    Call { name: String, arguments: String },
}

fn respond(chat: &Chat) -> Response {
    let results = retell::last_results(chat);
    if !results.is_empty() {
        return Response::Say(results);
    }
    let asked = chat
        .messages
        .iter()
        .rev()
        .find(|message| message.role == Role::User);
    let asked = asked.map(Message::plain_text).unwrap_or_default();
    match wish(chat, &asked) {
        Wish::Call { name, arguments } => Response::Call {
            name,
            arguments: Value::Object(arguments).to_string(),
        },
        Wish::Ask { name, missing } => Response::Say(format!(
            "To call `{name}` I need: {}. Please say it, such as `{} 42` or in quotes.",
            missing.join(", "),
            missing[0]
        )),
        Wish::Nothing => Response::Say(small_talk(chat, &asked)),
    }
}

fn wish(chat: &Chat, asked: &str) -> Wish {
    match &chat.tool_choice {
        Some(ToolChoice::None) => Wish::Nothing,
        Some(ToolChoice::Function(name)) => {
            let named = chat.tools.iter().find(|function| function.name == *name);
            named.map_or(Wish::Nothing, |function| choose::fill(function, asked))
        }
        Some(ToolChoice::Required) => {
            let best = choose::best(&chat.tools, asked).or(chat.tools.first());
            best.map_or(Wish::Nothing, |function| choose::fill(function, asked))
        }
        Some(ToolChoice::Auto) | None => choose::best(&chat.tools, asked)
            .map_or(Wish::Nothing, |function| choose::fill(function, asked)),
    }
}

fn small_talk(chat: &Chat, asked: &str) -> String {
    let lower = asked.to_lowercase();
    let says = |phrases: &[&str]| {
        let padded = format!(" {} ", choose::spaced(&lower));
        phrases
            .iter()
            .any(|phrase| padded.contains(&format!(" {phrase} ")))
    };
    let mut text = if asked.trim().is_empty() {
        format!("{WHO}. Say something and I will answer.")
    } else if says(&[
        "who are you",
        "what are you",
        "which model",
        "what model",
        "your name",
    ]) {
        format!(
            "{WHO}. I am here so that agents can be tried without a provider and without a key."
        )
    } else if says(&["hello", "hi", "hey", "good morning", "good evening"]) {
        format!("Hello! {WHO}. How can I help?")
    } else if says(&["thanks", "thank you"]) {
        "You are welcome.".to_owned()
    } else {
        let shown: String = asked.chars().take(ECHO_CHARS_MAX).collect();
        format!(
            "You said: \"{}\". {WHO}, so that is all I can make of it.",
            shown.trim()
        )
    };
    if !chat.tools.is_empty() && chat.tool_choice != Some(ToolChoice::None) {
        let names = chat
            .tools
            .iter()
            .take(FUNCTIONS_NAMED_MAX)
            .map(|f| format!("`{}`", f.name));
        text.push_str(" I can call ");
        text.push_str(&names.collect::<Vec<_>>().join(", "));
        text.push('.');
    }
    text
}

/// Says a text word by word, up to a stop text and the most tokens.
fn say(chat: &Chat, text: &str, deltas: &mut Vec<Delta>) -> (FinishReason, u64) {
    let stops = chat
        .stop
        .iter()
        .filter(|stop| !stop.is_empty())
        .take(STOPS_MAX);
    let end = stops
        .filter_map(|stop| text.find(stop.as_str()))
        .min()
        .unwrap_or(text.len());
    let most = chat
        .max_tokens
        .or(chat.max_completion_tokens)
        .unwrap_or(u64::MAX);
    let mut said = 0;
    for word in text[..end].split_inclusive(' ') {
        if said == most {
            return (FinishReason::Length, said);
        }
        said += 1;
        deltas.push(Delta::Content(word.to_owned()));
    }
    (FinishReason::Stop, said)
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn calls_so_far(chat: &Chat) -> usize {
    chat.messages
        .iter()
        .map(|message| message.tool_calls.len())
        .sum()
}

impl Dialect for Playground {
    fn name(&self) -> &'static str {
        "playground"
    }

    fn embedded(&self) -> bool {
        true
    }

    fn path(&self, api: Api) -> Option<&'static str> {
        (api == Api::Chat).then(|| api.path())
    }

    fn hub(&self) -> Option<&'static dyn Hub> {
        openai::OpenAi.hub()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod bounds;
