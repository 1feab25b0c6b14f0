//! Connections to other ports led to one socket (nf_tables, `tproxy`): nothing about them is changed, so the accepted socket's
//! own address is the one that was meant, and no connection is tracked for it. Never lets a packet out of the namespace.
//!
//! ```text
//! not TCP, or no first packet ──────▶ as it was
//! to a port that is left out ───────▶ as it was
//! to an address that is left out ───▶ as it was
//! to anything else ─────────────────▶ the socket; a reset where it is gone
//! ```

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::sys::socket::SockProtocol;

use crate::netlink::{self, Message, attribute, nest};

/// Kinds of messages, attributes and values as linux/netfilter/nf_tables.h and nfnetlink.h number them.
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;

/// Both versions of IP in one table.
const INET: u8 = 1;
const V4: u8 = 2;
const V6: u8 = 10;

/// Before the packet is anybody's, where `iptables -t mangle` would look at it.
const PREROUTING: u32 = 0;
const MANGLE: i32 = -150;

/// Registers of sixteen bytes, and the verdict.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const SECOND: u32 = 2;

/// What is looked at: of the packet as such, and the headers of IP and TCP.
const PROTOCOL: u32 = 16;
const VERSION: u32 = 15;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const ACCEPT: u32 = 1;
const RESET: u32 = 1;

/// Flags of TCP: SYN, and with ACK it is the answer.
const SYN: u8 = 0x02;
const SYN_OR_ACK: u8 = 0x12;

const TABLE: &[u8] = b"postern\0";
const CHAIN: &[u8] = b"others\0";

/// What is led to a socket.
#[derive(Debug, Clone, Copy)]
pub struct Divert<'a> {
    /// The socket's port. It must listen on every address, and be transparent (ip(7)).
    pub port: u16,
    /// Ports that are left out.
    pub ports: &'a [u16],
    /// Addresses that are left out, beside 127.0.0.0/8 and ::1.
    pub own: &'a [IpAddr],
}

impl Divert<'_> {
    /// From now on, for as long as the network namespace is there.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN in the namespace; `ENOENT`, `EOPNOTSUPP` or `EPROTONOSUPPORT` where the kernel was
    /// built without a part of this.
    pub fn begin(&self) -> io::Result<()> {
        netlink::ask(SockProtocol::NetlinkNetFilter, &self.batch())
    }

    fn batch(&self) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.bracket(BATCH_BEGIN);
        batch.table_and_chain();
        for rule in self.rules() {
            batch.rule(&rule, 0);
        }
        // Nobody listens there any more.
        let mut reset = Vec::new();
        attribute(&mut reset, 1, &RESET.to_be_bytes());
        attribute(&mut reset, 2, &[0]);
        // The first that goes wrong is told instead, as they are all in one transaction.
        let end = Rule::default().expression("reject", &reset);
        batch.rule(&end, libc::NLM_F_ACK);
        batch.bracket(BATCH_END);
        batch.bytes
    }

    fn rules(&self) -> Vec<Rule> {
        let other = Rule::default().meta(PROTOCOL).compare(UNEQUAL, &[6]);
        let first = Rule::default().load((TRANSPORT, 13, 1));
        let first = first.mask(&[SYN_OR_ACK]).compare(UNEQUAL, &[SYN]);
        let ports = self.ports.iter().map(|port| {
            let port = port.to_be_bytes();
            Rule::default()
                .load((TRANSPORT, 2, 2))
                .compare(EQUAL, &port)
        });
        let loopback = of_version(V4).load((NETWORK, 16, 1)).compare(EQUAL, &[127]);
        let own = self.own.iter().copied();
        let own = own.chain([IpAddr::V6(Ipv6Addr::LOCALHOST)]).map(is_to);
        let left_out = [other, first].into_iter().chain(ports);
        let left_out = left_out.chain([loopback]).chain(own);
        let led = [
            (V4, Ipv4Addr::LOCALHOST.octets().to_vec()),
            (V6, Ipv6Addr::LOCALHOST.octets().to_vec()),
        ];
        let led = led.into_iter().map(|(version, to)| {
            let here = of_version(version).hold(FIRST, &to);
            let here = here.hold(SECOND, &self.port.to_be_bytes());
            let mut where_to = Vec::new();
            attribute(&mut where_to, 1, &u32::from(version).to_be_bytes());
            attribute(&mut where_to, 2, &FIRST.to_be_bytes());
            attribute(&mut where_to, 3, &SECOND.to_be_bytes());
            here.expression("tproxy", &where_to)
        });
        left_out.chain(led).map(Rule::accept).collect()
    }
}

fn of_version(version: u8) -> Rule {
    Rule::default().meta(VERSION).compare(EQUAL, &[version])
}

fn is_to(address: IpAddr) -> Rule {
    match address {
        IpAddr::V4(four) => {
            let rule = of_version(V4).load((NETWORK, 16, 4));
            rule.compare(EQUAL, &four.octets())
        }
        IpAddr::V6(six) => {
            let rule = of_version(V6).load((NETWORK, 24, 16));
            rule.compare(EQUAL, &six.octets())
        }
    }
}

/// Expressions, one after the other for as long as they hold.
#[derive(Default)]
struct Rule(Vec<u8>);

impl Rule {
    fn expression(mut self, name: &str, data: &[u8]) -> Self {
        let mut expression = Vec::new();
        attribute(&mut expression, 1, &[name.as_bytes(), b"\0"].concat());
        nest(&mut expression, 2, data);
        nest(&mut self.0, 1, &expression);
        self
    }

    /// Loads something of the packet as such.
    fn meta(self, key: u32) -> Self {
        let mut data = Vec::new();
        attribute(&mut data, 1, &FIRST.to_be_bytes());
        attribute(&mut data, 2, &key.to_be_bytes());
        self.expression("meta", &data)
    }

    /// Loads bytes of a header: which, from where, how many.
    fn load(self, (header, offset, length): (u32, u32, u32)) -> Self {
        let mut data = Vec::new();
        for (kind, value) in (1..).zip([FIRST, header, offset, length]) {
            attribute(&mut data, kind, &value.to_be_bytes());
        }
        self.expression("payload", &data)
    }

    /// Keeps these bits of what was loaded.
    fn mask(self, bits: &[u8]) -> Self {
        let length = u32::try_from(bits.len()).unwrap_or(u32::MAX);
        let mut data = Vec::new();
        for (kind, value) in (1..).zip([FIRST, FIRST, length]) {
            attribute(&mut data, kind, &value.to_be_bytes());
        }
        nest(&mut data, 4, &value(bits));
        nest(&mut data, 5, &value(&vec![0; bits.len()]));
        self.expression("bitwise", &data)
    }

    fn compare(self, how: u32, with: &[u8]) -> Self {
        let mut data = Vec::new();
        attribute(&mut data, 1, &FIRST.to_be_bytes());
        attribute(&mut data, 2, &how.to_be_bytes());
        nest(&mut data, 3, &value(with));
        self.expression("cmp", &data)
    }

    /// Puts something into a register.
    fn hold(self, register: u32, what: &[u8]) -> Self {
        let mut data = Vec::new();
        attribute(&mut data, 1, &register.to_be_bytes());
        nest(&mut data, 2, &value(what));
        self.expression("immediate", &data)
    }

    /// Ends the chain for this packet, which goes on as it is.
    fn accept(self) -> Self {
        let (mut code, mut verdict, mut data) = (Vec::new(), Vec::new(), Vec::new());
        attribute(&mut code, 1, &ACCEPT.to_be_bytes());
        nest(&mut verdict, 2, &code);
        attribute(&mut data, 1, &VERDICT.to_be_bytes());
        nest(&mut data, 2, &verdict);
        self.expression("immediate", &data)
    }
}

fn value(bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    attribute(&mut data, 1, bytes);
    data
}

/// Messages of one transaction.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    number: u32,
}

impl Batch {
    fn bracket(&mut self, kind: u16) {
        let subsystem = (SUBSYSTEM >> 8).to_be_bytes();
        self.message(kind, 0, &[0, 0, subsystem[0], subsystem[1]]);
    }

    fn table_and_chain(&mut self) {
        let mut table = vec![INET, 0, 0, 0];
        attribute(&mut table, 1, TABLE);
        self.message(NEW_TABLE, libc::NLM_F_CREATE, &table);
        let mut hook = Vec::new();
        attribute(&mut hook, 1, &PREROUTING.to_be_bytes());
        attribute(&mut hook, 2, &MANGLE.to_be_bytes());
        let mut chain = vec![INET, 0, 0, 0];
        attribute(&mut chain, 1, TABLE);
        attribute(&mut chain, 3, CHAIN);
        nest(&mut chain, 4, &hook);
        attribute(&mut chain, 7, b"filter\0");
        self.message(NEW_CHAIN, libc::NLM_F_CREATE, &chain);
    }

    fn rule(&mut self, rule: &Rule, flags: libc::c_int) {
        let mut body = vec![INET, 0, 0, 0];
        attribute(&mut body, 1, TABLE);
        attribute(&mut body, 2, CHAIN);
        nest(&mut body, 4, &rule.0);
        let flags = flags | libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(NEW_RULE, flags, &body);
    }

    fn message(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) {
        self.number += 1;
        let head = Message {
            kind,
            flags,
            number: self.number,
        };
        self.bytes.extend(head.with(body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Divert<'_> = Divert {
        port: 4,
        ports: &[80, 443],
        own: &[IpAddr::V4(Ipv4Addr::new(198, 19, 255, 254))],
    };

    /// Where the kernel would find the messages of a batch.
    fn messages(batch: &[u8]) -> Vec<(u16, &[u8])> {
        let mut found = Vec::new();
        let mut rest = batch;
        while let Some((length, kind)) = rest.get(..4).zip(rest.get(4..6)) {
            let length = u32::from_ne_bytes(length.try_into().unwrap());
            let (message, after) = rest.split_at(usize::try_from(length).unwrap());
            found.push((u16::from_ne_bytes(kind.try_into().unwrap()), message));
            rest = after;
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn a_batch_is_whole_messages_in_the_kernels_order() {
        let batch = SOME.batch();
        let kinds: Vec<u16> = messages(&batch).iter().map(|(kind, _)| *kind).collect();
        let rules = 2 + SOME.ports.len() + 1 + SOME.own.len() + 1 + 2 + 1;
        let mut wanted = vec![BATCH_BEGIN, NEW_TABLE, NEW_CHAIN];
        wanted.extend(vec![NEW_RULE; rules]);
        wanted.push(BATCH_END);
        assert_eq!(kinds, wanted);
        assert!(
            messages(&batch)
                .iter()
                .all(|(_, bytes)| bytes.len() % 4 == 0)
        );
    }

    #[test]
    fn a_port_that_is_left_out_is_compared_as_the_wire_has_it() {
        let batch = SOME.batch();
        let (_, rule) = messages(&batch)[6];
        assert!(rule.windows(2).any(|bytes| bytes == 443u16.to_be_bytes()));
    }

    #[test]
    fn who_has_no_right_to_it_is_told() {
        if nix::unistd::geteuid().is_root() {
            return;
        }
        let refused = SOME.begin().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
