//! A descriptor that stands for a process and becomes readable when it ends (pidfd_open(2)). Never a number that another
//! process could have by now.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use libc::{c_int, c_uint};
use nix::errno::Errno;

/// Opens a process by its number; close-on-exec.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let flags: c_uint = 0;
    // NEEDED: neither std nor nix has pidfd_open. SAFETY: takes numbers only.
    let code = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
    let raw = c_int::try_from(Errno::result(code)?).map_err(io::Error::other)?;
    // NEEDED: the system call returns a bare number. SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, process::Command};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn the_end_of_a_process_makes_it_readable() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pidfd = open(child.id().cast_signed()).unwrap();
        let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::NONE).unwrap(), 1);
        child.wait().unwrap();
    }
}
