//! Files on their way to the disk, many at once and beside the work that finds them. Never says that all is well before each of
//! them is written.
//!
//! ```text
//!  site ── fills ──▶ batch: bytes of many small files, or a piece of a large one ──▶ writers ── empty batch ──▶ site
//! ```

use std::{
    fs::File,
    io::Write,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    UnpackError,
    disk::{self, Modes},
    place::Place,
};

/// How many bytes a batch holds.
const BATCH_BYTES: usize = 256 * 1024;

/// How many files a batch holds.
const BATCH_FILES_MAX: usize = 128;

/// How many batches there are, filled or not.
const BATCHES_MAX: usize = 12;

/// How many threads write.
const WRITERS: usize = 2;

/// Something to be written.
enum Job {
    /// A file and all that is in it.
    Whole {
        path: String,
        is_executable: bool,
        bytes: Range<usize>,
    },
    /// A part of a file that is made already.
    Piece {
        file: Arc<File>,
        offset: u64,
        bytes: Range<usize>,
    },
}

/// Bytes, and where they go.
struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    jobs: Vec<Job>,
}

/// The file that is being filled.
struct Open {
    path: String,
    is_executable: bool,
    /// Where its bytes in the batch begin.
    from: usize,
    /// Once it has outgrown a batch: the file, and how much of it is on its way.
    large: Option<(Arc<File>, u64)>,
}

/// What makes and fills files.
pub(crate) struct Files {
    root: Arc<OwnedFd>,
    batch: Batch,
    batches: usize,
    open: Option<Open>,
    crew: Option<Crew>,
    modes: Modes,
    first: FirstError,
}

/// Threads that write.
struct Crew {
    work: Sender<Batch>,
    spare: Receiver<Batch>,
    threads: Vec<JoinHandle<()>>,
}

type FirstError = Arc<Mutex<Option<UnpackError>>>;

impl Files {
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, UnpackError> {
        let root = root.try_clone_to_owned();
        let root = root.map_err(|error| UnpackError::System {
            doing: "opening the directory".to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            root: Arc::new(root),
            batch: Batch::new(),
            batches: 1,
            open: None,
            crew: None,
            modes: Modes::default(),
            first: FirstError::default(),
        })
    }

    /// Begins a file; its directory must be there. `size` is a hint.
    pub(crate) fn begin(
        &mut self,
        place: &Place,
        is_executable: bool,
        size: u64,
    ) -> Result<(), UnpackError> {
        let left = BATCH_BYTES - self.batch.filled;
        let fits = size <= left as u64 || size > BATCH_BYTES as u64;
        if !fits || self.batch.jobs.len() >= BATCH_FILES_MAX {
            self.send()?;
        }
        self.open = Some(Open {
            path: place.path().to_owned(),
            is_executable,
            from: self.batch.filled,
            large: None,
        });
        Ok(())
    }

    /// Where the next bytes of the file go; never empty.
    pub(crate) fn room(&mut self) -> Result<&mut [u8], UnpackError> {
        if self.batch.filled == BATCH_BYTES {
            self.cut_piece()?;
            self.send()?;
            if let Some(open) = &mut self.open {
                open.from = 0;
            }
        }
        Ok(&mut self.batch.bytes[self.batch.filled..])
    }

    /// Says how much of the room was used, and which bytes.
    pub(crate) fn wrote(&mut self, count: usize) -> &[u8] {
        let from = self.batch.filled;
        self.batch.filled = (from + count).min(BATCH_BYTES);
        &self.batch.bytes[from..self.batch.filled]
    }

    /// Ends a file.
    pub(crate) fn end(&mut self) -> Result<(), UnpackError> {
        if self.open.as_ref().is_some_and(|open| open.large.is_some()) {
            self.cut_piece()?;
        }
        if let Some(Open {
            path,
            is_executable,
            from,
            large: None,
        }) = self.open.take()
        {
            let bytes = from..self.batch.filled;
            self.batch.jobs.push(Job::Whole {
                path,
                is_executable,
                bytes,
            });
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn settle(&mut self) -> Result<(), UnpackError> {
        self.send()?;
        if let Some(crew) = self.crew.take() {
            crew.finish()?;
            // Those that were under way are gone with their threads.
            self.batches = 1;
        }
        self.told()
    }

    /// Makes a piece of what the open file has in the batch.
    fn cut_piece(&mut self) -> Result<(), UnpackError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let bytes = open.from..self.batch.filled;
        let (file, offset) = match &mut open.large {
            Some(large) => large,
            none => {
                let made = disk::create_file(
                    self.root.as_fd(),
                    &open.path,
                    open.is_executable,
                    &mut self.modes,
                )?;
                none.insert((Arc::new(made), 0))
            }
        };
        let job = Job::Piece {
            file: Arc::clone(file),
            offset: *offset,
            bytes: bytes.clone(),
        };
        *offset += bytes.len() as u64;
        self.batch.jobs.push(job);
        Ok(())
    }

    /// Passes the batch on, and takes an empty one.
    fn send(&mut self) -> Result<(), UnpackError> {
        self.told()?;
        if self.batch.jobs.is_empty() {
            return Ok(());
        }
        if self.batch.filled == BATCH_BYTES || self.batch.jobs.len() >= BATCH_FILES_MAX {
            // A small archive is done sooner than a thread has begun.
            self.crew = self
                .crew
                .take()
                .or_else(|| Crew::start(&self.root, &self.first));
        }
        let Some(crew) = &self.crew else {
            self.batch.write(self.root.as_fd(), &mut self.modes)?;
            self.batch.clear();
            return Ok(());
        };
        let next = match crew.spare.try_recv() {
            Ok(spare) => spare,
            Err(_) if self.batches < BATCHES_MAX => {
                self.batches += 1;
                Batch::new()
            }
            Err(_) => crew.spare.recv().map_err(|_| Crew::gone())?,
        };
        let full = std::mem::replace(&mut self.batch, next);
        crew.work.send(full).map_err(|_| Crew::gone())
    }

    fn told(&self) -> Result<(), UnpackError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone().map_or(Ok(()), Err)
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_BYTES],
            filled: 0,
            jobs: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.jobs.clear();
    }

    fn write(&self, root: BorrowedFd<'_>, modes: &mut Modes) -> Result<(), UnpackError> {
        for job in &self.jobs {
            let written = match job {
                Job::Whole {
                    path,
                    is_executable,
                    bytes,
                } => disk::create_file(root, path, *is_executable, modes)?
                    .write_all(&self.bytes[bytes.clone()]),
                Job::Piece {
                    file,
                    offset,
                    bytes,
                } => file.write_all_at(&self.bytes[bytes.clone()], *offset),
            };
            written.map_err(|error| UnpackError::System {
                doing: "writing a file".to_owned(),
                why: error.to_string(),
            })?;
        }
        Ok(())
    }
}

impl Crew {
    /// Starts the threads; without any the work is done where it comes up.
    fn start(root: &Arc<OwnedFd>, first: &FirstError) -> Option<Self> {
        let (work, coming) = channel::<Batch>();
        let (done, spare) = channel::<Batch>();
        let coming = Arc::new(Mutex::new(coming));
        let threads: Vec<_> = (0..WRITERS)
            .map_while(|_| {
                let (root, first) = (Arc::clone(root), Arc::clone(first));
                let (coming, done) = (Arc::clone(&coming), done.clone());
                let thread = thread::Builder::new().name("writer".to_owned());
                thread
                    .spawn(move || write_all(&root, &first, (&coming, &done)))
                    .ok()
            })
            .collect();
        (!threads.is_empty()).then_some(Self {
            work,
            spare,
            threads,
        })
    }

    fn finish(self) -> Result<(), UnpackError> {
        drop(self.work);
        let ended = self.threads.into_iter().all(|thread| thread.join().is_ok());
        ended.then_some(()).ok_or_else(Self::gone)
    }

    fn gone() -> UnpackError {
        UnpackError::System {
            doing: "writing files".to_owned(),
            why: "a thread did not end well".to_owned(),
        }
    }
}

impl Drop for Files {
    /// After an error too, nothing is written any more once the call has returned.
    fn drop(&mut self) {
        if let Some(crew) = self.crew.take() {
            drop(crew.finish());
        }
    }
}

/// Writes batch after batch; after the first error none.
fn write_all(
    root: &OwnedFd,
    first: &Mutex<Option<UnpackError>>,
    (coming, done): (&Mutex<Receiver<Batch>>, &Sender<Batch>),
) {
    let mut modes = Modes::default();
    loop {
        let next = coming.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut batch) = next else {
            return;
        };
        let is_well = || first.lock().unwrap_or_else(PoisonError::into_inner);
        if is_well().is_none()
            && let Err(error) = batch.write(root.as_fd(), &mut modes)
        {
            is_well().get_or_insert(error);
        }
        batch.clear();
        drop(done.send(batch));
    }
}
