//! The daemon's life in order: config, store, link, launcher, agents, listeners, ready; then serving; then the end. Whatever
//! fails on the way is one line that says what and where, and nothing of what was begun stays.

use std::{
    collections::BTreeMap, fmt, fs, net::SocketAddr, path::Path, sync::Arc, thread, time::Duration,
};

use postern_contract::{
    AgentName, Secret, config::Cache as CacheTerms, exit, launch::Layer, link::News,
};
use postern_daemon::{
    Clock, Hangup, Shutdown, lifeline, logs, notify, process, shutdown::SUPERVISOR_GONE,
};
use postern_store::runs::Runs;
use tokio::runtime;

use crate::{
    agents::{Kind, Readiness, Surroundings},
    api,
    app::{self, App, Served},
    arguments::Arguments,
    checks,
    config::{self, Config, Terms},
    install::{Cache, Installer, Progress},
    link::{Link, Way},
    operator,
    printed::Printed,
    questions::Questions,
    runs::{Callee, RunDesk, consents, pauses},
    sandbox::Launcher,
    serving::{Serving, runs_drain},
    state::State,
    token::Tokens,
    trust,
};

/// How long runs may take to end once they are asked to.
const RUNS_END_MAX: Duration = Duration::from_secs(5);

/// How long threads that still read or write files may take at the end.
const THREADS_END_MAX: Duration = Duration::from_secs(1);

/// Why the daemon does not run, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) line: String,
}

impl Failure {
    pub(crate) fn config(error: impl fmt::Display) -> Self {
        Self {
            code: exit::CONFIG,
            line: error.to_string(),
        }
    }

    pub(crate) fn run(error: impl fmt::Display) -> Self {
        Self {
            code: exit::RUN,
            line: error.to_string(),
        }
    }

    fn at(path: &Path, error: impl fmt::Display) -> Self {
        Self::run(format!("{}: {error}", path.display()))
    }
}

/// What the command line asks for, done to its end.
pub(crate) fn main(arguments: &Arguments) -> Result<(), Failure> {
    process::harden().map_err(Failure::run)?;
    let boot = if arguments.lifeline {
        lifeline::read_boot().map_err(|error| Failure::run(format!("the lifeline: {error}")))?
    } else {
        lifeline::Boot::default()
    };
    logs::init(logs::Format::of(arguments.json_log));
    if let Err(error) = process::allow_many_descriptors() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let config = with_weaker(
        config::read(&arguments.config).map_err(Failure::config)?,
        &arguments.allow_weaker,
    );
    let runtime = threads().enable_all().build().map_err(Failure::run)?;
    let ended = runtime.block_on(live(arguments, config, boot.link_token));
    runtime.shutdown_timeout(THREADS_END_MAX);
    ended
}

/// Leaves a core to the agents. On two cores that is one thread alone: a run's steps follow one another, and each that another thread
/// takes costs a wake-up (a fifth of a short run's time).
fn threads() -> runtime::Builder {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match cores.saturating_sub(1) {
        0 | 1 => runtime::Builder::new_current_thread(),
        workers => {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    }
}

fn with_weaker(mut config: Config, layers: &[Layer]) -> Config {
    for agent in config.agents.values_mut() {
        Arc::make_mut(agent).sandbox.allow_weaker.extend(layers);
    }
    config
}

async fn live(arguments: &Arguments, config: Config, token: Option<Secret>) -> Result<(), Failure> {
    let shutdown = Shutdown::from_signals(arguments.lifeline).map_err(Failure::run)?;
    let mut hangup = Hangup::watch().map_err(Failure::run)?;
    tokio::spawn(async move {
        loop {
            hangup.heard().await;
            tracing::info!(
                "the gate reads the config anew; agents and listeners stay as they are until the next start"
            );
        }
    });
    let started = tokio::select! {
        started = start(arguments, config, token) => started?,
        _ = shutdown.requested() => return Ok(()),
    };
    started.serve(shutdown).await
}

/// A daemon that has everything it needs.
struct Started {
    app: App,
    around: Surroundings,
    serving: Serving,
    operator_key: Secret,
    /// Held, with its lock, until everything else has ended.
    state: State,
}

async fn start(
    arguments: &Arguments,
    config: Config,
    token: Option<Secret>,
) -> Result<Started, Failure> {
    let clock = Clock::system();
    let state =
        State::prepare(&arguments.state).map_err(|(path, error)| Failure::at(&path, error))?;
    let store = open_store(&state, &clock).await?;
    let way = Way {
        path: arguments.link.clone(),
        gate_uid: arguments.gate_uid,
        token,
        trusting: Box::new(trust::following(state.shims.clone())),
    };
    let link = Link::connect(way).await.map_err(Failure::run)?;
    tracing::info!("linked to the gate");
    let launcher = Arc::new(Launcher::at(&arguments.launcher));
    let printed = Printed::new(clock.clone());
    let progress = Progress::new(clock.clone());
    let serving = Serving::begin(&config, &progress).await?;
    let addresses = serving.addresses();
    link.tell(News::Listening { addresses }, Vec::new())
        .await
        .map_err(Failure::run)?;
    let desk = run_desk(&store, &link, &printed);
    let around = Surroundings {
        installer: installer((&state, config.cache), (&launcher, &link), &progress)?,
        launcher,
        link: link.clone(),
        shims: state.shims.clone(),
        trusted: trust::lists(&state.shims),
        sockets: state.sockets.clone(),
        store: store.clone(),
        printed,
        clock,
        questions: desk.questions.clone(),
        desk: desk.clone(),
    };
    let agents = tokio::select! {
        agents = start_agents(&config, &around) => agents?,
        never = progress.tell() => match never {},
    };
    // Whoever started the daemon from a terminal wants the reason, not a devbox that is never ready.
    settle(&agents, arguments.lifeline).await?;
    let key = |path: &Path| operator::read_or_make(path).map_err(|error| Failure::at(path, error));
    let (operator_key, callers_key) = (key(&state.operator_key)?, key(&state.callers_key)?);
    let tokens = tokens(&config, &link).await?;
    // From here on nothing fails any more: the gate is not asked by somebody who goes at once.
    let checks = checks::keep(store, &agents, &state.agents).await;
    let gate = app::watch_gate(link).await;
    let app = App::new(agents, config.default_agent, desk, gate)
        .believing(callers_key)
        .checked(checks)
        .identifying(tokens, config.callers.required)
        .limited(config.api);
    Ok(Started {
        app,
        around,
        serving,
        operator_key,
        state,
    })
}

/// All runs, and what is asked while they go on.
fn run_desk(store: &Runs, link: &Link, printed: &Printed) -> RunDesk {
    let questions = Questions::new(link.clone(), printed.clock().clone());
    RunDesk::new(store.clone(), (link.clone(), questions), printed.clone())
}

/// What installs agents, and keeps what they share on these terms.
fn installer(
    (state, cached): (&State, CacheTerms),
    (launcher, link): (&Arc<Launcher>, &Link),
    progress: &Progress,
) -> Result<Installer, Failure> {
    Ok(Installer {
        agents: state.agents.clone(),
        // The very file that runs, also when its name has been given to another meanwhile.
        program: fs::read_link("/proc/self/exe").map_err(Failure::run)?,
        launcher: Arc::clone(launcher),
        link: link.clone(),
        sockets: state.sockets.clone(),
        trusted: trust::lists(&state.shims),
        clock: Clock::system(),
        progress: progress.clone(),
        cache: Cache::new(&state.agents, cached),
    })
}

/// What checks callers' tokens, if they have any.
async fn tokens(config: &Config, link: &Link) -> Result<Option<Tokens>, Failure> {
    match &config.callers.tokens {
        Some(terms) => Tokens::watch(terms.clone(), link)
            .await
            .map(Some)
            .map_err(Failure::config),
        None => Ok(None),
    }
}

async fn open_store(state: &State, clock: &Clock) -> Result<Runs, Failure> {
    let store = Runs::open(&state.runs).await.map_err(Failure::run)?;
    let interrupted = store
        .sweep_interrupted(clock.unix_ms())
        .await
        .map_err(|error| Failure::at(&state.runs, error))?;
    tracing::info!(interrupted, "store open");
    Ok(store)
}

async fn start_agents(
    config: &Config,
    around: &Surroundings,
) -> Result<BTreeMap<AgentName, Served>, Failure> {
    let mut agents = BTreeMap::new();
    for (name, agent) in &config.agents {
        let host = Kind::start(agent, around).await;
        let host = host.map_err(|error| Failure::run(format!("agent {name}: {error}")))?;
        let terms = Terms {
            deadline: agent.sandbox.wall_time,
            ..agent.runs
        };
        let callee = Callee::new(name.clone(), host, terms);
        let served = Served {
            agent: Arc::clone(agent),
            callee,
        };
        agents.insert(name.clone(), served);
    }
    Ok(agents)
}

/// Waits until every agent can be called or says why not.
async fn settle(agents: &BTreeMap<AgentName, Served>, strict: bool) -> Result<(), Failure> {
    for (name, served) in agents {
        let mut readiness = served.callee.host.readiness();
        let settled = readiness
            .wait_for(|readiness| *readiness != Readiness::Starting)
            .await;
        let settled = settled.map(|readiness| readiness.clone());
        match settled {
            Ok(Readiness::NotReady { why }) if strict => {
                return Err(Failure::run(format!("agent {name}: {why}")));
            }
            // Kept by a service manager, the others serve meanwhile; `/readyz` and `/invoke` say why this one does not.
            Ok(Readiness::NotReady { why }) => tracing::error!(agent = %name, "not ready: {why}"),
            Ok(_) => {}
            Err(_) => {
                return Err(Failure::run(format!(
                    "agent {name}: it stopped while it started"
                )));
            }
        }
    }
    Ok(())
}

/// Tells whoever started the daemon where it serves: the config may have left the ports to the system.
fn tell_ready((api, operator): (Option<SocketAddr>, Option<SocketAddr>)) {
    let shown = |address: Option<SocketAddr>| {
        address
            .map(|address| address.to_string())
            .unwrap_or_default()
    };
    let (api, operator) = (shown(api), shown(operator));
    tracing::info!(api, operator, "serving");
    notify::status(&format!("serving api={api} operator={operator}"));
    notify::ready();
}

impl Started {
    /// Serves until it is asked to stop, or cannot go on.
    async fn serve(self, shutdown: Shutdown) -> Result<(), Failure> {
        let Self {
            app,
            around,
            mut serving,
            operator_key,
            state: _held,
        } = self;
        let link = around.link.clone();
        let runs_drain = runs_drain(app.limits());
        let resuming = tokio::spawn(pauses::keep(app.clone()));
        let consenting = tokio::spawn(consents::keep(app.clone()));
        serving.public.is_whole(api::router(app.clone()));
        let office = operator::router(app.clone(), around, operator_key);
        serving.operator.is_whole(office);
        tell_ready(serving.at());
        let closing = serving.closing.clone();
        let served = async {
            let stopping = async {
                shutdown.requested().await;
                notify::stopping();
                app.desk.drain(runs_drain).await;
                closing.trigger("the runs are over");
            };
            tokio::join!(serving.ended(), stopping).0
        };
        let abandoned = async {
            if shutdown.requested().await != SUPERVISOR_GONE {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = served => ended.map_err(Failure::run),
            () = abandoned => Ok(()),
            why = link.lost() => Err(Failure::run(why)),
        };
        resuming.abort();
        consenting.abort();
        if tokio::time::timeout(RUNS_END_MAX, app.desk.stop())
            .await
            .is_err()
        {
            tracing::warn!("some runs did not end in time");
        }
        ended
    }
}
