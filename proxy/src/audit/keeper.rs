//! What is done about the log beside writing it: counts that are due, lines onto the disk, heads to whoever holds them, old
//! parts removed. Never in a call's way.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    Audit, Event, Unrecorded,
    age::overdue,
    head::{Head, HeadKey},
    pieces::{HEADS_FILE, KEY_FILE},
    witness::Witness,
};

/// How often lines are forced onto the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often heads are sent, where lines have come.
const HEAD_EVERY: Duration = Duration::from_secs(3);

/// How often it is looked what is old enough to go.
const AGE_EVERY: Duration = Duration::from_secs(3600);

/// `[audit]` as the gate means it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where heads are appended; a file in the state directory if not given.
    pub(crate) heads: Option<PathBuf>,
    /// How long one file of the log may get, in bytes.
    pub(crate) rotate: u64,
    /// How old a file of the log may get; for ever if not given.
    pub(crate) keep: Option<Duration>,
    /// Whether a file may go that nobody has exported.
    pub(crate) delete_unexported: bool,
    /// How much one sandbox may write a day, in bytes.
    pub(crate) per_sandbox: u64,
}

/// Looks after one log.
#[derive(Clone)]
pub(crate) struct Keeper {
    audit: Audit,
    settings: Arc<Settings>,
    directory: PathBuf,
    key: Arc<HeadKey>,
    witness: Arc<Mutex<Witness>>,
    sent: Arc<Mutex<Sent>>,
}

/// What was done last.
struct Sent {
    seq: u64,
    at: Option<Instant>,
    aged: Option<Instant>,
}

impl Keeper {
    /// The keeper of a log in this directory.
    pub(super) fn open(
        audit: &Audit,
        directory: &Path,
        settings: Settings,
    ) -> Result<Self, Unrecorded> {
        let key = HeadKey::open_or_make(&directory.join(KEY_FILE)).map_err(io::Error::other)?;
        let heads = settings.heads.clone();
        let witness = Witness::open(&heads.unwrap_or_else(|| directory.join(HEADS_FILE)))?;
        Ok(Self {
            audit: audit.clone(),
            settings: Arc::new(settings),
            directory: directory.to_owned(),
            key: Arc::new(key),
            witness: Arc::new(Mutex::new(witness)),
            sent: Arc::new(Mutex::new(Sent {
                seq: 0,
                at: None,
                aged: None,
            })),
        })
    }

    /// Looks after the log for as long as the gate lives.
    pub(crate) async fn keep(self) {
        let mut tick = interval(SYNC_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.audit.rotated() => {}
            }
            self.audit.write_counts(false);
            self.attest(false).await;
            self.age().await;
        }
    }

    /// Writes all counts, syncs and sends the last head.
    pub(crate) async fn finish(&self) {
        self.audit.write_counts(true);
        self.attest(true).await;
    }

    /// Forces lines onto the disk, and then sends their head: a head never names a line that a loss of power could take.
    async fn attest(&self, now: bool) {
        let head = self.audit.head();
        if !self.audit.sync().await || !self.is_due(head.0, now) {
            return;
        }
        let (seq, hash) = head;
        let head = self.key.head(self.audit.clock.rfc3339(), (seq, &hash));
        let witness = Arc::clone(&self.witness);
        let sent = tokio::task::spawn_blocking(move || send(&witness, &head)).await;
        let trouble = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &trouble {
            tracing::error!(error, "the audit's head could not be kept");
        } else {
            self.sent().seq = seq;
        }
        self.audit.heads_trouble(trouble);
    }

    fn is_due(&self, seq: u64, now: bool) -> bool {
        let at = self.audit.clock.now();
        let mut sent = self.sent();
        let long_ago = |last: Instant| at.saturating_duration_since(last) >= HEAD_EVERY;
        let due = seq > sent.seq && (now || sent.at.is_none_or(long_ago));
        if due {
            sent.at = Some(at);
        }
        due
    }

    /// Removes what is old enough.
    async fn age(&self) {
        let Some(keep) = self.settings.keep else {
            return;
        };
        let at = self.audit.clock.now();
        let lately = |last: Instant| at.saturating_duration_since(last) < AGE_EVERY;
        if self.sent().aged.is_some_and(lately) {
            return;
        }
        self.sent().aged = Some(at);
        let this = self.clone();
        let aged = tokio::task::spawn_blocking(move || this.remove_overdue(keep)).await;
        if let Ok(Err(error)) = aged {
            tracing::error!(%error, "old parts of the audit log could not be removed");
        }
    }

    /// A line says that a part goes before it goes.
    pub(super) fn remove_overdue(&self, keep: Duration) -> Result<(), Unrecorded> {
        let clock = &self.audit.clock;
        let terms = (keep, self.settings.delete_unexported);
        for piece in overdue(&self.directory, terms, clock.unix_ms())? {
            self.audit.lock().append(&Event::Deleted {
                time: clock.rfc3339(),
                first: piece.first,
                last: piece.last,
            })?;
            std::fs::remove_file(&piece.path)?;
            tracing::info!(
                first = piece.first,
                last = piece.last,
                "old audit lines are gone"
            );
        }
        Ok(())
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, Sent> {
        // Two numbers and two times: nothing that a panic could leave half done.
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(witness: &Mutex<Witness>, head: &Head) -> io::Result<()> {
    // A panic while sending leaves at worst a cut line, which readers skip.
    let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
    witness.send(head)
}
