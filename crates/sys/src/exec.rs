//! Becoming another program (execve(2)) with exactly the descriptors, signals and environment that were asked for.
//! Never searches the environment and never returns.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use libc::{c_int, c_uint};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::execve,
};

/// Descriptors wait here while the low numbers are handed out; no image has more of them than this. A process whose
/// limit of open files is not well above it starts nothing.
const PARKING: RawFd = 16;

/// The exit code of a process that could not become the program.
const NOT_STARTED: c_int = 127;

/// What to become.
#[derive(Debug)]
pub struct Image {
    /// Paths to try, in order; the first that exists is it.
    pub candidates: Vec<CString>,
    /// The arguments, the name first.
    pub argv: Vec<CString>,
    /// The whole environment.
    pub env: Vec<CString>,
    /// These become descriptors 0, 1, 2, … ; at most 16.
    pub descriptors: Vec<OwnedFd>,
    /// Gets the number of the error (4 bytes, native order) if the program does not start, and just closes if it does.
    pub failure: OwnedFd,
}

/// Marks every descriptor from number 3 on close-on-exec, also those that were inherited.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_all_on_exec() -> io::Result<()> {
    Ok(close_on_exec_from(3)?)
}

/// Becomes the program: every signal default and unblocked, no descriptor beside the image's. If that cannot be, tells
/// `failure` and exits with 127.
pub fn become_program(image: Image) -> ! {
    let Image {
        candidates,
        argv,
        env,
        descriptors,
        failure,
    } = image;
    // Parked first: its number may be one that is handed out.
    let (failure, errno) = match park(&failure) {
        Ok(parked) => (parked, start(&descriptors, (&candidates, &argv, &env))),
        Err(errno) => (failure, errno),
    };
    // Nobody is left to hear about an error here.
    let _told = File::from(failure).write_all(&(errno as i32).to_ne_bytes());
    // NEEDED: std's exit would run what the parent registered. SAFETY: ends this process only.
    unsafe { libc::_exit(NOT_STARTED) }
}

type Words<'a> = (&'a [CString], &'a [CString], &'a [CString]);

fn start(descriptors: &[OwnedFd], (candidates, argv, env): Words<'_>) -> Errno {
    match arrange(descriptors).and_then(|()| default_signals()) {
        Ok(()) => first_of(candidates, argv, env),
        Err(errno) => errno,
    }
}

fn first_of(candidates: &[CString], argv: &[CString], env: &[CString]) -> Errno {
    let mut found = Errno::ENOENT;
    for path in candidates {
        let Err(errno) = execve(path, argv, env);
        match errno {
            // Not here; another place may have it. What was found but may not be run is the better answer.
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => found = errno,
            other => return other,
        }
    }
    found
}

/// Gives the descriptors their numbers and lets all others go at exec.
fn arrange(descriptors: &[OwnedFd]) -> Result<(), Errno> {
    let count = c_int::try_from(descriptors.len()).unwrap_or(c_int::MAX);
    if count > PARKING {
        return Err(Errno::EMFILE);
    }
    let parked = descriptors
        .iter()
        .map(park)
        .collect::<Result<Vec<_>, _>>()?;
    for (number, from) in (0..count).zip(&parked) {
        // NEEDED: nix replaces only descriptors that somebody owns by value. SAFETY: what had this number is lost to its
        // owner, but none of this process's code but `become_program` runs again, and that uses `parked` numbers.
        Errno::result(unsafe { libc::dup2(from.as_raw_fd(), number) })?;
    }
    close_on_exec_from(count.max(3).cast_unsigned())?;
    Ok(())
}

fn park(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(PARKING))?;
    // NEEDED: nix returns a bare number here. SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn close_on_exec_from(first: c_uint) -> Result<(), Errno> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // NEEDED: neither std nor nix has close_range. SAFETY: with this flag nothing is closed now.
    let code = unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) };
    Errno::result(code)?;
    Ok(())
}

/// What is ignored would stay ignored over exec (std ignores SIGPIPE), and so would what is blocked.
fn default_signals() -> Result<(), Errno> {
    for number in 1..=libc::SIGRTMAX() {
        // NEEDED: nix calls this unsafe too. SAFETY: installs no handler. SIGKILL and SIGSTOP refuse, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}
