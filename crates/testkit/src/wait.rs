//! Waits for a condition, with a deadline. For conditions that nothing announces: a process is gone, a file is there.

use std::time::Duration;

/// How long a test waits for anything before it fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Returns what `found` finds, as soon as it finds something.
///
/// # Panics
/// After [`DEADLINE`], saying what was waited for.
pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, found).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain until {what}"))
}

/// Returns what `found` finds, or `None` after `limit`.
///
/// # Panics
/// When the test process is out of descriptors.
pub fn within<T>(limit: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap_or_else(|error| panic!("no clock to wait by: {error}"));
    clock.block_on(async {
        let look = async {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                if let Some(value) = found() {
                    return value;
                }
            }
        };
        tokio::time::timeout(limit, look).await.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_the_condition_or_with_the_limit() {
        let mut looks = 0;
        let found = within(DEADLINE, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));
        assert_eq!(within(Duration::ZERO, || None::<()>), None);
    }
}
