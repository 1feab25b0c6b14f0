//! Where this host's own daemons listen: no destination for an agent, by whatever name or address. Never connects.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{PoisonError, RwLock},
};

use tokio::net::TcpStream;

/// Where this host's own daemons listen.
pub(super) struct Ports {
    /// As the config says; port 0 stands for one that only the daemon itself knows.
    written: Vec<SocketAddr>,
    /// As the runtime told once it listened.
    told: RwLock<Vec<SocketAddr>>,
}

impl Ports {
    pub(super) fn new(written: Vec<SocketAddr>) -> Self {
        Self {
            written,
            told: RwLock::default(),
        }
    }

    /// The runtime listens here, whatever the config left open.
    pub(super) fn tell(&self, listening: Vec<SocketAddr>) {
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    /// Whether an address and port are one of ours, as far as can be told before connecting.
    pub(super) fn are_ours(&self, address: IpAddr, port: u16) -> bool {
        self.any(|own| {
            own.port() == port
                && (address.is_loopback() || own.ip() == address || address.is_unspecified())
        })
    }

    /// Whether a connection came out on this very host at one of our ports: its two ends have the same address then.
    pub(super) fn were_reached(&self, stream: &TcpStream) -> io::Result<bool> {
        let (here, there) = (stream.local_addr()?, stream.peer_addr()?);
        let same_host = here.ip().to_canonical() == there.ip().to_canonical();
        Ok(same_host && self.any(|own| own.port() == there.port()))
    }

    fn any(&self, is: impl Fn(&SocketAddr) -> bool) -> bool {
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
        self.written.iter().chain(told.iter()).any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_config_left_open_is_ours_once_it_is_told() {
        let ports = Ports::new(vec!["127.0.0.1:0".parse().unwrap()]);
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(!ports.are_ours(loopback, 40_001));
        ports.tell(vec!["127.0.0.1:40001".parse().unwrap()]);
        assert!(ports.are_ours(loopback, 40_001));
        assert!(ports.are_ours("127.9.9.9".parse().unwrap(), 40_001));
        assert!(!ports.are_ours("192.0.2.1".parse().unwrap(), 40_001));
    }
}
