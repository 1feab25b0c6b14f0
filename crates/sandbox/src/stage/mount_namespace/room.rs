//! Whether a directory that the agent may write is full, seen from inside when a process has ended. Never says who filled it, nor
//! that it was full meanwhile.

use std::path::Path;

use nix::sys::statfs::statfs;
use postern_contract::launch::Hit;

use super::SCRATCH;

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Room {
    is_told: bool,
}

impl Room {
    /// That there is no room in one of them, once until there was room again.
    pub(crate) fn news(&mut self) -> Option<Hit> {
        let is_full = SCRATCH
            .iter()
            .any(|name| is_full(&Path::new("/").join(name)));
        let is_news = is_full && !self.is_told;
        self.is_told = is_full;
        is_news.then_some(Hit::Disk)
    }
}

/// Nothing can be asked of what is not there, so that it is not full either.
fn is_full(place: &Path) -> bool {
    statfs(place).is_ok_and(|room| {
        room.blocks() > 0 && (room.blocks_available() == 0 || room.files_free() == 0)
    })
}
