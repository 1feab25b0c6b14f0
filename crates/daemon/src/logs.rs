//! Logs go to stderr, one line an event: for people on a terminal, as JSON for collectors. Never to a file: rotation is
//! somebody else's work.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::environment;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for this process, at `info` unless `POSTERN_LOG` says otherwise (`debug`, `postern_proxy=trace`, …).
/// A second call does nothing, since two daemons may share a test process.
pub fn init(format: Format) {
    let directives = environment::read("POSTERN_LOG").unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
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
}
