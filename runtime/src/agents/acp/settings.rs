//! `[agents.NAME.acp]` as it is meant. Never starts anything.

use crate::{
    agents::{command::check_words, files::Files},
    config::{AgentWritten, Permissions, Places, Wrong},
};

/// What an agent of this kind needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its files, if it has any of its own.
    pub files: Option<Files>,
    /// The agent and its arguments, with `{model}` in the place of its model.
    pub argv: Vec<String>,
    /// What becomes of what it asks permission for.
    pub permissions: Permissions,
}

impl Settings {
    pub(in crate::agents) fn mean(written: &AgentWritten, places: &Places) -> Result<Self, Wrong> {
        if written.entry.is_some() {
            let told = "an `acp` agent has no `entry`: its program is `acp.argv`";
            return Err(Wrong::at(&["entry"], told));
        }
        let Some(acp) = &written.acp else {
            let told = "an `acp` agent needs `acp = { argv = [\"PROGRAM\"] }`";
            return Err(Wrong::at(&["kind"], told));
        };
        check_words("acp", &acp.argv)?;
        Ok(Self {
            files: Files::of_a_program(written, places)?,
            argv: acp.argv.clone(),
            permissions: acp.permissions.unwrap_or(Permissions::Reject),
        })
    }
}
