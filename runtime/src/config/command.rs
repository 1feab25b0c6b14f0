//! `[agents.NAME.command]` as written. Never says what it means: that is the kind's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `[agents.NAME.command]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandWritten {
    /// A program that is known; the rest follows from it.
    pub preset: Option<PresetName>,
    /// The program and its arguments.
    #[serde(default)]
    pub argv: Vec<String>,
    /// How the program is given the message.
    pub input: Option<InputWritten>,
    /// What it writes on its standard output.
    pub output: Option<OutputWritten>,
    /// `[[agents.NAME.command.map]]`.
    #[serde(default)]
    pub map: Vec<RuleWritten>,
}

/// Programs that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresetName {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// OpenCode.
    Opencode,
}

/// How a program is given the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputWritten {
    /// On its standard input, as text.
    Stdin,
    /// As an argument: in the place of `{message}`, or the last.
    Argument,
    /// In a file, whose path is an argument: in the place of `{file}`, or the last.
    File,
    /// On its standard input, with history and ids, as one JSON object.
    Request,
}

/// What a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputWritten {
    /// Text, all of which is its answer.
    Text,
    /// Our events, an object of JSON a line.
    Events,
    /// Events of its own, an object of JSON a line, which `map` makes ours.
    Map,
}

/// `[[agents.NAME.command.map]]`: what one sort of line is to us.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleWritten {
    /// What the line has, by JSON pointer.
    #[serde(default)]
    pub when: BTreeMap<String, Value>,
    /// Where the line has a list, each of whose elements counts by itself.
    pub each: Option<String>,
    /// What such an element has.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// What it is to us.
    pub becomes: BecomesWritten,
    /// Where its text is: the piece, the arguments, the result, the answer or the error.
    pub text: Option<String>,
    /// Where the tool's name is.
    pub tool: Option<String>,
    /// Where a call has its id, by which its result is known again.
    pub id: Option<String>,
}

/// What a line is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BecomesWritten {
    /// A piece of the answer.
    Content,
    /// An empty line between the pieces before and those after.
    Break,
    /// The agent uses a tool of its own.
    ToolCall,
    /// What came of that.
    ToolResult,
    /// The whole answer.
    Answer,
    /// Nothing; what comes after it counts all the same.
    Done,
    /// The run has failed.
    Error,
}
