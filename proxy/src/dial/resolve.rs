//! From a host to addresses that may be dialled. Every answer is judged, and one bad answer spoils the lot: who mixes
//! private and public addresses is up to something. Never connects.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use postern_policy::{Authority, Host};
use tokio::time::timeout;

use super::{
    Unreached,
    address::{Class, judge},
    connect::Ports,
};

/// How long the system's resolver may take.
const RESOLVE_MAX: Duration = Duration::from_secs(10);

/// The most addresses of one name that are judged and tried.
const ADDRESSES_MAX: usize = 16;

/// The addresses of an authority, all of them good to dial.
pub(super) async fn addresses(
    authority: &Authority,
    private: bool,
    ports: &Ports,
) -> Result<Vec<SocketAddr>, Unreached> {
    let host = authority.host().to_string();
    let found = match authority.host() {
        Host::Ip(address) => vec![*address],
        Host::Name(name) => look_up(name.as_str(), authority.port()).await?,
    };
    if found.is_empty() {
        return Err(Unreached::NoAddress { host });
    }
    for address in &found {
        check(&host, *address, private)?;
        if ports.are_ours(*address, authority.port()) {
            return Err(Unreached::Ourselves);
        }
    }
    Ok(found
        .into_iter()
        .map(|address| SocketAddr::new(address, authority.port()))
        .collect())
}

async fn look_up(name: &str, port: u16) -> Result<Vec<IpAddr>, Unreached> {
    let step = "looking up its name";
    let timed_out = |_| Unreached::Timeout {
        host: name.to_owned(),
        step,
    };
    let answer = timeout(RESOLVE_MAX, tokio::net::lookup_host((name, port)));
    match answer.await.map_err(timed_out)? {
        Ok(found) => Ok(found
            .take(ADDRESSES_MAX)
            .map(|at| at.ip().to_canonical())
            .collect()),
        Err(error) => {
            tracing::debug!(name, %error, "a name could not be resolved");
            Err(Unreached::NoAddress {
                host: name.to_owned(),
            })
        }
    }
}

fn check(host: &str, address: IpAddr, private: bool) -> Result<(), Unreached> {
    match judge(address) {
        Class::Public => Ok(()),
        Class::Private(_) if private => Ok(()),
        Class::Private(class) | Class::Never(class) => Err(Unreached::Blocked {
            host: host.to_owned(),
            class,
        }),
    }
}

#[cfg(test)]
mod tests {
    use postern_policy::Scheme;

    use super::*;

    async fn found(text: &str, private: bool) -> Result<Vec<SocketAddr>, Unreached> {
        let authority = Authority::parse(Scheme::Http, text).unwrap();
        let ports = Ports::new(vec!["127.0.0.1:8092".parse().unwrap()]);
        addresses(&authority, private, &ports).await
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
}
