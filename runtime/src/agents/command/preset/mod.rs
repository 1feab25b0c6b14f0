//! Programs that many people use, ready to be agents: what each is started with and what its lines mean; a preset a file, and the
//! one match over them. Never more than the program's own published options.

mod claude_code;
mod codex;
mod gemini;
mod opencode;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{BecomesWritten, PresetName, RuleWritten};

/// What stands for the agent's first model, in arguments and variables.
pub(in crate::agents) const MODEL: &str = "{model}";

/// What stands for the id of a session, in arguments.
const SESSION: &str = "{session}";

/// A program as it is started, with the message on its standard input.
#[derive(Debug)]
pub(super) struct Preset {
    /// What the config may replace: the program, and arguments of its own.
    pub(super) program: &'static str,
    /// What follows it.
    pub(super) arguments: &'static [&'static str],
    /// What its environment has, unless the config says otherwise.
    pub(super) env: &'static [(&'static str, &'static str)],
    /// How it goes on with a conversation.
    pub(super) session: Session,
    /// What its lines mean.
    shapes: &'static [Shape],
}

/// How a program goes on with what it keeps itself of a conversation.
#[derive(Debug, Clone, Copy)]
pub(in crate::agents) struct Session {
    /// Where its lines have the session's id, as a pointer.
    pub(super) id: &'static str,
    /// How many of the last arguments give way.
    instead_of: usize,
    /// The arguments that go on with one.
    words: &'static [&'static str],
}

impl Session {
    /// The words of a run that goes on.
    pub(super) fn go_on(&self, mut argv: Vec<String>, session: &str) -> Vec<String> {
        argv.truncate(argv.len().saturating_sub(self.instead_of));
        let words = self.words.iter();
        argv.extend(words.map(|word| word.replace(SESSION, session)));
        argv
    }
}

/// A rule of a map.
#[derive(Debug)]
struct Shape {
    when: &'static [(&'static str, &'static str)],
    each: Option<&'static str>,
    with: &'static [(&'static str, &'static str)],
    becomes: BecomesWritten,
    text: Option<&'static str>,
    tool: Option<&'static str>,
    id: Option<&'static str>,
}

/// What most rules do not say.
const PLAIN: Shape = Shape {
    when: &[],
    each: None,
    with: &[],
    becomes: BecomesWritten::Break,
    text: None,
    tool: None,
    id: None,
};

impl Preset {
    pub(super) fn named(name: PresetName) -> &'static Self {
        match name {
            PresetName::ClaudeCode => &claude_code::PRESET,
            PresetName::Codex => &codex::PRESET,
            PresetName::Gemini => &gemini::PRESET,
            PresetName::Opencode => &opencode::PRESET,
        }
    }

    /// Whether it asks the agent's first model; one that does not asks somebody in the world.
    pub(super) fn asks_the_gate(&self) -> bool {
        let values = self.env.iter().map(|(_, value)| value);
        let mut words = self.arguments.iter().chain(values);
        words.any(|word| word.contains(MODEL))
    }

    /// The rules, as a config would have them.
    pub(super) fn rules(&self) -> Vec<RuleWritten> {
        self.shapes.iter().map(Shape::written).collect()
    }
}

impl Shape {
    fn written(&self) -> RuleWritten {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        RuleWritten {
            when: conditions(self.when),
            each: owned(self.each),
            with: conditions(self.with),
            becomes: self.becomes,
            text: owned(self.text),
            tool: owned(self.tool),
            id: owned(self.id),
        }
    }
}

/// Words are texts, but for those of JSON.
fn conditions(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let value = |word: &str| match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        text => Value::from(text),
    };
    let pairs = pairs.iter();
    pairs
        .map(|(at, word)| ((*at).to_owned(), value(word)))
        .collect()
}

#[cfg(test)]
mod tests;
