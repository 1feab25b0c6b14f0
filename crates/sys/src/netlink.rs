//! Messages to the kernel (netlink(7)) and its word on them. Knows nothing of what is asked.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};

/// The head of a message, in bytes.
const HEAD: usize = 16;

/// The head of an attribute, in bytes, and what its length is filled up to.
const ATTRIBUTE_HEAD: usize = 4;
const ALIGNED: usize = 4;

/// Attributes are in this one.
const NESTED: u16 = 0x8000;

/// An acknowledgement with the request that it is for, and to spare.
const ANSWER_BYTES_MAX: usize = 4096;

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    /// Beside that it is a request.
    pub(crate) flags: libc::c_int,
    pub(crate) number: u32,
}

impl Message {
    /// The message whole, from whoever the kernel says it is.
    pub(crate) fn with(self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
        let flags = u16::try_from(self.flags | libc::NLM_F_REQUEST).unwrap_or(u16::MAX);
        let mut message = Vec::with_capacity(HEAD + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(self.kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.number.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        message
    }
}

/// Length, kind, value, and what fills it up to a multiple of four bytes.
pub(crate) fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + ATTRIBUTE_HEAD).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(ALIGNED), 0);
}

/// An attribute that holds attributes.
pub(crate) fn nest(to: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    attribute(to, kind | NESTED, attributes);
}

/// Sends what is asked, in one or several messages of which one wants to be acknowledged, and hears the first word on it.
pub(crate) fn ask(of: SockProtocol, messages: &[u8]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        of,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        socket.as_raw_fd(),
        messages,
        &kernel,
        MsgFlags::MSG_NOSIGNAL,
    )?;
    acknowledged(&socket)
}

/// The kernel's answer: an error message whose number is 0 where all went well.
fn acknowledged(socket: &OwnedFd) -> io::Result<()> {
    let mut answer = [0; ANSWER_BYTES_MAX];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "an odd answer of the kernel");
    let answer = answer.get(..length).ok_or_else(odd)?;
    let kind = answer
        .get(4..6)
        .and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    let number = answer
        .get(HEAD..HEAD + 4)
        .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    match (kind.map(i32::from), number) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(number)) => {
            Err(Errno::from_raw(number.saturating_neg()).into())
        }
        _ => Err(odd()),
    }
}
