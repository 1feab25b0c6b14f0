//! The operator's own store: values in one file, each sealed under a key that lies elsewhere. The gate only reads it; what
//! `postern secrets` does to it is in `desk`. Never keeps the key or a value longer than it takes to load the secrets.
//!
//! ```text
//! key.rs    where the key is ─▶ (stretched, if it is a passphrase) ─▶ keys: one seals, one vouches for the whole file
//! sheet.rs  the file: names and times as they are, values sealed, and a code over all of it
//! desk.rs   set, remove and list, for the operator
//! ```

mod desk;
mod key;
mod sheet;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use postern_contract::{Secret, SecretName, config};
use postern_daemon::files;

pub use self::desk::{Desk, Kept, NoDesk, Unlocking};
use self::{key::Keys, sheet::Sheet};
use super::{NoSecret, file};

/// The largest store, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why the store gives nothing, or takes nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// There is no such file yet.
    #[error("{path}: there is no store yet: `postern secrets set` makes it")]
    None {
        /// Where.
        path: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Where.
        path: String,
        /// What.
        error: io::Error,
    },
    /// Others may read it, or it is no file, or the key cannot be read.
    #[error("{0}")]
    Unfit(String),
    /// It is not what `postern secrets` writes.
    #[error(
        "{path}: this is no store of secrets, or it is damaged: put a copy back, or set its secrets anew"
    )]
    Damaged {
        /// Where.
        path: String,
    },
    /// It was written by a later version.
    #[error("{path}: it was written by a later version of Postern")]
    Later {
        /// Where.
        path: String,
    },
    /// Its key is another one.
    #[error("{path}: {key} does not open it: it was made with another one")]
    WrongKey {
        /// Where.
        path: String,
        /// What was tried, for people.
        key: String,
    },
    /// A key where a passphrase belongs, or the other way round.
    #[error("{path}: it was made with {made}: {remedy} in `key` of `[store]`")]
    OtherKind {
        /// Where.
        path: String,
        /// With what.
        made: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It holds no key.
    #[error("{0}: a key is 64 hexadecimal digits, as `openssl rand -hex 32` prints")]
    NoKey(String),
    /// A passphrase that is too easily guessed.
    #[error("{0}: a passphrase has at least {PASSPHRASE_BYTES_MIN} bytes")]
    ShortPassphrase(String),
    /// The credential is the gate's service's alone.
    #[error(
        "the key is the credential `{0}`, which systemd gives the gate's service alone: name a file that it can be read from \
         with `--key-file`"
    )]
    NotHere(String),
    /// It has no such secret.
    #[error("{path}: there is no `{name}` in it: run `postern secrets set {name}`")]
    Unset {
        /// Where.
        path: String,
        /// Which.
        name: SecretName,
    },
    /// The machine has no randomness, or no memory.
    #[error("sealing failed")]
    Unsealed,
}

/// The shortest passphrase that a store is made with: what NIST SP 800-63B (revision 4) asks of one that stands alone.
const PASSPHRASE_BYTES_MIN: usize = 15;

/// A store as the gate has it while it loads its secrets.
pub(super) struct Opened {
    sheet: Sheet,
    keys: Keys,
    path: PathBuf,
}

impl Opened {
    /// Opens the store, and finds that nothing in it was changed by others.
    pub(super) fn open(settings: &config::Store, directory: &Path) -> Result<Self, NoStore> {
        let path = directory.join(&settings.path);
        let sheet = read(&path)?;
        let material = key::read(settings, directory)?;
        let keys = sheet.unlock(&path, &material)?;
        Ok(Self { sheet, keys, path })
    }

    /// One of its secrets.
    pub(super) fn value(&self, name: &SecretName) -> Result<Secret, NoStore> {
        let sealed = self.sheet.get(name).ok_or_else(|| NoStore::Unset {
            path: shown(&self.path),
            name: name.clone(),
        })?;
        let value = self.keys.reveal((name, sealed.set), &sealed.sealed);
        value.ok_or_else(|| damaged(&self.path))
    }
}

/// What can be told of a secret without the key, by somebody who may not read the store.
pub(super) fn inspect(
    settings: &config::Store,
    directory: &Path,
    name: &SecretName,
) -> Result<(), NoStore> {
    let path = directory.join(&settings.path);
    let sheet = match read(&path) {
        Err(NoStore::File { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(());
        }
        read => read?,
    };
    if let Some(key) = key::file(settings, directory) {
        file::look(&key).map_err(|error| unfit(&error))?;
    }
    match sheet.get(name) {
        Some(_) => Ok(()),
        None => Err(NoStore::Unset {
            path: shown(&path),
            name: name.clone(),
        }),
    }
}

/// The files that a value depends on.
pub(super) fn files(settings: &config::Store, directory: &Path) -> Vec<PathBuf> {
    let store = directory.join(&settings.path);
    let key = match &settings.key.place {
        config::StoreKeyPlace::Credential(name) => key::credential(name),
        config::StoreKeyPlace::File(file) => Some(directory.join(file)),
    };
    [store].into_iter().chain(key).collect()
}

/// The store as it lies there, of which nothing is believed yet.
fn read(path: &Path) -> Result<Sheet, NoStore> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => NoStore::None { path: shown(path) },
        _ => NoStore::File {
            path: shown(path),
            error,
        },
    };
    // Looked at before it is opened, since opening a FIFO waits.
    let found = fs::metadata(path).map_err(broken)?;
    file::judge(path, &found).map_err(|error| unfit(&error))?;
    let text = files::read_bounded(path, FILE_BYTES_MAX).map_err(broken)?;
    Sheet::of(&text, path)
}

fn unfit(error: &NoSecret) -> NoStore {
    NoStore::Unfit(error.to_string())
}

fn damaged(path: &Path) -> NoStore {
    NoStore::Damaged { path: shown(path) }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
