//! Values of sources that are asked, each tended by a task of its own. Never asks while a call waits, and never serves a value
//! longer than the config says.
//!
//! ```text
//! asked ─┬─ a value ─▶ served, asked again `refresh_ahead` of its `ttl`
//!        └─ none ────▶ asked again, ever later; the last value is served for `ttl` and `keep` after it was read, then dropped
//! a value changed or was dropped ─▶ `version` moves ─▶ reload/ makes a new book
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::{Secret, SecretName};
use postern_daemon::Clock;
use tokio::{sync::watch, task::JoinHandle};

use super::{Asking, Errands, NoSecret, Sessions, Source, fit, pace::Pace};
use crate::dial::Proxy;

/// Every source that is asked.
pub(crate) struct Fetched {
    clock: Clock,
    errands: Arc<Errands>,
    sessions: Sessions,
    tended: Mutex<BTreeMap<SecretName, Tended>>,
    version: AtomicU64,
}

/// The values that there were at one moment, each with the source that it is from.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<SecretName, (Source, Arc<Secret>)>);

/// How one source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) name: SecretName,
    /// How long ago its value was read, if it has one.
    pub(crate) age: Option<Duration>,
    /// How often it was asked in vain.
    pub(crate) failures: u64,
    /// What is wrong with it now.
    trouble: Option<String>,
}

/// One source with what came of it, and the task that asks it.
struct Tended {
    source: Source,
    /// Its value may have several.
    has_lines: bool,
    task: JoinHandle<()>,
    tried: watch::Receiver<bool>,
    value: Option<(Arc<Secret>, Instant)>,
    failures: u64,
    in_a_row: u32,
    trouble: Option<String>,
}

impl Drop for Tended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Held {
    /// The value of a secret, if it is from this very source.
    pub(super) fn get(&self, name: &SecretName, source: &Source) -> Option<Arc<Secret>> {
        let (from, value) = self.0.get(name)?;
        (from == source).then(|| Arc::clone(value))
    }
}

impl Health {
    #[cfg(test)]
    pub(crate) fn test(name: &str, age: u64, failures: u64) -> Self {
        Self {
            name: name.parse().unwrap(),
            age: Some(Duration::from_secs(age)),
            failures,
            trouble: None,
        }
    }

    /// What is wrong, for people.
    pub(crate) fn in_words(&self) -> Option<String> {
        let (name, trouble) = (&self.name, self.trouble.as_ref()?);
        Some(match self.age {
            Some(age) => format!(
                "secret `{name}`: {trouble}; its value of {} s ago is still served",
                age.as_secs()
            ),
            None => format!(
                "secret `{name}`: {trouble}; it has no value, and calls that need it are refused"
            ),
        })
    }
}

impl Fetched {
    /// Sources that are asked over the network are asked by these errands.
    pub(crate) fn new(errands: Errands) -> Arc<Self> {
        Arc::new(Self {
            clock: errands.clock().clone(),
            errands: Arc::new(errands),
            sessions: Sessions::default(),
            tended: Mutex::default(),
            version: AtomicU64::default(),
        })
    }

    /// Tends these sources from here on, and no others. A value from a source that is another one now is dropped. Those that are
    /// `with_lines` may have several; of the others, a value with a line break is none.
    pub(crate) fn tend(
        self: &Arc<Self>,
        sources: &BTreeMap<SecretName, Source>,
        with_lines: &BTreeSet<SecretName>,
        directory: &Path,
    ) {
        let mut tended = self.lock();
        let before = tended.len();
        tended.retain(|name, old| {
            sources.get(name) == Some(&old.source) && with_lines.contains(name) == old.has_lines
        });
        let mut changed = tended.len() != before;
        for (name, source) in sources {
            if source.asked().is_none() || tended.contains_key(name) {
                continue;
            }
            let (told, tried) = watch::channel(false);
            let has_lines = with_lines.contains(name);
            let task = Task {
                fetched: Arc::downgrade(self),
                name: name.clone(),
                source: source.clone(),
                has_lines,
                directory: directory.to_owned(),
            };
            let fresh = Tended {
                source: source.clone(),
                has_lines,
                task: tokio::spawn(task.run(self.clock.clone(), told)),
                tried,
                value: None,
                failures: 0,
                in_a_row: 0,
                trouble: Some("not asked yet".to_owned()),
            };
            tended.insert(name.clone(), fresh);
            changed = true;
        }
        drop(tended);
        let accounts = sources
            .values()
            .filter_map(|source| source.asked()?.account());
        self.sessions.keep(accounts);
        if changed {
            self.moved();
        }
    }

    /// From here on what is asked over the network is asked by way of this proxy, if there is one.
    pub(crate) fn go_by(&self, proxy: Option<Proxy>) {
        self.errands.go_by(proxy);
    }

    /// Waits until each source was asked once; each has a time limit of its own.
    pub(crate) async fn asked_once(&self) {
        let waiting: Vec<_> = self.lock().values().map(|one| one.tried.clone()).collect();
        for mut tried in waiting {
            // A task that is gone has nothing more to tell.
            let _ = tried.wait_for(|tried| *tried).await;
        }
    }

    /// Moves whenever a value does.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// All values as they are now.
    pub(crate) fn held(&self) -> Held {
        let tended = self.lock();
        let held = tended.iter().filter_map(|(name, one)| {
            let (value, _) = one.value.as_ref()?;
            Some((name.clone(), (one.source.clone(), Arc::clone(value))))
        });
        Held(held.collect())
    }

    /// How each source is, by name.
    pub(crate) fn health(&self) -> Vec<Health> {
        let now = self.clock.now();
        let tended = self.lock();
        let health = tended.iter().map(|(name, one)| Health {
            name: name.clone(),
            age: one.value.as_ref().map(|(_, at)| now.duration_since(*at)),
            failures: one.failures,
            trouble: one.trouble.clone(),
        });
        health.collect()
    }

    /// Notes what came of asking; says how long to wait before the next time.
    ///
    /// A task whose source is not the one any more may be told of it late: what it brings then is nobody's.
    fn note(&self, task: &Task, came: Result<Secret, NoSecret>) -> Duration {
        let name = &task.name;
        let now = self.clock.now();
        let mut tended = self.lock();
        let one = tended.get_mut(name);
        let Some(one) = one.filter(|one| task.is_for(one)) else {
            return Duration::ZERO;
        };
        let (changed, wait) = match came {
            Ok(value) => (one.had(value, now), one.source.pace.after_success(chance())),
            Err(error) => {
                tracing::warn!(secret = %name, %error, "a source of a secret failed");
                one.failures += 1;
                one.in_a_row = one.in_a_row.saturating_add(1);
                one.trouble = Some(error.to_string());
                (false, Pace::after_failures(one.in_a_row, chance()))
            }
        };
        drop(tended);
        if changed {
            self.moved();
        }
        wait
    }

    /// The value that there is, and how much longer it is good.
    fn last(&self, name: &SecretName) -> Option<(Arc<Secret>, Duration)> {
        let now = self.clock.now();
        let tended = self.lock();
        let one = tended.get(name)?;
        let (value, at) = one.value.as_ref()?;
        let left = (*at + one.source.pace.good_for()).saturating_duration_since(now);
        Some((Arc::clone(value), left))
    }

    fn expire(&self, name: &SecretName) {
        let mut tended = self.lock();
        let had = tended.get_mut(name).and_then(|one| one.value.take());
        drop(tended);
        if had.is_some() {
            tracing::error!(secret = %name, "its source was down for too long: the value is dropped");
            self.moved();
        }
    }

    fn moved(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SecretName, Tended>> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tended {
    /// Takes a value; whether it is another one than before.
    fn had(&mut self, value: Secret, now: Instant) -> bool {
        self.in_a_row = 0;
        self.trouble = None;
        match &mut self.value {
            Some((old, at)) if old.is(value.expose()) => {
                *at = now;
                false
            }
            other => {
                *other = Some((Arc::new(value), now));
                true
            }
        }
    }
}

/// What asks one source for as long as it is tended.
struct Task {
    fetched: Weak<Fetched>,
    name: SecretName,
    source: Source,
    has_lines: bool,
    directory: PathBuf,
}

impl Task {
    async fn run(self, clock: Clock, told: watch::Sender<bool>) {
        loop {
            let Some(wait) = self.once(&clock).await else {
                return;
            };
            told.send_replace(true);
            self.rest(&clock, wait).await;
        }
    }

    /// Asks once. The last value is dropped meanwhile if its time comes.
    async fn once(&self, clock: &Clock) -> Option<Duration> {
        let fetched = self.fetched.upgrade()?;
        let last = fetched.last(&self.name);
        let (errands, sessions) = (Arc::clone(&fetched.errands), fetched.sessions.clone());
        drop(fetched);
        let asking = self.source.asked()?.ask(Asking {
            directory: &self.directory,
            time: self.source.pace.timeout,
            last: last.as_ref().map(|(value, _)| &**value),
            errands: &errands,
            sessions: &sessions,
        });
        let mut asking = pin!(asking);
        let came = match &last {
            None => asking.await,
            Some((_, left)) => tokio::select! {
                came = &mut asking => came,
                () = clock.after(*left) => {
                    self.expire();
                    asking.await
                }
            },
        };
        // What no request can carry takes nothing from the last value.
        let came = came.and_then(|value| {
            fit(&self.name, &value, self.has_lines)?;
            Ok(value)
        });
        Some(self.fetched.upgrade()?.note(self, came))
    }

    fn is_for(&self, tended: &Tended) -> bool {
        (&self.source, self.has_lines) == (&tended.source, tended.has_lines)
    }

    /// Waits; the last value is dropped meanwhile if its time comes.
    async fn rest(&self, clock: &Clock, wait: Duration) {
        let last = self.fetched.upgrade().and_then(|all| all.last(&self.name));
        match last {
            Some((_, left)) if left < wait => {
                clock.after(left).await;
                self.expire();
                clock.after(wait.saturating_sub(left)).await;
            }
            _ => clock.after(wait).await,
        }
    }

    fn expire(&self) {
        if let Some(fetched) = self.fetched.upgrade() {
            fetched.expire(&self.name);
        }
    }
}

/// Any byte; without chance, everybody waits alike, and nothing worse happens.
fn chance() -> u8 {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    byte[0]
}
