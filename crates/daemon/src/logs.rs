//! Logs go to stderr, one line an event: for people on a terminal, as JSON for collectors. Never to a file: rotation is
//! somebody else's work.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::environment;

/// How much is logged where nobody says.
const DEFAULT: &str = "info";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// The one that `--json-log` asks for, or not.
    #[must_use]
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Starts logging for this process, at `info` unless `POSTERN_LOG` says otherwise (`debug`, `info,postern_proxy=trace`, …).
/// What is not understood there is said in the log. A second call does nothing, since two daemons may share a test process.
pub fn init(format: Format) {
    let asked = environment::read("POSTERN_LOG");
    let asked = asked.as_deref().unwrap_or(DEFAULT);
    let understood = understood(asked);
    let is_understood = understood.is_some();
    let filter = understood.unwrap_or_else(|| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
    if !is_understood {
        let right = "write a level (error, warn, info, debug, trace, off), or levels by part: info,postern_proxy=debug";
        tracing::warn!(
            POSTERN_LOG = asked,
            "this is not understood, so it is {DEFAULT}: {right}"
        );
    }
}

/// The filter that a text asks for. A word by itself is a level: a name of a part would say nothing else than a mistyped
/// level does.
fn understood(text: &str) -> Option<EnvFilter> {
    let mut parts = text.split(',').map(str::trim);
    let all = parts.all(|part| part.contains('=') || part.parse::<LevelFilter>().is_ok());
    all.then(|| EnvFilter::try_new(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_understood() {
        for good in [
            "info",
            "warn,postern_proxy=debug",
            "off",
            "postern_daemon::channel=trace",
        ] {
            assert!(understood(good).is_some(), "{good}");
        }
        for bad in ["inffo", "info,postern_proxy=debgu", "postern_proxy"] {
            assert!(understood(bad).is_none(), "{bad}");
        }
    }
}
