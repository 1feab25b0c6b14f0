//! `[agents.NAME.command]` as it is meant. Never starts anything.

use super::{
    map::Map,
    preset::{Preset, Session},
};
use crate::{
    agents::files::Files,
    config::{
        AgentWritten, CommandWritten, InputWritten, Isolation, OutputWritten, Places, PresetName,
        Wrong,
    },
};

/// The most words of a command.
const WORDS_MAX: usize = 256;

/// What a command agent needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its files, if it has any of its own.
    pub files: Option<Files>,
    /// The program and its arguments, with `{model}` in the place of the agent's model.
    pub argv: Vec<String>,
    /// Variables that it wants, where the config says nothing else.
    pub env: Vec<(String, String)>,
    /// How it is given the message.
    pub input: InputWritten,
    /// What it writes.
    pub output: Reading,
    /// How it goes on with a conversation, if it can.
    pub(super) session: Option<Session>,
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
        let files = Files::of_a_program(written, places)?;
        let program = match command.preset {
            Some(name) => Program::of_preset(name, written, command)?,
            None => Program {
                argv: command.argv.clone(),
                env: Vec::new(),
                output: reading(command)?,
                session: None,
            },
        };
        check_words("command", &program.argv)?;
        Ok(Self {
            files,
            argv: program.argv,
            env: program.env,
            input: command.input.unwrap_or(InputWritten::Stdin),
            output: program.output,
            session: program.session,
        })
    }
}

/// What a preset, or the config itself, says of the program.
struct Program {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    output: Reading,
    session: Option<Session>,
}

impl Program {
    fn of_preset(
        name: PresetName,
        written: &AgentWritten,
        command: &CommandWritten,
    ) -> Result<Self, Wrong> {
        let said = [
            ("input", command.input.is_some()),
            ("output", command.output.is_some()),
            ("map", !command.map.is_empty()),
        ];
        if let Some((key, _)) = said.iter().find(|(_, is_said)| *is_said) {
            return Err(Wrong::at(
                &["command", key],
                format!("`{key}` follows from the preset: leave it out"),
            ));
        }
        if written.isolation() == Isolation::Agent {
            let told = "the preset's program keeps what it was told in its home, which other runs could read: leave it out";
            return Err(Wrong::at(&["isolation"], told));
        }
        let preset = Preset::named(name);
        if written.models.is_empty() && preset.asks_the_gate() {
            return Err(Wrong::at(
                &["command", "preset"],
                "the preset's program needs a model: add `models = [\"…\"]`",
            ));
        }
        let mut argv = command.argv.clone();
        if argv.is_empty() {
            argv.push(preset.program.to_owned());
        }
        argv.extend(preset.arguments.iter().map(|word| (*word).to_owned()));
        let env = preset.env.iter();
        Ok(Self {
            argv,
            env: env
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            output: Map::mean(&preset.rules()).map(Reading::Lines)?,
            session: Some(preset.session),
        })
    }
}

/// Whether these words can be started, of a table of this name.
pub(in crate::agents) fn check_words(table: &str, argv: &[String]) -> Result<(), Wrong> {
    let at = &[table, "argv"];
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
