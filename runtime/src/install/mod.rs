//! Turns a source into an installed tree: unpacked or fetched, made ready, named, live. Never parses an archive here, never runs
//! anybody's code but in a sandbox, never leaves a half-made version live, never deletes what an agent's uid owns with its
//! own hands.
//!
//! ```text
//! source ── what is written of it, or sha256 ──▶ versions/{digest} there? ── yes ──▶ current → digest
//!                  │ no
//!                  ▼
//!      an archive: `unpack` of stdin, which posternd reads from the  │
//!      file or through the gate, in a sandbox without a way out     ─┐
//!      an image: a copy of posternd's own, where the config pins it  ├─▶ versions/.staging-…
//!      all others: a script in a sandbox that may call what          │
//!                  `install.fetch` allows, and runs no package's code ─┘        │ whole
//!                                                                            ▼
//!      `agent_setup`, if there is any: a copy in a sandbox that may call what `install.setup` allows, without credentials
//!                                                                            │ every command ended with 0
//!                                                                            ▼
//!      rename to versions/{digest} ──▶ current → digest; whatever fails, the old one serves
//!      (one that others may have, too: in `.cache`, and versions/{digest} → it)
//! ```
//!
//! What is neither live nor the way back is discarded at a start: later on sandboxes may stand on it.

mod alone;
mod archive;
mod cache;
mod digest;
mod download;
mod fetch;
mod hint;
mod image;
mod make;
mod progress;
mod room;
mod setup;
mod stage;
mod tree;
mod version;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postern_contract::{
    AgentName,
    launch::{Layer, Limits, Mount, Purpose, Trusted},
};
use postern_daemon::Clock;
use postern_unpack::Report;

use crate::{
    agents::files::Files,
    config::Agent,
    link::{Link, LinkError},
    sandbox::{Launcher, Sandbox, SandboxError, Wanted},
    source::{Digest, Resolved, Source},
};
use alone::Alone;
pub use cache::Cache;
use make::Coming;
pub use progress::{Progress, Shown};
use tree::Tree;
pub use version::{Kept, Note, Stage, Standing, Version};

/// How long each stage of an install may take.
const STAGE_MAX: Duration = Duration::from_secs(600);

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
    /// What fetches or makes ready failed.
    #[error("{shown}: {failed}")]
    Failed {
        /// Which source.
        shown: String,
        /// What, how, and what it said last.
        failed: Box<Failed>,
    },
    /// The place for agents cannot be used.
    #[error("{}: {source}", .path.display())]
    Place {
        /// Which place.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing was live before, or it is not there any more.
    #[error("agent {0} has no version to go back to: only one is installed")]
    NoWayBack(AgentName),
    /// No sandbox to install in.
    #[error("no sandbox to install in: {0}")]
    Sandbox(#[from] SandboxError),
    /// The gate does not know of the sandbox.
    #[error("the sandbox to install in has no way out: {0}")]
    Gate(#[from] LinkError),
}

/// A program of a stage that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What it was to do, such as `git` or a line of `agent_setup`.
    pub what: String,
    /// How it ended.
    pub how: String,
    /// What it said last.
    pub last: Vec<String>,
    /// What to do about it, where that is known.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed: {}", self.what, self.how)?;
        if let Some(hint) = self.hint {
            write!(f, "; {hint}")?;
        }
        for line in &self.last {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Why an install is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The daemon starts: what was installed before or rolled back to will do.
    Start,
    /// Somebody asks for what the config says now, by whatever is in the way of it.
    Asked {
        /// Even if it is there already.
        renew: bool,
    },
}

/// An installed agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its files, read-only to the agent.
    pub tree: PathBuf,
    /// Which version they are.
    pub version: Version,
    /// What was unpacked just now; nothing if it was there already, or was fetched.
    pub unpacked: Option<Report>,
    /// What is kept of how it came to be.
    pub note: Option<Note>,
    /// The version that the config means, where somebody rolled back from that.
    pub instead_of: Option<Version>,
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
        let note = self.note.as_ref();
        let mut described = note.map_or_else(|| source.described(), |note| note.source.clone());
        if let Some(resolved) = self.resolved() {
            described["resolved"] = serde_json::json!(resolved);
        }
        postern_store::runs::Installed {
            name: agent.clone(),
            version: self.version.to_string(),
            source: described,
            installed_at_ms: note.map_or(at_ms, |note| note.installed_at_ms),
        }
    }

    /// What its source led to, if it was fetched.
    #[must_use]
    pub fn resolved(&self) -> Option<&Resolved> {
        self.note.as_ref()?.resolved.as_ref()
    }
}

/// Where the files of an agent are that its next sandbox is shown, in the directory of all agents.
#[must_use]
pub(crate) fn live(agents: &Path, name: &AgentName) -> PathBuf {
    agents.join(name.as_str()).join(tree::CURRENT)
}

/// What an agent's live version hashes to, where that is an image.
pub(crate) fn live_image(agents: &Path, name: &AgentName) -> Option<Digest> {
    let tree = Tree::of(agents, name);
    tree.noted(tree.live()?)?.sha256?.parse().ok()
}

/// Installs agents beneath one directory.
#[derive(Debug, Clone)]
pub struct Installer {
    /// The directory of all agents.
    pub agents: PathBuf,
    /// What unpacks: this very executable.
    pub program: PathBuf,
    /// Where sandboxes come from.
    pub launcher: Arc<Launcher>,
    /// Who is told what a sandbox is for.
    pub link: Link,
    /// Where posternd's own ways through the gate are.
    pub sockets: PathBuf,
    /// Whom programs trust that fetch.
    pub trusted: Trusted,
    /// How long it takes.
    pub clock: Clock,
    /// How far it is.
    pub progress: Progress,
    /// What agents share.
    pub cache: Cache,
}

impl Installer {
    /// Makes a source the live version of an agent; at a start, what was rolled back to stays live instead.
    ///
    /// # Errors
    /// See [`InstallError`]; the version that was live before still is.
    pub async fn install(
        &self,
        agent: &Agent,
        files: &Files,
        occasion: Occasion,
    ) -> Result<Installed, InstallError> {
        let tree = Tree::prepare(&self.agents, agent.name.as_str())?;
        let _alone = Alone::with(tree.directory(), &agent.name).await?;
        let source = &files.source;
        let is_there = |digest| self.is_there(agent, &tree, digest);
        let coming = Coming::of((files, &is_there), occasion).await?;
        let digest = source.version(coming.content().as_ref(), &files.mount);
        if let Some(key) = tree.newest(digest).and_then(|there| shared(&tree, there)) {
            let _turn = self.cache.turn(key).await;
            self.check(agent, key).await?;
        }
        let back = tree.rolled_back().filter(|step| step.from.digest == digest);
        let installed = match (back, tree.newest(digest)) {
            (Some(step), _) if occasion == Occasion::Start => Installed {
                instead_of: Some(step.from),
                ..of(&tree, step.to)
            },
            (_, Some(there)) if occasion != (Occasion::Asked { renew: true }) => {
                tree.go_live(there)?;
                of(&tree, there)
            }
            _ => {
                let version = tree.next(digest);
                let is_known = source.is_pinned() || coming.content().is_some();
                let unpacked = match is_known && occasion != (Occasion::Asked { renew: true }) {
                    true => self.share((agent, files), (&tree, version), coming).await?,
                    false => {
                        let made = self.make_named(agent, files, (&tree, coming), version);
                        made.await?.1
                    }
                };
                tree.go_live(version)?;
                Installed {
                    unpacked,
                    ..of(&tree, version)
                }
            }
        };
        // Later on sandboxes stand that are shown a version which is no longer live.
        if occasion == Occasion::Start {
            let shown = tree.version(installed.version);
            if let Some(key) = cache::shared(&shown) {
                self.cache.used(&key, self.clock.unix_ms());
            }
            self.clear(agent, &tree).await;
        }
        Ok(installed)
    }

    /// Makes a version and gives it its name.
    async fn make_named(
        &self,
        agent: &Agent,
        files: &Files,
        (tree, coming): (&Tree, Coming<'_>),
        version: Version,
    ) -> Result<(Note, Option<Report>), InstallError> {
        let made = self.make(agent, files, (tree, coming)).await?;
        let note = made.note(&files.source, self.clock.unix_ms());
        tree.note(version, &note)?;
        tree.name(&made.staging, version)?;
        Ok((note, made.unpacked))
    }

    /// Whether a tree of a digest is there, or one that may be shared.
    fn is_there(&self, agent: &Agent, tree: &Tree, digest: Digest) -> bool {
        let key = Cache::key(agent, Version::first(digest));
        tree.newest(digest).is_some() || self.cache.found(key).is_some()
    }

    /// Makes the version before the live one, or goes forward again if that was done already.
    ///
    /// # Errors
    /// See [`InstallError`]; the version that was live before still is.
    pub async fn roll_back(&self, agent: &Agent) -> Result<Installed, InstallError> {
        let tree = Tree::prepare(&self.agents, agent.name.as_str())?;
        let _alone = Alone::with(tree.directory(), &agent.name).await?;
        let step = tree.roll_back()?;
        let step = step.ok_or_else(|| InstallError::NoWayBack(agent.name.clone()))?;
        let rolled_back = tree.rolled_back().is_some();
        Ok(Installed {
            instead_of: rolled_back.then_some(step.from),
            ..of(&tree, step.to)
        })
    }

    /// What is live of an agent and what could be; nothing if nothing was installed.
    #[must_use]
    pub fn standing(&self, agent: &AgentName) -> Option<Standing> {
        Tree::of(&self.agents, agent).standing()
    }

    /// A sandbox without a way out.
    async fn sandbox(&self, agent: &Agent, mounts: Vec<Mount>) -> Result<Sandbox, SandboxError> {
        let wanted = Wanted {
            purpose: Purpose::Install,
            hostname: hostname(agent),
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
    async fn clear(&self, agent: &Agent, tree: &Tree) {
        let mut stale = tree.stale();
        stale.extend(self.cache.stale());
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

/// Which shared tree a version is, if it is one.
fn shared(tree: &Tree, version: Version) -> Option<Digest> {
    cache::shared(&tree.version(version))?.parse().ok()
}

/// A version that is there.
fn of(tree: &Tree, version: Version) -> Installed {
    Installed {
        tree: tree.version(version),
        version,
        unpacked: None,
        note: tree.noted(version),
        instead_of: None,
    }
}

fn hostname(agent: &Agent) -> String {
    format!("install-{}", agent.name).chars().take(63).collect()
}

fn weaker(agent: &Agent) -> BTreeSet<Layer> {
    agent.sandbox.allow_weaker.clone()
}

async fn discard(sandbox: &Sandbox, tree: &Path) {
    if let Err(error) = sandbox.discard(tree).await {
        tracing::warn!(tree = %tree.display(), %error, "a tree could not be deleted");
    }
}

#[cfg(test)]
mod tests;
