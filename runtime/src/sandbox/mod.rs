//! Sandboxes as posternd sees them: asked of the launcher, used by verbs, gone when dropped. Never privileged itself and
//! never trusting: what the launcher says it enforced is compared with what was required.
//!
//! ```text
//! Launcher::start(Wanted) ── plan ──▶ Sandbox ── exec, signal, dial, discard ──▶ … ── drop or `ended` ──▶ gone
//!                             │
//!                             └ refused, or a required layer absent: an error that names the layer and the remedy
//! ```

mod connection;
mod layers;
mod slots;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use postern_contract::{
    SandboxId,
    launch::{
        Enforced, ExitStatus, Hit, Layer, Limits, Listener, Mount, Obstacle, Outcome, Plan,
        Purpose, Said, Trusted, Verb,
    },
};
use postern_daemon::channel::{Channel, ChannelError};
use tokio::sync::oneshot;

use connection::Connection;
pub(crate) use connection::Ender;
use layers::Demands;
pub use layers::{LayerAbsent, REQUIRED, Weakened};
use slots::{Slot, Slots};

/// How long a sandbox may take to be built.
const BUILD_MAX: Duration = Duration::from_secs(30);

/// How long the launcher may take for one verb.
const VERB_MAX: Duration = Duration::from_secs(60);

/// Why a sandbox could not be had, or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Nobody listens, or not for us.
    #[error("the launcher at {} cannot be reached: {source}", .socket.display())]
    NoLauncher {
        /// Where it should listen.
        socket: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The launcher says no.
    #[error("the launcher refused: {0}{way}", way = layers::way_around(.0))]
    Refused(#[from] Obstacle),
    /// A wall that the config asks for does not stand.
    #[error(transparent)]
    LayerAbsent(#[from] LayerAbsent),
    /// The launcher said something that makes no sense here, or nothing in time.
    #[error("the launcher {0}")]
    Odd(&'static str),
    /// The connection failed.
    #[error("the launcher's connection failed: {0}")]
    Channel(#[from] ChannelError),
    /// No socket of ours for it can be made.
    #[error("no socket for it can be made: {0}")]
    Socket(#[source] std::io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers can be had: {0}")]
    Random(#[source] std::io::Error),
    /// Too many sandboxes at once.
    #[error("all {0} sandboxes are in use")]
    NoSlot(usize),
    /// The sandbox is gone.
    #[error("the sandbox has ended")]
    Ended,
}

/// What a sandbox shall be; the launcher's plan is made from it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is for.
    pub purpose: Purpose,
    /// The host name inside.
    pub hostname: String,
    /// What of the host is shown.
    pub mounts: Vec<Mount>,
    /// The certificates that programs inside trust, if not the host's.
    pub trusted: Option<Trusted>,
    /// Sockets to make inside.
    pub listeners: Vec<Listener>,
    /// Bounds on what runs inside.
    pub limits: Limits,
    /// Layers that must stand, beside those that every sandbox has.
    pub require: std::collections::BTreeSet<Layer>,
    /// Layers that may be absent.
    pub allow_weaker: std::collections::BTreeSet<Layer>,
}

/// Where sandboxes come from.
#[derive(Debug)]
pub struct Launcher {
    socket: PathBuf,
    slots: Slots,
}

/// A standing sandbox; it is killed whole when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Layers that were allowed to be absent and are.
    pub weakened: Vec<Weakened>,
    /// What every program in it finds in its environment, whatever else is said there.
    pub(crate) own: BTreeMap<String, String>,
    /// The version of the agent's files that it is shown, if any.
    pub(crate) tree: Option<PathBuf>,
    connection: Connection,
}

/// What to run in a sandbox.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub cwd: PathBuf,
}

/// What a program finds open.
#[derive(Debug)]
pub struct Descriptors {
    /// 0.
    pub stdin: OwnedFd,
    /// 1.
    pub stdout: OwnedFd,
    /// 2.
    pub stderr: OwnedFd,
    /// 3, if any.
    pub channel: Option<OwnedFd>,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    /// Its number on the sandbox's connection.
    pub number: u32,
    exited: oneshot::Receiver<Exit>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// What the system says.
    pub status: ExitStatus,
    /// Limits that its sandbox had run into by then.
    pub hits: Vec<Hit>,
}

impl Process {
    /// Returns when it ends; `None` if its sandbox ended with it.
    pub async fn exited(&mut self) -> Option<Exit> {
        (&mut self.exited).await.ok()
    }
}

impl Launcher {
    /// A launcher that answers at a path.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            slots: Slots::default(),
        }
    }

    /// Has a sandbox built. The descriptors are the wanted listeners, in order.
    ///
    /// # Errors
    /// See [`SandboxError`]; nothing is left of the sandbox then.
    pub async fn start(&self, wanted: Wanted) -> Result<(Sandbox, Vec<OwnedFd>), SandboxError> {
        let slot = self
            .slots
            .take()
            .ok_or(SandboxError::NoSlot(slots::SLOTS_MAX))?;
        let plan = plan(&wanted, &slot);
        let channel =
            Channel::connect(&self.socket).map_err(|source| SandboxError::NoLauncher {
                socket: self.socket.clone(),
                source,
            })?;
        channel.send(&plan, &[]).await?;
        let built = tokio::time::timeout(BUILD_MAX, built(&channel)).await;
        let (enforced, listeners) =
            built.map_err(|_| SandboxError::Odd("built nothing in time"))??;
        if listeners.len() != wanted.listeners.len() {
            return Err(SandboxError::Odd(
                "sent other listeners than were asked for",
            ));
        }
        let weakened = layers::compare(&enforced, &Demands::of(&wanted))?;
        let connection = Connection::open(channel, slot);
        Ok((
            Sandbox {
                id: plan.sandbox,
                weakened,
                own: BTreeMap::new(),
                tree: None,
                connection,
            },
            listeners,
        ))
    }
}

fn plan(wanted: &Wanted, slot: &Slot) -> Plan {
    Plan {
        sandbox: SandboxId::fresh(),
        purpose: wanted.purpose,
        hostname: wanted.hostname.clone(),
        uid_slot: slot.number(),
        mounts: wanted.mounts.clone(),
        trusted: wanted.trusted.clone(),
        listeners: wanted.listeners.clone(),
        limits: wanted.limits.clone(),
        required: layers::required(&Demands::of(wanted)),
    }
}

async fn built(channel: &Channel) -> Result<(Enforced, Vec<OwnedFd>), SandboxError> {
    match channel.receive::<Said>().await? {
        Some((Said::Built { enforced }, listeners)) => Ok((enforced, listeners)),
        Some((Said::Refused(obstacle), _)) => Err(obstacle.into()),
        Some(_) => Err(SandboxError::Odd("answered before it built anything")),
        None => Err(SandboxError::Odd(
            "went away without a word; its own log says why",
        )),
    }
}

impl Sandbox {
    /// Starts a program as the agent.
    ///
    /// # Errors
    /// The program cannot be started, or the sandbox is gone.
    pub async fn exec(&self, program: Program, open: Descriptors) -> Result<Process, SandboxError> {
        let Descriptors {
            stdin,
            stdout,
            stderr,
            channel,
        } = open;
        let mut env = program.env;
        env.extend(self.own.clone());
        let verb = Verb::Exec {
            argv: program.argv,
            env,
            cwd: program.cwd,
            channel: channel.is_some(),
        };
        let mut fds = vec![stdin, stdout, stderr];
        fds.extend(channel);
        let (outcome, _, exited) = self.ask(verb, fds).await?;
        match outcome {
            Outcome::Started { process } => Ok(Process {
                number: process,
                exited,
            }),
            _ => Err(SandboxError::Odd("started nothing")),
        }
    }

    /// Sends a signal to a process and its group.
    ///
    /// # Errors
    /// There is no such process any more, or the sandbox is gone.
    pub async fn signal(&self, process: u32, signal: i32) -> Result<(), SandboxError> {
        self.ask(Verb::Signal { process, signal }, Vec::new())
            .await
            .map(drop)
    }

    /// Ends every process inside, and returns when all are gone; files stay.
    ///
    /// # Errors
    /// The sandbox is gone.
    pub async fn clear(&self) -> Result<(), SandboxError> {
        self.ask(Verb::Clear, Vec::new()).await.map(drop)
    }

    /// Connects to a port on 127.0.0.1 inside.
    ///
    /// # Errors
    /// Nobody listens there, or the sandbox is gone.
    pub async fn dial(&self, port: u16) -> Result<OwnedFd, SandboxError> {
        let (_, descriptor, _) = self.ask(Verb::Dial { port }, Vec::new()).await?;
        descriptor.ok_or(SandboxError::Odd("dialled without a connection"))
    }

    /// Deletes a tree that an agent's uid owns.
    ///
    /// # Errors
    /// The launcher does not delete there, or the sandbox is gone.
    pub async fn discard(&self, tree: &Path) -> Result<(), SandboxError> {
        self.ask(
            Verb::Discard {
                tree: tree.to_owned(),
            },
            Vec::new(),
        )
        .await
        .map(drop)
    }

    /// Ends it whoever holds it.
    pub(crate) fn ender(&self) -> Ender {
        self.connection.ender()
    }

    /// Ends it for all who hold it: what did not do as it was told is trusted no more.
    pub fn end(&self) {
        self.ender().end();
    }

    /// Returns when the sandbox is gone.
    pub async fn ended(&self) {
        self.connection.ended().await;
    }

    async fn ask(&self, verb: Verb, fds: Vec<OwnedFd>) -> Result<connection::Done, SandboxError> {
        let asked = self.connection.ask(verb, fds);
        let Ok(answer) = tokio::time::timeout(VERB_MAX, asked).await else {
            // Whether it was done, or is done yet, nobody can tell.
            tracing::error!(sandbox = %self.id, "the launcher did not answer in time: the sandbox is ended");
            self.end();
            return Err(SandboxError::Odd("did not answer in time"));
        };
        answer
    }
}

#[cfg(test)]
mod tests;
