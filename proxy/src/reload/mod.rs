//! Keeps what is in force as fresh as the config and the files it names: reads them anew when one of them changes and when
//! SIGHUP comes. Never lets a broken file put anything out of force, and never goes on using a secret that is gone.
//!
//! ```text
//! a look every second, or SIGHUP ─▶ changed? ─▶ still for a moment ─▶ read ─┬─ good ────▶ new book, generation + 1
//!                                                                          └─ broken ──▶ the last good config goes on,
//!                                                                             with the secrets as they are now, and
//!                                                                             authorities as far as they can be read
//! a value that was asked for changed ─▶ as if a file had (secret/fetched)
//! a secret that cannot be had ─▶ calls that need it are refused, all others go on
//! ```

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postern_contract::SecretName;
use postern_daemon::{
    Hangup,
    config::{ConfigError, Source},
};
use tokio::time::sleep;

pub(crate) use self::files::Files;
use crate::{
    book::Book,
    config::{Config, Known},
    gate::Gate,
    secret::{self, Fetched, Taken},
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a file that changed must rest before it is read: whoever writes it may not be done, and two writes in one tick
/// of the file system's clock look the same.
const REST: Duration = Duration::from_millis(100);

/// The most rests that are waited for; what still changes then is read all the same.
const RESTS_MAX: u32 = 20;

/// How the config stands. Whoever counts or shows it reads it here.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    troubles: Mutex<Vec<String>>,
    failures: AtomicU64,
}

impl Standing {
    /// Why not all of the config is in force, a line each; empty when it is.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// How often the config could not be put in force as it stood.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn found(&self, troubles: Vec<String>) {
        if !troubles.is_empty() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        *self.lock() = troubles;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one task that reads the config after the start.
pub(crate) struct Reloader {
    gate: Arc<Gate>,
    good: Good,
    seen: Seen,
    hangup: Hangup,
}

/// The config that is in force.
#[derive(Clone)]
pub(crate) struct Good {
    source: Source,
    authorities: Known,
    /// What its start took out of the environment.
    taken: Taken,
    /// Where its secrets are.
    sources: BTreeMap<SecretName, secret::Source>,
    /// Those whose values may have several lines.
    with_lines: BTreeSet<SecretName>,
    /// What it says about things that are settled at the start.
    settled: Vec<(&'static str, String)>,
}

/// What the last reading found on the disk, looked at before it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) config: Files,
    pub(crate) authorities: Files,
    pub(crate) secrets: Files,
    /// Of the values that are asked for, as by [`Fetched::version`].
    pub(crate) fetched: u64,
}

impl Seen {
    fn again(&self) -> Self {
        Self {
            config: self.config.again(),
            authorities: self.authorities.again(),
            secrets: self.secrets.again(),
            fetched: self.fetched,
        }
    }
}

/// What reading everything anew came to.
struct Reading {
    /// What is to be in force, if that is anything else.
    book: Option<(Book, Good)>,
    seen: Seen,
    troubles: Vec<String>,
}

impl Good {
    /// What to keep of a config that will be in force.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            source: config.source().clone(),
            authorities: config.authorities().clone(),
            taken: config.taken().clone(),
            sources: config.sources().clone(),
            with_lines: config.with_lines(),
            settled: config.settled(),
        }
    }
}

impl Reloader {
    /// A reloader for a gate that runs by this config, whose files were `seen` before they were read.
    pub(crate) fn new(gate: Arc<Gate>, good: Good, seen: Seen, hangup: Hangup) -> Self {
        Self {
            gate,
            good,
            seen,
            hangup,
        }
    }

    /// Reads anew whenever there is a reason to, for as long as the gate lives.
    pub(crate) async fn keep_fresh(mut self) {
        loop {
            let asked = tokio::select! {
                () = self.hangup.heard() => true,
                () = sleep(LOOK_EVERY) => false,
            };
            self.gate.sweep();
            let mut now = look_again(self.seen.clone()).await;
            now.fetched = self.gate.fetched.version();
            if asked || now != self.seen {
                settle(now).await;
                self.read_anew(asked).await;
            }
        }
    }

    async fn read_anew(&mut self, asked: bool) {
        let (good, seen) = (self.good.clone(), self.seen.clone());
        let now = self.gate.book();
        let generation = now.generation + 1;
        let fetched = Arc::clone(&self.gate.fetched);
        let reading = tokio::task::spawn_blocking(move || read(&good, &seen, &now, &fetched));
        let Ok(Reading {
            book,
            seen,
            troubles,
        }) = reading.await
        else {
            // It panicked; what is in force stays, and the next look tries again.
            return tracing::error!("the config could not be read anew");
        };
        for trouble in &troubles {
            tracing::error!(trouble, "the config is not wholly in force");
        }
        self.gate.config.found(troubles);
        self.seen = seen;
        if let Some((book, good)) = book {
            for (key, was) in &self.good.settled {
                if !good.settled.contains(&(*key, was.clone())) {
                    tracing::warn!(key, "changed in the config: takes effect at the next start");
                }
            }
            // What is settled at the start stays what it was then.
            self.good.source = good.source;
            self.good.authorities = good.authorities;
            self.good.sources = good.sources;
            self.good.with_lines = good.with_lines;
            tracing::info!(generation, asked, "the config is in force");
            let terms = book.terms.clone();
            self.gate.put_in_force(book);
            self.gate.approvals.keep_terms(&terms).await;
            let Good {
                sources,
                with_lines,
                source,
                ..
            } = &self.good;
            let directory = source.directory();
            self.gate.fetched.tend(sources, with_lines, directory);
        }
    }
}

async fn look_again(seen: Seen) -> Seen {
    let looked = tokio::task::spawn_blocking(move || seen.again());
    // A look that panicked counts as a change.
    looked.await.unwrap_or(Seen {
        config: Files::default(),
        authorities: Files::default(),
        secrets: Files::default(),
        fetched: 0,
    })
}

/// Waits until nothing has changed for a moment.
async fn settle(mut now: Seen) {
    for _ in 0..RESTS_MAX {
        sleep(REST).await;
        let then = now.clone();
        now = look_again(now).await;
        if then == now {
            return;
        }
    }
}

/// Reads the config, or goes on with the last good one; either with the secrets as they are now.
fn read(good: &Good, before: &Seen, now: &Book, fetched: &Fetched) -> Reading {
    let path: PathBuf = good.source.path().to_owned();
    let config_seen = Files::look([path.clone()]);
    // Looked at before the values are taken: one that comes between is read once more.
    let version = fetched.version();
    let (config, named) = Config::read_watched(&path);
    let (config, mut troubles) = match config {
        Ok(config) => (Ok(config), Vec::new()),
        Err(broken) => {
            let last = Config::of_source(good.source.clone(), &good.authorities);
            (last, lines(&broken))
        }
    };
    let seen = |secrets: Files, authorities: Files| Seen {
        config: config_seen,
        authorities,
        secrets,
        fetched: version,
    };
    let config = match config {
        Ok(config) => config.having(good.taken.clone()).holding(fetched),
        // The text was good when it was put in force, and what it named is remembered; but should it not be, nothing changes.
        Err(broken) => {
            troubles.extend(lines(&broken));
            return Reading {
                book: None,
                seen: seen(before.secrets.again(), named),
                troubles,
            };
        }
    };
    let secrets = config.look_at_secrets();
    let seen = seen(secrets.clone(), named.and(config.seen_authorities()));
    let fresh = Good::of(&config);
    let nothing_new = secrets == before.secrets
        && version == before.fetched
        && fresh.authorities == good.authorities;
    if !troubles.is_empty() && nothing_new {
        return Reading {
            book: None,
            seen,
            troubles,
        };
    }
    let (book, without) = config.into_book_without(now.generation + 1, Some(&now.secrets));
    if let Some(without) = without {
        troubles.extend(lines(&without));
    }
    Reading {
        book: Some((book, fresh)),
        seen,
        troubles,
    }
}

fn lines(error: &ConfigError) -> Vec<String> {
    error.lines().to_vec()
}
