//! The launcher's life after the launch: posternd's verbs in, reports out, until the connection ends. It dials
//! itself, hands `Exec`, `Signal` and `Clear` to init and `Discard` to the janitor as they came, and never waits for any of them.
//! A sandbox whose init leaves something unanswered ends. Nothing that it does then takes a capability, and it has none.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signalfd::SignalFd,
        socket::{getsockopt, sockopt},
    },
};
use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Ask, Obstacle, Outcome, Said, Verb},
};
use postern_sys::seqpacket;

use crate::{answers::Answers, connection::Connection, launch::Confined, stage::net_namespace};

/// Connections to the agent that are being made at the same time.
const DIALS_MAX: usize = 64;

/// Descriptors that travel with an `Exec`: stdin, stdout, stderr.
const STANDARD: usize = 3;

/// How the launcher's life ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// posternd let go, or somebody asked for the end.
    Asked,
    /// Something went wrong that nobody asked for.
    Broken(String),
}

/// A launcher at work.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    connection: &'a Connection,
    confined: Confined,
    signals: &'a SignalFd,
    dials: Vec<Dial>,
    answers: Answers,
}

/// A connection that is being made.
#[derive(Debug)]
struct Dial {
    re: u64,
    socket: OwnedFd,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Verb,
    Init,
    Janitor,
    Signal,
    Overdue,
    Dial(u64),
}

impl<'a> Service<'a> {
    /// Takes over a sandbox that stands.
    pub(crate) fn new(
        connection: &'a Connection,
        confined: Confined,
        signals: &'a SignalFd,
    ) -> Result<Self, Errno> {
        Ok(Self {
            connection,
            confined,
            signals,
            dials: Vec::new(),
            answers: Answers::new()?,
        })
    }

    /// Serves to the end, and leaves nothing of the sandbox.
    pub(crate) fn serve(mut self) -> End {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        self.confined.end();
        end
    }

    fn turn(&mut self) -> Result<(), End> {
        for event in self.wait()? {
            match event {
                Event::Verb => self.verb()?,
                Event::Init => {
                    let told = self.relay(self.confined.init.control.as_fd())?;
                    let text =
                        told.ok_or_else(|| End::Broken("the sandbox's init ended".to_owned()))?;
                    self.answers.heard(&text).map_err(|error| {
                        End::Broken(format!("the sandbox's init was not understood: {error}"))
                    })?;
                }
                Event::Janitor => self.hear_janitor()?,
                Event::Signal => return Err(End::Asked),
                Event::Overdue => self.answers.passed().map_err(|re| {
                    End::Broken(format!("the sandbox's init did not answer verb {re}"))
                })?,
                Event::Dial(re) => self.dialled(re)?,
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<Event>, End> {
        let janitor = self.confined.janitor.as_ref();
        let always = [
            (Event::Verb, self.connection.as_fd(), PollFlags::POLLIN),
            (
                Event::Init,
                self.confined.init.control.as_fd(),
                PollFlags::POLLIN,
            ),
            (Event::Signal, self.signals.as_fd(), PollFlags::POLLIN),
            (Event::Overdue, self.answers.as_fd(), PollFlags::POLLIN),
        ];
        let janitor =
            janitor.map(|janitor| (Event::Janitor, janitor.control.as_fd(), PollFlags::POLLIN));
        let dials = self.dials.iter().map(|dial| {
            (
                Event::Dial(dial.re),
                dial.socket.as_fd(),
                PollFlags::POLLOUT,
            )
        });
        let waited: Vec<_> = always.into_iter().chain(janitor).chain(dials).collect();
        let mut polled: Vec<_> = waited
            .iter()
            .map(|(_, fd, flags)| PollFd::new(*fd, *flags))
            .collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(End::Broken(format!("cannot wait: {errno}"))),
        }
        let ready = polled.iter().map(|fd| fd.any().unwrap_or(true));
        Ok(waited
            .iter()
            .zip(ready)
            .filter_map(|((event, ..), ready)| ready.then_some(*event))
            .collect())
    }

    fn verb(&mut self) -> Result<(), End> {
        let heard = self
            .connection
            .receive()
            .map_err(|error| End::Broken(error.to_string()))?;
        let (text, fds) = heard.ok_or(End::Asked)?;
        let ask: Ask = serde_json::from_slice(&text)
            .map_err(|error| End::Broken(format!("a message was not understood: {error}")))?;
        match self.carry_out(&ask, &text, &fds) {
            Ok(()) => Ok(()),
            Err(obstacle) => self.answer(ask.seq, Err(obstacle)),
        }
    }

    /// Begins what was asked, or passes it on.
    fn carry_out(&mut self, ask: &Ask, text: &[u8], fds: &[OwnedFd]) -> Result<(), Obstacle> {
        let expected = match ask.verb {
            Verb::Exec { channel, .. } => STANDARD + usize::from(channel),
            _ => 0,
        };
        if fds.len() != expected {
            let what = format!(
                "{} descriptors came along where {expected} belong",
                fds.len()
            );
            return Err(Obstacle::plain(what));
        }
        match ask.verb {
            Verb::Exec { .. } | Verb::Signal { .. } | Verb::Clear => {
                pass_on(self.confined.init.control.as_fd(), text, fds)?;
                self.answers.expect(ask.seq)
            }
            Verb::Discard { .. } => match &self.confined.janitor {
                Some(janitor) => pass_on(janitor.control.as_fd(), text, fds),
                None => Err(Obstacle::plain("launcher.toml has no discard_roots")),
            },
            Verb::Dial { port: 0 } => Err(Obstacle::plain("0 is no port")),
            Verb::Dial { port } => self.dial(ask.seq, port),
        }
    }

    fn dial(&mut self, re: u64, port: u16) -> Result<(), Obstacle> {
        if self.dials.len() >= DIALS_MAX {
            return Err(Obstacle::plain(format!(
                "{DIALS_MAX} connections are being made already"
            )));
        }
        let socket = net_namespace::dial(port).map_err(|errno| not_connected(&errno))?;
        self.dials.push(Dial { re, socket });
        Ok(())
    }

    fn dialled(&mut self, re: u64) -> Result<(), End> {
        let Some(index) = self.dials.iter().position(|dial| dial.re == re) else {
            return Ok(());
        };
        let Dial { re, socket } = self.dials.swap_remove(index);
        let outcome = getsockopt(&socket, sockopt::SocketError).map(Errno::from_raw);
        match outcome.and_then(|errno| net_namespace::dialled(&socket).map(|()| errno)) {
            Ok(Errno::UnknownErrno) => self.answer(re, Ok(&socket)),
            Ok(errno) | Err(errno) => self.answer(re, Err(not_connected(&errno))),
        }
    }

    fn hear_janitor(&mut self) -> Result<(), End> {
        let Some(janitor) = &self.confined.janitor else {
            return Ok(());
        };
        if self.relay(janitor.control.as_fd())?.is_none() {
            return Err(End::Broken("the launcher's helper ended".to_owned()));
        }
        Ok(())
    }

    /// Hands a child's report to posternd as it is, and gives it: empty if there is none yet. `None` when the child is gone.
    fn relay(&self, from: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, End> {
        match seqpacket::receive(from, MESSAGE_BYTES_MAX) {
            Ok(Some((text, _))) => self
                .connection
                .send(&text, &[])
                .map(|()| Some(text))
                .map_err(|_| End::Asked),
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(Vec::new())),
            Err(error) => Err(End::Broken(format!(
                "a child of the launcher is lost: {error}"
            ))),
        }
    }

    fn answer(&self, re: u64, done: Result<&OwnedFd, Obstacle>) -> Result<(), End> {
        let (said, socket) = match done {
            Ok(socket) => (
                Said::Done {
                    re,
                    outcome: Outcome::Descriptor,
                },
                Some(socket.as_fd()),
            ),
            Err(obstacle) => (Said::Failed { re, obstacle }, None),
        };
        // posternd is gone, and that is the end it asked for.
        self.connection
            .say(&said, socket.as_slice())
            .map_err(|_| End::Asked)
    }
}

fn pass_on(to: BorrowedFd<'_>, text: &[u8], fds: &[OwnedFd]) -> Result<(), Obstacle> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    seqpacket::send(to, text, &fds).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Obstacle::plain("too much at once; try again"),
        _ => Obstacle::plain(format!("cannot be passed on: {error}")),
    })
}

fn not_connected(errno: &Errno) -> Obstacle {
    Obstacle::plain(format!("no connection inside: {errno}"))
}
