//! A socket begins to listen with as long a queue as it asks for. Never binds one.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Lets connections queue at a bound socket, at most this many; the kernel holds it to `net.core.somaxconn` (listen(2)).
///
/// # Errors
/// `EADDRINUSE` if somebody else listens there, `EOPNOTSUPP` for a socket that cannot.
pub fn listen(socket: impl AsFd, backlog: i32) -> Result<(), Errno> {
    // NEEDED: nix holds the length to the C library's SOMAXCONN, which is 128 with musl and has nothing to do with the kernel's.
    // SAFETY: takes two numbers; the descriptor is open as long as it is borrowed.
    let code = unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog) };
    Errno::result(code).map(drop)
}
