//! The launcher's protocol from posternd's side, blocking: for tests and tools. posternd itself speaks the same messages
//! on its async channel. Never starts a launcher.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Ask, Plan, Said, Verb},
};
use postern_sys::seqpacket;

/// posternd's end of a launcher's connection. Dropping it ends the sandbox.
#[derive(Debug)]
pub struct Client {
    connection: OwnedFd,
    asked: u64,
}

impl Client {
    /// Takes over a SOCK_SEQPACKET socket whose other end is a launcher's descriptor 0.
    #[must_use]
    pub fn new(connection: OwnedFd) -> Self {
        Self {
            connection,
            asked: 0,
        }
    }

    /// Sends the plan; `Built` or `Refused` is the next to hear.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn plan(&self, plan: &Plan) -> io::Result<()> {
        seqpacket::send(self.connection.as_fd(), &serde_json::to_vec(plan)?, &[])
    }

    /// Asks for something; gives the number that the answer will carry.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn ask(&mut self, verb: Verb, fds: &[BorrowedFd<'_>]) -> io::Result<u64> {
        self.asked += 1;
        let ask = Ask {
            seq: self.asked,
            verb,
        };
        seqpacket::send(self.connection.as_fd(), &serde_json::to_vec(&ask)?, fds)?;
        Ok(self.asked)
    }

    /// Waits for the next thing that the launcher says. `None` once it is gone.
    ///
    /// # Errors
    /// When the connection fails or the message is not understood.
    pub fn hear(&self) -> io::Result<Option<(Said, Vec<OwnedFd>)>> {
        let heard = seqpacket::receive(self.connection.as_fd(), MESSAGE_BYTES_MAX)?;
        heard
            .map(|(text, fds)| Ok((serde_json::from_slice(&text)?, fds)))
            .transpose()
    }
}
