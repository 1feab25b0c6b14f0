//! Runs that go on now, who listens to them, and how all are asked to stop. Never keeps one that has ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::RunId;
use tokio::sync::{broadcast, watch};

use super::{Answer, Update, Updates};

/// Updates that a slow listener may be behind before it misses some.
const UPDATES_BEHIND_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Book {
    runs: HashMap<RunId, broadcast::Sender<Update>>,
    stopping: bool,
}

/// All of them. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Active {
    book: Arc<Mutex<Book>>,
    stopping: Arc<watch::Sender<bool>>,
    count: Arc<watch::Sender<usize>>,
}

/// One run's entry; leaving it drops the entry.
#[derive(Debug)]
pub(super) struct Ticket {
    run: RunId,
    updates: broadcast::Sender<Update>,
    active: Active,
}

impl Active {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a run: `None` if no run may begin any more, `Some(None)` if this id is in here already.
    #[expect(
        clippy::option_option,
        reason = "two different ways to have no ticket, told apart at one place"
    )]
    pub(super) fn enter(&self, run: &RunId) -> Option<Option<Ticket>> {
        let mut book = self.book();
        if book.stopping {
            return None;
        }
        if book.runs.contains_key(run) {
            return Some(None);
        }
        let updates = broadcast::Sender::new(UPDATES_BEHIND_MAX);
        book.runs.insert(run.clone(), updates.clone());
        self.count.send_replace(book.runs.len());
        Some(Some(Ticket {
            run: run.clone(),
            updates,
            active: self.clone(),
        }))
    }

    /// An ear on a run that goes on.
    pub(super) fn listen(&self, run: &RunId) -> Option<Updates> {
        self.book().runs.get(run).map(|updates| Updates {
            receiver: updates.subscribe(),
        })
    }

    /// Lets no run begin any more, asks all to end, and returns when they have.
    pub(super) async fn stop(&self) {
        self.book().stopping = true;
        self.stopping.send_replace(true);
        self.idle().await;
    }

    /// Returns when no run goes on.
    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting ends with an empty book.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }

    fn leave(&self, run: &RunId) {
        let mut book = self.book();
        book.runs.remove(run);
        self.count.send_replace(book.runs.len());
    }
}

impl Ticket {
    pub(super) fn listen(&self) -> Updates {
        Updates {
            receiver: self.updates.subscribe(),
        }
    }

    /// Returns when all runs are asked to end.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.active.stopping.subscribe();
        async move { drop(stopping.wait_for(|stopping| *stopping).await) }
    }

    pub(super) fn tell(&self, update: Update) {
        // Nobody may be listening.
        drop(self.updates.send(update));
    }

    /// Takes the run out first: from then on nobody can begin to listen, and everybody who does hears the end.
    pub(super) fn end(self, answer: Answer) {
        let updates = self.updates.clone();
        drop(self);
        drop(updates.send(Update::Ended(Arc::new(answer))));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.active.leave(&self.run);
    }
}
