//! The SHA-256 of all that comes, taken beside the work where there is much of it. Never of anything but every byte in order.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use sha2::{Digest, Sha256};

use crate::UnpackError;

/// From here on a thread of its own is worth it, in bytes.
const THREAD_FROM_BYTES: u64 = 1024 * 1024;

/// How many pieces may wait to be hashed.
const WAITING_MAX: usize = 4;

/// A piece of the archive, as long as it was filled.
pub(crate) type Piece = (Arc<Vec<u8>>, usize);

/// A hash that grows.
pub(crate) struct Hash {
    here: Sha256,
    bytes: u64,
    elsewhere: Option<Worker>,
}

struct Worker {
    pieces: SyncSender<Piece>,
    thread: JoinHandle<Sha256>,
}

impl Hash {
    pub(crate) fn new() -> Self {
        Self {
            here: Sha256::new(),
            bytes: 0,
            elsewhere: None,
        }
    }

    pub(crate) fn update(&mut self, (piece, filled): Piece) {
        self.bytes += filled as u64;
        if self.elsewhere.is_none() && self.bytes > THREAD_FROM_BYTES {
            self.elsewhere = Worker::start(&self.here);
        }
        match &self.elsewhere {
            // The thread ends when this sender does; it cannot end before.
            Some(worker) => drop(worker.pieces.send((piece, filled))),
            None => self.here.update(&piece[..filled]),
        }
    }

    /// The digest, in lower-case hex.
    pub(crate) fn finish(self) -> Result<String, UnpackError> {
        let hash = match self.elsewhere {
            None => self.here,
            Some(Worker { pieces, thread }) => {
                drop(pieces);
                thread.join().map_err(|_| UnpackError::System {
                    doing: "hashing the archive".to_owned(),
                    why: "the thread did not end well".to_owned(),
                })?
            }
        };
        Ok(hex::encode(hash.finalize()))
    }
}

impl Worker {
    /// Takes over what was hashed so far; without a thread to be had, hashing goes on where it is.
    fn start(so_far: &Sha256) -> Option<Self> {
        let (pieces, coming) = sync_channel::<Piece>(WAITING_MAX);
        let mut hash = so_far.clone();
        let hashing = move || {
            for (piece, filled) in coming {
                hash.update(&piece[..filled]);
            }
            hash
        };
        let thread = thread::Builder::new().name("hash".to_owned());
        let thread = thread.spawn(hashing).ok()?;
        Some(Self { pieces, thread })
    }
}
