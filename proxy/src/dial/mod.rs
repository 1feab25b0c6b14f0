//! The only place that opens connections for agents: after a decision, to a checked address, with TLS verified for the
//! authority that was decided on. Never resolves a name before a [`Permit`] exists, and never dials an address it has
//! not judged.
//!
//! ```text
//! Permit ─▶ resolve ─▶ judge every address ─▶ pooled? ──────────────────────────────▶ VerifiedLeg
//!                                               └─ connect ─▶ peer is that address? ─▶ TLS ─▶ HTTP ─────┘
//! ```

mod address;
mod backoff;
mod breaker;
mod connect;
mod errand;
mod manner;
mod names;
mod open;
mod passage;
mod pool;
mod ports;
mod proxy;
mod resolve;
mod sender;
mod share;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nix::errno::Errno;
use postern_contract::SandboxId;
use postern_daemon::Clock;
use postern_policy::{Authority, Scheme};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;

pub(crate) use self::{
    errand::{Cut, Errand, whole},
    manner::{Manner, Written},
    pool::Stay,
    proxy::Proxy,
    sender::{Sender, Speaks, Unsent},
    tls::{Roots, Tls, UnreadableRoots},
};
use self::{
    names::Names,
    passage::Passages,
    pool::{Key, Pool},
    ports::Ports,
    proxy::Barred,
    share::Shares,
};
use crate::{
    audit::Timings,
    book::{Book, Target},
    decide::Permit,
    identify::Caller,
    inject::{Credentials, Identity, Label},
    record::micros,
    sealed::Claim,
};

/// How often kept connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What is settled about the world before anybody calls.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Where this host's own daemons listen: never dialled for an agent.
    pub(crate) own: Vec<SocketAddr>,
    /// Name servers that the config names; none for the system's.
    pub(crate) resolvers: Vec<SocketAddr>,
}

/// Where a call wants to go, and on whose behalf.
pub(crate) struct Journey<'a> {
    /// The proof that it may.
    pub(crate) permit: &'a Permit,
    /// Whether this tool or provider may live at a private address.
    pub(crate) private: bool,
    /// Whose call it is.
    pub(crate) sandbox: &'a SandboxId,
    /// What will be added is called so.
    pub(crate) credential: Option<&'a Label>,
    /// The end user whose own that is, where it is one's.
    pub(crate) user: Option<&'a str>,
    /// Whether what goes out is signed.
    pub(crate) is_signed: bool,
    /// What is shown to an upstream that asks who the gate is.
    pub(crate) identity: Option<Identity<'a>>,
    /// The policy it was decided under.
    pub(crate) generation: u64,
    /// Which versions of HTTP will do.
    pub(crate) speaks: Speaks,
    /// How this tool or provider wants to be reached.
    pub(crate) manner: &'a Manner,
    /// The proxy of the operator's network, if there is one.
    pub(crate) proxy: Option<&'a Proxy>,
}

/// An authority, and what there is on the way to it.
#[derive(Clone, Copy)]
struct Course<'a> {
    authority: &'a Authority,
    private: bool,
    proxy: Option<&'a Proxy>,
}

impl<'a> Journey<'a> {
    /// The way of a permitted call of somebody's to its target, in these versions of HTTP.
    pub(crate) fn of(
        permit: &'a Permit,
        (book, target): (&'a Book, &'a Target),
        (caller, speaks): (&'a Caller, Speaks),
    ) -> Self {
        let credential = permit.credential(target);
        let is_users = credential.is_some_and(|all| all.users().next().is_some());
        Self {
            permit,
            private: target.private,
            sandbox: &caller.sandbox,
            credential: credential.map(Credentials::label),
            user: caller.believed_user().filter(|_| is_users),
            is_signed: credential.is_some_and(Credentials::sign),
            identity: credential.and_then(|all| all.identity(&book.secrets)),
            generation: book.generation,
            speaks,
            manner: &target.manner,
            proxy: book.proxy.as_ref(),
        }
    }

    /// The same with what the call shows of the agent's own tokens.
    pub(crate) fn with(self, claim: &'a Claim) -> Self {
        let earned = self.permit.would_deny().is_none();
        let token = claim.access().filter(|_| earned);
        Self {
            user: self.user.or(token.and_then(|token| token.user())),
            credential: self.credential.or(token.map(|token| token.label())),
            ..self
        }
    }

    fn course(&self) -> Course<'a> {
        Course {
            authority: self.permit.url().authority(),
            private: self.private,
            proxy: self.proxy,
        }
    }
}

/// A connection to the authority that was decided on, and the only thing that a credential is added for: TLS was
/// verified for that authority, or the authority itself is a plain `http` one. Only this module makes one.
pub struct VerifiedLeg {
    authority: Authority,
    sender: Sender,
    address: SocketAddr,
    timings: Timings,
    overdue: Option<Instant>,
    home: pool::Home,
    kept: bool,
}

/// A plain connection for a tunnel, whose inside the gate does not see. No credential is ever added to one.
pub(crate) struct Pipe {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) timings: Timings,
}

/// Why a destination was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("no name server answered for {host}")]
    NoAnswer { host: String },
    #[error("names cannot be looked up here")]
    NoResolver,
    #[error("no address of {host} may be dialled ({class})")]
    Blocked { host: String, class: &'static str },
    #[error("this is the gate's own runtime: no agent calls it through the gate")]
    Ourselves,
    #[error("{host} could not be reached: {error}")]
    Connect { host: String, error: std::io::Error },
    #[error("TLS with {host} failed: {error}")]
    Tls { host: String, error: std::io::Error },
    #[error("the client certificate that this tool wants cannot be shown")]
    NoIdentity,
    #[error("no trusted root certificates were found")]
    NoRoots,
    #[error("{host} does not speak HTTP: {error}")]
    Handshake { host: String, error: hyper::Error },
    #[error("{host} is no place for requests: this tool speaks no HTTP")]
    Raw { host: String },
    #[error("{host} does not speak HTTP/2, and this tool needs it")]
    NoHttp2 { host: String },
    #[error("{host} did not answer in time ({step})")]
    Timeout { host: String, step: &'static str },
    #[error("the proxy of this network led to nothing: {0}")]
    Barred(Barred),
    #[error("{host} could not be reached again and again, and is left alone for now")]
    Resting { host: String, wait: Duration },
}

impl Unreached {
    /// Whether the fault is the upstream's, or the way's to it: nothing that the gate decided.
    fn is_the_upstreams(&self) -> bool {
        match self {
            Self::Connect { error, .. } => !is_our_own(error),
            Self::Tls { .. } | Self::Handshake { .. } | Self::Timeout { .. } | Self::Barred(_) => {
                true
            }
            _ => false,
        }
    }

    /// Whether another try may come out better.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Barred(Barred::Broken(_))
        )
    }
}

/// Opens and keeps connections.
pub(crate) struct Dialer {
    names: Names,
    ports: Ports,
    passages: Passages,
    shares: Shares,
    tls: Tls,
    pool: Arc<Pool>,
    clock: Clock,
}

impl Dialer {
    /// A dialer that never dials the runtime's own listeners.
    pub(crate) fn new(world: World, clock: Clock) -> Self {
        let pool = Arc::new(Pool::new(clock.clone()));
        Self {
            names: Names::new(world.resolvers, clock.clone()),
            ports: Ports::new(world.own),
            passages: Passages::new(clock.clone()),
            shares: Shares::default(),
            tls: Tls::default(),
            pool,
            clock,
        }
    }

    /// A leg to the authority of the permit: a kept one, or a fresh one.
    pub(crate) async fn reach(&self, journey: &Journey<'_>) -> Result<VerifiedLeg, Unreached> {
        let deadline = self.after(journey.manner.timeouts.connect);
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, (deadline, &mut timings)).await?;
        let take = |at: &SocketAddr| self.pool.take(Key::new(journey, *at));
        // A WebSocket takes its connection along, so it gets one of its own.
        let may_share = journey.speaks != Speaks::Http1;
        match addresses.iter().filter(|_| may_share).find_map(take) {
            Some((sender, home)) => Ok(VerifiedLeg {
                authority: journey.permit.url().authority().clone(),
                address: home.address(),
                sender,
                timings,
                overdue: self.overdue(journey),
                home,
                kept: true,
            }),
            // In a box, so that calls on kept connections do not carry the room that dialling takes.
            None => Box::pin(self.fresh(journey, &addresses, (deadline, timings))).await,
        }
    }

    /// A leg on a connection of its own, for a request that a kept one turned out to have no room for.
    pub(crate) async fn reach_afresh(
        &self,
        journey: &Journey<'_>,
    ) -> Result<VerifiedLeg, Unreached> {
        let deadline = self.after(journey.manner.timeouts.connect);
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, (deadline, &mut timings)).await?;
        self.fresh(journey, &addresses, (deadline, timings)).await
    }

    async fn fresh(
        &self,
        journey: &Journey<'_>,
        addresses: &[SocketAddr],
        (deadline, mut timings): (Instant, Timings),
    ) -> Result<VerifiedLeg, Unreached> {
        let opening = self.open(journey, addresses, (deadline, &mut timings));
        let (sender, address) = opening.await?;
        let home = self.pool.house(Key::new(journey, address), &sender);
        Ok(VerifiedLeg {
            authority: journey.permit.url().authority().clone(),
            sender,
            address,
            timings,
            overdue: self.overdue(journey),
            home,
            kept: false,
        })
    }

    /// A bare connection to the authority of the permit, never kept.
    pub(crate) async fn pipe(&self, journey: &Journey<'_>) -> Result<Pipe, Unreached> {
        let deadline = self.after(journey.manner.timeouts.connect);
        let mut timings = Timings::default();
        let addresses = self.addresses(journey, (deadline, &mut timings)).await?;
        let connecting = async {
            let _turn = self.shares.turn(journey.sandbox).await;
            self.connect(journey.course(), &addresses, &mut timings)
                .await
        };
        let (stream, address) = within(journey, deadline, "connecting", connecting).await?;
        Ok(Pipe {
            stream,
            address,
            timings,
        })
    }

    /// Secures a bare connection that speaks another protocol than HTTP inside: verified for the authority of the permit
    /// like any other.
    pub(crate) async fn secure(
        &self,
        permit: &Permit,
        manner: &Manner,
        (stream, alpn): (TcpStream, Option<&[u8]>),
    ) -> Result<TlsStream<TcpStream>, Unreached> {
        let host = permit.url().authority().host();
        let roots = manner.roots.as_ref();
        self.tls.secure_as(host, stream, (roots, alpn)).await
    }

    fn overdue(&self, journey: &Journey<'_>) -> Option<Instant> {
        let total = journey.manner.timeouts.total;
        total.map(|total| self.after(total))
    }

    /// When so much time will have passed, and how much that was.
    pub(crate) fn in_time(&self, span: Duration) -> (Instant, Duration) {
        (self.after(span), span)
    }

    fn after(&self, span: Duration) -> Instant {
        Instant::from_std(self.clock.now() + span)
    }

    /// The runtime says where it listens: no destination for an agent.
    pub(crate) fn own(&self, listening: Vec<SocketAddr>) {
        self.ports.tell(listening);
    }

    /// Forgets the kept connections of a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.pool.forget(sandbox);
        self.shares.forget(sandbox);
    }

    /// Closes what was kept under an older policy, and keeps nothing of it any more.
    pub(crate) fn cut_over(&self, generation: u64) {
        self.pool.cut_over(generation);
    }

    /// Closes kept connections whose time is over, for as long as the gate lives.
    pub(crate) async fn keep_swept(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        loop {
            tick.tick().await;
            self.pool.sweep();
        }
    }

    async fn addresses(
        &self,
        journey: &Journey<'_>,
        (deadline, timings): (Instant, &mut Timings),
    ) -> Result<Vec<SocketAddr>, Unreached> {
        let started = self.clock.now();
        let looking = resolve::addresses(self, journey.course());
        let addresses = within(journey, deadline, "looking up its name", looking).await?;
        timings.dns_us = Some(micros(self.clock.now() - started));
        Ok(addresses)
    }

    async fn speak_http(
        &self,
        journey: &Journey<'_>,
        stream: TcpStream,
        timings: &mut Timings,
    ) -> Result<Sender, Unreached> {
        let authority = journey.permit.url().authority();
        let host = authority.host().to_string();
        match authority.scheme() {
            Scheme::Tcp => Err(Unreached::Raw { host }),
            Scheme::Http => connect::handshake(host, stream, journey.speaks).await,
            Scheme::Https => {
                let started = self.clock.now();
                let with = (journey.manner.roots.as_ref(), journey.speaks);
                let shown = journey
                    .identity
                    .map(|identity| identity.shown())
                    .transpose();
                let shown = shown.map_err(|_| Unreached::NoIdentity)?;
                let secured = self
                    .tls
                    .secure_showing(authority.host(), stream, with, shown);
                let (secured, agreed) = secured.await?;
                timings.tls_us = Some(micros(self.clock.now() - started));
                connect::handshake(host, secured, agreed).await
            }
        }
    }
}

/// Whether it is this machine that has no descriptor, port or memory left: a flood of one sandbox must not look like the
/// fault of whom it floods.
fn is_our_own(error: &std::io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(
        number,
        Some(
            Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EADDRNOTAVAIL
                | Errno::EADDRINUSE
                | Errno::EAGAIN
        )
    )
}

/// Waits for a step, but no longer than until the deadline.
async fn within<T>(
    journey: &Journey<'_>,
    deadline: Instant,
    step: &'static str,
    taking: impl Future<Output = Result<T, Unreached>>,
) -> Result<T, Unreached> {
    let taken = timeout_at(deadline, taking).await;
    taken.unwrap_or_else(|_| {
        let host = journey.permit.url().authority().host().to_string();
        Err(Unreached::Timeout { host, step })
    })
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

    /// When the exchange must be over, if it must.
    pub(crate) fn overdue(&self) -> Option<Instant> {
        self.overdue
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_upstreams_fault() {
        let failed = |number: Errno| Unreached::Connect {
            host: "a.example".to_owned(),
            error: std::io::Error::from_raw_os_error(number as i32),
        };
        for number in [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::EADDRNOTAVAIL,
            Errno::ENOBUFS,
        ] {
            assert!(!failed(number).is_the_upstreams(), "{number}");
        }
        for number in [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ECONNRESET] {
            assert!(failed(number).is_the_upstreams(), "{number}");
        }
    }
}
