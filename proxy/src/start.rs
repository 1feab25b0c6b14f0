//! From a good config to a gate that serves, and back. Everything that a call relies on is opened before the gate says it
//! is ready; never serves with a part missing.
//!
//! ```text
//! book ─▶ audit (once the last gate has let go of it) ─▶ authority ─▶ store ─▶ link bound ─▶ ready ─▶ serving ── shutdown asked, or the supervisor gone
//!                                                     └─▶ the runtime is waited for (DRAIN_MAX) ─▶ audit synced ─▶ end
//! ```

use std::{
    fs::Permissions, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc,
    time::Duration,
};

use postern_contract::{Secret, config::Consent};
use postern_daemon::{
    Clock, Hangup, Shutdown,
    channel::Listener as LinkListener,
    config::ConfigError,
    notify, process,
    shutdown::{INTERRUPTED, SUPERVISOR_GONE},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    admin,
    approve::Approvals,
    audit::{Audit, Unrecorded},
    book::Book,
    config::{Config, Issuer},
    consent::{At, Consents, Door},
    dial::Dialer,
    gate::Gate,
    intercept::{Ca, Leaves, NoCa},
    ledger::Ledger,
    link::{self, Credentials},
    reload::{Good, Reloader, Seen},
    secret::{Errands, Fetched},
    telemetry::{Exporter, NoCollector, Spans},
    token::{NoSeal, Tokens},
};

/// The database in the state directory.
const DATABASE: &str = "gate.db";

/// How long a runtime may take to leave after shutdown was asked for: it needs the gate to finish its runs.
const DRAIN_MAX: Duration = Duration::from_secs(45);

/// How long the last refusals may take to reach the database.
const LEDGER_DRAIN_MAX: Duration = Duration::from_secs(5);

/// Where a gate stands, and who may speak to it.
#[derive(Debug)]
pub struct Place<'a> {
    /// Its own directory.
    pub state: &'a Path,
    /// Where it listens for posternd.
    pub link: &'a Path,
    /// The user that posternd runs as.
    pub runtime_uid: u32,
    /// What posternd must show, where users cannot be told apart.
    pub token: Option<Secret>,
}

/// Why a gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config is good by itself, but not here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The audit log.
    #[error("{0}")]
    Audit(String),
    /// The authority that signs for intercepted hosts.
    #[error("{0}")]
    Authority(String),
    /// The listener for end users' browsers.
    #[error("{address}: {error}: this is `listen` of `[consent]`")]
    Consent {
        /// Where.
        address: SocketAddr,
        /// What.
        error: io::Error,
    },
    /// SIGHUP.
    #[error("signals: {0}")]
    Signals(io::Error),
    /// The admin socket.
    #[error("{0}")]
    Admin(io::Error),
    /// The collector that the environment names.
    #[error("{0}")]
    Collector(String),
    /// The key that sealed tokens are kept with.
    #[error("{0}")]
    Seal(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] postern_store::OpenError),
    /// What waited for a human before.
    #[error("{0}")]
    Approvals(#[from] postern_store::gate::GateError),
    /// The link's socket.
    #[error("{path}: {error}")]
    Link {
        /// Where.
        path: String,
        /// What.
        error: io::Error,
    },
}

impl From<Unrecorded> for RunError {
    fn from(unrecorded: Unrecorded) -> Self {
        Self::Audit(unrecorded.to_string())
    }
}

impl From<NoCollector> for RunError {
    fn from(no_collector: NoCollector) -> Self {
        Self::Collector(no_collector.to_string())
    }
}

impl From<NoSeal> for RunError {
    fn from(no_seal: NoSeal) -> Self {
        Self::Seal(no_seal.to_string())
    }
}

impl From<NoCa> for RunError {
    fn from(no_ca: NoCa) -> Self {
        Self::Authority(no_ca.to_string())
    }
}

/// Runs a gate until shutdown is asked for.
///
/// # Errors
/// When something that every call relies on cannot be had; nothing was served then.
pub async fn run(config: Config, place: Place<'_>, shutdown: Shutdown) -> Result<(), RunError> {
    if let Err(error) = process::allow_many_descriptors() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let clock = Clock::system();
    let hangup = Hangup::watch().map_err(RunError::Signals)?;
    let (world, recorded) = (config.world(), config.audit.clone());
    let (consent, issuer) = (config.consent().cloned(), config.issuer().cloned());
    let (good, mut seen) = (Good::of(&config), config.seen());
    let dialer = Arc::new(Dialer::new(world, clock.clone()));
    let known = first_book(config, &mut seen, Errands::new(&dialer, &clock)).await?;
    Audit::wait_for_turn(place.state, &clock).await;
    let (audit, keeper) = Audit::open(place.state, recorded, clock.clone())?;
    let (dropped, counted) = (audit.metrics().spans_dropped(), audit.metrics().tokens());
    let (spans, exporter) = Spans::from_environment(dropped, clock.clone())?;
    let ca = Ca::open(place.state, clock.unix_ms() / 1000)?;
    let leaves = Leaves::new(ca, clock.clone())?.counted_by(audit.metrics().minted());
    let store = postern_store::gate::Gate::open(&place.state.join(DATABASE)).await?;
    let (door, at) = door(consent).await?.unzip();
    let listener = bind(place.link, place.runtime_uid)?;

    let approvals = Approvals::open(store.clone(), clock.clone()).await?;
    let consents = Consents::open((store.clone(), place.state), at, clock.clone())?;
    let tokens = Tokens::open(&dialer, (&store, place.state), (counted, &clock))?;
    let (ledger, writer) = Ledger::new(store);
    let writing = tokio::spawn(writer.run());
    let mut tasks = vec![tokio::spawn(keeper.clone().keep())];
    let gate = Arc::new(Gate::new(
        known,
        (dialer, tokens, leaves),
        (audit.with_spans(spans), ledger),
        (approvals, consents),
        clock,
    ));
    tasks.extend(shown(&gate, place.state, exporter)?);
    tasks.extend(issuer.map(|issuer| tokio::spawn(keys_of(issuer, &gate))));
    tasks.push(tokio::spawn(Arc::clone(&gate.dialer).keep_swept()));
    tasks.extend(door.map(|door: Door| tokio::spawn(door.serve(Arc::downgrade(&gate)))));
    let reloader = Reloader::new(Arc::clone(&gate), good, seen, hangup);
    tasks.push(tokio::spawn(reloader.keep_fresh()));
    let (connected, mut here) = watch::channel(false);
    let credentials = Credentials {
        uid: place.runtime_uid,
        token: place.token,
    };
    let serving = link::serve(listener, Arc::clone(&gate), credentials, connected);
    tasks.push(tokio::spawn(serving));

    notify::ready();
    tracing::info!(link = %place.link.display(), "ready");
    until_told(&shutdown, &mut here).await;
    let_go(gate).await;
    // The last one first: who serves goes before what is needed to serve.
    while let Some(task) = tasks.pop() {
        end(task).await;
    }
    if timeout(LEDGER_DRAIN_MAX, writing).await.is_err() {
        tracing::warn!("the last refusals did not reach the database");
    }
    keeper.finish().await;
    drop(std::fs::remove_file(place.link));
    Ok(())
}

/// Asks for the public keys of callers' tokens.
fn keys_of(issuer: Issuer, gate: &Arc<Gate>) -> impl Future<Output = ()> + use<> {
    let errands = Errands::new(&gate.dialer, &gate.clock);
    let (keys, gate) = (gate.callers_keys.clone(), Arc::downgrade(gate));
    keys.tend(issuer, errands, move || {
        gate.upgrade()?.book().proxy.clone()
    })
}

/// The listener for end users' browsers, where the config wants one, and where they find it.
async fn door(written: Option<Consent>) -> Result<Option<(Door, At)>, RunError> {
    let Some(written) = written else {
        return Ok(None);
    };
    let address = written.listen;
    let cannot = |error| RunError::Consent { address, error };
    let door = Door::bind(address).await.map_err(cannot)?;
    let bound = door.address().map_err(cannot)?;
    tracing::info!(%bound, "end users are asked here");
    Ok(Some((door, At::of(written, bound))))
}

/// The first book, once every source of secrets that is asked was asked. One that is down keeps nobody from what needs it not.
async fn first_book(
    config: Config,
    seen: &mut Seen,
    errands: Errands,
) -> Result<(Book, Arc<Fetched>), ConfigError> {
    let fetched = Fetched::new(errands);
    fetched.go_by(config.way());
    let directory = config.source().directory();
    fetched.tend(config.sources(), &config.with_lines(), directory);
    fetched.asked_once().await;
    seen.fetched = fetched.version();
    let book = config.holding(&fetched).into_book(1)?;
    fetched.go_by(book.proxy.clone());
    Ok((book, fetched))
}

/// Returns when the gate may go.
async fn until_told(shutdown: &Shutdown, here: &mut watch::Receiver<bool>) {
    let reason = shutdown.requested().await;
    // With SIGTERM posternd is asked to stop too; its runs still need the gate until it is gone. SIGINT is for this gate
    // alone: the next one takes over, and nobody has to hear of it. Without a supervisor nobody waits.
    if reason != INTERRUPTED {
        notify::stopping();
    }
    let patience = if matches!(reason, SUPERVISOR_GONE | INTERRUPTED) {
        Duration::ZERO
    } else {
        DRAIN_MAX
    };
    let waited_in_vain = timeout(patience, here.wait_for(|here| !here))
        .await
        .is_err();
    tracing::info!(reason, waited_in_vain, "closing");
}

/// Who waits in a call hears that the gate goes. Nothing of it is held here after that.
async fn let_go(gate: Arc<Gate>) {
    gate.consents.go().await;
}

/// What shows the gate to its operator: the admin socket, and a collector where there is one.
fn shown(
    gate: &Arc<Gate>,
    state: &Path,
    exporter: Option<Exporter>,
) -> Result<Vec<JoinHandle<()>>, RunError> {
    let door = admin::Door::bind(state).map_err(RunError::Admin)?;
    let mut tasks = vec![tokio::spawn(door.serve(Arc::downgrade(gate)))];
    if let Some(exporter) = exporter {
        let gate = Arc::downgrade(gate);
        let numbers = move || gate.upgrade().and_then(|gate| admin::numbers(&gate).ok());
        let numbers = move || numbers().unwrap_or_default();
        tasks.push(tokio::spawn(exporter.run(numbers)));
    }
    Ok(tasks)
}

/// Binds the link. Where posternd is another user, everybody who can reach the path may connect, and the kernel's word on
/// who that is decides: the directory around it should let nobody else pass.
fn bind(link: &Path, runtime_uid: u32) -> Result<LinkListener, RunError> {
    let failed = |error| RunError::Link {
        path: link.display().to_string(),
        error,
    };
    let listener = LinkListener::bind(link).map_err(failed)?;
    let own = nix::unistd::geteuid().as_raw();
    let mode = if runtime_uid == own { 0o600 } else { 0o666 };
    std::fs::set_permissions(link, Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Ends a task and waits until it is gone with all that it holds.
async fn end(task: JoinHandle<()>) {
    task.abort();
    drop(task.await);
}
