//! Framed messages with descriptors between Postern's own processes: JSON in SOCK_SEQPACKET packets. Never between a
//! daemon and agent code; never unbounded.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net as std_unix,
    },
    path::Path,
};

use postern_contract::MESSAGE_BYTES_MAX;
use postern_sys::seqpacket::{self, Peer};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::Interest,
    net::{UnixDatagram, UnixListener},
};

/// Why a message did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed or the peer is gone.
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
    /// The message does not fit.
    #[error("a message of {0} bytes is over the limit of {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// The message is not what this end expects.
    #[error("a message was not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// One end of a connection.
///
/// tokio has no type for SOCK_SEQPACKET; its datagram socket waits for readiness just as well, and everything else is
/// done on the descriptor by [`seqpacket`].
#[derive(Debug)]
pub struct Channel(UnixDatagram);

impl Channel {
    /// Takes over a connected SOCK_SEQPACKET socket.
    ///
    /// # Errors
    /// When it is no such socket, or the runtime cannot watch it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        if !seqpacket::is_seqpacket(fd.as_fd()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a SOCK_SEQPACKET socket",
            ));
        }
        seqpacket::allow_packets_of(fd.as_fd(), MESSAGE_BYTES_MAX)?;
        let socket = std_unix::UnixDatagram::from(fd);
        socket.set_nonblocking(true)?;
        Ok(Self(UnixDatagram::from_std(socket)?))
    }

    /// One end of a new connection, and the other to be handed to somebody.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = seqpacket::pair()?;
        Ok((Self::new(ours)?, theirs))
    }

    /// Connects to a listener at a path.
    ///
    /// # Errors
    /// As connect(2) says.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::new(seqpacket::connect(path)?)
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peer(&self) -> io::Result<Peer> {
        seqpacket::peer(self.0.as_fd())
    }

    /// Sends one message with its descriptors.
    ///
    /// # Errors
    /// See [`ChannelError`]; a message that failed was not sent in part.
    pub async fn send<M: Serialize + Sync>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ChannelError::TooLarge(bytes.len()));
        }
        let write = || seqpacket::send(self.0.as_fd(), &bytes, fds);
        Ok(self.0.async_io(Interest::WRITABLE, write).await?)
    }

    /// Takes the next message with its descriptors; `None` once the peer is gone. Safe to drop while waiting.
    ///
    /// # Errors
    /// See [`ChannelError`]; the connection is of no use then.
    pub async fn receive<M: DeserializeOwned>(
        &self,
    ) -> Result<Option<(M, Vec<OwnedFd>)>, ChannelError> {
        let read = || seqpacket::receive(self.0.as_fd(), MESSAGE_BYTES_MAX);
        let Some((bytes, fds)) = self.0.async_io(Interest::READABLE, read).await? else {
            return Ok(None);
        };
        Ok(Some((serde_json::from_slice(&bytes)?, fds)))
    }
}

/// Accepts channels at a path. accept(2) is the same for every kind of Unix socket.
#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    /// Binds at a path. A socket that a dead daemon left there is replaced; anything else there is an error.
    ///
    /// # Errors
    /// As bind(2) says; `AddrInUse` if somebody answers there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match seqpacket::listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if seqpacket::connect(path).is_ok() || !is_socket(path) {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                Self::from_fd(seqpacket::listen(path)?)
            }
            other => Self::from_fd(other?),
        }
    }

    /// Takes over a listening SOCK_SEQPACKET socket, such as one that systemd made.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = std_unix::UnixListener::from(fd);
        socket.set_nonblocking(true)?;
        Ok(Self(UnixListener::from_std(socket)?))
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// As accept(2) says.
    pub async fn accept(&self) -> io::Result<Channel> {
        let (connection, _) = self.0.accept().await?;
        Channel::new(connection.into_std()?.into())
    }
}

pub(crate) fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use postern_contract::link::{News, ToGate};

    use super::*;

    #[tokio::test]
    async fn messages_and_descriptors_cross() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let listener = Listener::bind(&path).unwrap();
        let client = Channel::connect(&path).unwrap();
        let server = listener.accept().await.unwrap();
        let message = ToGate {
            seq: 1,
            news: News::Status,
        };
        client.send(&message, &[io::stdin().as_fd()]).await.unwrap();
        let (got, fds) = server.receive::<ToGate>().await.unwrap().unwrap();
        assert_eq!((got, fds.len()), (message, 1));
        drop(client);
        assert!(server.receive::<ToGate>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_not_sent() {
        let (here, _there) = seqpacket::pair().unwrap();
        let channel = Channel::new(here).unwrap();
        let error = channel
            .send(&"x".repeat(MESSAGE_BYTES_MAX), &[])
            .await
            .unwrap_err();
        assert!(matches!(error, ChannelError::TooLarge(_)));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        drop(Listener::bind(&path).unwrap());
        let _living = Listener::bind(&path).unwrap();
        assert_eq!(
            Listener::bind(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
