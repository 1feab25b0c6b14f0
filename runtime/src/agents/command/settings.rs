//! `[agents.NAME.command]` as it is meant. Never starts anything.

use super::map::Map;
use crate::{
    agents::files::Files,
    config::{AgentWritten, CommandWritten, InputWritten, OutputWritten, Places, Wrong},
};

/// The most words of a command.
const WORDS_MAX: usize = 256;

/// What a command agent needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its files, if it has any of its own.
    pub files: Option<Files>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How it is given the message.
    pub input: InputWritten,
    /// What it writes.
    pub output: Reading,
}

/// How a program's output is read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// All of it is the answer.
    Text,
    /// A JSON object a line, each as the map says.
    Lines(Map),
}

impl Settings {
    pub(in crate::agents) fn mean(written: &AgentWritten, places: &Places) -> Result<Self, Wrong> {
        if written.entry.is_some() {
            return Err(Wrong::at(
                &["entry"],
                "a `command` agent has no `entry`: its program is `command.argv`",
            ));
        }
        let Some(command) = &written.command else {
            return Err(Wrong::at(
                &["kind"],
                "a `command` agent needs `command = { argv = [\"PROGRAM\"] }`",
            ));
        };
        let files = Files::mean(written, places)?;
        if files.is_none() && written.mount.is_some() {
            return Err(Wrong::at(
                &["mount"],
                "there is nothing to mount: say `source` too, or leave `mount` out",
            ));
        }
        check_words(&command.argv)?;
        Ok(Self {
            files,
            argv: command.argv.clone(),
            input: command.input.unwrap_or(InputWritten::Stdin),
            output: reading(command)?,
        })
    }
}

fn check_words(argv: &[String]) -> Result<(), Wrong> {
    let at = &["command", "argv"];
    if argv.first().is_none_or(String::is_empty) {
        return Err(Wrong::at(
            at,
            "`argv` names the program: `argv = [\"PROGRAM\"]`",
        ));
    }
    if argv.len() > WORDS_MAX || argv.iter().any(|word| word.contains('\0')) {
        return Err(Wrong::at(
            at,
            format!("`argv` has at most {WORDS_MAX} words, and none with a NUL"),
        ));
    }
    Ok(())
}

fn reading(command: &CommandWritten) -> Result<Reading, Wrong> {
    let has_map = !command.map.is_empty();
    match command.output {
        None | Some(OutputWritten::Map) if has_map => Map::mean(&command.map).map(Reading::Lines),
        Some(OutputWritten::Map) => Err(Wrong::at(
            &["command", "output"],
            "`output = \"map\"` needs `[[…command.map]]`",
        )),
        Some(_) if has_map => Err(Wrong::at(
            &["command", "map"],
            "`map` belongs to `output = \"map\"`: say that too, or leave it out",
        )),
        None | Some(OutputWritten::Text) => Ok(Reading::Text),
        Some(OutputWritten::Events) => Ok(Reading::Lines(Map::of_our_events())),
    }
}
