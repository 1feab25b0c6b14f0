//! Process 1 of the sandbox: starts what posternd asks for, reaps everything, tells how it ended. Never speaks to
//! anybody but the launcher, from which it gets posternd's messages as they came.
//!
//! ```text
//! Exec ─▶ starting ──(pipe closes)──▶ running ──(SIGCHLD)──▶ Exited
//!             └─────(pipe has an error)──▶ Failed
//! Clear ─▶ all killed ──(SIGCHLD, until there is no child)──▶ Done
//! ```
//! The agent has the same uid and can see this process, but cannot look into it (not dumpable) and cannot signal it (the
//! kernel shields process 1 from its own namespace). What starts is not shielded, and may be stopped before it is the program:
//! this process waits for it only while there is nobody who could.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, chdir},
};
use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Ask, ExitStatus, Obstacle, Outcome, Said, Verb},
};
use postern_sys::{
    fork::SingleThread,
    seqpacket,
    wait::{self, End},
};

use crate::{
    exec::{Program, Started, is_alone, outcome},
    stage::{cgroup::Events, mount_namespace::room::Room},
};

/// Processes at the same time that `Exec` started; what those start themselves is bounded by `resource_limits`.
const PROCESSES_MAX: usize = 256;

/// Why init ends; the sandbox ends with it.
#[derive(Debug)]
pub(crate) struct Ended;

/// The state of process 1.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    one: &'a SingleThread,
    control: OwnedFd,
    children: SignalFd,
    processes: BTreeMap<u32, Process>,
    started: u32,
    /// `Clear`s that are answered once nothing runs.
    clearing: Vec<u64>,
    events: Events,
    room: Room,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// The `Exec` that is not answered yet, and where its outcome will be told.
    pending: Option<(u64, OwnedFd)>,
}

enum Event {
    Order,
    Child,
    Outcome(u32),
}

impl<'a> Supervisor<'a> {
    /// Takes over as process 1. Children that end from now on are noticed.
    pub(crate) fn new(one: &'a SingleThread, control: OwnedFd) -> Result<Self, Errno> {
        let mask = SigSet::from(Signal::SIGCHLD);
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children = SignalFd::with_flags(&mask, flags)?;
        Ok(Self {
            one,
            control,
            children,
            processes: BTreeMap::new(),
            started: 0,
            clearing: Vec::new(),
            events: Events::default(),
            room: Room::default(),
        })
    }

    /// Says something to posternd, by way of the launcher.
    pub(crate) fn say(&self, said: &Said) -> Result<(), Ended> {
        let text = serde_json::to_vec(said).map_err(|_| Ended)?;
        seqpacket::send(self.control.as_fd(), &text, &[]).map_err(|_| Ended)
    }

    /// Serves until the launcher is gone, telling what is counted of the sandbox's limits.
    pub(crate) fn serve(mut self, events: Events) -> Ended {
        self.events = events;
        loop {
            if let Err(ended) = self.turn() {
                return ended;
            }
        }
    }

    fn turn(&mut self) -> Result<(), Ended> {
        for event in self.wait()? {
            match event {
                Event::Order => self.order()?,
                Event::Child => self.reap()?,
                Event::Outcome(process) => self.settle(process)?,
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<Event>, Ended> {
        let pending = self.processes.iter().filter_map(|(number, process)| {
            let (_, failure) = process.pending.as_ref()?;
            Some((Event::Outcome(*number), failure.as_fd()))
        });
        let always = [
            (Event::Order, self.control.as_fd()),
            (Event::Child, self.children.as_fd()),
        ];
        let (events, fds): (Vec<_>, Vec<_>) = always.into_iter().chain(pending).unzip();
        let polled = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut polled: Vec<_> = polled.collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Err(Ended),
        }
        let ready = polled.iter().map(|fd| fd.any().unwrap_or(true));
        Ok(events
            .into_iter()
            .zip(ready)
            .filter_map(|(event, ready)| ready.then_some(event))
            .collect())
    }

    fn order(&mut self) -> Result<(), Ended> {
        let received = seqpacket::receive(self.control.as_fd(), MESSAGE_BYTES_MAX);
        let (text, fds) = received.map_err(|_| Ended)?.ok_or(Ended)?;
        let Ask { seq: re, verb } = serde_json::from_slice(&text).map_err(|_| Ended)?;
        let done = match verb {
            Verb::Exec { argv, env, cwd, .. } => {
                let started =
                    Program::new(argv, env, cwd).and_then(|program| self.start((re, program), fds));
                // What this process stands in could not be unmounted or removed.
                chdir("/").map_err(|_| Ended)?;
                started
            }
            Verb::Signal { process, signal } => {
                self.signal(process, signal).map(|()| Some(Outcome::Plain))
            }
            Verb::Clear => {
                // The kernel sends it to all that are there, and nobody forks past it; nobody there is no error.
                let _none_left = kill(Pid::from_raw(-1), Signal::SIGKILL);
                self.clearing.push(re);
                return self.cleared();
            }
            // The launcher does the others itself.
            Verb::Dial { .. } | Verb::Discard { .. } => return Err(Ended),
        };
        match done {
            Ok(Some(outcome)) => self.say(&Said::Done { re, outcome }),
            Ok(None) => Ok(()),
            Err(obstacle) => self.say(&Said::Failed { re, obstacle }),
        }
    }

    /// Nothing if it is not known yet whether the program runs.
    fn start(
        &mut self,
        (re, program): (u64, Program),
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Outcome>, Obstacle> {
        if self.processes.len() >= PROCESSES_MAX {
            return Err(Obstacle::plain(format!(
                "{PROCESSES_MAX} processes run already"
            )));
        }
        let (pid, pending) = match program.start(self.one, fds)? {
            Started::Runs(pid) => (pid, None),
            Started::Starts(pid, failure) => (pid, Some((re, failure))),
        };
        self.started = self.started.wrapping_add(1);
        let process = self.started;
        let runs = pending.is_none();
        self.processes.insert(process, Process { pid, pending });
        Ok(runs.then_some(Outcome::Started { process }))
    }

    fn signal(&self, process: u32, signal: i32) -> Result<(), Obstacle> {
        let signal = Signal::try_from(signal)
            .map_err(|_| Obstacle::plain(format!("there is no signal {signal}")))?;
        let running = self.processes.get(&process);
        let running = running.filter(|process| process.pending.is_none());
        let Process { pid, .. } =
            running.ok_or_else(|| Obstacle::plain(format!("process {process} does not run")))?;
        // Not reaped yet, so the number is still this process's and its group's.
        kill(Pid::from_raw(-pid.as_raw()), signal)
            .map_err(|errno| Obstacle::plain(format!("cannot signal process {process}: {errno}")))
    }

    /// Answers the `Exec` whose outcome is known.
    fn settle(&mut self, number: u32) -> Result<(), Ended> {
        let Some(process) = self.processes.get_mut(&number) else {
            return Ok(());
        };
        let Some((re, failure)) = process.pending.take() else {
            return Ok(());
        };
        match outcome(failure) {
            Ok(()) => {
                let outcome = Outcome::Started { process: number };
                self.say(&Said::Done { re, outcome })
            }
            Err(obstacle) => {
                self.processes.remove(&number);
                self.say(&Said::Failed { re, obstacle })
            }
        }
    }

    /// Buries whoever is dead; the namespace's orphans are this process's children too.
    fn reap(&mut self) -> Result<(), Ended> {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Some((pid, end)) = wait::reap().map_err(|_| Ended)? {
            let mine = self
                .processes
                .iter()
                .find(|(_, process)| process.pid.as_raw() == pid);
            let Some(number) = mine.map(|(number, _)| *number) else {
                continue;
            };
            self.settle(number)?;
            if self.processes.remove(&number).is_none() {
                continue;
            }
            // What it left of its group goes with it; nobody left is the usual case.
            let _none_left = kill(Pid::from_raw(-pid), Signal::SIGKILL);
            let status = match end {
                End::Code(code) => ExitStatus::Code(code),
                End::Signal(signal) => ExitStatus::Signal(signal),
            };
            let mut hits = self.events.news();
            hits.extend(self.room.news());
            self.say(&Said::Exited {
                process: number,
                status,
                hits,
            })?;
        }
        self.cleared()
    }

    /// Answers each `Clear` if nothing runs any more: what a dead process leaves behind is this process's child at once.
    fn cleared(&mut self) -> Result<(), Ended> {
        if self.clearing.is_empty() || !is_alone() {
            return Ok(());
        }
        for re in std::mem::take(&mut self.clearing) {
            let outcome = Outcome::Plain;
            self.say(&Said::Done { re, outcome })?;
        }
        Ok(())
    }
}
