//! Turns a source into an installed tree: hash, unpack in a sandbox of its own, rename, repoint. Never parses an archive
//! here, never leaves a half-made version live, never deletes what an agent's uid owns with its own hands.
//!
//! ```text
//! source ── sha256 ──▶ versions/{digest} there? ── yes ──▶ current → digest
//!                            │ no
//!                            ▼
//!      install sandbox: `unpack` of stdin into versions/.staging-… ── refused ──▶ Discard, error, the old one serves
//!                            │ whole, and the bytes had the digest
//!                            ▼
//!      rename to versions/{digest} ──▶ current → digest ──▶ Discard what nobody needs
//! ```

mod tree;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postern_contract::{
    AgentName,
    launch::{Access, ExitStatus, Layer, Limits, Mount, Purpose},
};
use postern_unpack::Report;
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{
    config::Agent,
    output,
    sandbox::{Descriptors, Launcher, Program, Sandbox, SandboxError, Wanted},
    source::{Digest, Fetch, Source},
    unpack::{self, Told},
};
use tree::Tree;

/// How long one install may take.
const INSTALL_MAX: Duration = Duration::from_secs(600);

/// Where this executable is shown in an install sandbox.
const PROGRAM_TARGET: &str = "/run/postern/posternd";

/// Where the new tree is shown in an install sandbox.
const TREE_TARGET: &str = "/install";

/// How many bytes are read from a source at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Why an agent could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The archive cannot be read.
    #[error("{shown}: {source}")]
    Source {
        /// Which archive.
        shown: String,
        /// What the system says.
        source: io::Error,
    },
    /// The archive is not the one that the config pins.
    #[error("{shown}: its sha256 is {found}, but the config pins {pinned}")]
    OtherThanPinned {
        /// Which archive.
        shown: String,
        /// What it is.
        found: Digest,
        /// What it should be.
        pinned: Digest,
    },
    /// The archive was refused.
    #[error("{shown}: {why}")]
    Refused {
        /// Which archive.
        shown: String,
        /// Why.
        why: String,
    },
    /// The place for agents cannot be used.
    #[error("{}: {source}", .path.display())]
    Place {
        /// Which place.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No sandbox to unpack in.
    #[error("no sandbox to install in: {0}")]
    Sandbox(#[from] SandboxError),
}

/// An installed agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its files, read-only to the agent.
    pub tree: PathBuf,
    /// What they were unpacked from.
    pub digest: Digest,
    /// What was unpacked just now; nothing if it was there already.
    pub unpacked: Option<Report>,
}

impl Installed {
    /// What the store remembers of it.
    #[must_use]
    pub fn record(
        &self,
        agent: &AgentName,
        source: &Source,
        at_ms: i64,
    ) -> postern_store::runs::Installed {
        postern_store::runs::Installed {
            name: agent.clone(),
            version: self.digest.to_string(),
            source: serde_json::json!({ "object": { "path": source.kind().shown() } }),
            installed_at_ms: at_ms,
        }
    }
}

/// Where the files of an agent are that its next sandbox is shown, in the directory of all agents.
#[must_use]
pub(crate) fn live(agents: &Path, name: &AgentName) -> PathBuf {
    agents.join(name.as_str()).join(tree::CURRENT)
}

/// Installs agents beneath one directory.
#[derive(Debug, Clone)]
pub struct Installer {
    agents: PathBuf,
    program: PathBuf,
    launcher: Arc<Launcher>,
}

impl Installer {
    /// An installer for the directory `agents`, which unpacks with `program`: this very executable.
    #[must_use]
    pub fn new(agents: &Path, program: &Path, launcher: Arc<Launcher>) -> Self {
        Self {
            agents: agents.to_owned(),
            program: program.to_owned(),
            launcher,
        }
    }

    /// Makes a source the live version of an agent.
    ///
    /// # Errors
    /// See [`InstallError`]; the version that was live before still is.
    pub async fn install(&self, agent: &Agent, source: &Source) -> Result<Installed, InstallError> {
        let tree = Tree::prepare(&self.agents, &agent.name)?;
        let digest = hash(source.clone()).await?;
        check_pin(source.kind(), digest)?;
        let unpacked = if tree.has(digest) {
            None
        } else {
            Some(self.unpack(agent, source, (&tree, digest)).await?)
        };
        let before = tree.go_live(digest)?;
        self.clear(agent, &tree, &[Some(digest.to_string()), before])
            .await;
        Ok(Installed {
            tree: tree.version(digest),
            digest,
            unpacked,
        })
    }

    /// Unpacks into a staging directory and gives it its name once it is whole.
    async fn unpack(
        &self,
        agent: &Agent,
        source: &Source,
        (tree, digest): (&Tree, Digest),
    ) -> Result<Report, InstallError> {
        let staging = tree.staging()?;
        let mounts = vec![
            Mount {
                source: self.program.clone(),
                target: PROGRAM_TARGET.into(),
                access: Access::ReadOnly,
            },
            Mount {
                source: staging.clone(),
                target: TREE_TARGET.into(),
                access: Access::Fresh,
            },
        ];
        let sandbox = self.sandbox(agent, mounts).await?;
        let unpacked = tokio::time::timeout(INSTALL_MAX, run(&sandbox, agent, source.clone()));
        let named = match unpacked.await {
            Ok(Ok(report)) => accept(report, digest, source.kind()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(refused(source.kind(), "it was not unpacked in time")),
        };
        let named = named.and_then(|report| tree.name(&staging, digest).map(|()| report));
        if named.is_err() {
            discard(&sandbox, &staging).await;
        }
        named
    }

    async fn sandbox(&self, agent: &Agent, mounts: Vec<Mount>) -> Result<Sandbox, SandboxError> {
        let wanted = Wanted {
            purpose: Purpose::Install,
            hostname: format!("install-{}", agent.name).chars().take(63).collect(),
            mounts,
            trusted: None,
            listeners: Vec::new(),
            limits: Limits::default(),
            require: agent.sandbox.require.clone(),
            allow_weaker: weaker(agent),
        };
        self.launcher
            .start(wanted)
            .await
            .map(|(sandbox, _)| sandbox)
    }

    /// Has the launcher delete what is neither live nor the way back. What cannot be deleted now is tried next time.
    async fn clear(&self, agent: &Agent, tree: &Tree, kept: &[Option<String>]) {
        let stale = tree.stale(kept);
        if stale.is_empty() {
            return;
        }
        match self.sandbox(agent, Vec::new()).await {
            Ok(sandbox) => {
                for old in &stale {
                    discard(&sandbox, old).await;
                }
            }
            Err(error) => tracing::warn!(agent = %agent.name, %error, "old versions stay for now"),
        }
    }
}

fn weaker(agent: &Agent) -> BTreeSet<Layer> {
    agent.sandbox.allow_weaker.clone()
}

async fn discard(sandbox: &Sandbox, tree: &Path) {
    if let Err(error) = sandbox.discard(tree).await {
        tracing::warn!(tree = %tree.display(), %error, "a tree could not be deleted");
    }
}

async fn hash(source: Source) -> Result<Digest, InstallError> {
    let shown = source.kind().shown();
    let hashing = tokio::task::spawn_blocking(move || copy_hashed(source.kind(), &mut io::sink()));
    joined(hashing.await).map_err(|source| InstallError::Source { shown, source })
}

fn joined<T>(task: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    task.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads a source to its end, passes the bytes on and says what they were.
fn copy_hashed(source: &dyn Fetch, to: &mut dyn Write) -> io::Result<Digest> {
    use std::io::Read;
    let mut file = source.open()?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(Digest::of(hasher.finalize().into()));
        }
        hasher.update(&piece[..length]);
        to.write_all(&piece[..length])?;
    }
}

fn check_pin(source: &dyn Fetch, found: Digest) -> Result<(), InstallError> {
    match source.pinned() {
        Some(pinned) if pinned != found => Err(InstallError::OtherThanPinned {
            shown: source.shown(),
            found,
            pinned,
        }),
        _ => Ok(()),
    }
}

fn refused(source: &dyn Fetch, why: impl Into<String>) -> InstallError {
    InstallError::Refused {
        shown: source.shown(),
        why: why.into(),
    }
}

/// Runs `unpack` in the sandbox: the archive goes in, one line comes out.
async fn run(sandbox: &Sandbox, agent: &Agent, source: Source) -> Result<Report, InstallError> {
    let shown = source.kind().shown();
    let failed = |error: io::Error| InstallError::Source {
        shown: shown.clone(),
        source: error,
    };
    let (stdin, mut feed) = io::pipe().map_err(failed)?;
    let (line, stdout) = io::pipe().map_err(failed)?;
    let stderr = output::to_log(agent.name.as_str(), "unpack").map_err(failed)?;
    let program = Program {
        argv: unpack::command_line(PROGRAM_TARGET, Path::new(TREE_TARGET)),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        cwd: "/".into(),
    };
    let open = Descriptors {
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr,
        channel: None,
    };
    let mut process = sandbox.exec(program, open).await?;
    let kind = source.clone();
    let feeding = tokio::task::spawn_blocking(move || copy_hashed(kind.kind(), &mut feed));
    let (told, fed) = tokio::join!(read_line(line.into()), feeding);
    let status = process.exited().await.map(|exit| exit.status);
    let told = told.map_err(failed)?;
    match (serde_json::from_slice(&told), status) {
        (Ok(Told::Unpacked(report)), Some(ExitStatus::Code(0))) => {
            joined(fed).map_err(failed)?;
            Ok(report)
        }
        (Ok(Told::Refused(error)), _) => Err(refused(source.kind(), error.to_string())),
        (Ok(Told::NoPlace(why)), _) => Err(refused(source.kind(), why)),
        (_, status) => Err(refused(
            source.kind(),
            format!("`unpack` ended without a word: {status:?}"),
        )),
    }
}

async fn read_line(from: OwnedFd) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let bounded = pipe::Receiver::from_owned_fd(from)?;
    bounded
        .take(unpack::LINE_BYTES_MAX as u64)
        .read_to_end(&mut line)
        .await?;
    Ok(line)
}

/// The unpacker's own hash must be of the archive that was hashed here before: the file may have changed between.
fn accept(report: Report, digest: Digest, source: &dyn Fetch) -> Result<Report, InstallError> {
    if report.sha256 == digest.to_string() {
        return Ok(report);
    }
    Err(refused(source, "the archive changed while it was read"))
}

#[cfg(test)]
mod tests;
