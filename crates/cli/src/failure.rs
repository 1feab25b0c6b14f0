//! How a command ends badly: which code, and which line on standard error. Never says anything twice.

use std::{fmt::Display, path::Path, process::ExitCode};

/// Exit code for a mistake in the config or the command line.
pub(crate) const EXIT_CONFIG: u8 = 2;

/// Exit code for a failure while starting or running.
pub(crate) const EXIT_RUN: u8 = 1;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The config or the command line asks for what cannot be.
    Config(String),
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
                crate::terminal::complain(&lines);
                ExitCode::from(EXIT_CONFIG)
            }
            Self::Run(line) => {
                crate::terminal::complain(&format!("postern: {line}"));
                ExitCode::from(EXIT_RUN)
            }
            Self::Told(code) => ExitCode::from(code),
        }
    }
}
