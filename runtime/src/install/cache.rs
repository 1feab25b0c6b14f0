//! Trees that agents share: whoever is given the same files, made ready in the same way and by the same leave, is shown the same tree,
//! read-only as every tree is. Never shares what only one moment in the world led to: that is resolved for each agent.
//!
//! ```text
//! agents/desk/versions/{version} ─┐ symlinks
//! agents/clerk/versions/{version} ─┴─▶ agents/.cache/versions/{key}, beside it {key}.json: what is kept of it, touched when it is used
//! ```
//!
//! What no agent has any more stays for the next one, up to a size; what was unused for longest goes first, at a start.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use postern_contract::config::Cache as Terms;
use postern_unpack::Report;
use tokio::sync;

use super::{
    InstallError, Installer, Note, Stage, Version,
    make::Coming,
    tree::{NOTE, STAGING, Tree},
};
use crate::{
    agents::files::Files,
    config::Agent,
    source::{self, Digest},
};

/// The directory beside those of the agents; no agent has such a name.
pub(super) const DIRECTORY: &str = ".cache";

/// What is kept of a tree that was there already.
const CACHE: &str = "cache";

/// All of one daemon's shared trees. Clones share them.
#[derive(Debug, Clone)]
pub struct Cache {
    agents: PathBuf,
    bytes_max: u64,
    /// Whether a tree is compared with what it was each time that an agent is given it.
    is_checked: bool,
    turns: Arc<Mutex<Turns>>,
}

/// Who makes or takes which tree; one at a time each.
type Turns = BTreeMap<String, Arc<sync::Mutex<()>>>;

/// Nobody else makes, takes or drops this tree until this is dropped.
pub(super) struct Turn(
    #[expect(dead_code, reason = "the turn ends with its guard")] sync::OwnedMutexGuard<()>,
);

/// A tree that nobody is shown.
struct Unused {
    name: String,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// The cache of the agents beneath a directory.
    #[must_use]
    pub fn new(agents: &Path, terms: Terms) -> Self {
        Self {
            agents: agents.to_owned(),
            bytes_max: terms.max.0,
            is_checked: terms.check,
            turns: Arc::default(),
        }
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// Under what an agent's version is shared, if it may be: its digest must say all of what is in it, and what it was allowed
    /// to call on the way must be the same.
    pub(super) fn key(agent: &Agent, version: Version) -> Digest {
        match agent.installing.leave() {
            [] => version.digest,
            leave => source::digest_of(&serde_json::json!([version.digest.to_string(), leave])),
        }
    }

    /// Waits until nobody else is at a tree.
    pub(super) async fn turn(&self, key: Digest) -> Turn {
        let mine = {
            let mut turns = self.turns();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.to_string()).or_default())
        };
        Turn(mine.lock_owned().await)
    }

    /// Where shared trees are.
    pub(super) fn shelf(&self) -> Result<Tree, InstallError> {
        Tree::prepare(&self.agents, DIRECTORY)
    }

    /// A tree that is there.
    pub(super) fn found(&self, key: Digest) -> Option<(PathBuf, Note)> {
        let (shelf, version) = (Tree::at(self.agents.join(DIRECTORY)), Version::first(key));
        (shelf.newest(key) == Some(version))
            .then(|| Some((shelf.version(version), shelf.noted(version)?)))?
    }

    /// Keeps in mind when a tree was used last, in milliseconds since 1970 (UTC).
    pub(super) fn used(&self, key: &str, at_ms: i64) {
        let path = self.versions().join(format!("{key}{NOTE}"));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms.unsigned_abs());
        let touched = fs::File::open(path).and_then(|note| note.set_modified(at));
        if let Err(error) = touched {
            tracing::debug!(key, %error, "a shared tree's last use is not known");
        }
    }

    /// Takes the names from trees that go, and gives those that are to be deleted.
    pub(super) fn stale(&self) -> Vec<PathBuf> {
        // Whoever makes or takes one meanwhile has its turn first, or finds it gone.
        let mut turns = self.turns();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let Ok(names) = names(&self.versions()) else {
            return Vec::new();
        };
        let staged = names.iter().filter(|name| name.starts_with(STAGING));
        let mut stale: Vec<_> = match turns.is_empty() {
            true => staged.map(|name| self.versions().join(name)).collect(),
            false => Vec::new(),
        };
        stale.extend(
            self.dropped(&names, &turns)
                .filter_map(|name| self.drop_name(&name)),
        );
        // Images are this daemon's own files.
        stale.retain(|path| match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => fs::remove_file(path).is_err(),
            found => found.is_ok(),
        });
        stale
    }

    /// Trees beyond what is kept of those that nobody uses.
    fn dropped(&self, names: &[String], turns: &Turns) -> impl Iterator<Item = String> + use<> {
        let used = self.in_use();
        let whole = names.iter().filter(|name| name.parse::<Version>().is_ok());
        let free = whole.filter(|name| !used.contains(*name) && !turns.contains_key(*name));
        let mut unused: Vec<_> = free.map(|name| self.unused(name)).collect();
        unused.sort_by_key(|one| std::cmp::Reverse(one.used));
        let (mut sum, most) = (0_u64, self.bytes_max);
        let dropped = unused.into_iter().filter(move |one| {
            sum = sum.saturating_add(one.bytes);
            sum > most
        });
        dropped.map(|one| one.name)
    }

    fn unused(&self, name: &str) -> Unused {
        let note = self.versions().join(format!("{name}{NOTE}"));
        let kept: Option<Note> = fs::read(&note)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Unused {
            name: name.to_owned(),
            // Of what size nobody knows is too large.
            bytes: kept.and_then(|note| note.bytes).unwrap_or(u64::MAX),
            used: fs::metadata(&note)
                .and_then(|found| found.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// A tree without a name is nobody's, whatever becomes of it.
    pub(super) fn drop_name(&self, name: &str) -> Option<PathBuf> {
        let (tree, gone) = (
            self.versions().join(name),
            self.shelf().ok()?.staging().ok()?,
        );
        fs::rename(tree, &gone).ok()?;
        drop(fs::remove_file(
            self.versions().join(format!("{name}{NOTE}")),
        ));
        tracing::info!(
            tree = name,
            "a shared tree that no agent has any more is deleted"
        );
        Some(gone)
    }

    /// The trees that agents' versions lead to.
    fn in_use(&self) -> BTreeSet<String> {
        let agents = names(&self.agents).unwrap_or_default();
        let agents = agents.iter().filter(|name| !name.starts_with('.'));
        let versions = agents.flat_map(|agent| {
            let versions = Tree::at(self.agents.join(agent)).versions();
            let links = names(&versions).unwrap_or_default();
            links
                .into_iter()
                .filter_map(move |link| shared(&versions.join(link)))
        });
        versions.collect()
    }

    fn versions(&self) -> PathBuf {
        Tree::at(self.agents.join(DIRECTORY)).versions()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Installer {
    /// Makes a version that agents share, or takes it where it is there; gives what was unpacked, if it was.
    pub(super) async fn share(
        &self,
        (agent, files): (&Agent, &Files),
        (tree, version): (&Tree, Version),
        coming: Coming<'_>,
    ) -> Result<Option<Report>, InstallError> {
        let key = Cache::key(agent, version);
        let _turn = self.cache.turn(key).await;
        self.check(agent, key).await?;
        let (begun, at_ms) = (self.clock.now(), self.clock.unix_ms());
        let mut unpacked = None;
        let (path, note) = match self.cache.found(key) {
            Some((path, note)) => {
                let stages = vec![Stage::took(CACHE, self.clock.now() - begun)];
                tracing::info!(agent = %agent.name, key = %key, "installed from the cache");
                (
                    path,
                    Note {
                        installed_at_ms: at_ms,
                        stages,
                        ..note
                    },
                )
            }
            None => {
                let (shelf, first) = (self.cache.shelf()?, Version::first(key));
                let made = self.make_named(agent, files, (&shelf, coming), first);
                let (note, report) = made.await?;
                unpacked = report;
                self.check(agent, key).await?;
                (shelf.version(first), note)
            }
        };
        self.cache.used(&key.to_string(), at_ms);
        tree.note(version, &note)?;
        tree.show(version, &path)?;
        Ok(unpacked)
    }
}

/// Which shared tree a version is, if it is one.
pub(super) fn shared(version: &Path) -> Option<String> {
    let to = fs::read_link(version).ok()?;
    to.file_name()?.to_str().map(str::to_owned)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}
