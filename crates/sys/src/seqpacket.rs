//! Unix sockets of kind SOCK_SEQPACKET: one packet is one message, and descriptors travel with the message they belong
//! to (unix(7)). Whether a call blocks is up to the descriptor. Never interprets a byte of a message.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept4,
        bind, connect as nix_connect, getsockopt, listen as nix_listen, recv, sendmsg, setsockopt,
        socket, socketpair, sockopt,
    },
};

/// The most descriptors that one message may carry.
pub const FDS_MAX: usize = 64;

/// Room for SCM_MAX_FD (253, unix(7)) descriptors, so that only a receiver short of descriptors loses one.
const CONTROL_BYTES: usize = 1056;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Who is at the other end, as the kernel knew it when the connection was made (SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id in this pid namespace; 0 if it is not visible here.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Two connected ends, both blocking and close-on-exec.
///
/// # Errors
/// When the process is out of descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Binds and listens at a path that must not exist yet.
///
/// # Errors
/// As bind(2) says; an existing path is `AddrInUse`.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix_listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// Takes the next connection.
///
/// # Errors
/// As accept(2) says; `WouldBlock` on a non-blocking descriptor.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    Ok(own(raw))
}

/// Connects to a path.
///
/// # Errors
/// As connect(2) says.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    nix_connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Whether the descriptor is a connected SOCK_SEQPACKET socket.
#[must_use]
pub fn is_seqpacket(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType).is_ok_and(|kind| kind == SockType::SeqPacket)
}

/// Lets one packet hold `bytes`, as far as the kernel allows.
///
/// # Errors
/// As setsockopt(2) says.
pub fn allow_packets_of(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    Ok(setsockopt(&fd, sockopt::SndBuf, &bytes)?)
}

/// Sends one packet, whole or not at all. Never raises SIGPIPE.
///
/// # Errors
/// As sendmsg(2) says; `BrokenPipe` once the peer is gone.
pub fn send(fd: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let parts = [IoSlice::new(message)];
    sendmsg::<()>(
        fd.as_raw_fd(),
        &parts,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Takes one packet of at most `bytes_max` bytes with its descriptors (close-on-exec). `None` once the peer is gone.
///
/// # Errors
/// As recvmsg(2) says; `InvalidData` for a packet that is larger or carries more than [`FDS_MAX`] descriptors, whose
/// descriptors are closed.
pub fn receive(
    fd: BorrowedFd<'_>,
    bytes_max: usize,
) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // Asked for first, for most messages are far smaller than they may be, and memory that nobody writes to costs too.
    let asked = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = match recv(fd.as_raw_fd(), &mut [], asked) {
        Err(Errno::ECONNRESET) => return Ok(None),
        other => other?,
    };
    let mut buffer = vec![0; length.min(bytes_max)];
    let mut control = Control([0; CONTROL_BYTES]);
    let (length, flags, fds) = match receive_raw(fd, &mut buffer, &mut control) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
        other => other?,
    };
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || fds.len() > FDS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too large",
        ));
    }
    if length == 0 {
        return Ok(None);
    }
    buffer.truncate(length);
    Ok(Some((buffer, fds)))
}

/// Room for the control messages of one packet, aligned as their headers are.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// recvmsg(2) with every descriptor that came in hand, also where the kernel could not pass all of them on: nix gives up
/// then and leaves those that came open for ever.
fn receive_raw(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut Control,
) -> io::Result<(usize, i32, Vec<OwnedFd>)> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // NEEDED: msghdr has private padding on some targets. SAFETY: it is plain data; all zeroes is a valid, empty one.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_iov = &raw mut part;
    head.msg_iovlen = 1;
    head.msg_control = control.0.as_mut_ptr().cast();
    head.msg_controllen = control.0.len() as _;
    // NEEDED: see above. SAFETY: the header points at two buffers that live and are borrowed mutably until it returns.
    let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut head, libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    Ok((length, head.msg_flags, descriptors(&head)))
}

/// A length, of whichever type the C library has for it.
fn length(counted: impl TryInto<usize>) -> usize {
    counted.try_into().unwrap_or_default()
}

/// The descriptors in the control messages of a header that recvmsg(2) has just filled.
fn descriptors(head: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // NEEDED: the messages lie behind each other in raw memory. SAFETY: the kernel wrote them into the buffer that the
    // header points at, and the macros stay within its length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(head) };
    // NEEDED and SAFETY: as above; a pointer that is not null is a whole header within the buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // NEEDED and SAFETY: pure arithmetic on a length.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let all = length(message.cmsg_len);
            let count = all.saturating_sub(empty) / size_of::<RawFd>();
            // NEEDED and SAFETY: as above; the data follows its header.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            // NEEDED and SAFETY: `count` descriptors follow, as the header's length says; they may be unaligned.
            found.extend((0..count).map(|at| own(unsafe { data.add(at).read_unaligned() })));
        }
        // NEEDED and SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(head, next) };
    }
    found
}

/// Who is at the other end.
///
/// # Errors
/// When the descriptor is no connected Unix socket.
pub fn peer(fd: BorrowedFd<'_>) -> io::Result<Peer> {
    let found = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(Peer {
        pid: found.pid(),
        uid: found.uid(),
        gid: found.gid(),
    })
}

fn own(raw: RawFd) -> OwnedFd {
    // NEEDED: nix hands out accepted and received descriptors as bare numbers. SAFETY: the kernel made the descriptor
    // for this call, so nothing else in the process owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::AsFd,
    };

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (here, there) = pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        send(here.as_fd(), b"take this", &[write.as_fd()]).unwrap();
        drop(write);
        let (message, mut fds) = receive(there.as_fd(), 64).unwrap().unwrap();
        assert_eq!(message, b"take this");
        let mut file = File::from(fds.remove(0));
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_message_that_is_too_large_is_an_error_and_the_next_is_read() {
        let (here, there) = pair().unwrap();
        send(here.as_fd(), &[7; 65], &[]).unwrap();
        send(here.as_fd(), b"next", &[]).unwrap();
        let error = receive(there.as_fd(), 64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(there.as_fd(), 64).unwrap().unwrap().0, b"next");
    }

    #[test]
    fn too_many_descriptors_are_an_error() {
        let (here, there) = pair().unwrap();
        send(here.as_fd(), b"many", &[here.as_fd(); FDS_MAX + 1]).unwrap();
        assert!(receive(there.as_fd(), 64).is_err());
    }

    #[test]
    fn descriptors_are_closed_where_not_all_could_be_passed_on() {
        let (here, there) = pair().unwrap();
        let (read, write) = io::pipe().unwrap();
        send(here.as_fd(), b"two", &[write.as_fd(), write.as_fd()]).unwrap();
        drop(write);
        let lowest_free = read.try_clone().unwrap().as_raw_fd();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(
            Resource::RLIMIT_NOFILE,
            u64::from(lowest_free.unsigned_abs()) + 1,
            hard,
        )
        .unwrap();
        let received = receive(there.as_fd(), 64);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::InvalidData);
        // Only when every copy of the other end is closed does a read end.
        let mut rest = Vec::new();
        let mut read = read;
        assert_eq!(read.read_to_end(&mut rest).unwrap(), 0);
    }

    #[test]
    fn the_end_of_the_peer_is_no_error() {
        let (here, there) = pair().unwrap();
        drop(here);
        assert!(receive(there.as_fd(), 64).unwrap().is_none());
    }

    #[test]
    fn the_peer_is_who_the_kernel_says() {
        let (here, _there) = pair().unwrap();
        assert_eq!(
            peer(here.as_fd()).unwrap().pid,
            std::process::id().cast_signed()
        );
        assert!(is_seqpacket(here.as_fd()));
    }
}
