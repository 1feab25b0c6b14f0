//! Upstream connections kept for the next call that is alike in everything that matters: sandbox, TLS identity,
//! credential, address and policy generation. Never lends one to another sandbox, and never keeps more than its share.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::{SandboxId, SecretName};
use postern_daemon::Clock;
use postern_policy::Authority;

use super::{Journey, Sender};

/// How long a connection waits for its next call.
const IDLE_MAX: Duration = Duration::from_secs(55);

/// The most connections kept for one key.
const IDLE_PER_KEY_MAX: usize = 32;

/// The most connections kept for one sandbox.
const IDLE_PER_SANDBOX_MAX: usize = 256;

/// What two calls must have in common to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    sandbox: SandboxId,
    authority: Authority,
    credential: Option<SecretName>,
    address: SocketAddr,
    generation: u64,
}

impl Key {
    pub(super) fn new(journey: &Journey<'_>, address: SocketAddr) -> Self {
        Self {
            sandbox: journey.sandbox.clone(),
            authority: journey.permit.url().authority().clone(),
            credential: journey.credential.cloned(),
            address,
            generation: journey.generation,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The kept connections.
pub(super) struct Pool {
    idle: Mutex<HashMap<SandboxId, Shelf>>,
    /// The oldest policy under which connections are kept.
    since: AtomicU64,
    clock: Clock,
}

type Shelf = HashMap<Key, Vec<Kept>>;

struct Kept {
    sender: Sender,
    until: Instant,
}

impl Kept {
    fn is_good(&self, now: Instant) -> bool {
        self.sender.is_ready() && now < self.until
    }
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            idle: Mutex::default(),
            since: AtomicU64::new(0),
            clock,
        }
    }

    /// A kept connection for this key, if a good one is left.
    pub(super) fn take(&self, key: Key) -> Option<(Key, Sender)> {
        let now = self.clock.now();
        let mut idle = self.lock();
        let shelf = idle.get_mut(&key.sandbox)?;
        let kept = shelf.get_mut(&key)?;
        let found = std::iter::from_fn(|| kept.pop()).find(|kept| kept.is_good(now));
        if kept.is_empty() {
            shelf.remove(&key);
        }
        found.map(|kept| (key, kept.sender))
    }

    /// Keeps a connection, unless the share is used up.
    fn put(&self, key: Key, sender: Sender) {
        let now = self.clock.now();
        let mut idle = self.lock();
        // Looked at under the lock, so that nothing slips in behind a cut-over.
        if key.generation < self.since.load(Ordering::Relaxed) {
            return;
        }
        let shelf = idle.entry(key.sandbox.clone()).or_default();
        if shelf.values().map(Vec::len).sum::<usize>() >= IDLE_PER_SANDBOX_MAX {
            tidy(shelf, now);
        }
        let room = shelf.values().map(Vec::len).sum::<usize>() < IDLE_PER_SANDBOX_MAX;
        let kept = shelf.entry(key).or_default();
        if room && kept.len() < IDLE_PER_KEY_MAX {
            kept.push(Kept {
                sender,
                until: now + IDLE_MAX,
            });
        }
    }

    /// Closes all connections kept for a sandbox.
    pub(super) fn forget(&self, sandbox: &SandboxId) {
        drop(self.lock().remove(sandbox));
    }

    /// Closes all connections of older policies than this one, and keeps none of them from here on.
    pub(super) fn cut_over(&self, generation: u64) {
        let mut idle = self.lock();
        self.since.store(generation, Ordering::Relaxed);
        idle.retain(|_, shelf| {
            shelf.retain(|key, _| key.generation >= generation);
            !shelf.is_empty()
        });
    }

    /// Closes what nobody may use any more.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.lock().retain(|_, shelf| {
            tidy(shelf, now);
            !shelf.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Shelf>> {
        // Nothing in here can panic half-way through a change that matters.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tidy(shelf: &mut Shelf, now: Instant) {
    shelf.retain(|_, kept| {
        kept.retain(|kept| kept.is_good(now));
        !kept.is_empty()
    });
}

/// Where a connection returns when its exchange is over.
pub(crate) struct Home {
    pool: Arc<Pool>,
    key: Key,
}

impl Home {
    pub(super) fn new(pool: &Arc<Pool>, key: Key) -> Self {
        Self {
            pool: Arc::clone(pool),
            key,
        }
    }

    /// Takes the connection back as soon as the answer was read to its end; an answer that was not closes it.
    pub(crate) fn welcome(self, mut sender: Sender) {
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                self.pool.put(self.key, sender);
            }
        });
    }
}
