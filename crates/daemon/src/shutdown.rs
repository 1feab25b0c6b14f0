//! When to stop. Says so once, to everybody who holds a copy; never stops anything itself.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::lifeline::Lifeline;

/// The reason of [`Shutdown::requested`] when the lifeline was cut: nobody waits for a drain any more.
pub const SUPERVISOR_GONE: &str = "the supervisor is gone";

/// The reason of [`Shutdown::requested`] where SIGINT made it.
pub const INTERRUPTED: &str = "SIGINT";

/// A request to stop that can be awaited by many and made by any.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<Option<&'static str>>);

impl Shutdown {
    /// One that only [`Shutdown::trigger`] makes.
    #[must_use]
    pub fn manual() -> Self {
        Self(watch::Sender::new(None))
    }

    /// One that SIGTERM and SIGINT make, and the end of standard input if that is the daemon's `lifeline`.
    ///
    /// # Errors
    /// When the signals cannot be watched, or the lifeline is no pipe.
    pub fn from_signals(lifeline: bool) -> io::Result<Self> {
        let shutdown = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let lifeline = if lifeline {
            Some(Lifeline::hold()?)
        } else {
            None
        };
        let shared = shutdown.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => INTERRUPTED,
                () = cut(lifeline) => SUPERVISOR_GONE,
            };
            tracing::info!(reason, "stopping");
            shared.trigger(reason);
        });
        Ok(shutdown)
    }

    /// Asks everybody to stop; the first reason stays.
    pub fn trigger(&self, reason: &'static str) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns, with the reason, once it is asked for.
    pub async fn requested(&self) -> &'static str {
        let mut watch = self.0.subscribe();
        // The sender lives in `self`, so waiting can only end with a reason.
        watch
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| *reason)
            .unwrap_or("stopped")
    }
}

async fn cut(lifeline: Option<Lifeline>) {
    match lifeline {
        Some(lifeline) => lifeline.cut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_reaches_every_copy() {
        let shutdown = Shutdown::manual();
        let copy = shutdown.clone();
        assert!(!copy.is_requested());
        shutdown.trigger("first");
        shutdown.trigger("second");
        assert_eq!(copy.requested().await, "first");
        assert!(copy.is_requested());
    }
}
