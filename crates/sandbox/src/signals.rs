//! The signals that ask for the launcher's end. Never touches another signal.

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// From now on they kill at once, also where whoever started this process had them blocked.
pub(crate) fn kill() -> Result<(), Errno> {
    both().thread_unblock()
}

/// From now on they are events.
pub(crate) fn tell() -> Result<SignalFd, Errno> {
    ignore()?;
    SignalFd::with_flags(&both(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// From now on they do nothing: for a child whose end is the launcher's to bring about.
pub(crate) fn ignore() -> Result<(), Errno> {
    both().thread_block()
}

fn both() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}
