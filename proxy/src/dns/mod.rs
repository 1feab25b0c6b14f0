//! Names for the programs of a sandbox: the gate answers every question that comes out of it, whichever server it was meant
//! for. What a rule or a tool of the agent could open gets an address that means this name and nothing else; all the rest
//! does not exist. Never asks anybody: no byte of a question leaves the gate.
//!
//! ```text
//! question ─▶ understood? ─▶ could the agent call that host? ─┬─ yes ─▶ its own synthetic address (synthetic.rs)
//!                 │                                          └─ no ──▶ NXDOMAIN and the reason
//!                 └ no: FORMERR, NOTIMP, or silence
//! ```

mod answer;
mod datagrams;
mod kept;
mod message;
mod pace;
mod streams;
mod synthetic;

use std::{io, os::fd::OwnedFd, sync::Arc};

use nix::sys::socket::{SockType, getsockopt, sockopt};
use postern_contract::{Code, Refusal};
use postern_policy::HostName;
use tokio::net::TcpListener;

use self::{answer::Answered, datagrams::Datagrams};
pub(crate) use self::{
    kept::Kept,
    pace::Pace,
    synthetic::{Meant, Synthetic},
};
use crate::{
    accept::Listener, audit::Door, gate::Gate, identify::Room, record::Record, scope::Scope,
};

/// The largest question, in bytes; none that makes sense comes near it.
const QUESTION_BYTES_MAX: usize = 1232;

/// A socket at port 53 of a sandbox.
pub(crate) enum Desk {
    /// A question is a datagram.
    Datagrams(Datagrams),
    /// Questions come one after the other on a connection.
    Streams(TcpListener),
}

impl Desk {
    /// Takes over a descriptor: a datagram socket, or a stream socket that listens.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if getsockopt(&fd, sockopt::SockType)? == SockType::Datagram {
            return Datagrams::from_fd(fd).map(Self::Datagrams);
        }
        match Listener::from_fd(fd)? {
            Listener::Tcp(listener) => Ok(Self::Streams(listener)),
            Listener::Unix(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "nobody asks for names there",
            )),
        }
    }

    /// Answers for a room until its scope ends.
    pub(crate) fn serve(self, gate: &Arc<Gate>, (room, scope): (&Arc<Room>, &Scope)) {
        let (gate, room) = (Arc::clone(gate), Arc::clone(room));
        match self {
            Self::Datagrams(socket) => scope.spawn(async move { socket.serve(&gate, &room).await }),
            Self::Streams(listener) => {
                let inside = scope.clone();
                scope.spawn(async move { streams::serve(&listener, gate, (room, inside)).await });
            }
        }
    }
}

/// The answer to one message of a room, once it is the room's turn; none to what is no question.
async fn answered(message: &[u8], gate: &Gate, room: &Room) -> Option<Vec<u8>> {
    let wait = room.questions.turn(gate.clock.now());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let book = gate.book();
    let Answered { reply, refused } =
        answer::answer(message, &book.rulebook, room.holder(), &room.names);
    if let Some(host) = refused {
        write_down(gate, room, (&host, book.generation));
    }
    reply
}

/// A name that was refused leaves a line like any call that was; where names without end are asked for, they are counted.
fn write_down(gate: &Gate, room: &Room, (host, generation): (&HostName, u64)) {
    let mut record = Record::begin((&gate.audit, &gate.ledger), &gate.clock);
    record.room(room);
    record.line.door = Some(Door::Names);
    record.line.authority = Some(host.to_string());
    record.line.policy_generation = generation;
    let message = format!("No rule and no tool of {} is about {host}.", room.holder());
    record.abandon(Refusal::new(Code::UnknownDestination, "unknown name", message).into());
}
