//! Routes and addresses of this network namespace (rtnetlink(7)): the kinds that are needed, which lead to the namespace
//! itself. Never makes a route that leads out of it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use nix::{net::if_::if_nametoindex, sys::socket::SockProtocol};

use crate::netlink::{self, Message, attribute};

/// The table that is asked before all others, for addresses of this machine (rtnetlink(7)).
const TABLE_LOCAL: u8 = 255;

/// Made by an administrator, as `ip route` says it.
const BY_BOOT: u8 = 3;

/// Nobody is asked whether an address is taken (rtnetlink(7)).
const IFA_F_NODAD: u8 = 2;

/// Versions of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// From here on every address of a family is one of this namespace's own, by the loopback interface, which must be up:
/// what is sent to any of them comes out here. What has no address yet sends from 127.0.0.1: else a connection to a
/// closed port could be answered by the very socket that makes it.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the namespace; `EOPNOTSUPP` and the like where the kernel does not speak the family.
pub fn every_address_is_local(family: Family) -> io::Result<()> {
    ask(&request(family, if_nametoindex("lo")?))
}

/// Gives the loopback interface an address like a machine's own, for programs that ask for addresses of a family only where
/// the machine has one (`AI_ADDRCONFIG`). It leads nowhere else than every other address does.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the namespace; `EEXIST` where it has that address; `EOPNOTSUPP` and the like where the
/// kernel does not speak the family.
pub fn has_address(address: IpAddr) -> io::Result<()> {
    ask(&addition(address, if_nametoindex("lo")?))
}

fn ask(request: &[u8]) -> io::Result<()> {
    netlink::ask(SockProtocol::NetlinkRoute, request)
}

/// `ip route add local default dev lo`, as the kernel reads it: a head, the route, and its attributes.
fn request(family: Family, interface: u32) -> Vec<u8> {
    let (family, source) = match family {
        Family::V4 => (libc::AF_INET, Some(Ipv4Addr::LOCALHOST.octets())),
        Family::V6 => (libc::AF_INET6, None),
    };
    let family = u8::try_from(family).unwrap_or_default();
    // Family, lengths of destination and source, service, table, protocol, scope, type; then four bytes of flags.
    let mut route = vec![family, 0, 0, 0, TABLE_LOCAL, BY_BOOT];
    route.extend([libc::RT_SCOPE_HOST, libc::RTN_LOCAL]);
    route.extend([0; 4]);
    attribute(&mut route, libc::RTA_OIF, &interface.to_ne_bytes());
    if let Some(source) = source {
        attribute(&mut route, libc::RTA_PREFSRC, &source);
    }
    message(libc::RTM_NEWROUTE, &route)
}

/// `ip address add ADDRESS dev lo scope global`, whole as it is: nobody else is on that network.
fn addition(address: IpAddr, interface: u32) -> Vec<u8> {
    let (family, bits, octets) = match address {
        IpAddr::V4(four) => (libc::AF_INET, 32, four.octets().to_vec()),
        IpAddr::V6(six) => (libc::AF_INET6, 128, six.octets().to_vec()),
    };
    let family = u8::try_from(family).unwrap_or_default();
    // Family, length of the prefix, flags, scope, interface. There is nobody to ask whether the address is taken.
    let mut body = vec![family, bits, IFA_F_NODAD, libc::RT_SCOPE_UNIVERSE];
    body.extend(interface.to_ne_bytes());
    attribute(&mut body, libc::IFA_LOCAL, &octets);
    attribute(&mut body, libc::IFA_ADDRESS, &octets);
    message(libc::RTM_NEWADDR, &body)
}

/// A request to make something anew, the first and only one of its socket.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Message {
        kind,
        flags,
        number: 1,
    }
    .with(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_kernel_reads() {
        let message = request(Family::V4, 7);
        assert_eq!(message.len(), 16 + 12 + 8 + 8);
        assert_eq!(message[..4], 44u32.to_ne_bytes());
        assert_eq!(message[4..6], 24u16.to_ne_bytes());
        assert_eq!(message[16..24], [2, 0, 0, 0, 255, 3, 254, 2]);
        assert_eq!(message[32..36], 7u32.to_ne_bytes());
        assert_eq!(message[40..], [127, 0, 0, 1]);
        assert_eq!(request(Family::V6, 7).len(), 36);
    }

    #[test]
    fn an_addition_is_what_the_kernel_reads() {
        let four = addition(Ipv4Addr::new(198, 19, 255, 254).into(), 7);
        assert_eq!(four.len(), 16 + 8 + 8 + 8);
        assert_eq!(four[4..6], 20u16.to_ne_bytes());
        assert_eq!(four[16..20], [2, 32, 2, 0]);
        assert_eq!(four[28..32], [198, 19, 255, 254]);
        let six = addition(std::net::Ipv6Addr::LOCALHOST.into(), 7);
        assert_eq!(six.len(), 16 + 8 + 20 + 20);
        assert_eq!(six[16..20], [10, 128, 2, 0]);
    }

    #[test]
    fn who_has_no_right_to_it_is_told() {
        if nix::unistd::geteuid().is_root() {
            return;
        }
        let refused = every_address_is_local(Family::V4).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
