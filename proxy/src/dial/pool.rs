//! Upstream connections kept for the next call that is alike in everything that matters: sandbox, TLS identity,
//! credential, address and policy generation. Never lends one to another sandbox or authority, and never keeps more than
//! its share.
//!
//! ```text
//! HTTP/1.1: taken out ─▶ one call ─▶ put back once its answer was read to the end
//! HTTP/2:   put in at once ─▶ lent to up to LEASES_MAX calls, each for as long as its answer lasts
//! ```

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::SandboxId;
use postern_daemon::Clock;
use postern_policy::Authority;

use super::{
    Journey,
    sender::{Sender, Speaks},
    tls::{self, Roots},
};
use crate::inject::Label;

/// How long a connection waits for its next call.
const IDLE_MAX: Duration = Duration::from_secs(55);

/// The most connections kept for one key.
const IDLE_PER_KEY_MAX: usize = 32;

/// The most connections kept for one sandbox.
const IDLE_PER_SANDBOX_MAX: usize = 256;

/// The most calls at once on one shared connection; servers are asked to allow at least as many (RFC 9113 section
/// 6.5.2).
const LEASES_MAX: usize = 100;
/// The most connections kept for all sandboxes together.
const IDLE_MAX_OVERALL: usize = 4096;

/// What two calls must have in common to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    sandbox: SandboxId,
    authority: Authority,
    credential: Option<Label>,
    user: Option<String>,
    address: SocketAddr,
    roots: Option<tls::Digest>,
    generation: u64,
    speaks: Speaks,
}

impl Key {
    pub(super) fn new(journey: &Journey<'_>, address: SocketAddr) -> Self {
        Self {
            sandbox: journey.sandbox.clone(),
            authority: journey.permit.url().authority().clone(),
            credential: journey.credential.cloned(),
            user: journey.user.map(str::to_owned),
            address,
            roots: journey.manner.roots.as_ref().map(Roots::digest),
            generation: journey.generation,
            speaks: journey.speaks,
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
    leases: Lease,
}

/// A call's hold on a shared connection, counted by its copies: the connection's own is one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease(Arc<()>);

impl Kept {
    fn new(sender: Sender, now: Instant) -> Self {
        let until = now + IDLE_MAX;
        Self {
            sender,
            until,
            leases: Lease::default(),
        }
    }

    fn is_good(&self, now: Instant) -> bool {
        self.sender.is_ready() && (now < self.until || self.calls() > 0)
    }

    fn calls(&self) -> usize {
        Arc::strong_count(&self.leases.0) - 1
    }

    /// Another end of the connection, if it can be shared and is not full.
    fn lend(&mut self, now: Instant) -> Option<(Sender, Lease)> {
        let sender = self.sender.shared()?;
        if self.calls() >= LEASES_MAX {
            return None;
        }
        self.until = now + IDLE_MAX;
        Some((sender, self.leases.clone()))
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
    pub(super) fn take(self: &Arc<Self>, key: Key) -> Option<(Sender, Home)> {
        let now = self.clock.now();
        let mut idle = self.lock();
        let shelf = idle.get_mut(&key.sandbox)?;
        let kept = shelf.get_mut(&key)?;
        kept.retain(|kept| kept.is_good(now));
        let lent = kept.iter_mut().find_map(|kept| kept.lend(now));
        let found = lent.map(|(sender, lease)| (sender, Some(lease)));
        let found = found.or_else(|| {
            let whole = kept.pop_if(|kept| kept.sender.shared().is_none())?;
            Some((whole.sender, None))
        });
        if kept.is_empty() {
            shelf.remove(&key);
        }
        let (sender, lease) = found?;
        Some((sender, Home::new(self, key, lease)))
    }

    /// Where a fresh connection belongs; one that calls can share is there for others from now on.
    pub(super) fn house(self: &Arc<Self>, key: Key, sender: &Sender) -> Home {
        let lease = sender.shared().and_then(|shared| {
            let mut kept = Kept::new(shared, self.clock.now());
            let lease = kept.lend(self.clock.now()).map(|(_, lease)| lease);
            self.put(key.clone(), kept);
            lease
        });
        Home::new(self, key, lease)
    }

    /// Keeps a connection, unless the share is used up.
    fn put(&self, key: Key, fresh: Kept) {
        let now = self.clock.now();
        let mut idle = self.lock();
        // Looked at under the lock, so that nothing slips in behind a cut-over.
        if key.generation < self.since.load(Ordering::Relaxed) {
            return;
        }
        if count(&idle) >= IDLE_MAX_OVERALL {
            idle.values_mut().for_each(|shelf| tidy(shelf, now));
            if count(&idle) >= IDLE_MAX_OVERALL {
                return;
            }
        }
        let shelf = match idle.get_mut(&key.sandbox) {
            Some(shelf) => shelf,
            None => idle.entry(key.sandbox.clone()).or_default(),
        };
        if shelf.values().map(Vec::len).sum::<usize>() >= IDLE_PER_SANDBOX_MAX {
            tidy(shelf, now);
        }
        let room = shelf.values().map(Vec::len).sum::<usize>() < IDLE_PER_SANDBOX_MAX;
        let kept = shelf.entry(key).or_default();
        if room && kept.len() < IDLE_PER_KEY_MAX {
            kept.push(fresh);
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

fn count(idle: &HashMap<SandboxId, Shelf>) -> usize {
    let shelves = idle.values().flat_map(HashMap::values);
    shelves.map(Vec::len).sum()
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
    lease: Option<Lease>,
}

impl Home {
    fn new(pool: &Arc<Pool>, key: Key, lease: Option<Lease>) -> Self {
        Self {
            pool: Arc::clone(pool),
            key,
            lease,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.key.address()
    }

    /// What an answer holds from now on: the connection, which comes back when the answer was read to its end (one that
    /// was not closes it), or a lease of a shared one, which never left.
    pub(crate) fn stay(mut self, sender: Sender) -> Stay {
        match self.lease.take() {
            Some(lease) => Stay {
                _lease: Some(lease),
                alone: None,
            },
            // What was opened for a WebSocket serves nobody else, also where none came of it.
            None if self.key.speaks == Speaks::Http1 => Stay {
                _lease: None,
                alone: None,
            },
            None => Stay {
                _lease: None,
                alone: Some((self, sender)),
            },
        }
    }

    fn take_back(self, sender: Sender) {
        let now = self.pool.clock.now();
        self.pool.put(self.key, Kept::new(sender, now));
    }
}

/// An answer's hold on its connection; dropped with the answer.
pub(crate) struct Stay {
    _lease: Option<Lease>,
    alone: Option<(Home, Sender)>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let Some((home, mut sender)) = self.alone.take() else {
            return;
        };
        if sender.is_ready() {
            return home.take_back(sender);
        }
        // The answer was not read to its end, or the connection has not noticed yet. Without a runtime all of it ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if sender.is_free_again().await {
                    home.take_back(sender);
                }
            });
        }
    }
}
