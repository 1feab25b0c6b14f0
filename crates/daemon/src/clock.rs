//! The one place that asks what time it is. Everything that decides takes time as an argument.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// Tells the time: the machine's, or in tests one that moves only when told to.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual {
        start: Instant,
        start_unix_ms: i64,
        elapsed_ms: Arc<watch::Sender<u64>>,
    },
}

enum Wait {
    Machine(tokio::time::Sleep),
    Told(watch::Receiver<u64>, u64),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock for tests that begins at `unix_ms` and stands still.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock is what the ban protects"
    )]
    pub fn manual(unix_ms: i64) -> Self {
        let elapsed_ms = Arc::new(watch::Sender::new(0));
        Self(Source::Manual {
            start: Instant::now(),
            start_unix_ms: unix_ms,
            elapsed_ms,
        })
    }

    /// Moves a manual clock forward; does nothing to the machine's.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed_ms, .. } = &self.0 {
            let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            elapsed_ms.send_modify(|elapsed| *elapsed = elapsed.saturating_add(ms));
        }
    }

    /// Returns once this much time has passed by this clock, counted from the call; on a manual one it passes by
    /// [`Clock::advance`] alone.
    pub fn after(&self, time: Duration) -> impl Future<Output = ()> + Send + use<> {
        let wait = match &self.0 {
            Source::System => Wait::Machine(tokio::time::sleep(time)),
            Source::Manual { elapsed_ms, .. } => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let until = elapsed_ms.borrow().saturating_add(ms);
                Wait::Told(elapsed_ms.subscribe(), until)
            }
        };
        async move {
            match wait {
                Wait::Machine(sleep) => sleep.await,
                Wait::Told(mut elapsed_ms, until) => {
                    if elapsed_ms.wait_for(|now| *now >= until).await.is_err() {
                        // The clock is gone, and time with it.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// A point of monotonic time, for measuring spans.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock is what the ban protects"
    )]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual {
                start, elapsed_ms, ..
            } => *start + Duration::from_millis(*elapsed_ms.borrow()),
        }
    }

    /// Milliseconds since 1970 in UTC; negative before.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock is what the ban protects"
    )]
    pub fn unix_ms(&self) -> i64 {
        match &self.0 {
            Source::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            },
            Source::Manual {
                start_unix_ms,
                elapsed_ms,
                ..
            } => {
                let elapsed = *elapsed_ms.borrow();
                start_unix_ms.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
            }
        }
    }

    /// Now as RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        rfc3339(self.unix_ms())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Manual { .. } => "Clock(manual)",
        })
    }
}

/// A time as RFC 3339 in UTC with milliseconds: `2026-02-03T04:05:06.789Z`.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000);
        let before = clock.now();
        clock.advance(Duration::from_millis(500));
        assert_eq!(clock.unix_ms(), 1_500);
        assert_eq!(clock.now() - before, Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_whoever_waits_for_it() {
        let clock = Clock::manual(0);
        let mut waiting = tokio::spawn(clock.after(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(9));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("too soon"),
            () = tokio::task::yield_now() => {}
        }
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_770_091_506_789), "2026-02-03T04:05:06.789Z");
        assert!(rfc3339(i64::MAX).ends_with(" ms"));
    }
}
