//! Where runs of one agent go on, and where those wait that find no place. Never lets more wait than it may, nor longer.

use std::{sync::Arc, time::Duration};

use postern_daemon::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Terms;

/// A place of a run that goes on; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _held: OwnedSemaphorePermit,
}

/// Places of one agent. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    wait: Duration,
}

impl Places {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            free: Arc::new(Semaphore::new(terms.at_once)),
            queue: Arc::new(Semaphore::new(terms.queue)),
            wait: terms.queue_wait,
        }
    }

    /// A place, at once or in turn; `None` if too many wait already, or none came free in time.
    pub(super) async fn take(&self, clock: &Clock) -> Option<Place> {
        // Whoever waits goes first, also before somebody who comes when a place has just become free: the semaphore is fair.
        if let Ok(held) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(Place { _held: held });
        }
        let _waiting = self.queue.try_acquire().ok()?;
        let held = tokio::select! {
            held = Arc::clone(&self.free).acquire_owned() => held.ok()?,
            () = clock.after(self.wait) => return None,
        };
        Some(Place { _held: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_wait_for_a_while_and_the_rest_are_turned_away() {
        let clock = Clock::manual(0);
        let terms = Terms {
            at_once: 1,
            queue: 1,
            queue_wait: Duration::from_secs(5),
            ..Terms::default()
        };
        let places = Places::new(&terms);
        let first = places.take(&clock).await.unwrap();
        let (waiting, time) = (places.clone(), clock.clone());
        let second = tokio::spawn(async move { waiting.take(&time).await });
        while places.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(places.take(&clock).await.is_none(), "the queue is full");
        drop(first);
        let second = second.await.unwrap();
        assert!(second.is_some());
        let (waiting, time) = (places.clone(), clock.clone());
        let third = tokio::spawn(async move { waiting.take(&time).await });
        while places.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(5));
        assert!(third.await.unwrap().is_none(), "it has waited long enough");
    }
}
