//! The only place that opens connections for agents: after a decision, to a checked address, with TLS verified for the
//! authority that was decided on. Never resolves a name before a [`Permit`] exists, and never dials an address it has
//! not judged.
//!
//! ```text
//! Permit ─▶ resolve ─▶ judge every address ─▶ pooled? ──────────────────────────────▶ VerifiedLeg
//!                                               └─ connect ─▶ peer is that address? ─▶ TLS ─▶ HTTP ─────┘
//! ```

mod address;
mod connect;
mod names;
mod pool;
mod ports;
mod resolve;
mod sender;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use postern_contract::{SandboxId, SecretName};
use postern_daemon::Clock;
use postern_policy::{Authority, Scheme};

use self::{
    names::Names,
    pool::{Key, Pool},
    ports::Ports,
    tls::Tls,
};
pub(crate) use self::{
    pool::Lease,
    sender::{Sender, Speaks, Unsent},
};
use crate::{audit::Timings, decide::Permit, record::micros};

/// How often kept connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Where a call wants to go, and on whose behalf.
pub(crate) struct Journey<'a> {
    /// The proof that it may.
    pub(crate) permit: &'a Permit,
    /// Whether this tool or provider may live at a private address.
    pub(crate) private: bool,
    /// Whose call it is.
    pub(crate) sandbox: &'a SandboxId,
    /// The credential that will be added.
    pub(crate) credential: Option<&'a SecretName>,
    /// The policy it was decided under.
    pub(crate) generation: u64,
    /// Which versions of HTTP will do.
    pub(crate) speaks: Speaks,
}

/// A connection to the authority that was decided on, and the only thing that a credential is added for: TLS was
/// verified for that authority, or the authority itself is a plain `http` one. Only this module makes one.
pub struct VerifiedLeg {
    authority: Authority,
    sender: Sender,
    address: SocketAddr,
    timings: Timings,
    home: pool::Home,
    kept: bool,
}

/// A plain connection for a tunnel, whose inside the gate does not see. No credential is ever added to one.
pub(crate) struct Pipe {
    pub(crate) stream: tokio::net::TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) timings: Timings,
}

/// Why a destination was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("no address of {host} may be dialled ({class})")]
    Blocked { host: String, class: &'static str },
    #[error("this is the gate's own runtime: no agent calls it through the gate")]
    Ourselves,
    #[error("{host} could not be reached: {error}")]
    Connect { host: String, error: std::io::Error },
    #[error("TLS with {host} failed: {error}")]
    Tls { host: String, error: std::io::Error },
    #[error("no trusted root certificates were found")]
    NoRoots,
    #[error("{host} does not speak HTTP: {error}")]
    Handshake { host: String, error: hyper::Error },
    #[error("{host} does not speak HTTP/2, and this tool needs it")]
    NoHttp2 { host: String },
    #[error("{host} did not answer in time ({step})")]
    Timeout { host: String, step: &'static str },
}

/// Opens and keeps connections.
pub(crate) struct Dialer {
    names: Names,
    ports: Ports,
    tls: Tls,
    pool: Arc<Pool>,
    clock: Clock,
}

impl Dialer {
    /// A dialer that never dials the runtime's own listeners.
    pub(crate) fn new(own: Vec<SocketAddr>, clock: Clock) -> Self {
        let pool = Arc::new(Pool::new(clock.clone()));
        Self {
            names: Names,
            ports: Ports::new(own),
            tls: Tls::default(),
            pool,
            clock,
        }
    }

    /// A leg to the authority of the permit: a kept one, or a fresh one.
    pub(crate) async fn reach(&self, journey: &Journey<'_>) -> Result<VerifiedLeg, Unreached> {
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, &mut timings).await?;
        let take = |at: &SocketAddr| self.pool.take(Key::new(journey, *at));
        // A WebSocket takes its connection along, so it gets one of its own.
        let may_share = journey.speaks != Speaks::Http1;
        match addresses.iter().filter(|_| may_share).find_map(take) {
            Some((sender, home)) => Ok(VerifiedLeg {
                authority: journey.permit.url().authority().clone(),
                address: home.address(),
                sender,
                timings,
                home,
                kept: true,
            }),
            None => self.fresh(journey, &addresses, timings).await,
        }
    }

    /// A leg on a connection of its own, for a request that a kept one turned out to have no room for.
    pub(crate) async fn reach_afresh(
        &self,
        journey: &Journey<'_>,
    ) -> Result<VerifiedLeg, Unreached> {
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, &mut timings).await?;
        self.fresh(journey, &addresses, timings).await
    }

    async fn fresh(
        &self,
        journey: &Journey<'_>,
        addresses: &[SocketAddr],
        mut timings: Timings,
    ) -> Result<VerifiedLeg, Unreached> {
        let authority = journey.permit.url().authority();
        let (stream, address) = self.connect(authority, addresses, &mut timings).await?;
        let sender = self.speak_http(journey, stream, &mut timings).await?;
        let home = self.pool.house(Key::new(journey, address), &sender);
        Ok(VerifiedLeg {
            authority: authority.clone(),
            sender,
            address,
            timings,
            home,
            kept: false,
        })
    }

    /// A bare connection to the authority of the permit, never kept.
    pub(crate) async fn pipe(&self, journey: &Journey<'_>) -> Result<Pipe, Unreached> {
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, &mut timings).await?;
        let authority = journey.permit.url().authority();
        let (stream, address) = self.connect(authority, &addresses, &mut timings).await?;
        Ok(Pipe {
            stream,
            address,
            timings,
        })
    }

    /// The runtime says where it listens: no destination for an agent.
    pub(crate) fn own(&self, listening: Vec<SocketAddr>) {
        self.ports.tell(listening);
    }

    /// Forgets the kept connections of a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.pool.forget(sandbox);
    }

    /// Closes what was kept under an older policy, and keeps nothing of it any more.
    pub(crate) fn cut_over(&self, generation: u64) {
        self.pool.cut_over(generation);
    }

    /// Closes kept connections whose time is over, for as long as the gate lives.
    pub(crate) async fn keep_swept(&self) {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        loop {
            tick.tick().await;
            self.pool.sweep();
        }
    }

    async fn addresses(
        &self,
        journey: &Journey<'_>,
        timings: &mut Timings,
    ) -> Result<Vec<SocketAddr>, Unreached> {
        let started = self.clock.now();
        let authority = journey.permit.url().authority();
        let around = (&self.names, &self.ports);
        let addresses = resolve::addresses(authority, journey.private, around).await?;
        timings.dns_us = Some(micros(self.clock.now() - started));
        Ok(addresses)
    }

    async fn connect(
        &self,
        authority: &Authority,
        addresses: &[SocketAddr],
        timings: &mut Timings,
    ) -> Result<(tokio::net::TcpStream, SocketAddr), Unreached> {
        let started = self.clock.now();
        let connected =
            connect::first(&authority.host().to_string(), addresses, &self.ports).await?;
        timings.connect_us = Some(micros(self.clock.now() - started));
        Ok(connected)
    }

    async fn speak_http(
        &self,
        journey: &Journey<'_>,
        stream: tokio::net::TcpStream,
        timings: &mut Timings,
    ) -> Result<Sender, Unreached> {
        let authority = journey.permit.url().authority();
        let host = authority.host().to_string();
        match authority.scheme() {
            Scheme::Http => connect::handshake(host, stream, journey.speaks).await,
            Scheme::Https => {
                let started = self.clock.now();
                let secured = self.tls.secure(authority.host(), stream, journey.speaks);
                let (secured, agreed) = secured.await?;
                timings.tls_us = Some(micros(self.clock.now() - started));
                connect::handshake(host, secured, agreed).await
            }
        }
    }
}

impl VerifiedLeg {
    /// Whom this leg reaches, for certain.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The address that was dialled.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long reaching it took.
    pub(crate) fn timings(&self) -> Timings {
        self.timings
    }

    /// Whether the connection has served calls before, so that its end may have come meanwhile.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Gives up the connection and the place it may return to when the exchange is over.
    pub(crate) fn into_parts(self) -> (Sender, pool::Home) {
        (self.sender, self.home)
    }
}

impl std::fmt::Debug for VerifiedLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedLeg({} at {})", self.authority, self.address)
    }
}
