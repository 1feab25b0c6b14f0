//! The one part of a launcher that stays where the host's files are: a child that deletes what agents left behind, and
//! takes away what the launcher made: directories if the sandbox does not come to be, its cgroup in the end. Never follows a
//! link, never leaves the permitted roots, never deletes a tree that no agent owns, and has no capability but those that
//! this takes.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        socket::{Shutdown, shutdown},
        wait::waitpid,
    },
    unistd::{Pid, geteuid},
};
use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Ask, Obstacle, Outcome, Said, Verb},
};
use postern_sys::{
    capability,
    fork::{SingleThread, fork},
    seqpacket,
};

use crate::{
    config::Config,
    discard::discard,
    ledger::Ledger,
    signals,
    stage::{
        cgroup::Group,
        mount_namespace::sources::{Made, Source},
        no_new_privileges,
        pid_namespace::detach,
        seccomp,
    },
};

/// How long the launcher waits for the janitor's end, in milliseconds.
const FINISH_MS_MAX: u16 = 500;

/// What the launcher says when it has done the most of its own work: two processors carry two processes at once, and until then
/// this is the third.
const BEGIN: &[u8] = b"begin";

/// What the launcher says when the sandbox stands and everything that was made shall stay.
const KEEP: &[u8] = b"keep";

/// The janitor, from outside.
#[derive(Debug)]
pub(crate) struct Janitor {
    pid: Pid,
    /// Orders go in and reports come out; non-blocking.
    pub(crate) control: OwnedFd,
}

impl Janitor {
    /// Starts the janitor. `made` is its to undo and the group its to remove; of `found` it keeps no copy.
    pub(crate) fn start(
        one: &SingleThread,
        config: &Config,
        (made, found): (&[Made], &mut Vec<Source>),
        group: Option<&Group>,
    ) -> Result<Self, Obstacle> {
        let mut start = || {
            let (control, theirs) = seqpacket::pair()?;
            let mut control = Some(control);
            let child = || {
                drop((control.take(), mem::take(found)));
                // Sent to the whole group, they are the launcher's to answer; with it this process ends too.
                let built = signals::ignore()
                    .map_err(io::Error::from)
                    .and_then(|()| detach())
                    // From here on there is something to undo, also where the launcher was killed.
                    .and_then(|()| Ok(set_pdeathsig(None)?))
                    .and_then(|()| await_turn(&theirs))
                    .and_then(|()| reduce())
                    .and_then(|()| serve(&theirs, config, group));
                if !matches!(built, Ok(true)) {
                    made.iter().for_each(Made::undo);
                }
                if let Some(group) = group {
                    group.remove();
                    // What others left that were killed: here, where nobody waits for a sandbox.
                    group.sweep();
                }
                u8::from(built.is_err())
            };
            let pid = fork(one, child)?;
            let control = control.ok_or_else(|| io::Error::other("a descriptor went missing"))?;
            fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(Self { pid, control })
        };
        start().map_err(|error: io::Error| {
            if let Some(group) = group {
                group.remove();
            }
            Obstacle::plain(format!("cannot start the launcher's helper: {error}"))
        })
    }

    /// Tells the janitor that its turn has come.
    pub(crate) fn begin(&self) -> io::Result<()> {
        seqpacket::send(self.control.as_fd(), BEGIN, &[])
    }

    /// Tells the janitor that the sandbox stands.
    pub(crate) fn keep(&self) -> io::Result<()> {
        seqpacket::send(self.control.as_fd(), KEEP, &[])
    }

    /// Lets the janitor go when the sandbox has ended, and waits a while until it has cleaned up.
    pub(crate) fn finish(self) {
        let _told = shutdown(self.control.as_raw_fd(), Shutdown::Write);
        // If it is in the middle of something, that ends with this process.
        let mut polled = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        let _gone = poll(&mut polled, PollTimeout::from(FINISH_MS_MAX));
    }

    /// Lets the janitor undo what was made, and waits until it has.
    pub(crate) fn undo(self) {
        let Self { pid, control } = self;
        drop(control);
        let _ended = waitpid(pid, None);
    }
}

/// Waits for the launcher's word. That it is gone is no error: there is something to undo then.
fn await_turn(control: &OwnedFd) -> io::Result<()> {
    seqpacket::receive(control.as_fd(), BEGIN.len()).map(drop)
}

/// Gives up everything that deleting does not take.
fn reduce() -> io::Result<()> {
    if geteuid().is_root() {
        capability::keep_only(capability::SETUID.and(capability::DAC_OVERRIDE))?;
    }
    let confined = no_new_privileges::apply(&mut Ledger::new([].into()));
    confined.map_err(io::Error::other)?;
    // A second wall: where the kernel has no filters, the first one stands.
    let _filtered = seccomp::install();
    Ok(())
}

/// Serves until the launcher is gone; tells whether the sandbox came to be. Whoever has a group to remove outlives the
/// launcher by that much, but finishes no tree for nobody.
fn serve(control: &OwnedFd, config: &Config, group: Option<&Group>) -> io::Result<bool> {
    let mut built = false;
    if group.is_none() {
        set_pdeathsig(Signal::SIGKILL)?;
    }
    while let Some((text, _)) = seqpacket::receive(control.as_fd(), MESSAGE_BYTES_MAX)? {
        if text == KEEP {
            built = true;
            continue;
        }
        let Ask { seq: re, verb } = serde_json::from_slice(&text)?;
        let Verb::Discard { tree } = verb else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        set_pdeathsig(Signal::SIGKILL)?;
        let discarded = discard(&tree, config);
        if group.is_some() {
            set_pdeathsig(None)?;
        }
        let said = match discarded {
            Ok(()) => Said::Done {
                re,
                outcome: Outcome::Plain,
            },
            Err(obstacle) => Said::Failed { re, obstacle },
        };
        seqpacket::send(control.as_fd(), &serde_json::to_vec(&said)?, &[])?;
    }
    Ok(built)
}
