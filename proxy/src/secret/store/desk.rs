//! What the operator does to the store: sets, removes and lists, one at a time and whole or not at all. Never shows a value, and
//! needs no gate that runs: one that does sees the file change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use postern_contract::{
    Secret, SecretName,
    config::{self, StoreKeyPlace},
};
use postern_daemon::{config::ConfigError, files};
use zeroize::Zeroizing;

use super::{
    NoStore, key,
    key::{Keys, Material},
    read,
    sheet::Sheet,
    shown,
};
use crate::{
    config::Config,
    secret::{NoSecret, fit},
};

/// Bytes of a key that is made.
const KEY_BYTES: usize = 32;

/// The store that a config names, and what the config says of the secrets in it.
pub struct Desk {
    settings: config::Store,
    directory: PathBuf,
    /// Those that the config takes from here.
    wanted: BTreeSet<SecretName>,
    with_lines: BTreeSet<SecretName>,
    used: BTreeMap<SecretName, Vec<String>>,
}

/// What opens the store.
pub enum Unlocking<'a> {
    /// What the config says.
    Config,
    /// A file that somebody named.
    File(&'a Path),
    /// A passphrase that somebody typed.
    Typed(Secret),
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: SecretName,
    /// When it was set, in seconds since 1970; not yet, if the config only wants it.
    pub set: Option<u64>,
    /// Whether the config has it with `store = true`.
    pub wanted: bool,
    /// What uses it, for people.
    pub used_by: Vec<String>,
}

/// Why nothing can be done about a store.
#[derive(Debug, thiserror::Error)]
pub enum NoDesk {
    /// The config itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It names no store.
    #[error(
        "{0}: it has no store: say where one is, as in `[store]` with `path = \"secrets.store\"` and `key = {{ file = \"store.key\" }}`"
    )]
    None(String),
}

impl Desk {
    /// The store of this config.
    ///
    /// # Errors
    /// When the config is no good, or names none.
    pub fn of(path: &Path) -> Result<Self, NoDesk> {
        let config = Config::read(path)?;
        let settings = config.store().cloned();
        Ok(Self {
            settings: settings.ok_or_else(|| NoDesk::None(shown(path)))?,
            directory: config.source().directory().to_owned(),
            wanted: config.stored(),
            with_lines: config.with_lines(),
            used: config.users_of_secrets(),
        })
    }

    /// Whether its passphrase cannot be read where the config says, so that somebody must be asked for it.
    #[must_use]
    pub fn wants_passphrase(&self) -> bool {
        let place = &self.settings.key.place;
        let missing = match place {
            StoreKeyPlace::Credential(name) => key::credential(name).is_none(),
            StoreKeyPlace::File(file) => !self.directory.join(file).exists(),
        };
        self.settings.key.passphrase && missing
    }

    /// Whether the config takes this secret from the store.
    #[must_use]
    pub fn wants(&self, name: &SecretName) -> bool {
        self.wanted.contains(name)
    }

    /// Takes a value; whether there was one before.
    ///
    /// # Errors
    /// When no request could carry the value, or as [`NoStore`] says. The store is what it was then.
    pub fn set(
        &self,
        (name, now): (&SecretName, u64),
        value: &Secret,
        unlocking: Unlocking<'_>,
    ) -> Result<bool, NoStore> {
        // Of one that the config does not know nobody can say what it is for.
        let may_have_lines = self.with_lines.contains(name) || !self.wants(name);
        fit(name, value, may_have_lines)
            .map_err(|error: NoSecret| NoStore::Unfit(error.to_string()))?;
        self.change(unlocking, |sheet, keys| sheet.set(keys, (name, now), value))
    }

    /// Drops a value.
    ///
    /// # Errors
    /// When there is none, or as [`NoStore`] says. The store is what it was then.
    pub fn remove(&self, name: &SecretName, unlocking: Unlocking<'_>) -> Result<(), NoStore> {
        let path = self.path();
        read(&path)?;
        self.change(unlocking, |sheet, keys| {
            if sheet.remove(keys, name) {
                return Ok(());
            }
            let name = name.clone();
            let path = shown(&path);
            Err(NoStore::Unset { path, name })
        })
    }

    /// All secrets that are in it or that the config wants from it, by name. Needs no key, and so believes the file.
    ///
    /// # Errors
    /// When the file cannot be read, or is none.
    pub fn list(&self) -> Result<Vec<Kept>, NoStore> {
        let mut times: BTreeMap<_, _> = self
            .wanted
            .iter()
            .map(|name| (name.clone(), None))
            .collect();
        match read(&self.path()) {
            Ok(sheet) => {
                let set = sheet.secrets();
                times.extend(set.map(|(name, sealed)| (name.clone(), Some(sealed.set))));
            }
            Err(NoStore::None { .. }) => {}
            Err(error) => return Err(error),
        }
        let kept = times.into_iter().map(|(name, set)| Kept {
            wanted: self.wanted.contains(&name),
            used_by: self.used.get(&name).cloned().unwrap_or_default(),
            name,
            set,
        });
        Ok(kept.collect())
    }

    #[cfg(test)]
    pub(super) fn settings(&self) -> config::Store {
        self.settings.clone()
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.settings.path)
    }

    /// Changes the store alone: whoever comes meanwhile waits.
    fn change<T>(
        &self,
        unlocking: Unlocking<'_>,
        change: impl FnOnce(&mut Sheet, &Keys) -> Result<T, NoStore>,
    ) -> Result<T, NoStore> {
        let path = self.path();
        let broken = |error| NoStore::File {
            path: shown(&path),
            error,
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let opened = File::open(directory).map_err(broken)?;
        let locked = Flock::lock(opened, FlockArg::LockExclusive);
        let _locked = locked.map_err(|(_, error)| broken(error.into()))?;
        let (mut sheet, keys, owner) = match read(&path) {
            Ok(sheet) => {
                let material = self.material(unlocking)?;
                let keys = sheet.unlock(&path, &material)?;
                (sheet, keys, owner(&path).map_err(broken)?)
            }
            Err(NoStore::None { .. }) => {
                let owner = owner(directory).map_err(broken)?;
                self.make_key(&unlocking, owner)?;
                let material = self.material(unlocking)?;
                material.good_for_new()?;
                let (sheet, keys) = Sheet::fresh(&material)?;
                (sheet, keys, owner)
            }
            Err(error) => return Err(error),
        };
        let done = change(&mut sheet, &keys)?;
        files::write_private_of(&path, &sheet.text()?, owner).map_err(broken)?;
        Ok(done)
    }

    fn material(&self, unlocking: Unlocking<'_>) -> Result<Material, NoStore> {
        let passphrase = self.settings.key.passphrase;
        match unlocking {
            Unlocking::Config => key::read(&self.settings, &self.directory),
            Unlocking::File(path) => key::read_named(path, passphrase),
            Unlocking::Typed(secret) => Ok(Material {
                secret,
                passphrase,
                from: "what was typed".to_owned(),
            }),
        }
    }

    /// A store that is not there yet has its key made too, if that is to be in a file and is none of somebody's own.
    fn make_key(
        &self,
        unlocking: &Unlocking<'_>,
        owner: Option<(u32, u32)>,
    ) -> Result<(), NoStore> {
        let Some(path) = key::file(&self.settings, &self.directory) else {
            return Ok(());
        };
        let is_mine = matches!(unlocking, Unlocking::Config) && !self.settings.key.passphrase;
        if !is_mine || path.exists() {
            return Ok(());
        }
        let broken = |error| NoStore::File {
            path: shown(&path),
            error,
        };
        let fresh = Zeroizing::new(files::random_hex(KEY_BYTES).map_err(broken)?);
        files::write_private_of(&path, fresh.as_bytes(), owner).map_err(broken)
    }
}

/// Whose a file shall be that stands for this one, where that is not whoever writes it.
fn owner(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let found = std::fs::metadata(path)?;
    let mine = nix::unistd::geteuid().as_raw() == found.uid();
    Ok((!mine).then_some((found.uid(), found.gid())))
}
