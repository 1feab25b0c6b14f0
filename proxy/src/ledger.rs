//! Refusals on their way into the gate's database, where people look them up: one task writes, everybody else queues. Never
//! the evidence: that is the audit, and this can be made again from it. An allowed call costs nothing here.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postern_store::gate::{Decision, Gate as Store};
use tokio::sync::mpsc;

/// The most refusals that wait for the database; what comes beyond is counted, and stands in the audit alone.
const QUEUE_MAX: usize = 4096;

/// The most refusals of one commit.
const BATCH_MAX: usize = 256;

/// The most refusals that the database keeps; the oldest go first.
const KEPT_MAX: u32 = 100_000;

/// How often the database is written to only to see whether it can be.
const TRIED_EVERY: Duration = Duration::from_secs(10);

/// The way in.
#[derive(Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Decision>,
    left_out: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// The one task that writes.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Decision>,
    left_out: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    store: Store,
}

impl Ledger {
    /// A ledger and its writer.
    pub(crate) fn new(store: Store) -> (Self, Writer) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (left_out, trouble) = (Arc::<AtomicU64>::default(), Arc::default());
        let writer = Writer {
            queue,
            left_out: Arc::clone(&left_out),
            trouble: Arc::clone(&trouble),
            store,
        };
        let ledger = Self {
            queue: sender,
            left_out,
            trouble,
        };
        (ledger, writer)
    }

    /// Hands a refusal in; never waits.
    pub(crate) fn keep(&self, refusal: Decision) {
        if self.queue.try_send(refusal).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is wrong, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Writer {
    /// Writes until every [`Ledger`] is gone.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut turns = tokio::time::interval(TRIED_EVERY);
        loop {
            tokio::select! {
                // A flood waits for no look, and a look for no flood.
                _ = turns.tick() => {
                    self.look().await;
                    continue;
                }
                taken = self.queue.recv_many(&mut batch, BATCH_MAX) => if taken == 0 {
                    return;
                },
            }
            let trouble = self.write(&batch).await.err().map(|error| {
                tracing::error!(%error, lost = batch.len(), "refusals could not be kept");
                format!("refusals cannot be kept in the database: {error}")
            });
            self.tell(trouble);
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    "too many refusals at once: these stand in the audit alone"
                );
            }
            batch.clear();
        }
    }

    /// Approvals and grants are kept there too: whether anything can be is known before somebody needs it.
    async fn look(&self) {
        let trouble = self.store.touch().await.err();
        self.tell(trouble.map(|error| {
            tracing::error!(%error, "the database cannot be written");
            format!("the database cannot be written: {error}")
        }));
    }

    fn tell(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    async fn write(&self, batch: &[Decision]) -> Result<(), postern_store::gate::GateError> {
        self.store.record_decisions(batch).await?;
        self.store.forget_decisions(KEPT_MAX).await
    }
}

#[cfg(test)]
mod tests {
    use postern_contract::{RequestId, SandboxId};
    use postern_store::gate::{DecisionFilter, Ruling};

    use super::*;

    fn refusal() -> Decision {
        Decision {
            id: RequestId::fresh(),
            at_ms: 0,
            sandbox: SandboxId::fresh(),
            agent: "desk".parse().unwrap(),
            run: None,
            tool: None,
            ruling: Ruling::Denied,
            rule: None,
            code: None,
            method: "GET".to_owned(),
            authority: String::new(),
            path: "/".to_owned(),
            status: Some(403),
            credential: None,
        }
    }

    #[tokio::test]
    async fn a_flood_of_refusals_never_waits_and_never_grows_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("gate.db"))
            .await
            .unwrap();
        let (ledger, writer) = Ledger::new(store.clone());
        for _ in 0..QUEUE_MAX + 5 {
            ledger.keep(refusal());
        }
        assert_eq!(ledger.left_out.load(Ordering::Relaxed), 5);
        drop(ledger);
        writer.run().await;
        store.forget_decisions(3).await.unwrap();
        let kept = store.decisions(&DecisionFilter::default(), 10).await;
        assert_eq!(kept.unwrap().len(), 3);
    }
}
