//! When a source is asked again, and for how long its last value is served. Pure: time is an argument.

use std::time::Duration;

const TTL_DEFAULT: Duration = Duration::from_secs(10 * 60);
const TTL_MIN: Duration = Duration::from_secs(1);
const KEEP_DEFAULT: Duration = Duration::from_secs(3600);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// After the first failure; doubled with each further one.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// `ttl`, `refresh_ahead`, `keep` and `timeout` of `[secrets.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    ttl: Duration,
    refresh_ahead: Duration,
    keep: Duration,
    /// How long one asking may take.
    pub(super) timeout: Duration,
}

impl Pace {
    /// What is written, in that order; what is not has its usual value.
    pub(super) fn of(
        [ttl, refresh_ahead, keep, timeout]: [Option<Duration>; 4],
    ) -> Result<Self, String> {
        let ttl = ttl.unwrap_or(TTL_DEFAULT);
        let refresh_ahead = refresh_ahead.unwrap_or(ttl / 10);
        let timeout = timeout.unwrap_or(TIMEOUT_DEFAULT);
        if ttl < TTL_MIN {
            return Err("`ttl` is at least 1s".to_owned());
        }
        if refresh_ahead >= ttl {
            return Err("`refresh_ahead` is shorter than `ttl`".to_owned());
        }
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err("`timeout` is more than nothing and at most 60s".to_owned());
        }
        Ok(Self {
            ttl,
            refresh_ahead,
            keep: keep.unwrap_or(KEEP_DEFAULT),
            timeout,
        })
    }

    /// How long a value is good for, without another: fresh for its `ttl`, and kept for `keep` beyond it.
    pub(super) fn good_for(&self) -> Duration {
        self.ttl.saturating_add(self.keep)
    }

    /// How long to wait after a value was had. `chance` is any byte; what it takes away is at most a tenth, so that gates that
    /// were started together do not ask together.
    pub(super) fn after_success(&self, chance: u8) -> Duration {
        let wait = self.ttl - self.refresh_ahead;
        wait - wait / 10 * u32::from(chance) / 255
    }

    /// How long to wait after as many failures in a row, of which there was at least one; at most half of it is chance's.
    pub(super) fn after_failures(in_a_row: u32, chance: u8) -> Duration {
        let doublings = in_a_row.saturating_sub(1).min(16);
        let wait = BACKOFF.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        wait - wait / 2 * u32::from(chance) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_value_is_asked_for_before_it_is_old() {
        let pace = Pace::of([Some(SECOND * 100), Some(SECOND * 20), Some(SECOND), None]).unwrap();
        assert_eq!(pace.after_success(0), SECOND * 80);
        assert_eq!(pace.after_success(255), SECOND * 72);
        assert_eq!(pace.good_for(), SECOND * 101);
    }

    #[test]
    fn failures_wait_longer_up_to_a_minute_and_never_all_alike() {
        let waits = [1, 2, 3, 7, 4000].map(|failures| Pace::after_failures(failures, 0).as_secs());
        assert_eq!(waits, [1, 2, 4, 60, 60]);
        assert_eq!(Pace::after_failures(7, 255), SECOND * 30);
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        for times in [
            [Some(Duration::ZERO), None, None, None],
            [Some(SECOND), Some(SECOND), None, None],
            [None, None, None, Some(Duration::ZERO)],
            [None, None, None, Some(SECOND * 61)],
        ] {
            assert!(Pace::of(times).is_err(), "{times:?}");
        }
    }
}
