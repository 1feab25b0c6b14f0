//! How long to wait before an upstream is tried again. Pure: chance is an argument.

use std::time::Duration;

/// The first pause at most.
const FIRST_MAX: Duration = Duration::from_millis(100);

/// Any pause at most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The pause before try number `tries` (the first repetition is 1): anything up to a bound that doubles, so that many who
/// failed together do not come back together.
pub(super) fn pause(tries: u8, chance: u16) -> Duration {
    let doubled = FIRST_MAX.saturating_mul(1 << u32::from(tries.saturating_sub(1)).min(8));
    let bound = doubled.min(PAUSE_MAX);
    // Half of it always, the rest by chance: a pause of nothing at all helps nobody.
    bound / 2 + bound.mul_f64(f64::from(chance) / f64::from(u16::MAX)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_spread() {
        assert_eq!(pause(1, 0), FIRST_MAX / 2);
        assert_eq!(pause(1, u16::MAX), FIRST_MAX);
        assert_eq!(pause(2, u16::MAX), FIRST_MAX * 2);
        assert_eq!(pause(u8::MAX, u16::MAX), PAUSE_MAX);
        assert!(pause(3, 100) < pause(3, 60_000));
    }
}
