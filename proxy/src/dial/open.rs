//! A fresh connection to the authority of a permit: straight to one of its checked addresses, or through the operator's
//! proxy. Tried again as often as the tool says, as long as nothing was sent; left alone where an upstream rests.
//!
//! ```text
//! a place among the sandbox's ─▶ resting? ─▶ connect (or CONNECT) ─▶ TLS ─▶ HTTP
//!                                              ▲── a pause ── it failed, and tries are left
//! ```

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::SocketAddr,
};

use postern_policy::{Authority, Host};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Course, Dialer, Journey, Sender, Speaks, Unreached, backoff,
    breaker::Ended,
    connect,
    proxy::{Barred, Proxy, To},
    within,
};
use crate::{audit::Timings, record::micros};

/// The most addresses of one host that a proxy is asked for.
const ASKED_MAX: usize = 4;

/// A connection, and whose address is at its other end.
pub(super) type Opened = (TcpStream, SocketAddr);

impl Dialer {
    /// A connection that speaks HTTP. Until the deadline it waits for its turn; from then on it has all of the time that
    /// its tool gives, so that what runs out then is the upstream's doing.
    pub(super) async fn open(
        &self,
        journey: &Journey<'_>,
        addresses: &[SocketAddr],
        (deadline, timings): (Instant, &mut Timings),
    ) -> Result<(Sender, SocketAddr), Unreached> {
        // Who floods its own share waits here, which says nothing of the upstream.
        let turn = async { Ok(self.shares.turn(journey.sandbox).await) };
        let _turn = within(
            journey,
            deadline,
            "waiting for other calls of its sandbox",
            turn,
        )
        .await?;
        let passage = self.passages.admit(journey)?;
        let deadline = self.after(journey.manner.timeouts.connect);
        let opening = self.tried(journey, addresses, timings);
        let opened = timeout_at(deadline, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(late(journey)));
        passage.end(match &opened {
            Ok(_) => Ended::Reached,
            // An agent's wish for a WebSocket may meet a server that speaks HTTP/2 alone, which says nothing of it.
            Err(_) if journey.speaks == Speaks::Http1 => Ended::Unknown,
            Err(unreached) if unreached.is_the_upstreams() => Ended::Unreached,
            Err(_) => Ended::Unknown,
        });
        opened
    }

    async fn tried(
        &self,
        journey: &Journey<'_>,
        addresses: &[SocketAddr],
        timings: &mut Timings,
    ) -> Result<(Sender, SocketAddr), Unreached> {
        let mut tries = 0;
        loop {
            let error = match self.once(journey, addresses, timings).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            if tries == journey.manner.retries.0 || !error.may_pass() {
                return Err(error);
            }
            tries += 1;
            tracing::debug!(%error, tries, "a connection is tried again");
            sleep(backoff::pause(tries, chance())).await;
        }
    }

    async fn once(
        &self,
        journey: &Journey<'_>,
        addresses: &[SocketAddr],
        timings: &mut Timings,
    ) -> Result<(Sender, SocketAddr), Unreached> {
        let (stream, address) = self.connect(journey.course(), addresses, timings).await?;
        let sender = self.speak_http(journey, stream, timings).await?;
        Ok((sender, address))
    }

    /// A bare connection.
    pub(super) async fn connect(
        &self,
        course: Course<'_>,
        addresses: &[SocketAddr],
        timings: &mut Timings,
    ) -> Result<Opened, Unreached> {
        let started = self.clock.now();
        let host = course.authority.host();
        let opened = match course.proxy.filter(|proxy| proxy.leads_to(host)) {
            Some(proxy) => self.through(proxy, course.authority, addresses).await?,
            None => connect::first(&host.to_string(), addresses, &self.ports).await?,
        };
        timings.connect_us = Some(micros(self.clock.now() - started));
        Ok(opened)
    }

    /// Has the proxy lead on to one of the addresses; a name goes to it only where nobody was to check addresses.
    async fn through(
        &self,
        proxy: &Proxy,
        authority: &Authority,
        addresses: &[SocketAddr],
    ) -> Result<Opened, Unreached> {
        if addresses.is_empty() {
            let (mut stream, address) = self.to_proxy(proxy).await?;
            let led = proxy.lead(&mut stream, &To::Unchecked(authority)).await;
            return led.map(|()| (stream, address)).map_err(Unreached::Barred);
        }
        let mut last = Unreached::NoAddress {
            host: authority.host().to_string(),
        };
        for address in addresses.iter().take(ASKED_MAX) {
            let (mut stream, _) = self.to_proxy(proxy).await?;
            match proxy.lead(&mut stream, &To::Address(*address)).await {
                Ok(()) => return Ok((stream, *address)),
                Err(Barred::Credential) => return Err(Unreached::Barred(Barred::Credential)),
                Err(barred) => last = Unreached::Barred(barred),
            }
        }
        Err(last)
    }

    async fn to_proxy(&self, proxy: &Proxy) -> Result<Opened, Unreached> {
        let addresses = self.proxy_addresses(proxy).await?;
        let host = proxy.authority().host().to_string();
        connect::first(&host, &addresses, &self.ports).await
    }

    /// Where the proxy is. The operator named it, so it may live inside.
    pub(super) async fn proxy_addresses(
        &self,
        proxy: &Proxy,
    ) -> Result<Vec<SocketAddr>, Unreached> {
        let found = match proxy.authority().host() {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => self.names.look_up(name.as_str()).await?,
        };
        let port = proxy.authority().port();
        let found = found.into_iter();
        Ok(found
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }
}

fn late(journey: &Journey<'_>) -> Unreached {
    Unreached::Timeout {
        host: journey.permit.url().authority().host().to_string(),
        step: "connecting",
    }
}

fn chance() -> u16 {
    // Every one of these is seeded anew by the system's randomness.
    let [one, other, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u16::from_ne_bytes([one, other])
}
