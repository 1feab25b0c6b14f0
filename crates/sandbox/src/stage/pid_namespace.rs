//! A pid namespace whose first process dies with the launcher, and everything in the namespace with it. Never leaves a
//! process behind: the kernel kills the namespace when its init is gone.

use std::os::fd::OwnedFd;

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout},
};
use postern_contract::launch::{Layer, Obstacle};
use postern_sys::{
    fork::{SingleThread, fork},
    seqpacket,
};

use crate::ledger::{Ledger, stops};

/// The exit code of an init that could not be set up.
const NOT_READY: u8 = 1;

/// The namespace's first process, from outside. Dropping it kills everything in the namespace and waits for the end.
#[derive(Debug)]
pub(crate) struct Init {
    pid: Pid,
    /// Orders go in and reports come out.
    pub(crate) control: OwnedFd,
}

impl Drop for Init {
    fn drop(&mut self) {
        // It may be dead already; it is gone after the second line in any case, and with it its namespace.
        let _killed = kill(self.pid, Signal::SIGKILL);
        let _ended = waitpid(self.pid, None);
    }
}

/// Enters a pid namespace for the children that come; this process stays where it is.
pub(crate) fn enter(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let step = "cannot make a pid namespace";
    unshare(CloneFlags::CLONE_NEWPID).map_err(stops(Layer::PidNamespace, step))?;
    ledger.enforced(Layer::PidNamespace, "init dies with the launcher");
    Ok(())
}

/// Starts the namespace's init, which runs `inside` with the other end of `control`.
pub(crate) fn start_init(
    one: &SingleThread,
    ledger: &Ledger,
    inside: impl FnOnce(OwnedFd, Ledger) -> u8,
) -> Result<Init, Obstacle> {
    let step = "cannot make a socket pair";
    let (control, theirs) = seqpacket::pair().map_err(stops(Layer::PidNamespace, step))?;
    let ledger = ledger.clone();
    let mut control = Some(control);
    let child = || {
        // The end that stays outside; with a copy of it, init would never hear that the launcher is gone.
        drop(control.take());
        match detach() {
            Ok(()) => inside(theirs, ledger),
            Err(_) => NOT_READY,
        }
    };
    let pid = fork(one, child).map_err(stops(Layer::PidNamespace, "cannot start its init"))?;
    let control =
        control.ok_or_else(|| Obstacle::plain("the end of a socket pair went missing"))?;
    Ok(Init { pid, control })
}

/// Ties the child's life to the launcher's and takes the launcher's connection away from it.
pub(crate) fn detach() -> std::io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
