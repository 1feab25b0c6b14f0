//! The end of any child (waitpid(2)), also by signals that have no name. Never blocks.

use std::io;

use nix::errno::Errno;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It returned this code.
    Code(i32),
    /// The signal of this number ended it.
    Signal(i32),
}

/// Takes note of one child that has ended, if there is one: its process id and its end.
///
/// # Errors
/// As waitpid(2) says. Having no children is no error.
pub fn reap() -> io::Result<Option<(i32, End)>> {
    loop {
        let mut status = 0;
        // NEEDED: nix loses the process if a signal that it has no name for ended it. SAFETY: the pointer is to a live
        // integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match Errno::result(pid) {
            Ok(0) | Err(Errno::ECHILD) => return Ok(None),
            Ok(pid) if libc::WIFEXITED(status) => {
                return Ok(Some((pid, End::Code(libc::WEXITSTATUS(status)))));
            }
            Ok(pid) if libc::WIFSIGNALED(status) => {
                return Ok(Some((pid, End::Signal(libc::WTERMSIG(status)))));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
