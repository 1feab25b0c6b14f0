//! A second process (fork(2)), from a process that has one thread only. Never used by a daemon: whoever has threads
//! cannot get the [`SingleThread`] that it takes.

use std::{
    fs, io,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::unistd::{ForkResult, Pid, fork as nix_fork};

/// The exit code of a child that panicked.
const PANICKED: u8 = 101;

/// Evidence that the process had one thread when it was asked. Whoever holds it starts none.
#[derive(Debug)]
pub struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Counts the threads of this process.
    ///
    /// # Errors
    /// When there are several, or /proc does not tell.
    pub fn prove() -> io::Result<Self> {
        match fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(PhantomData)),
            count => Err(io::Error::other(format!(
                "the process has {count} threads, not one"
            ))),
        }
    }
}

/// Starts a child that runs the closure and exits with what it returns. The child inherits every descriptor.
///
/// # Errors
/// When the system has no room for another process.
pub fn fork(_one: &SingleThread, child: impl FnOnce() -> u8) -> io::Result<Pid> {
    // NEEDED: no safe crate forks. SAFETY: the process has one thread, so the child finds no lock held by a thread that
    // it does not have, and it leaves by _exit, so that nothing of the parent's is run or flushed twice.
    match unsafe { nix_fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
            // NEEDED: see above. SAFETY: ends this process only.
            unsafe { libc::_exit(i32::from(code)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_cannot_fork() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(SingleThread::prove().is_err());
        drop(go);
        assert!(other.join().unwrap().is_err());
    }
}
