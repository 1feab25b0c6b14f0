//! Keeps one Python agent alive: a sandbox, a worker in it, and both again when they die, less and less eagerly. Never gives
//! up, never restarts in a tight loop, and says all the while whether the agent can be called.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{
    worker::{Ended, WorkerCall},
    workshop::{Loaded, Workshop},
};
use crate::{
    agents::{
        Readiness,
        ground::{KILL, how_it_ended},
    },
    sandbox::Sandbox,
};

/// How long to wait after the first death; doubles with each that follows soon.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long all processes of a sandbox may take to be gone.
const CLEAR_MAX: Duration = Duration::from_secs(10);

/// Keeps what a workshop makes.
pub(super) struct Keeper {
    workshop: Workshop,
    readiness: watch::Sender<Readiness>,
}

/// What came of one worker.
enum Life {
    /// It answered calls before it died.
    Useful(String),
    /// It never was ready.
    Useless(String),
    /// The agent stops.
    Over,
}

impl Keeper {
    pub(super) fn new(workshop: Workshop, readiness: watch::Sender<Readiness>) -> Self {
        Self {
            workshop,
            readiness,
        }
    }

    /// Goes on until nobody holds the agent any more.
    pub(super) async fn keep(self, first: Sandbox, mut calls: mpsc::Receiver<WorkerCall>) {
        let mut sandbox = Some(first);
        let mut wait = BACKOFF_FIRST;
        loop {
            let life = match &sandbox {
                Some(standing) => self.live(standing, &mut calls).await,
                None => match self.workshop.ground.build().await {
                    Ok(built) => {
                        sandbox = Some(built);
                        continue;
                    }
                    Err(error) => Life::Useless(format!("no sandbox: {error}")),
                },
            };
            wait = match life {
                Life::Over => break,
                Life::Useful(why) => self.not_ready(&why, BACKOFF_FIRST),
                Life::Useless(why) => self.not_ready(&why, wait),
            };
            self.clear(&mut sandbox).await;
            if self.pause(wait, &mut sandbox, &calls).await {
                break;
            }
        }
        if let Some(sandbox) = sandbox {
            self.workshop.ground.end(sandbox).await;
        }
    }

    /// What the worker started may have left its group, and goes on no longer either, if need be with its sandbox.
    async fn clear(&self, sandbox: &mut Option<Sandbox>) {
        let Some(standing) = sandbox else {
            return;
        };
        let cleared = tokio::time::timeout(CLEAR_MAX, standing.clear()).await;
        if !matches!(cleared, Ok(Ok(())))
            && let Some(stuck) = sandbox.take()
        {
            self.workshop.ground.end(stuck).await;
        }
    }

    /// Says why the agent cannot be called, and gives the wait after the next failure.
    fn not_ready(&self, why: &str, wait: Duration) -> Duration {
        let why = format!("{}: {why}", self.workshop.settings.entry);
        if *self.readiness.borrow() == Readiness::Starting {
            // Whoever waits for the start tells it.
            tracing::debug!(agent = %self.workshop.ground.agent.name, "not ready: {why}");
        } else {
            tracing::error!(agent = %self.workshop.ground.agent.name, "not ready: {why}");
        }
        self.readiness.send_replace(Readiness::NotReady { why });
        (wait * 2).min(BACKOFF_MAX)
    }

    /// Waits before the next attempt; a sandbox that is gone by then is told to the gate. True if the agent stops.
    async fn pause(
        &self,
        wait: Duration,
        sandbox: &mut Option<Sandbox>,
        calls: &mpsc::Receiver<WorkerCall>,
    ) -> bool {
        let gone = async {
            match sandbox {
                Some(standing) => standing.ended().await,
                None => std::future::pending().await,
            }
        };
        let is_gone = tokio::select! {
            () = gone => true,
            () = tokio::time::sleep(wait) => false,
        };
        if is_gone && let Some(dead) = sandbox.take() {
            self.workshop.ground.end(dead).await;
        }
        calls.is_closed()
    }

    /// One worker, from its start to its end.
    async fn live(&self, sandbox: &Sandbox, calls: &mut mpsc::Receiver<WorkerCall>) -> Life {
        let loaded = match self.workshop.load(sandbox).await {
            Ok(loaded) => loaded,
            Err(why) => return Life::Useless(why),
        };
        let Loaded {
            mut worker,
            mut process,
            found,
        } = loaded;
        let agent = &self.workshop.ground.agent.name;
        tracing::info!(%agent, entry = self.workshop.settings.entry, found, "ready");
        self.readiness.send_replace(Readiness::Ready {
            sandbox: Some(sandbox.id.clone()),
        });
        let number = process.number;
        let ended = worker.serve(calls, how_it_ended(&mut process)).await;
        // Whatever is left of it goes; that it is gone already is the usual case.
        drop(sandbox.signal(number, KILL).await);
        match ended {
            Ended::Unwanted => Life::Over,
            Ended::Failed(why) | Ended::NotLoaded(why) | Ended::Overran(why) => {
                self.readiness
                    .send_replace(Readiness::NotReady { why: why.clone() });
                Life::Useful(why)
            }
        }
    }
}
