//! Names to addresses, by the system's resolver. Never judges an address (that is `resolve`'s), and never asks anybody about
//! `localhost`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::time::timeout;

use super::Unreached;

/// How long the system's resolver may take.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Finds addresses for names.
pub(super) struct Names;

impl Names {
    /// Every address of a name, of both families, unjudged.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Unreached> {
        if is_local(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let host = || name.to_owned();
        let timed_out = |_| Unreached::Timeout {
            host: host(),
            step: "looking up its name",
        };
        let answer = timeout(LOOKUP_MAX, tokio::net::lookup_host((name, 0)));
        match answer.await.map_err(timed_out)? {
            Ok(found) => Ok(found.map(|at| at.ip().to_canonical()).collect()),
            Err(error) => {
                tracing::debug!(name, %error, "a name could not be resolved");
                Err(Unreached::NoAddress { host: host() })
            }
        }
    }
}

/// `localhost` and what stands beneath it is this machine, whatever any server says (RFC 6761).
pub(super) fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_this_machine_and_nobody_is_asked() {
        for (name, local) in [
            ("localhost", true),
            ("a.localhost", true),
            ("localhost.a", false),
            ("alocalhost", false),
        ] {
            assert_eq!(is_local(name), local, "{name}");
        }
    }
}
