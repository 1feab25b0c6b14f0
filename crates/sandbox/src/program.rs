//! The launcher as a program: its arguments, its config, its one plan, its exit code. Never prints anything but one
//! line about a failure, and with `--probe` its report.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
};

use nix::unistd::geteuid;
use postern_contract::{
    SandboxId, exit,
    launch::{Limits, Listener, Obstacle, Plan, Purpose, Said},
};
use postern_sys::{exec::close_all_on_exec, fork::SingleThread};

use crate::{
    checked::check,
    config::{AgentIds, Config, ConfigError, Images, Written},
    connection::{Connection, NoConnection},
    launch::{Confined, launch},
    serve::{End, Service},
    signals,
};

/// The uids that `--probe` takes as root without a config; nobody uses them for long.
const PROBE_IDS: AgentIds = AgentIds {
    first: 64_200,
    count: 1,
};

/// What `--help` prints.
const HELP: &str = "\
Makes one sandbox, as the plan on its standard input says, and ends with that connection

Usage: postern-launcher --config FILE
       postern-launcher [--config FILE] --probe

Options:
      --config FILE  What no plan can widen; only root may write it
      --probe        Build an empty sandbox, print what held as one line of JSON, and take it down
      --help         Print help
      --version      Print version
";

/// Why the launcher did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("usage: postern-launcher --config FILE, or --probe; see --help")]
    Usage,
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Connection(#[from] NoConnection),
    #[error("{0}")]
    Refused(#[from] Obstacle),
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Usage | Self::Config(_) => ExitCode::from(exit::CONFIG),
            _ => ExitCode::from(exit::RUN),
        }
    }
}

struct Arguments {
    config: Option<PathBuf>,
    probe: bool,
}

/// Runs the launcher to its end.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(answer) = about(&args) {
        return match io::stdout().write_all(answer.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(exit::RUN),
        };
    }
    match parse(args).and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        // The peer was told over the connection, or the probe's reader on standard output: once is enough.
        Err(refused @ Failure::Refused(_)) => refused.code(),
        Err(failure) => {
            // Where standard error is gone, the exit code still tells.
            let _told = writeln!(io::stderr(), "postern-launcher: {failure}");
            failure.code()
        }
    }
}

/// What the program says of itself, if it is asked.
fn about(args: &[OsString]) -> Option<String> {
    let asked =
        |long: &str, short: &str| args.iter().skip(1).any(|arg| arg == long || arg == short);
    if asked("--help", "-h") {
        return Some(HELP.to_owned());
    }
    let version = env!("CARGO_PKG_VERSION");
    asked("--version", "-V").then(|| format!("postern-launcher {version}\n"))
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Arguments, Failure> {
    let mut arguments = Arguments {
        config: None,
        probe: false,
    };
    let mut args = args.into_iter().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--config") if arguments.config.is_none() => {
                arguments.config = Some(args.next().ok_or(Failure::Usage)?.into());
            }
            Some("--probe") => arguments.probe = true,
            _ => return Err(Failure::Usage),
        }
    }
    if arguments.config.is_none() && !arguments.probe {
        return Err(Failure::Usage);
    }
    Ok(arguments)
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    close_all_on_exec()?;
    let one = SingleThread::prove()?;
    let written = match arguments.config {
        Some(path) => Written::read(&path)?,
        None => unwritten(),
    };
    let config = Config::try_from(written)?;
    if arguments.probe {
        probe(&config, &one)
    } else {
        attend(&config, &one)
    }
}

fn unwritten() -> Written {
    let agent_ids = geteuid().is_root().then_some(PROBE_IDS);
    Written {
        agent_ids,
        ..Written::default()
    }
}

/// Serves the connection: one plan, then verbs.
fn attend(config: &Config, one: &SingleThread) -> Result<(), Failure> {
    let connection = Connection::adopt(config.peer_uid)?;
    signals::kill().map_err(io::Error::from)?;
    let heard = connection.receive().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::Broken("no plan came in time".to_owned()),
        _ => error.into(),
    })?;
    let Some((text, _)) = heard else {
        return Ok(());
    };
    let built = serde_json::from_slice(&text)
        .map_err(|error| Obstacle::plain(format!("the plan was not understood: {error}")))
        .and_then(|plan: Plan| check(plan, config))
        .and_then(|checked| launch(checked, config, one));
    let mut confined = match built {
        Ok(confined) => confined,
        Err(obstacle) => {
            connection.say(&Said::Refused(obstacle.clone()), &[])?;
            return Err(obstacle.into());
        }
    };
    // Not before: until now a signal kills the launcher, and the kernel everything that hangs on it.
    let signals = signals::tell().map_err(io::Error::from)?;
    hand_over(&connection, &mut confined)?;
    let service = Service::new(&connection, confined, &signals).map_err(io::Error::from)?;
    match service.serve() {
        End::Asked => Ok(()),
        End::Broken(why) => Err(Failure::Broken(why)),
    }
}

/// Says what was built; the listeners are posternd's from then on.
fn hand_over(connection: &Connection, confined: &mut Confined) -> io::Result<()> {
    let listeners = std::mem::take(&mut confined.listeners);
    let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    let enforced = std::mem::take(&mut confined.enforced);
    connection.say(&Said::Built { enforced }, &fds)
}

/// Builds a sandbox with nothing in it, says what held, and takes it down.
fn probe(config: &Config, one: &SingleThread) -> Result<(), Failure> {
    let plan = Plan {
        sandbox: SandboxId::fresh(),
        purpose: Purpose::Agent,
        hostname: "probe".to_owned(),
        uid_slot: 0,
        mounts: Vec::new(),
        trusted: None,
        listeners: vec![
            Listener::Gate,
            Listener::Captured { port: 80 },
            Listener::Others,
        ],
        limits: Limits::default(),
        required: Vec::new(),
    };
    let config = Config {
        discard_roots: Vec::new(),
        mandatory: Vec::new(),
        images: Images::default(),
        ..config.clone()
    };
    let built = check(plan, &config).and_then(|checked| launch(checked, &config, one));
    let said = match built {
        Ok(confined) => Said::Built {
            enforced: confined.enforced.clone(),
        },
        Err(obstacle) => Said::Refused(obstacle),
    };
    let text = serde_json::to_string(&said).map_err(io::Error::from)?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
