//! The life of everything that runs for one sandbox: ended as a whole, and known to be over. Never outlives its owner
//! and never decides when to end.
//!
//! ```text
//! Life ── end() ──▶ every task spawned in the Scope is dropped where it waits ──▶ end() returns
//! ```

use std::{convert::Infallible, future::Future};

use tokio::sync::{mpsc, watch};

/// The owner's side: whoever drops it ends the tasks, whoever calls [`Life::end`] also waits for them.
pub(crate) struct Life {
    close: watch::Sender<bool>,
    ended: mpsc::Receiver<Infallible>,
}

/// The tasks' side.
#[derive(Clone)]
pub(crate) struct Scope {
    closing: watch::Receiver<bool>,
    alive: mpsc::Sender<Infallible>,
}

impl Life {
    /// A life and the scope that lives it.
    pub(crate) fn begin() -> (Self, Scope) {
        let (close, closing) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        (Self { close, ended }, Scope { closing, alive })
    }

    /// Ends every task and returns when all are gone.
    pub(crate) async fn end(mut self) {
        self.close.send_replace(true);
        // Nothing can be sent: this ends when the last task has dropped its sender.
        let _none = self.ended.recv().await;
    }
}

impl Scope {
    /// Runs a task until it is done or the life ends.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { mut closing, alive } = self.clone();
        // In a box: what waits for the end beside it would keep room for a second one.
        let task = Box::pin(task);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                // An error means that the owner is gone, which is an end too.
                _ = closing.wait_for(|closing| *closing) => {}
                () = task => {}
            }
            drop(alive);
        });
    }
}

impl<F> hyper::rt::Executor<F> for Scope
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn ending_drops_what_waits_and_waits_for_it() {
        let (life, scope) = Life::begin();
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        scope.spawn(async move {
            let _inside = inside;
            std::future::pending::<()>().await;
        });
        drop(scope);
        life.end().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn dropping_the_owner_ends_the_tasks() {
        let (life, scope) = Life::begin();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        drop(life);
        assert!(receiver.await.is_err());
    }
}
