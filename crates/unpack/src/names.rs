//! Which names are taken, and by what. Never keeps the names themselves: however long they are, one costs the same.

use std::collections::{HashMap, hash_map::Entry as Slot};

use sha2::{Digest, Sha256};

use crate::{UnpackError, place::Place};

/// Half a SHA-256: nobody finds two paths with the same, and who did would only have their archive refused.
type Mark = [u8; 16];

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A directory that was only named on the way to something.
    PassedDirectory,
    Directory,
    File,
    Link,
}

/// What has a name.
struct Taken {
    /// Of the path as it is written.
    written: Mark,
    by: Thing,
}

/// All names of an archive, by the path as a file system that ignores case or Unicode form would see it.
#[derive(Default)]
pub(crate) struct Names {
    taken: HashMap<Mark, Taken>,
    /// Where the last one lies: archives go folder by folder.
    last_parent: Option<String>,
}

impl Names {
    /// Takes a name; false if it is a directory that is there already and may be.
    pub(crate) fn take(&mut self, place: &Place, thing: Thing) -> Result<bool, UnpackError> {
        let (folded, written) = marks(place);
        match self.taken.entry(folded) {
            Slot::Vacant(slot) => {
                slot.insert(Taken { written, by: thing });
                Ok(true)
            }
            Slot::Occupied(mut slot) => {
                let taken = slot.get_mut();
                if taken.written != written {
                    return Err(UnpackError::clash(
                        place.path(),
                        "differs from another name in case or Unicode form alone",
                    ));
                }
                match (taken.by, thing) {
                    (Thing::PassedDirectory | Thing::Directory, Thing::PassedDirectory) => {}
                    (Thing::PassedDirectory, Thing::Directory) => taken.by = Thing::Directory,
                    (Thing::File | Thing::Link, Thing::PassedDirectory) => {
                        return Err(UnpackError::clash(
                            place.path(),
                            "is used as a directory but is none",
                        ));
                    }
                    _ => return Err(UnpackError::clash(place.path(), "is there twice")),
                }
                Ok(false)
            }
        }
    }

    /// Whether all directories above are known to be taken, as they were for the name before.
    pub(crate) fn is_beside_the_last(&self, place: &Place) -> bool {
        self.last_parent.as_deref() == Some(place.parent())
    }

    /// Remembers that all directories above are taken.
    pub(crate) fn note_parent(&mut self, place: &Place) {
        let parent = self.last_parent.get_or_insert_default();
        parent.clear();
        parent.push_str(place.parent());
    }

    /// Whether a file stands exactly there, to the letter.
    pub(crate) fn is_file(&self, place: &Place) -> bool {
        let (folded, written) = marks(place);
        self.taken
            .get(&folded)
            .is_some_and(|taken| taken.written == written && taken.by == Thing::File)
    }

    /// Makes a link of a file.
    pub(crate) fn turn_into_link(&mut self, place: &Place) {
        if let Some(taken) = self.taken.get_mut(&marks(place).0) {
            taken.by = Thing::Link;
        }
    }
}

/// The marks of a path: folded, and as it is written.
fn marks(place: &Place) -> (Mark, Mark) {
    let folded = place.folded();
    let written = mark(place.path());
    if folded == place.path() {
        (written, written)
    } else {
        (mark(&folded), written)
    }
}

fn mark(path: &str) -> Mark {
    let mut mark = Mark::default();
    mark.copy_from_slice(&Sha256::digest(path)[..16]);
    mark
}
