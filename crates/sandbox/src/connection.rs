//! The launcher's one connection: descriptor 0, a SOCK_SEQPACKET socket whose peer is who the config says. Never
//! accepts another, and never waits for a peer that does not read.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use postern_contract::{MESSAGE_BYTES_MAX, launch::Said};
use postern_sys::seqpacket;

/// How long posternd may leave a report unread once the socket is full, in seconds; then it counts as gone.
const UNREAD_SECONDS_MAX: i64 = 10;

/// How long posternd may take for its plan, in seconds.
const PLAN_SECONDS_MAX: i64 = 30;

/// Why descriptor 0 is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConnection {
    /// It is something else.
    #[error(
        "descriptor 0 is no SOCK_SEQPACKET connection; posternd or systemd has to start the launcher"
    )]
    NotOne,
    /// The peer has no business here.
    #[error("the peer is uid {found}, not uid {expected}")]
    Stranger {
        /// Who it is.
        found: u32,
        /// Who it should be.
        expected: u32,
    },
    /// The system failed.
    #[error("descriptor 0: {0}")]
    System(#[from] io::Error),
}

/// The connection to posternd.
#[derive(Debug)]
pub(crate) struct Connection(io::Stdin);

impl Connection {
    /// Takes descriptor 0 for the connection, if it is one and its peer is `peer_uid` or root.
    pub(crate) fn adopt(peer_uid: u32) -> Result<Self, NoConnection> {
        let connection = Self(io::stdin());
        if !seqpacket::is_seqpacket(connection.as_fd()) {
            return Err(NoConnection::NotOne);
        }
        let found = seqpacket::peer(connection.as_fd())
            .map_err(|_| NoConnection::NotOne)?
            .uid;
        if found != peer_uid && found != 0 {
            return Err(NoConnection::Stranger {
                found,
                expected: peer_uid,
            });
        }
        let patience = TimeVal::seconds(UNREAD_SECONDS_MAX);
        setsockopt(&connection.as_fd(), sockopt::SendTimeout, &patience)
            .map_err(io::Error::from)?;
        // Later messages are received when they are there, so that this bounds the wait for the plan alone.
        let patience = TimeVal::seconds(PLAN_SECONDS_MAX);
        setsockopt(&connection.as_fd(), sockopt::ReceiveTimeout, &patience)
            .map_err(io::Error::from)?;
        Ok(connection)
    }

    /// The next message. `None` once the peer is gone; `WouldBlock` when there is none in time.
    pub(crate) fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        seqpacket::receive(self.as_fd(), MESSAGE_BYTES_MAX)
    }

    /// Sends bytes that are a message already.
    pub(crate) fn send(&self, text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        seqpacket::send(self.as_fd(), text, fds)
    }

    /// Sends a message.
    pub(crate) fn say(&self, said: &Said, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&serde_json::to_vec(said)?, fds)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
