//! How far installs are: told in the log while a start waits for them, shown in `/readyz` and over the operator API. Never says that
//! something is over: what is over is not here any more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::AgentName;
use postern_daemon::Clock;
use serde::Serialize;

/// How often the log is told.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// All installs that are under way. Clones share them.
#[derive(Debug, Clone)]
pub struct Progress {
    clock: Clock,
    underway: Arc<Mutex<BTreeMap<AgentName, Underway>>>,
}

#[derive(Debug)]
struct Underway {
    stage: &'static str,
    since: Instant,
    read: Gauge,
}

/// How much of a source was read. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge(Arc<Bytes>);

#[derive(Debug, Default)]
struct Bytes {
    passed: AtomicU64,
    /// 0 where nobody knows.
    all: AtomicU64,
}

/// How far one install is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// What it does: `unpack`, `copy`, `fetch` or `setup`.
    pub stage: &'static str,
    /// Since when it does that.
    pub seconds: f64,
    /// How much of an object was read, as it is packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of how much, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_bytes: Option<u64>,
    /// The same in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u64>,
}

/// A stage under way; over when this is dropped.
#[derive(Debug)]
pub(super) struct Stage<'progress> {
    progress: &'progress Progress,
    agent: AgentName,
}

impl Progress {
    /// Nothing is under way.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            underway: Arc::default(),
        }
    }

    /// A stage of an agent's install begins.
    pub(super) fn begin(&self, agent: &AgentName, stage: &'static str) -> Stage<'_> {
        let underway = Underway {
            stage,
            since: self.clock.now(),
            read: Gauge::default(),
        };
        self.lock().insert(agent.clone(), underway);
        Stage {
            progress: self,
            agent: agent.clone(),
        }
    }

    /// What is read in the stage that an agent's install is at.
    pub(super) fn gauge(&self, agent: &AgentName) -> Gauge {
        let underway = self.lock();
        let gauge = underway.get(agent).map(|underway| underway.read.clone());
        gauge.unwrap_or_default()
    }

    /// How far each install is.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<AgentName, Shown> {
        let now = self.clock.now();
        let underway = self.lock();
        let shown = underway
            .iter()
            .map(|(name, underway)| (name.clone(), underway.shown(now)));
        shown.collect()
    }

    /// Tells the log how far installs are, for as long as it is polled.
    pub async fn tell(&self) -> std::convert::Infallible {
        loop {
            self.clock.after(TOLD_EVERY).await;
            for (agent, shown) in self.shown() {
                let Shown {
                    stage,
                    seconds,
                    bytes,
                    of_bytes,
                    percent,
                } = shown;
                tracing::info!(%agent, stage, seconds, bytes, of_bytes, percent, "installing");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentName, Underway>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.progress.lock().remove(&self.agent);
    }
}

impl Underway {
    fn shown(&self, now: Instant) -> Shown {
        let passed = self.read.0.passed.load(Ordering::Relaxed);
        let all = self.read.0.all.load(Ordering::Relaxed);
        let tenths = now.saturating_duration_since(self.since).as_millis() / 100;
        Shown {
            stage: self.stage,
            seconds: tenths as f64 / 10.0,
            bytes: (passed > 0).then_some(passed),
            of_bytes: (all > 0).then_some(all),
            percent: (passed.min(all) * 100).checked_div(all),
        }
    }
}

impl Gauge {
    /// So many bytes will have been read at the end, those before included.
    pub(super) fn expects(&self, all: u64) {
        self.0.all.store(all, Ordering::Relaxed);
    }

    /// So many more were read.
    pub(super) fn passed(&self, bytes: usize) {
        self.0.passed.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_told_in_parts_of_what_there_is() {
        let clock = Clock::manual(0);
        let progress = Progress::new(clock.clone());
        let desk: AgentName = "desk".parse().unwrap();
        let stage = progress.begin(&desk, "unpack");
        let gauge = progress.gauge(&desk);
        let shown = || progress.shown().remove(&desk);
        let fresh = shown().unwrap();
        assert_eq!((fresh.bytes, fresh.percent), (None, None));
        gauge.passed(30);
        assert_eq!(shown().unwrap().percent, None, "nobody said of how much");
        gauge.expects(120);
        clock.advance(Duration::from_millis(1250));
        let told = shown().unwrap();
        assert_eq!((told.percent, told.bytes), (Some(25), Some(30)));
        assert!((told.seconds - 1.2).abs() < f64::EPSILON, "{told:?}");
        gauge.passed(1000);
        assert_eq!(shown().unwrap().percent, Some(100), "never more than all");
        drop(stage);
        assert_eq!(shown(), None);
        // What is still told of a stage that is over moves nothing.
        progress.gauge(&desk).passed(1);
        assert_eq!(shown(), None);
    }
}
