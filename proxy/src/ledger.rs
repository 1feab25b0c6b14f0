//! Decisions on their way into the gate's database: one task writes, everybody else queues. Never the evidence: that is
//! the audit, and this can be made again from it.

use std::sync::{Arc, Mutex, PoisonError};

use postern_store::gate::{Decision, Gate as Store};
use tokio::sync::mpsc;

/// The most calls whose decision is not in the database yet, those still under way included.
const QUEUE_MAX: usize = 65_536;

/// The most decisions of one commit.
const BATCH_MAX: usize = 256;

/// Decisions cannot be kept: the writer is gone.
#[derive(Debug, thiserror::Error)]
#[error("decisions cannot be kept")]
pub(crate) struct NotKept;

/// The way in.
#[derive(Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Decision>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// The one task that writes.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Decision>,
    trouble: Arc<Mutex<Option<String>>>,
    store: Store,
}

/// A place in the queue, taken before a call begins so that its decision is never lost for want of room.
pub(crate) struct Ticket(mpsc::OwnedPermit<Decision>);

impl Ticket {
    /// Hands the decision in, if there is one.
    pub(crate) fn keep(self, decision: Option<Decision>) {
        if let Some(decision) = decision {
            self.0.send(decision);
        }
    }
}

impl Ledger {
    /// A ledger and its writer.
    pub(crate) fn new(store: Store) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let trouble = Arc::default();
        let writer = Writer {
            queue: receiver,
            trouble: Arc::clone(&trouble),
            store,
        };
        (
            Self {
                queue: sender,
                trouble,
            },
            writer,
        )
    }

    /// A place for one decision; waits while the queue is full.
    pub(crate) async fn ticket(&self) -> Result<Ticket, NotKept> {
        self.queue
            .clone()
            .reserve_owned()
            .await
            .map(Ticket)
            .map_err(|_| NotKept)
    }

    /// What is wrong, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Writer {
    /// Writes until every [`Ledger`] and [`Ticket`] is gone.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let trouble = self
                .store
                .record_decisions(&batch)
                .await
                .err()
                .map(|error| {
                    tracing::error!(%error, lost = batch.len(), "decisions could not be kept");
                    format!("decisions cannot be kept in the database: {error}")
                });
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
            batch.clear();
        }
    }
}
