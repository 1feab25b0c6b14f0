//! Names to addresses: by the system's own files and name servers, or by the servers that the config names. Never judges
//! an address (that is `resolve`'s), and never asks anybody about `localhost`.
//!
//! ```text
//! localhost? ─▶ loopback        hosts file ─▶ cache (bounded, TTLs clamped) ─▶ UDP ── truncated ──▶ TCP
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
    system_conf,
};
use postern_daemon::Clock;
use tokio::time::timeout;

use super::Unreached;

/// How long a name may take, over all servers, families and tries.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// How long one server may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// How often a question is put before it counts as unanswered.
const TRIES_MAX: usize = 2;

/// The most answers that are remembered, over all sandboxes.
const CACHE_ANSWERS_MAX: u64 = 4096;

/// How long an answer is remembered at least. Whoever gives out names for no time at all would be asked for each call.
const TTL_MIN: Duration = Duration::from_secs(1);

/// How long an answer is remembered at most.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// How long it is remembered at most that there is no such name.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);

/// How often the system's files are looked at for changes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Who the system asks, and what it knows by itself.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Whom a system asks that names nobody.
const DEFAULT_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Finds addresses for names.
pub(super) struct Names {
    /// Servers that the config names; empty for the system's.
    named: Vec<SocketAddr>,
    current: Mutex<Option<Current>>,
    clock: Clock,
}

/// The resolver as the system's files were when they were last looked at.
#[derive(Clone)]
struct Current {
    asking: Arc<Asking>,
    stamps: [Option<SystemTime>; SYSTEM_FILES.len()],
    looked: Instant,
}

struct Asking {
    resolver: TokioResolver,
    servers: Vec<SocketAddr>,
}

impl Names {
    pub(super) fn new(named: Vec<SocketAddr>, clock: Clock) -> Self {
        Self {
            named,
            current: Mutex::default(),
            clock,
        }
    }

    /// Every address of a name, of both families, unjudged.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Unreached> {
        if is_local(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let host = || name.to_owned();
        let question = question(name).ok_or_else(|| Unreached::NoAddress { host: host() })?;
        let asking = self.asking()?;
        let answer = timeout(LOOKUP_MAX, asking.resolver.lookup_ip(question)).await;
        let answer = answer.unwrap_or(Err(NetError::Timeout));
        match answer {
            Ok(found) => Ok(found.iter().map(|address| address.to_canonical()).collect()),
            Err(error) => {
                tracing::debug!(name, %error, "a name could not be resolved");
                Err(unanswered(host(), &error))
            }
        }
    }

    /// Whether somebody answers questions for us there: no destination for an agent, who would ask in our name.
    pub(super) fn is_server(&self, at: SocketAddr) -> bool {
        self.asking()
            .is_ok_and(|asking| asking.servers.contains(&at))
    }

    /// The resolver for the system as it is now: machines learn their name servers after the gate has started.
    fn asking(&self) -> Result<Arc<Asking>, Unreached> {
        let now = self.clock.now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut() {
            if now.saturating_duration_since(current.looked) < LOOK_EVERY {
                return Ok(Arc::clone(&current.asking));
            }
            current.looked = now;
            if current.stamps == stamps() {
                return Ok(Arc::clone(&current.asking));
            }
            tracing::info!("the system's name servers or hosts have changed");
        }
        let stamps = stamps();
        let asking = Arc::new(build(&self.named)?);
        *current = Some(Current {
            asking: Arc::clone(&asking),
            stamps,
            looked: now,
        });
        Ok(asking)
    }
}

/// `localhost` and what stands beneath it is this machine, whatever any server says (RFC 6761).
pub(super) fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// What is asked for a name. One with a dot in it is whole: with the domains behind it that the system searches, it would
/// be another host than policy has seen.
fn question(name: &str) -> Option<Name> {
    let mut question = Name::from_ascii(name).ok()?;
    if name.contains('.') {
        question.set_fqdn(true);
    }
    Some(question)
}

fn unanswered(host: String, error: &NetError) -> Unreached {
    if error.is_no_records_found() {
        return Unreached::NoAddress { host };
    }
    match error {
        NetError::Timeout => Unreached::Timeout {
            host,
            step: "looking up its name",
        },
        _ => Unreached::NoAnswer { host },
    }
}

fn stamps() -> [Option<SystemTime>; SYSTEM_FILES.len()] {
    SYSTEM_FILES.map(|path| Path::new(path).metadata().ok()?.modified().ok())
}

fn build(named: &[SocketAddr]) -> Result<Asking, Unreached> {
    let (config, mut options) = if named.is_empty() {
        system()
    } else {
        let servers = named.iter().map(|at| server(*at)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        (config, ResolverOpts::default())
    };
    bound(&mut options);
    let servers = config.name_servers().iter().flat_map(|server| {
        let ports = server.connections.iter().map(|connection| connection.port);
        ports.map(|port| SocketAddr::new(server.ip.to_canonical(), port))
    });
    let servers = servers.collect();
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let resolver = builder.with_options(options).build();
    resolver
        .map(|resolver| Asking { resolver, servers })
        .map_err(|error| {
            tracing::error!(%error, "no resolver could be made");
            Unreached::NoResolver
        })
}

/// What the system says; a system that names no server asks itself.
fn system() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(%error, "the system names no name server");
        let itself = NameServerConfig::udp_and_tcp(DEFAULT_SERVER);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![itself]);
        (config, ResolverOpts::default())
    })
}

fn server(at: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    // What it says of names that do not exist is believed: the operator named it.
    NameServerConfig::new(at.ip(), true, connections.to_vec())
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = options.timeout.clamp(Duration::from_millis(1), ANSWER_MAX);
    options.attempts = options.attempts.clamp(1, TRIES_MAX);
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.cache_size = CACHE_ANSWERS_MAX;
    options.positive_min_ttl = Some(TTL_MIN);
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_min_ttl = Some(TTL_MIN);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
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

    #[test]
    fn a_name_with_a_dot_is_asked_for_as_it_is() {
        for (name, whole) in [
            ("shop", false),
            ("shop.example", true),
            ("a.b.example", true),
        ] {
            assert_eq!(question(name).unwrap().is_fqdn(), whole, "{name}");
        }
        assert_eq!(question("a..b"), None);
    }

    #[test]
    fn what_the_system_asks_for_has_bounds() {
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_secs(3600);
        options.attempts = 1000;
        bound(&mut options);
        assert_eq!((options.timeout, options.attempts), (ANSWER_MAX, TRIES_MAX));
        assert_eq!(options.cache_size, CACHE_ANSWERS_MAX);
    }
}
