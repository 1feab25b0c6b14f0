//! SIGHUP, by which an operator asks a daemon to read its config anew. Never ends a daemon, and never reads anything itself.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears every SIGHUP from its making on; several that come at once are heard as one.
#[derive(Debug)]
pub struct Hangup(Signal);

impl Hangup {
    /// Begins to listen. From here on SIGHUP no longer ends the process.
    ///
    /// # Errors
    /// When the signal cannot be watched.
    pub fn watch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Returns when SIGHUP came.
    pub async fn heard(&mut self) {
        if self.0.recv().await.is_none() {
            // No signal will come any more; whoever waits has other things to wait for.
            std::future::pending::<()>().await;
        }
    }
}
