//! The supervisor's one loop: a phase, what arrived, the next phase. Never starts posternd twice, nor a gate beside another.
//!
//! ```text
//! Starting ─▶ Serving ─▶ Draining (posternd) ─▶ Closing (gate) ─▶ Emptying (launchers) ─▶ done
//!     │        │  ▲└─ the gate ended ─▶ started again (`revival.rs`), for posternd lives on
//!     │        │  └───────────────────────┘
//!     └────────┴─ a daemon ended ─▶ the same way to the end; what is gone already is not waited for
//! ```
//!
//! A phase that takes longer than its limit ends with SIGKILL for what it waited for.

use std::{
    os::fd::{AsFd, OwnedFd},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    poll::PollTimeout,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_contract::{config::Listen, exit};
use postern_daemon::Clock;
use postern_sys::seqpacket;

use super::{
    daemons::{Boot, Held, Order},
    doors::{Doors, Signals},
    readiness::{Daemon, Heard, Readiness},
    revival::Revival,
};
use crate::{Failure, sweep, terminal};

/// How long the daemons may take until both are ready: agents are unpacked meanwhile.
const START_LIMIT: Duration = Duration::from_secs(300);

/// How long posternd may take to finish running calls; a little more than its own limit.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);

/// How long the gate may take after that.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long launchers may take to end once posternd is gone.
const EMPTY_LIMIT: Duration = Duration::from_secs(5);

/// Launchers at once; a connection beyond that is closed at once.
const LAUNCHERS_MAX: usize = 256;

/// Both daemons, the launchers, and what is waited for.
pub(super) struct Supervisor {
    order: Order,
    doors: Doors,
    clock: Clock,
    begun: Instant,
    sweeper: Option<Held>,
    boot: Boot,
    runtime: Watched,
    gate: Watched,
    revival: Revival,
    launchers: Vec<Child>,
    phase: Phase,
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting { until: Instant },
    Serving,
    Draining { until: Instant },
    Closing { until: Instant },
    Emptying { until: Instant },
}

impl Phase {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Starting { until }
            | Self::Draining { until }
            | Self::Closing { until }
            | Self::Emptying { until } => Some(until),
        }
    }

    fn is_ending(self) -> bool {
        !matches!(self, Self::Starting { .. } | Self::Serving)
    }
}

/// A daemon, and how it ended once it has.
struct Watched {
    name: &'static str,
    held: Held,
    ended: Option<ExitStatus>,
}

impl Watched {
    fn new(name: &'static str, held: Held) -> Self {
        Self {
            name,
            held,
            ended: None,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.held.child.id().cast_signed())
    }

    /// True if it has ended since the last look.
    fn reap(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.held.child.try_wait().ok().flatten();
            return self.ended.is_some();
        }
        false
    }

    /// Only before it was reaped: its number may be somebody else's after.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = kill(self.pid(), signal);
        }
    }

    /// Why its end is a failure, if it is one. A daemon that says 1 or 2 has said why itself.
    fn fault(&self, asked: bool) -> Option<Failure> {
        let status = self.ended?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match code {
            Some(0) if asked => None,
            // It was told to end before it could hear of it in its own way.
            None if asked && status.signal() == Some(Signal::SIGTERM as i32) => None,
            Some(0) => Some(Failure::Run(format!("{} ended by itself", self.name))),
            Some(code @ (exit::RUN | exit::CONFIG)) => Some(Failure::Told(code)),
            _ => Some(Failure::Run(format!("{} ended: {status}", self.name))),
        }
    }
}

impl Supervisor {
    /// Starts everything; the sweeper first, so that nothing is made that nobody removes.
    pub(super) fn start(
        order: Order,
        signals: Signals,
        (clock, begun): (Clock, Instant),
        lifeline: bool,
    ) -> Result<Self, Failure> {
        let sweeper = order.sweeper()?;
        let launcher = order
            .place
            .launcher(order.mode, (&order.shown, &order.pinned))?;
        order.place.fill(order.mode, &launcher)?;
        let doors = Doors::open(&order.place, order.mode, signals, lifeline)?;
        let boot = Order::boot()?;
        let gate = order.start_gate(&boot)?;
        let runtime = order.start_runtime(&boot)?;
        Ok(Self {
            doors,
            phase: Phase::Starting {
                until: clock.now() + START_LIMIT,
            },
            begun,
            sweeper: Some(sweeper),
            runtime: Watched::new("posternd", runtime),
            gate: Watched::new("the gate", gate),
            revival: Revival::new(clock.now()),
            boot,
            launchers: Vec::new(),
            failure: None,
            order,
            clock,
        })
    }

    /// Runs until everything has ended.
    pub(super) fn run(mut self, listen: Listen, json: bool) -> Result<(), Failure> {
        let mut readiness = Readiness::new(listen);
        while !self.is_done() {
            let arrived = self.doors.wait(self.timeout());
            let arrived = arrived.map_err(|error| Failure::Run(format!("poll: {error}")))?;
            if arrived.reload {
                self.reload();
            }
            for _ in 0..arrived.stops {
                self.stop();
            }
            for (pid, note) in arrived.notes {
                self.hear(pid, &note, &mut readiness, json);
            }
            for connection in arrived.connections {
                self.launch(connection);
            }
            self.reap();
            self.advance();
        }
        self.remove_run_directory();
        self.failure.map_or(Ok(()), Err)
    }

    fn hear(&mut self, pid: i32, note: &str, readiness: &mut Readiness, json: bool) {
        let Some(daemon) = self.daemon_of(pid) else {
            return;
        };
        if daemon == Daemon::Gate && note.lines().any(|line| line == "READY=1") {
            self.revival.is_ready();
        }
        match readiness.hear(daemon, note) {
            Heard::AllReady => self.ready(readiness, json),
            // Told so by somebody else: the other one must not wait for a peer that is leaving.
            Heard::Stopping if !self.phase.is_ending() => {
                let name = self.watched(daemon).name;
                self.failure = Some(Failure::Run(format!("{name} was told to stop, alone")));
                self.drain();
            }
            Heard::Stopping | Heard::Nothing => {}
        }
    }

    fn watched(&self, daemon: Daemon) -> &Watched {
        match daemon {
            Daemon::Runtime => &self.runtime,
            Daemon::Gate => &self.gate,
        }
    }

    fn daemon_of(&self, pid: i32) -> Option<Daemon> {
        match Pid::from_raw(pid) {
            pid if pid == self.runtime.pid() => Some(Daemon::Runtime),
            pid if pid == self.gate.pid() => Some(Daemon::Gate),
            _ => None,
        }
    }

    fn ready(&mut self, readiness: &Readiness, json: bool) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        self.phase = Phase::Serving;
        let listen = readiness.listen();
        let ms = (self.clock.now() - self.begun).as_millis();
        if json {
            let line = serde_json::json!({
                "api": listen.api, "operator": listen.operator, "elapsed_ms": ms,
                "runtime_pid": self.runtime.pid().as_raw(), "gate_pid": self.gate.pid().as_raw(),
            });
            return terminal::say(&line.to_string());
        }
        terminal::say(&format!(
            "ready: {}://{} in {ms} ms",
            listen.api_scheme(),
            listen.api
        ));
    }

    /// Gives a connection its launcher, if it is posternd's.
    fn launch(&mut self, connection: OwnedFd) {
        let peer = seqpacket::peer(connection.as_fd());
        let is_runtime = peer.is_ok_and(|peer| peer.pid == self.runtime.pid().as_raw());
        if !is_runtime || self.runtime.ended.is_some() || self.launchers.len() >= LAUNCHERS_MAX {
            return;
        }
        match self.order.launcher(connection) {
            Ok(child) => self.launchers.push(child),
            // posternd sees its connection end, and says so where it matters.
            Err(error) => terminal::complain(&format!("postern: starting a launcher: {error}")),
        }
    }

    /// Passes SIGHUP on. A daemon that still starts reads the config anyway, and might not know the signal yet.
    fn reload(&self) {
        if self.phase == Phase::Serving {
            self.runtime.signal(Signal::SIGHUP);
            self.gate.signal(Signal::SIGHUP);
        }
    }

    /// The first request drains; the second one ends everything now.
    fn stop(&mut self) {
        if self.phase.is_ending() {
            return self.kill_all();
        }
        self.drain();
    }

    fn drain(&mut self) {
        self.phase = Phase::Draining {
            until: self.clock.now() + DRAIN_LIMIT,
        };
        self.runtime.signal(Signal::SIGTERM);
    }

    fn reap(&mut self) {
        self.launchers
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let asked = self.phase.is_ending();
        if self.runtime.reap() {
            self.keep_fault(self.runtime.fault(asked));
        }
        if self.gate.reap() && !self.gate_comes_again() {
            self.keep_fault(self.gate.fault(asked));
        }
        let gate_is_gone = self.gate.ended.is_some() && self.revival.due().is_none();
        if !asked && (self.runtime.ended.is_some() || gate_is_gone) {
            self.drain();
        }
    }

    /// Where one daemon's end was the other's reason to go, the end that nobody has told yet is the cause.
    fn keep_fault(&mut self, fault: Option<Failure>) {
        let is_cause = matches!(fault, Some(Failure::Run(_)));
        if self.failure.is_none() || (is_cause && matches!(self.failure, Some(Failure::Told(_)))) {
            self.failure = fault;
        }
    }

    /// Whether the gate, which has ended, is to be started again: while posternd serves, which waits for it.
    fn gate_comes_again(&mut self) -> bool {
        let serves = self.phase == Phase::Serving && self.runtime.ended.is_none();
        let again = serves && self.revival.ended(self.clock.now());
        if let (true, Some(status)) = (again, self.gate.ended) {
            terminal::complain(&format!(
                "postern: the gate ended ({status}) and is started again"
            ));
        }
        again
    }

    fn revive_gate(&mut self) {
        match self.order.start_gate(&self.boot) {
            Ok(held) => {
                self.gate = Watched::new("the gate", held);
                self.revival.began(self.clock.now());
            }
            Err(error) => {
                self.failure = Some(error);
                self.drain();
            }
        }
    }

    /// Goes on to the next phase where this one's work is done, or its time is over.
    fn advance(&mut self) {
        let now = self.clock.now();
        if self.phase.until().is_some_and(|until| until <= now) {
            return self.overdue();
        }
        if self.phase == Phase::Serving && self.revival.due().is_some_and(|due| due <= now) {
            return self.revive_gate();
        }
        if matches!(self.phase, Phase::Draining { .. }) && self.runtime.ended.is_some() {
            self.phase = Phase::Closing {
                until: now + CLOSE_LIMIT,
            };
            self.gate.signal(Signal::SIGTERM);
        }
        if matches!(self.phase, Phase::Closing { .. }) && self.gate.ended.is_some() {
            self.phase = Phase::Emptying {
                until: now + EMPTY_LIMIT,
            };
        }
    }

    fn overdue(&mut self) {
        let limit = match self.phase {
            Phase::Starting { .. } => {
                let waited = START_LIMIT.as_secs();
                self.failure = Some(Failure::Run(format!("not ready after {waited} s")));
                return self.drain();
            }
            Phase::Serving => return,
            Phase::Draining { .. } => CLOSE_LIMIT,
            Phase::Closing { .. } | Phase::Emptying { .. } => EMPTY_LIMIT,
        };
        self.kill_all();
        // Nothing survives SIGKILL; the new limit only keeps this from being tried in every turn.
        let until = self.clock.now() + limit;
        self.phase = match self.phase {
            Phase::Closing { .. } => Phase::Closing { until },
            Phase::Emptying { .. } => Phase::Emptying { until },
            _ => Phase::Draining { until },
        };
    }

    fn kill_all(&mut self) {
        self.runtime.signal(Signal::SIGKILL);
        self.gate.signal(Signal::SIGKILL);
        for launcher in &mut self.launchers {
            let _ = launcher.kill();
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Emptying { .. }) && self.launchers.is_empty()
    }

    /// Until the phase's limit or the gate's next start, rounded up so that it is over when the wait ends.
    fn timeout(&self) -> PollTimeout {
        let due = self.revival.due().filter(|_| self.phase == Phase::Serving);
        let Some(until) = self.phase.until().or(due) else {
            return PollTimeout::NONE;
        };
        let left = until.saturating_duration_since(self.clock.now());
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    }

    /// The sweeper does it, as it would if this process had been killed; this process only where the sweeper was.
    fn remove_run_directory(&mut self) {
        if let Some(sweeper) = self.sweeper.take() {
            sweeper.release();
        }
        drop(sweep::remove(self.order.place.run()));
    }
}
