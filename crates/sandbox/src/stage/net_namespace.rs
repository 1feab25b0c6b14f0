//! A network with `lo` and nothing else, and the sockets inside it that the gate answers on. Never makes a route, an
//! interface or a way out.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt,
        socket, sockopt,
    },
};
use postern_contract::{
    GATE_ADDRESS, GATE_PORT,
    launch::{Layer, Listener, Obstacle},
};
use postern_sys::interface;

use crate::ledger::{Ledger, stops};

/// Connections that wait for the gate to accept them.
const BACKLOG: i32 = 1024;

/// How long a connection to an agent may take to be made, in milliseconds; the kernel keeps the time.
const DIAL_MS_MAX: u32 = 2_000;

/// Enters a network namespace, brings `lo` up and makes the plan's listeners.
pub(crate) fn furnish(
    listeners: &[Listener],
    ledger: &mut Ledger,
) -> Result<Vec<OwnedFd>, Obstacle> {
    let step = "cannot make a network namespace";
    unshare(CloneFlags::CLONE_NEWNET).map_err(stops(Layer::NetNamespace, step))?;
    let step = "cannot bring lo up";
    interface::loopback_up().map_err(stops(Layer::NetNamespace, step))?;
    let made = listeners
        .iter()
        .map(|listener| match listener {
            Listener::Gate => listen_on(GATE_PORT),
        })
        .collect::<Result<Vec<_>, _>>()?;
    ledger.enforced(Layer::NetNamespace, "lo alone");
    Ok(made)
}

/// A listening socket on the gate's address inside; close-on-exec and non-blocking.
pub(crate) fn listen_on(port: u16) -> Result<OwnedFd, Obstacle> {
    let address = SocketAddrV4::new(gate_address()?, port);
    let made = tcp_socket().and_then(|fd| {
        // Connections of an earlier listener may linger on the port.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Ok(fd)
    });
    made.map_err(stops(
        Layer::NetNamespace,
        format!("cannot listen on {address} inside"),
    ))
}

/// Begins to connect to a port on 127.0.0.1 inside. The socket is non-blocking and becomes writable when the outcome
/// is known, at the latest after `DIAL_MS_MAX`.
pub(crate) fn dial(port: u16) -> Result<OwnedFd, Errno> {
    let fd = tcp_socket()?;
    setsockopt(&fd, sockopt::TcpUserTimeout, &DIAL_MS_MAX)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

fn tcp_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Inet, SockType::Stream, flags, None)
}

fn gate_address() -> Result<Ipv4Addr, Obstacle> {
    GATE_ADDRESS
        .parse()
        .map_err(|_| Obstacle::plain("the gate's address is no IPv4 address"))
}
