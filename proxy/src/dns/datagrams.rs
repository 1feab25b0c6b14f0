//! Questions in datagrams. An answer comes from the address that the question was meant for, as clients insist, whichever
//! server that is. Never keeps a question: what finds no room in the socket is lost, and asked again.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    cmsg_space,
    libc::{in_pktinfo, in6_pktinfo},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike as _,
        SockaddrStorage, getsockname, recvmsg, sendmsg, setsockopt, sockopt,
    },
};
use tokio::{io::Interest, net::UdpSocket};

use super::{QUESTION_BYTES_MAX, answered};
use crate::{gate::Gate, identify::Room};

/// How long to wait after a read that failed for want of memory.
const READ_RETRY: Duration = Duration::from_millis(50);

/// A bound datagram socket.
pub(crate) struct Datagrams(UdpSocket);

/// Between whom a question went.
struct Between {
    client: SockaddrStorage,
    /// The address that was asked, as a note to the kernel.
    asked: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Datagrams {
    /// Takes over a descriptor, which must be a bound datagram socket of the Internet protocol.
    pub(super) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let name = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        match name.family() {
            Some(AddressFamily::Inet) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            // Of a socket for both families this tells the address of version 4 datagrams too.
            Some(AddressFamily::Inet6) => {
                setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
                // Of version 6 an answer may come from any address only so: they are local by a route, on no interface.
                setsockopt(&fd, sockopt::IpFreebind, &true)?;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        let socket = std::net::UdpSocket::from(fd);
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket).map(Self)
    }

    /// Answers for ever.
    pub(super) async fn serve(&self, gate: &Gate, room: &Room) {
        let mut message = [0; QUESTION_BYTES_MAX];
        loop {
            let (length, between) = match self.receive(&mut message).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(%error, sandbox = %room.sandbox, "a question could not be read");
                    tokio::time::sleep(READ_RETRY).await;
                    continue;
                }
            };
            let (Some(between), Some(question)) = (between, message.get(..length)) else {
                continue;
            };
            let Some(reply) = answered(question, gate, room).await else {
                continue;
            };
            // Where the client has no room it asks again.
            if let Err(error) = self.send(&reply, &between) {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
    }

    /// The next datagram; nobody to answer where it was cut off, or nobody sent it.
    async fn receive(&self, message: &mut [u8]) -> io::Result<(usize, Option<Between>)> {
        self.0
            .async_io(Interest::READABLE, || {
                let mut notes = cmsg_space!(in6_pktinfo);
                let mut parts = [IoSliceMut::new(message)];
                let got = recvmsg::<SockaddrStorage>(
                    self.0.as_raw_fd(),
                    &mut parts,
                    Some(notes.as_mut_slice()),
                    MsgFlags::empty(),
                )?;
                let whole = !got
                    .flags
                    .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                let asked = got.cmsgs()?.find_map(|note| Asked::of(&note));
                let between = match (got.address, asked) {
                    (Some(client), Some(asked)) if whole => Some(Between { client, asked }),
                    _ => None,
                };
                Ok((got.bytes, between))
            })
            .await
    }

    fn send(&self, reply: &[u8], between: &Between) -> io::Result<()> {
        let note = match &between.asked {
            Asked::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Asked::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        };
        let (fd, parts) = (self.0.as_raw_fd(), [IoSlice::new(reply)]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg(fd, &parts, &[note], flags, Some(&between.client))?;
        Ok(())
    }
}

impl Asked {
    /// The address alone counts, by whichever interface it came.
    fn of(note: &ControlMessageOwned) -> Option<Self> {
        match note {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ..*info
            })),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Self::V6(in6_pktinfo {
                ipi6_ifindex: 0,
                ..*info
            })),
            _ => None,
        }
    }
}
