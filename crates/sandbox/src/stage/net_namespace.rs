//! A network with `lo` and nothing else, and the sockets inside it that the gate answers on. Never makes an interface or a
//! way out: the only routes lead back in, so that whatever address a program means, the connection ends at one of these
//! sockets or is refused at once.
//!
//! ```text
//! connect to 127.127.0.1:4180 ─▶ the gate's own listener
//! ask any address, port 53 ────▶ names: datagrams and connections
//!         to any address:443 ──▶ captured: the accepted socket's own address is the one that was meant
//!         to any other port ───▶ others: recorded and reset (TCP), see divert.rs; by an address of its own whoever listens there
//! send to any other port ──────▶ refused (ICMP unreachable)
//! ```

use std::{
    io::ErrorKind::{BrokenPipe, ConnectionReset},
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sched::{CloneFlags, setns, unshare},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, connect, setsockopt,
            socket, sockopt,
        },
        stat::Mode,
    },
};
use postern_contract::{
    GATE_ADDRESS, GATE_PORT,
    launch::{Layer, Listener, OTHERS_PORT, Obstacle},
};
use postern_sys::{
    interface,
    listen::listen,
    route::{self, Family},
    seqpacket,
};

use crate::ledger::{Ledger, stops};

/// Where programs ask for names.
pub(super) const NAMES_PORT: u16 = 53;

/// Connections that wait for the gate to accept them.
const BACKLOG: i32 = 1024;

/// How long a connection to an agent may take to be made, in milliseconds; the kernel keeps the time.
const DIAL_MS_MAX: u32 = 2_000;

/// What the launcher says when the network stands; the namespace comes along.
const STANDS: &[u8] = b"network";

/// The launcher's end of the way by which process 1 comes to the network, which is made meanwhile.
#[derive(Debug)]
pub(crate) struct Way {
    /// Kept open because the way to it goes with the host's /proc.
    namespaces: OwnedFd,
    to: OwnedFd,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct Door(OwnedFd);

impl Way {
    /// From this process, before its root changes.
    pub(crate) fn open() -> Result<(Self, Door), Obstacle> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let namespaces = open("/proc/self/ns", flags, Mode::empty()).map_err(lost)?;
        let (to, from) = seqpacket::pair().map_err(lost)?;
        Ok((Self { namespaces, to }, Door(from)))
    }

    /// Lets process 1 into the network namespace that this process is in now.
    pub(crate) fn let_in(self) -> Result<(), Obstacle> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let namespace = openat(&self.namespaces, "net", flags, Mode::empty()).map_err(lost)?;
        match seqpacket::send(self.to.as_fd(), STANDS, &[namespace.as_fd()]) {
            // Where it has ended, its report says why.
            Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset) => Err(lost(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Door {
    /// Enters the network namespace that the launcher made; waits for it.
    pub(crate) fn enter(self) -> Result<(), Obstacle> {
        let heard = seqpacket::receive(self.0.as_fd(), STANDS.len()).map_err(lost)?;
        let (_, fds) = heard.ok_or_else(|| lost("nobody made it"))?;
        let namespace = fds.first().ok_or_else(|| lost("it did not come along"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(lost)
    }
}

fn lost<E: std::fmt::Display>(error: E) -> Obstacle {
    stops(Layer::NetNamespace, "cannot enter the network namespace")(error)
}

/// Enters a network namespace, brings `lo` up and makes the plan's listeners.
pub(crate) fn furnish(
    listeners: &[Listener],
    ledger: &mut Ledger,
) -> Result<Vec<OwnedFd>, Obstacle> {
    let step = "cannot make a network namespace";
    unshare(CloneFlags::CLONE_NEWNET).map_err(stops(Layer::NetNamespace, step))?;
    let step = "cannot bring lo up";
    interface::loopback_up().map_err(stops(Layer::NetNamespace, step))?;
    let detail = if listeners.iter().any(|made| *made != Listener::Gate) {
        lead_back_in()?
    } else {
        "lo alone".to_owned()
    };
    let made = listeners
        .iter()
        .map(|listener| match listener {
            Listener::Gate => gate(),
            Listener::Captured { port } => capture(*port),
            Listener::Others => capture(OTHERS_PORT),
            Listener::NamesByStream => capture(NAMES_PORT),
            Listener::NamesByDatagram => datagrams(NAMES_PORT),
        })
        .collect::<Result<Vec<_>, _>>()?;
    ledger.enforced(Layer::NetNamespace, &detail);
    Ok(made)
}

/// Addresses of this machine, as far as a program inside asks: in the ranges of those that stand for names, and so far up
/// that no name is ever given one.
pub(super) const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
pub(super) const OWN_V6: Ipv6Addr = Ipv6Addr::new(
    0xfd70, 0x6f73, 0x7465, 0x726e, 0xffff, 0xffff, 0xffff, 0xfffe,
);

/// Makes every address one of this namespace's own, and says which. Where the kernel has no IPv6 nothing of it can be
/// reached either, so there is nothing to capture.
fn lead_back_in() -> Result<String, Obstacle> {
    let step = "cannot make every address lead back in";
    route::every_address_is_local(Family::V4).map_err(stops(Layer::NetNamespace, step))?;
    let step = "cannot give lo an address";
    route::has_address(OWN_V4.into()).map_err(stops(Layer::NetNamespace, step))?;
    let six =
        route::every_address_is_local(Family::V6).and_then(|()| route::has_address(OWN_V6.into()));
    Ok(match six {
        Ok(()) => "lo alone, every address leads to the gate".to_owned(),
        Err(error) => format!("lo alone, every IPv4 address leads to the gate, no IPv6: {error}"),
    })
}

/// The gate's own listening socket; close-on-exec and non-blocking, like all here.
fn gate() -> Result<OwnedFd, Obstacle> {
    let address = SocketAddrV4::new(gate_address()?, GATE_PORT);
    listening_v4(address).map_err(no_listener(&address.to_string()))
}

/// A listening socket for what is connected to at this port by any address; of both families where there are two, as
/// one socket.
fn capture(port: u16) -> Result<OwnedFd, Obstacle> {
    let made = match listening_v6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
            listening_v4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
        }
        made => made,
    };
    made.map_err(no_listener(&format!("every address, port {port}")))
}

/// A datagram socket for what is sent to this port of any address. Nobody else may share the port, whoever it is.
fn datagrams(port: u16) -> Result<OwnedFd, Obstacle> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let v6 = || {
        let fd = socket(AddressFamily::Inet6, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
        let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
        bind(fd.as_raw_fd(), &SockaddrIn6::from(address)).map(|()| fd)
    };
    let v4 = || {
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        bind(fd.as_raw_fd(), &SockaddrIn::from(address)).map(|()| fd)
    };
    let made = match v6() {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => v4(),
        made => made,
    };
    made.map_err(no_listener(&format!(
        "every address, datagrams to port {port}"
    )))
}

fn listening_v4(address: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let fd = tcp_socket(AddressFamily::Inet)?;
    // Connections of an earlier listener may linger on the port.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&fd, BACKLOG)?;
    Ok(fd)
}

fn listening_v6(address: SocketAddrV6) -> Result<OwnedFd, Errno> {
    let fd = tcp_socket(AddressFamily::Inet6)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    bind(fd.as_raw_fd(), &SockaddrIn6::from(address))?;
    listen(&fd, BACKLOG)?;
    Ok(fd)
}

fn no_listener(place: &str) -> impl FnOnce(Errno) -> Obstacle {
    stops(
        Layer::NetNamespace,
        format!("cannot listen on {place} inside"),
    )
}

/// Begins to connect to a port on 127.0.0.1 inside. The socket is non-blocking and becomes writable when the outcome
/// is known, at the latest after `DIAL_MS_MAX`.
pub(crate) fn dial(port: u16) -> Result<OwnedFd, Errno> {
    let fd = tcp_socket(AddressFamily::Inet)?;
    setsockopt(&fd, sockopt::TcpUserTimeout, &DIAL_MS_MAX)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// Ends what `dial` said of its time: from here on the connection may be as slow as whoever has it lets it be.
pub(crate) fn dialled(socket: &OwnedFd) -> Result<(), Errno> {
    setsockopt(socket, sockopt::TcpUserTimeout, &0)
}

fn tcp_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

fn gate_address() -> Result<Ipv4Addr, Obstacle> {
    GATE_ADDRESS
        .parse()
        .map_err(|_| Obstacle::plain("the gate's address is no IPv4 address"))
}
