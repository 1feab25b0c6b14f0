//! From a host to addresses that may be dialled. Every answer is judged, and one bad answer spoils the lot: who mixes
//! private and public addresses is up to something. Never connects.

use std::net::{IpAddr, SocketAddr};

use postern_policy::{Authority, Host};

use super::{
    Course, Dialer, Unreached,
    address::{Class, judge},
    names::is_local,
    ports::Ports,
    proxy::Proxy,
};

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The addresses of a course's authority, all of them good to dial, in the order in which they are tried. They are judged
/// each time they are used: what the resolver remembers is what was said, not that it may be dialled. None at all where the
/// config leaves names to a proxy.
pub(super) async fn addresses(
    dialer: &Dialer,
    course: Course<'_>,
) -> Result<Vec<SocketAddr>, Unreached> {
    let authority = course.authority;
    let found = match authority.host() {
        Host::Ip(address) => vec![*address],
        Host::Name(name) if is_left_to_a_proxy(course, name.as_str()) => return Ok(Vec::new()),
        Host::Name(name) => Box::pin(dialer.names.look_up(name.as_str())).await?,
    };
    let addresses = judged(authority, &found, (course.private, &dialer.ports))?;
    if addresses.iter().any(|at| dialer.names.is_server(*at)) {
        let host = authority.host().to_string();
        let class = "name server";
        return Err(Unreached::Blocked { host, class });
    }
    not_the_proxy(dialer, course, &addresses).await?;
    Ok(addresses)
}

/// A name of this machine is never left to anybody.
fn is_left_to_a_proxy(course: Course<'_>, name: &str) -> bool {
    let host = course.authority.host();
    let proxy = course.proxy.filter(|proxy| proxy.leads_to(host));
    proxy.is_some_and(Proxy::takes_names) && !is_local(name)
}

/// The operator's proxy is a way, not a destination: whoever spoke to it could ask it for anything.
async fn not_the_proxy(
    dialer: &Dialer,
    course: Course<'_>,
    addresses: &[SocketAddr],
) -> Result<(), Unreached> {
    let port = course.authority.port();
    let Some(proxy) = course
        .proxy
        .filter(|proxy| proxy.authority().port() == port)
    else {
        return Ok(());
    };
    let its_own = Box::pin(dialer.proxy_addresses(proxy)).await?;
    if addresses.iter().any(|address| its_own.contains(address)) {
        return Err(Unreached::Blocked {
            host: course.authority.host().to_string(),
            class: "upstream proxy",
        });
    }
    Ok(())
}

fn judged(
    authority: &Authority,
    found: &[IpAddr],
    (private, ports): (bool, &Ports),
) -> Result<Vec<SocketAddr>, Unreached> {
    if found.is_empty() {
        let host = authority.host().to_string();
        return Err(Unreached::NoAddress { host });
    }
    for address in found {
        check(authority, *address, private)?;
        if ports.are_ours(*address, authority.port()) {
            return Err(Unreached::Ourselves);
        }
    }
    let ordered = interleaved(found).into_iter().take(ADDRESSES_MAX);
    Ok(ordered
        .map(|address| SocketAddr::new(address, authority.port()))
        .collect())
}

/// One of each family in turn, IPv6 first: whichever of them this machine cannot use costs one try, not all of them.
fn interleaved(found: &[IpAddr]) -> Vec<IpAddr> {
    let (mut sixes, mut fours) = (
        found.iter().copied().filter(IpAddr::is_ipv6),
        found.iter().copied().filter(IpAddr::is_ipv4),
    );
    let mut ordered = Vec::with_capacity(found.len());
    while ordered.len() < found.len() {
        ordered.extend(sixes.next());
        ordered.extend(fours.next());
    }
    ordered
}

fn check(authority: &Authority, address: IpAddr, private: bool) -> Result<(), Unreached> {
    match judge(address) {
        Class::Public => Ok(()),
        Class::Private(_) if private => Ok(()),
        Class::Private(class) | Class::Never(class) => Err(Unreached::Blocked {
            host: authority.host().to_string(),
            class,
        }),
    }
}

#[cfg(test)]
mod tests {
    use postern_daemon::Clock;
    use postern_policy::Scheme;

    use super::*;
    use crate::dial::names::Names;

    async fn found(text: &str, private: bool) -> Result<Vec<SocketAddr>, Unreached> {
        let authority = Authority::parse(Scheme::Http, text).unwrap();
        let ports = Ports::new(vec!["127.0.0.1:8092".parse().unwrap()]);
        let names = Names::new(Vec::new(), Clock::system());
        let found = match authority.host() {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => names.look_up(name.as_str()).await?,
        };
        judged(&authority, &found, (private, &ports))
    }

    #[tokio::test]
    async fn private_addresses_need_a_word_in_the_config() {
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
        ] {
            let error = found(host, false).await.unwrap_err();
            assert!(
                matches!(error, Unreached::Blocked { .. }),
                "{host}: {error}"
            );
            assert!(found(host, true).await.is_ok(), "{host}");
        }
    }

    #[tokio::test]
    async fn metadata_is_never_reached() {
        for host in ["169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"] {
            assert!(
                matches!(found(host, true).await, Err(Unreached::Blocked { .. })),
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn the_runtimes_own_ports_are_never_reached() {
        assert!(matches!(
            found("127.0.0.1:8092", true).await,
            Err(Unreached::Ourselves)
        ));
        assert!(matches!(
            found("127.9.9.9:8092", true).await,
            Err(Unreached::Ourselves)
        ));
        assert!(found("127.0.0.1:8093", true).await.is_ok());
    }

    #[test]
    fn families_take_turns() {
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]);
        let wanted = addresses(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(interleaved(&found), wanted);
        let found = addresses(&["2001:db8::1", "2001:db8::2", "192.0.2.1"]);
        let wanted = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2"]);
        assert_eq!(interleaved(&found), wanted);
    }
}
