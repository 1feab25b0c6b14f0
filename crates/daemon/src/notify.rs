//! Tells whoever started the daemon how it is, in the protocol of sd_notify(3). Does nothing where nobody asked.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use crate::environment;

/// The daemon serves from now on.
pub fn ready() {
    tell("READY=1");
}

/// The daemon is on its way out.
pub fn stopping() {
    tell("STOPPING=1");
}

/// What the daemon is busy with, one line for people.
pub fn status(line: &str) {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    tell(&format!("STATUS={line}"));
}

fn tell(message: &str) {
    let Some(socket) = environment::read("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, message.as_bytes()) {
        tracing::warn!(%error, message, "nobody could be told");
    }
}

fn send(socket: &str, message: &[u8]) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_one_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.to_str().unwrap(), b"READY=1").unwrap();
        let mut buffer = [0; 32];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
