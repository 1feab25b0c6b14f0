//! Addresses that stand for names, in one sandbox: each name keeps the one that it was given as long as the sandbox lives,
//! also where another gate takes over meanwhile (`kept.rs`), and none is given twice. Never an address of anybody: one range is for benchmarks (RFC 2544), the other local (RFC
//! 4193), and the gate dials neither.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_policy::{Host, HostName};

use super::kept::Kept;

/// The most names of one sandbox.
pub(crate) const NAMES_PER_SANDBOX_MAX: usize = 4096;

/// 198.18.0.0/15, whose first address nobody gets.
const FOUR: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const FOUR_BITS: u32 = 15;

/// fd70:6f73:7465:726e::/64, which spells the gate's name.
const SIX: u128 = 0xfd70_6f73_7465_726e << 64;
const SIX_BITS: u32 = 64;

/// The names that a sandbox has asked for.
#[derive(Debug, Default)]
pub(crate) struct Synthetic(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    /// By number; the first is number 1.
    names: Vec<Arc<HostName>>,
    numbers: HashMap<Arc<HostName>, u32>,
    /// Where each is written before anybody is told of it.
    kept: Option<Kept>,
}

/// Where a connection by address was meant to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meant {
    /// The address and the port; a version 4 address is held as one.
    pub(crate) at: SocketAddr,
    /// What the address stands for.
    pub(crate) stands: Stands,
}

/// What an address stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stands {
    /// Itself: it was given to no name.
    ForItself,
    /// One name.
    For(Arc<HostName>),
    /// Nothing: it could have been given to a name, and was not.
    ForNobody,
}

impl Meant {
    /// The host, where nothing but the address says which one.
    pub(crate) fn host(&self) -> Option<Host> {
        match &self.stands {
            Stands::ForItself => Some(Host::from(self.at.ip())),
            Stands::For(name) => Some(Host::Name(name.as_ref().clone())),
            Stands::ForNobody => None,
        }
    }

    /// Whether a connection to it can be for a host: an address of somebody's can be for any, one that stands for a name
    /// only for that name.
    pub(crate) fn can_be(&self, host: &Host) -> bool {
        match (&self.stands, host) {
            (Stands::ForItself, _) => true,
            (Stands::For(name), Host::Name(other)) => **name == *other,
            (Stands::For(_), Host::Ip(_)) | (Stands::ForNobody, _) => false,
        }
    }
}

impl Synthetic {
    /// Names that are written down here, after those that already are, which were given in this order.
    pub(crate) fn kept(kept: Kept, before: Vec<HostName>) -> Self {
        let mut given = Given {
            kept: Some(kept),
            ..Given::default()
        };
        for name in before {
            given.give(Arc::new(name));
        }
        Self(Mutex::new(given))
    }

    /// The addresses of a name, given now if not before; none once all are given.
    pub(crate) fn address_of(&self, name: &HostName) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let mut given = self.lock();
        if let Some(number) = given.numbers.get(name) {
            return Some(addresses(*number));
        }
        if given.names.len() >= NAMES_PER_SANDBOX_MAX {
            return None;
        }
        if let Some(kept) = &mut given.kept
            && let Err(error) = kept.append(name)
        {
            tracing::warn!(%error, "a name was not kept, and has no address");
            return None;
        }
        Some(addresses(given.give(Arc::new(name.clone()))))
    }

    /// What a connection to an address is meant for.
    pub(crate) fn meant(&self, at: SocketAddr) -> Meant {
        let at = SocketAddr::new(at.ip().to_canonical(), at.port());
        let stands = match number(at.ip()) {
            None => Stands::ForItself,
            Some(number) => {
                let given = self.lock();
                let name = number
                    .checked_sub(1)
                    .and_then(|position| given.names.get(usize::try_from(position).ok()?));
                name.map_or(Stands::ForNobody, |name| Stands::For(Arc::clone(name)))
            }
        };
        Meant { at, stands }
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        // Names that a panic interrupted are still names.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    fn give(&mut self, name: Arc<HostName>) -> u32 {
        self.names.push(Arc::clone(&name));
        // There are never more than NAMES_PER_SANDBOX_MAX.
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name, number);
        number
    }
}

fn addresses(number: u32) -> (Ipv4Addr, Ipv6Addr) {
    let four = Ipv4Addr::from_bits(FOUR + number);
    (four, Ipv6Addr::from_bits(SIX + u128::from(number)))
}

/// The number behind an address of the two ranges; one that is too large stands for nobody like any that was not given.
fn number(address: IpAddr) -> Option<u64> {
    match address {
        IpAddr::V4(four) => {
            let bits = four.to_bits();
            (bits >> (32 - FOUR_BITS) == FOUR >> (32 - FOUR_BITS)).then(|| u64::from(bits - FOUR))
        }
        IpAddr::V6(six) => {
            let bits = six.to_bits();
            let beneath = bits.checked_sub(SIX)?;
            (beneath >> (128 - SIX_BITS) == 0).then(|| u64::try_from(beneath).unwrap_or(u64::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn meant(names: &Synthetic, at: &str) -> Stands {
        names.meant(at.parse().unwrap()).stands
    }

    #[test]
    fn a_name_keeps_its_address_and_no_other_name_gets_it() {
        let names = Synthetic::default();
        let (one, other) = (name("a.example"), name("b.example"));
        let (four, six) = names.address_of(&one).unwrap();
        assert_eq!(four.to_string(), "198.18.0.1");
        assert_eq!(six.to_string(), "fd70:6f73:7465:726e::1");
        assert_ne!(names.address_of(&other).unwrap(), (four, six));
        assert_eq!(names.address_of(&one), Some((four, six)));
        for at in [
            "198.18.0.1:443",
            "[fd70:6f73:7465:726e::1]:443",
            "[::ffff:198.18.0.1]:443",
        ] {
            assert_eq!(
                meant(&names, at),
                Stands::For(Arc::new(name("a.example"))),
                "{at}"
            );
        }
    }

    #[test]
    fn an_address_that_was_not_given_stands_for_nobody_and_all_others_for_themselves() {
        let names = Synthetic::default();
        names.address_of(&name("a.example"));
        for at in [
            "198.18.0.0:80",
            "198.18.0.2:80",
            "198.19.255.255:80",
            "[fd70:6f73:7465:726e::]:80",
            "[fd70:6f73:7465:726e:ffff::1]:80",
        ] {
            assert_eq!(meant(&names, at), Stands::ForNobody, "{at}");
        }
        for at in [
            "198.17.255.255:80",
            "198.20.0.0:80",
            "127.0.0.1:80",
            "[::1]:80",
            "[fd70:6f73:7465:726f::1]:80",
        ] {
            assert_eq!(meant(&names, at), Stands::ForItself, "{at}");
        }
    }

    #[test]
    fn a_sandbox_has_so_many_names_and_those_it_has_it_keeps() {
        let names = Synthetic::default();
        for number in 0..NAMES_PER_SANDBOX_MAX {
            assert!(
                names
                    .address_of(&name(&format!("n{number}.example")))
                    .is_some()
            );
        }
        assert_eq!(names.address_of(&name("one-more.example")), None);
        assert!(names.address_of(&name("n0.example")).is_some());
        let other = Synthetic::default();
        assert!(other.address_of(&name("one-more.example")).is_some());
    }

    #[test]
    fn an_address_of_a_name_is_for_that_name_alone() {
        let names = Synthetic::default();
        names.address_of(&name("a.example"));
        let can_be = |at: &str, host: &str| {
            let meant = names.meant(at.parse().unwrap());
            meant.can_be(&host.parse().unwrap())
        };
        assert!(can_be("198.18.0.1:443", "A.example."));
        assert!(!can_be("198.18.0.1:443", "b.example"));
        assert!(!can_be("198.18.0.1:443", "198.18.0.1"));
        assert!(!can_be("198.18.0.2:443", "a.example"));
        assert!(can_be("192.0.2.1:443", "a.example"));
    }
}
