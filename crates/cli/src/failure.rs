//! How a command ends badly: which code, and which line on standard error. Never says anything twice.

use std::{fmt::Display, path::Path, process::ExitCode};

use postern_contract::exit;

use crate::terminal::complain;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file that somebody wrote says what cannot be: lines that each begin with the place.
    Config(String),
    /// The command line asks for what cannot be, or what was asked cannot be told.
    Usage(String),
    /// Something failed while starting or running.
    Run(String),
    /// Somebody has already said it; this is the exit code.
    Told(u8),
}

impl Failure {
    /// Something about a path failed while running.
    pub(crate) fn path(path: &Path, cause: impl Display) -> Self {
        Self::Run(format!("{}: {cause}", path.display()))
    }

    /// Says it, and gives the exit code.
    pub(crate) fn told(self) -> ExitCode {
        match self {
            Self::Config(lines) => {
                complain(&lines);
                ExitCode::from(exit::CONFIG)
            }
            Self::Usage(line) => {
                complain(&format!("postern: {line}"));
                ExitCode::from(exit::CONFIG)
            }
            Self::Run(line) => {
                complain(&format!("postern: {line}"));
                ExitCode::from(exit::RUN)
            }
            Self::Told(code) => ExitCode::from(code),
        }
    }
}
