//! Body bytes that passed in one direction of a call, and whether more may: what goes up ends with the call, though an
//! upstream that has answered may go on reading. Never holds a byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

/// The call is over: its line is written, and it holds no share of anything any more.
#[derive(Debug, thiserror::Error)]
#[error("the call is over")]
pub(crate) struct Over;

/// Body bytes that passed in one direction. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<Passing>);

#[derive(Debug, Default)]
struct Passing {
    bytes: AtomicU64,
    over: AtomicBool,
    /// Whoever carries them and waits for more.
    carrier: AtomicWaker,
}

impl Count {
    /// Some more passed.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Some more are about to pass, unless the call is over. What passes is in every [`Count::get`] after the end.
    pub(crate) fn pass(&self, bytes: usize) -> Result<(), Over> {
        self.0.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        self.check()
    }

    /// All that passed so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.bytes.load(Ordering::SeqCst)
    }

    /// Nothing passes from here on.
    pub(crate) fn end(&self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.carrier.wake();
    }

    /// Whether the call goes on; if it does, its end wakes whoever asks.
    pub(crate) fn wait(&self, context: &Context<'_>) -> Result<(), Over> {
        self.0.carrier.register(context.waker());
        self.check()
    }

    fn check(&self) -> Result<(), Over> {
        match self.0.over.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(Over),
        }
    }
}
