//! The disk that a stage fills, which is the daemons' too: what it may not take of it. Never says who took it.

use std::{io, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;

/// What stays free for everybody else, in bytes and in entries; the half of it where there is less than twice as much.
const LEFT: Free = Free {
    bytes: 1 << 30,
    entries: 100_000,
};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a disk has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Free {
    bytes: u64,
    entries: u64,
}

impl Free {
    fn at(place: &Path) -> io::Result<Self> {
        let disk = statvfs(place)?;
        // Some file systems count no entries.
        let entries = match disk.files() {
            0 => u64::MAX,
            _ => disk.files_available(),
        };
        Ok(Self {
            bytes: disk.blocks_available().saturating_mul(disk.fragment_size()),
            entries,
        })
    }

    /// What has to stay free, of this much.
    fn floor(self) -> Self {
        Self {
            bytes: LEFT.bytes.min(self.bytes / 2),
            entries: LEFT.entries.min(self.entries / 2),
        }
    }

    fn is_below(self, floor: Self) -> bool {
        self.bytes < floor.bytes || self.entries < floor.entries
    }
}

/// Returns when a stage that begins now has taken all that it may of the disk at this place.
pub(super) async fn used_up(place: &Path) {
    until_below(|| Free::at(place)).await;
}

async fn until_below(mut look: impl FnMut() -> io::Result<Free>) {
    let Ok(floor) = look().map(Free::floor) else {
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        if look().is_ok_and(|free| free.is_below(floor)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn free(bytes: u64, entries: u64) -> Free {
        Free { bytes, entries }
    }

    #[test]
    fn a_stage_leaves_a_gibibyte_and_of_little_the_half() {
        assert_eq!(free(100 << 30, u64::MAX).floor(), LEFT);
        assert_eq!(free(1 << 30, 10).floor(), free(1 << 29, 5));
        assert!(free(0, 9).is_below(free(1, 9)) && free(1, 8).is_below(free(1, 9)));
        assert!(!free(1, 9).is_below(free(1, 9)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_when_there_is_less_and_not_before() {
        for less in [free(1 << 20, 1 << 20), free(2 << 30, 9)] {
            let mut looks = [free(3 << 30, 1 << 20), free(2 << 30, 1 << 20), less].into_iter();
            until_below(|| Ok(looks.next().unwrap())).await;
            assert_eq!(looks.next(), None);
        }
        let never = until_below(|| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(never.now_or_never(), None);
        assert!(Free::at(Path::new("/")).unwrap().bytes > 0);
    }
}
