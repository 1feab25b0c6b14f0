//! How much of the audit log one sandbox may fill: so many bytes a day, of which it may use a whole day's at once. What is
//! written is never held back; who has used up its day is refused before anything is dialled. Never locks.

use std::sync::atomic::{AtomicU64, Ordering};

const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// What one sandbox has used: until when its bytes are used up, in microseconds since 1970. The past means that none are.
#[derive(Debug, Default)]
pub(crate) struct Allowance(AtomicU64);

impl Allowance {
    /// Whether anything is left now.
    pub(crate) fn is_left(&self, now_ms: i64) -> bool {
        self.ahead(micros(now_ms)) < DAY_US
    }

    /// So many bytes were written, of so many a day.
    pub(crate) fn spend(&self, bytes: u64, per_day: u64, now_ms: i64) {
        let worth = u128::from(bytes) * u128::from(DAY_US) / u128::from(per_day.max(1));
        let worth = u64::try_from(worth).unwrap_or(DAY_US).min(DAY_US);
        let now = micros(now_ms);
        let spent = |until: u64| Some(now + ahead(until, now) + worth);
        // The closure always says yes.
        let _before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
    }

    fn ahead(&self, now: u64) -> u64 {
        ahead(self.0.load(Ordering::Relaxed), now)
    }
}

/// How much is used ahead. Nobody comes further than what is under way at once beyond a day: a clock that was set back by
/// days is forgiven.
fn ahead(until: u64, now: u64) -> u64 {
    let ahead = until.saturating_sub(now);
    if ahead > 4 * DAY_US { 0 } else { ahead }
}

fn micros(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default() * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_day_may_be_used_at_once_and_comes_back_over_the_next() {
        let (allowance, mut now) = (Allowance::default(), 1_700_000_000_000);
        for _ in 0..100 {
            assert!(allowance.is_left(now));
            allowance.spend(10, 1000, now);
        }
        assert!(!allowance.is_left(now));
        now += DAY_MS / 10;
        for _ in 0..10 {
            assert!(allowance.is_left(now));
            allowance.spend(10, 1000, now);
        }
        assert!(!allowance.is_left(now));
        // After a week of silence there is one day's worth, not seven.
        now += 7 * DAY_MS;
        let used = (0..1000).take_while(|_| {
            let left = allowance.is_left(now);
            allowance.spend(10, 1000, now);
            left
        });
        assert_eq!(used.count(), 100);
    }

    #[test]
    fn a_clock_that_was_set_back_shuts_nobody_out() {
        let (allowance, now) = (Allowance::default(), 1_700_000_000_000);
        allowance.spend(1, 1000, now);
        assert!(allowance.is_left(now - 30 * DAY_MS));
    }
}
