//! Which addresses the gate may dial: every special range of IPv4 and IPv6, and what hides inside tunnelling forms. Pure;
//! never resolves and never connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to the gate. The word is what refusals and the audit call the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reachable by anybody.
    Public,
    /// Inside somebody's walls: dialled only for a tool that says `private = true`.
    Private(&'static str),
    /// Never dialled, whatever the config says.
    Never(&'static str),
}

/// Judges one address.
pub(crate) fn judge(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => judge_v4(v4),
        IpAddr::V6(v6) => judge_v6(v6),
    }
}

/// Addresses that look ordinary but answer with a cloud machine's own credentials.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
];

const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn judge_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Never("cloud metadata");
    }
    match address.octets() {
        [0, ..] => Class::Never("this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private("private"),
        [100, 64..=127, ..] => Class::Private("shared (carrier-grade NAT)"),
        [127, ..] => Class::Private("loopback"),
        [169, 254, ..] => Class::Never("link-local"),
        [192, 0, 0, _] => Class::Never("protocol assignments"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Never("documentation"),
        [192, 88, 99, _] => Class::Never("6to4 relay"),
        [198, 18..=19, ..] => Class::Never("benchmarking"),
        [224..=239, ..] => Class::Never("multicast"),
        [240..=255, ..] => Class::Never("reserved"),
        _ => Class::Public,
    }
}

fn judge_v6(address: Ipv6Addr) -> Class {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return judge_v4(mapped);
    }
    if address == METADATA_V6 {
        return Class::Never("cloud metadata");
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Private("loopback"),
        [0, 0, 0, 0, 0, 0, ..] => Class::Never("IPv4-compatible"),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(v4(high, low), "NAT64"),
        [
            0x2001,
            0,
            server_high,
            server_low,
            _,
            _,
            client_high,
            client_low,
        ] => match carried(v4(server_high, server_low), "Teredo") {
            Class::Public => carried(v4(!client_high, !client_low), "Teredo"),
            never => never,
        },
        [0x2001, 0..=0x1ff, ..] => Class::Never("protocol assignments"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Never("documentation"),
        [0x2002, high, low, ..] => carried(v4(high, low), "6to4"),
        [0xfc00..=0xfdff, ..] => Class::Private("unique local"),
        [0xfe80..=0xfebf, ..] => Class::Never("link-local"),
        [0xfec0..=0xfeff, ..] => Class::Never("site-local"),
        [0xff00..=0xffff, ..] => Class::Never("multicast"),
        [0x2000..=0x3fff, ..] => Class::Public,
        // Whatever is no global unicast and was not named above stays shut until it is.
        _ => Class::Never("no global unicast"),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

/// An IPv4 address carried by a transition form is as good as itself, but never a way to a private one.
fn carried(inner: Ipv4Addr, form: &'static str) -> Class {
    match judge_v4(inner) {
        Class::Public => Class::Public,
        Class::Private(_) | Class::Never(_) => Class::Never(form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Class {
        judge(text.parse().unwrap())
    }

    #[track_caller]
    fn never(texts: &[&str]) {
        for text in texts {
            assert!(
                matches!(class(text), Class::Never(_)),
                "{text} is {:?}",
                class(text)
            );
        }
    }

    #[track_caller]
    fn private(texts: &[&str]) {
        for text in texts {
            assert!(
                matches!(class(text), Class::Private(_)),
                "{text} is {:?}",
                class(text)
            );
        }
    }

    #[track_caller]
    fn public(texts: &[&str]) {
        for text in texts {
            assert_eq!(class(text), Class::Public, "{text}");
        }
    }

    #[test]
    fn v4_inside_somebodys_walls() {
        private(&[
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
        ]);
        private(&[
            "127.0.0.1",
            "127.255.255.254",
            "127.127.0.1",
            "100.64.0.1",
            "100.127.255.255",
        ]);
    }

    #[test]
    fn v4_never() {
        never(&[
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "192.0.0.192",
        ]);
        never(&[
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "192.88.99.1",
            "198.18.0.1",
        ]);
        never(&[
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ]);
        never(&["168.63.129.16", "100.100.100.200"]);
    }

    #[test]
    fn v4_borders_stay_public() {
        public(&[
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
        ]);
        public(&[
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
        ]);
        public(&[
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
        ]);
        public(&["1.1.1.1", "8.8.8.8"]);
    }

    #[test]
    fn v6_inside_somebodys_walls() {
        private(&["::1", "fc00::1", "fdff:ffff::1"]);
    }

    #[test]
    fn v6_never() {
        never(&[
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "fd00:ec2::254",
        ]);
        never(&[
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
        ]);
        never(&["5f00::1", "64:ff9b:1::1", "1::1", "4000::1", "e000::1"]);
    }

    #[test]
    fn v6_public() {
        public(&[
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "2001:200::1",
        ]);
    }

    #[test]
    fn a_mapped_address_is_its_inner_one() {
        private(&["::ffff:127.0.0.1", "::ffff:10.0.0.1"]);
        never(&["::ffff:169.254.169.254", "::ffff:0.0.0.0"]);
        public(&["::ffff:8.8.8.8"]);
    }

    #[test]
    fn a_compatible_address_is_never_dialled() {
        never(&["::127.0.0.1", "::8.8.8.8", "::2"]);
    }

    #[test]
    fn nat64_is_decoded() {
        public(&["64:ff9b::8.8.8.8"]);
        never(&[
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
        ]);
    }

    #[test]
    fn six_to_four_is_decoded() {
        public(&["2002:0808:0808::1"]);
        never(&["2002:7f00:0001::1", "2002:0a00:0001::", "2002:a9fe:a9fe::"]);
    }

    #[test]
    fn teredo_is_decoded_at_both_ends() {
        // Server 65.54.227.120, client 192.0.2.45 (documentation), then a public client.
        never(&["2001:0:4136:e378:8000:63bf:3fff:fdd2"]);
        public(&["2001:0:4136:e378:8000:63bf:f7f7:f7f7"]);
        never(&[
            "2001:0:7f00:1:8000:63bf:f7f7:f7f7",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
        ]);
    }
}
