//! Certificates for intercepted hosts, minted when first asked for and kept for a while: so many in all, so many for one
//! sandbox. Never lends one sandbox's to another, so none learns from the time it takes what another has called.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::SandboxId;
use postern_daemon::Clock;
use postern_policy::Host;
use prometheus_client::metrics::counter::Counter;
use rcgen::KeyPair;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::PrivateKeyDer,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};

use super::ca::{Ca, LEAF_SECONDS, NoCa, fresh_key};

/// The most certificates that are kept, and the most of them for one sandbox.
const KEPT_MAX: usize = 4096;
const KEPT_PER_SANDBOX_MAX: usize = 256;

/// How long a kept certificate is handed out, in seconds; whoever gets it last can use it for as long again.
const FRESH_SECONDS: i64 = LEAF_SECONDS / 2;

/// What the agent's side is offered; requests are the same to the gate in either.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Mints and keeps.
pub(crate) struct Leaves {
    ca: Ca,
    /// One key for all leaves: it lives as long as this process and is never written down.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    provider: Arc<CryptoProvider>,
    shelves: Mutex<Shelves>,
    minted: Counter,
    clock: Clock,
}

/// What is kept.
struct Shelves {
    by_sandbox: HashMap<SandboxId, HashMap<Host, Kept>>,
    count: usize,
    uses: u64,
    max: usize,
    max_per_sandbox: usize,
}

struct Kept {
    config: Arc<ServerConfig>,
    minted: i64,
    used: u64,
}

impl Leaves {
    pub(crate) fn new(ca: Ca, clock: Clock) -> Result<Self, NoCa> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = fresh_key()?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signing = provider.key_provider.load_private_key(private)?;
        Ok(Self {
            ca,
            key,
            signing,
            provider,
            shelves: Mutex::new(Shelves::new(KEPT_MAX, KEPT_PER_SANDBOX_MAX)),
            minted: Counter::default(),
            clock,
        })
    }

    /// Counts what is minted here.
    #[must_use]
    pub(crate) fn counted_by(mut self, minted: Counter) -> Self {
        self.minted = minted;
        self
    }

    /// The authority's certificate, in PEM.
    pub(crate) fn ca_certificate(&self) -> &str {
        self.ca.certificate()
    }

    /// What to speak TLS with for a host. Minting is one signature, some ten microseconds, and is done here.
    pub(super) fn for_host(
        &self,
        sandbox: &SandboxId,
        host: &Host,
    ) -> Result<Arc<ServerConfig>, NoCa> {
        let now = self.clock.unix_ms() / 1000;
        if let Some(config) = self.shelves().find(sandbox, host, now) {
            return Ok(config);
        }
        let config = Arc::new(self.mint(host, now)?);
        self.shelves()
            .keep((sandbox, host), Arc::clone(&config), now);
        Ok(config)
    }

    /// Forgets what was minted for a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.shelves().forget(sandbox);
    }

    fn mint(&self, host: &Host, now: i64) -> Result<ServerConfig, NoCa> {
        let certificate = self.ca.sign(host, &self.key, now)?;
        self.minted.inc();
        let certified = CertifiedKey::new(vec![certificate], Arc::clone(&self.signing));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // A whole handshake is cheap here, and a session that is kept is one that could outlive its sandbox.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // What a panic left behind is still a list of good certificates.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn new(max: usize, max_per_sandbox: usize) -> Self {
        Self {
            by_sandbox: HashMap::new(),
            count: 0,
            uses: 0,
            max,
            max_per_sandbox,
        }
    }

    fn find(&mut self, sandbox: &SandboxId, host: &Host, now: i64) -> Option<Arc<ServerConfig>> {
        let kept = self.by_sandbox.get_mut(sandbox)?.get_mut(host)?;
        if !(kept.minted..kept.minted + FRESH_SECONDS).contains(&now) {
            return None;
        }
        self.uses += 1;
        kept.used = self.uses;
        Some(Arc::clone(&kept.config))
    }

    fn keep(&mut self, (sandbox, host): (&SandboxId, &Host), config: Arc<ServerConfig>, now: i64) {
        let held = self.by_sandbox.get(sandbox);
        let is_there = held.is_some_and(|shelf| shelf.contains_key(host));
        if !is_there {
            if held.is_some_and(|shelf| shelf.len() >= self.max_per_sandbox) {
                self.drop_oldest_of(sandbox);
            } else if self.count >= self.max {
                self.drop_oldest_of_the_largest();
            }
            self.count += 1;
        }
        self.uses += 1;
        let kept = Kept {
            config,
            minted: now,
            used: self.uses,
        };
        let shelf = self.by_sandbox.entry(sandbox.clone()).or_default();
        shelf.insert(host.clone(), kept);
    }

    fn forget(&mut self, sandbox: &SandboxId) {
        let gone = self.by_sandbox.remove(sandbox);
        self.count -= gone.map_or(0, |shelf| shelf.len());
    }

    /// Whoever holds most gives way: a sandbox that asks for much takes nothing from one that asks for little.
    fn drop_oldest_of_the_largest(&mut self) {
        let shelves = self.by_sandbox.iter();
        let largest = shelves.max_by_key(|(_, shelf)| shelf.len());
        if let Some(sandbox) = largest.map(|(sandbox, _)| sandbox.clone()) {
            self.drop_oldest_of(&sandbox);
        }
    }

    fn drop_oldest_of(&mut self, sandbox: &SandboxId) {
        let Some(shelf) = self.by_sandbox.get_mut(sandbox) else {
            return;
        };
        let oldest = shelf.iter().min_by_key(|(_, kept)| kept.used);
        if let Some(host) = oldest.map(|(host, _)| host.clone()) {
            shelf.remove(&host);
            self.count -= 1;
        }
        if shelf.is_empty() {
            self.by_sandbox.remove(sandbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn leaves(clock: &Clock) -> Leaves {
        let state = tempfile::tempdir().unwrap();
        let ca = Ca::open(state.path(), clock.unix_ms() / 1000).unwrap();
        Leaves::new(ca, clock.clone()).unwrap()
    }

    fn host(number: usize) -> Host {
        format!("h{number}.example").parse().unwrap()
    }

    #[test]
    fn a_certificate_is_kept_for_its_sandbox_and_minted_again_in_time() {
        let clock = Clock::manual(1_800_000_000_000);
        let leaves = leaves(&clock);
        let (one, other) = (SandboxId::fresh(), SandboxId::fresh());
        let first = leaves.for_host(&one, &host(1)).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &leaves.for_host(&one, &host(1)).unwrap()
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &leaves.for_host(&other, &host(1)).unwrap()
        ));
        clock.advance(Duration::from_secs(12 * 3600));
        assert!(!Arc::ptr_eq(
            &first,
            &leaves.for_host(&one, &host(1)).unwrap()
        ));
        assert_eq!(leaves.shelves().count, 2);
        leaves.forget(&one);
        leaves.forget(&other);
        assert_eq!(leaves.shelves().count, 0);
    }

    #[test]
    fn a_sandbox_has_a_share_and_all_together_a_bound() {
        let clock = Clock::manual(1_800_000_000_000);
        let leaves = leaves(&clock);
        *leaves.shelves() = Shelves::new(6, 4);
        let (greedy, modest) = (SandboxId::fresh(), SandboxId::fresh());
        for number in 0..50 {
            leaves.for_host(&greedy, &host(number)).unwrap();
        }
        assert_eq!(leaves.shelves().count, 4);
        assert!(leaves.shelves().by_sandbox[&greedy].contains_key(&host(49)));
        for number in 0..3 {
            leaves.for_host(&modest, &host(number)).unwrap();
        }
        let shelves = leaves.shelves();
        assert_eq!(shelves.count, 6);
        assert_eq!(shelves.by_sandbox[&modest].len(), 3);
        assert_eq!(shelves.by_sandbox[&greedy].len(), 3);
    }
}
