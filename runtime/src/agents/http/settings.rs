//! `[agents.NAME.http]` as it is meant. Never starts anything.

use std::time::Duration;

use postern_contract::launch::{CAPTURED_ALWAYS, KEPT_PORTS};

use crate::{
    agents::files::Files,
    config::{AgentWritten, HttpWritten, Places, Wrong},
};

/// How long it may take until it is ready, unless the config says otherwise, and the most that it may say.
const START_DEFAULT: Duration = Duration::from_secs(60);
const START_MAX: Duration = Duration::from_secs(600);

/// The most words of a command.
const WORDS_MAX: usize = 256;

/// What an HTTP agent needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its files, if it has any of its own.
    pub files: Option<Files>,
    /// Its first file, for a server that loads one.
    pub entry: Option<String>,
    /// The server and its arguments.
    pub argv: Vec<String>,
    /// Where it listens.
    pub port: u16,
    /// The path that says it is ready.
    pub ready: String,
    /// How long it may take until then.
    pub start: Duration,
    /// Where it is called.
    pub invoke: String,
    /// Where it is called and answers piece by piece.
    pub stream: String,
    /// Where it is called again after a pause, with the action's id behind it.
    pub resume: String,
}

impl Settings {
    pub(in crate::agents) fn mean(written: &AgentWritten, places: &Places) -> Result<Self, Wrong> {
        let Some(http) = &written.http else {
            return Err(Wrong::at(
                &["kind"],
                "an `http` agent needs `http = { argv = [\"PROGRAM\"] }`",
            ));
        };
        check(http)?;
        let path = |written: &Option<String>, default: &str| {
            written.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            files: Files::mean(written, places)?,
            entry: written.entry.clone(),
            argv: http.argv.clone(),
            port: http.port(),
            ready: path(&http.ready, "/healthz"),
            start: http.start.map_or(START_DEFAULT, |period| period.0),
            invoke: path(&http.invoke, "/invoke"),
            stream: path(&http.stream, "/invoke/stream"),
            resume: path(&http.resume, "/resume"),
        })
    }
}

fn check(http: &HttpWritten) -> Result<(), Wrong> {
    let is_odd = |word: &String| word.contains('\0');
    let has_program = http.argv.first().is_some_and(|word| !word.is_empty());
    if !has_program || http.argv.len() > WORDS_MAX || http.argv.iter().any(is_odd) {
        let told = format!("`argv` names the server, in 1 to {WORDS_MAX} words without a NUL");
        return Err(Wrong::at(&["http", "argv"], told));
    }
    let port = http.port();
    if port == 0 || KEPT_PORTS.contains(&port) || CAPTURED_ALWAYS.contains(&port) {
        let told = format!("in the sandbox somebody else answers at {port}: say another port");
        return Err(Wrong::at(&["http", "port"], told));
    }
    if http.start.is_some_and(|period| period.0 > START_MAX) {
        return Err(Wrong::at(&["http", "start"], "say at most `10m`"));
    }
    let paths = [
        ("ready", &http.ready),
        ("invoke", &http.invoke),
        ("stream", &http.stream),
        ("resume", &http.resume),
    ];
    for (key, path) in paths {
        let is_path = |path: &String| path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        if path.as_ref().is_some_and(|path| !is_path(path)) {
            return Err(Wrong::at(&["http", key], "say a path, such as `/invoke`"));
        }
    }
    Ok(())
}
