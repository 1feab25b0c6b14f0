//! The gate put together: everything that a call needs, owned in one place. Never does a call's work itself.

use std::sync::Arc;

use http::Response;
use postern_contract::{SandboxId, link::GateStatus};
use postern_daemon::Clock;
use postern_llm::Chat;

use crate::{
    audit::Audit, body::Body, book::Book, dial::Dialer, gateway::playground, intercept::Leaves,
    ledger::Ledger,
};

/// Everything that a call needs.
pub(crate) struct Gate {
    book: Arc<Book>,
    pub(crate) dialer: Dialer,
    pub(crate) leaves: Leaves,
    pub(crate) audit: Audit,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
}

impl Gate {
    pub(crate) fn new(
        book: Book,
        (dialer, leaves): (Dialer, Leaves),
        (audit, ledger): (Audit, Ledger),
        clock: Clock,
    ) -> Self {
        Self {
            book: Arc::new(book),
            dialer,
            leaves,
            audit,
            ledger,
            clock,
        }
    }

    /// What is in force now. A call keeps what it began with.
    pub(crate) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book)
    }

    /// The embedded model's answer.
    pub(crate) fn answer(&self, chat: &Chat) -> Response<Body> {
        playground::answer(chat, self.clock.unix_ms())
    }

    /// Forgets what was kept for a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.dialer.forget(sandbox);
        self.leaves.forget(sandbox);
    }

    /// How the gate is.
    pub(crate) fn status(&self, sandboxes: usize) -> GateStatus {
        GateStatus {
            policy_generation: self.book.generation,
            troubles: self
                .audit
                .trouble()
                .into_iter()
                .chain(self.ledger.trouble())
                .collect(),
            sandboxes: u32::try_from(sandboxes).unwrap_or(u32::MAX),
        }
    }
}
