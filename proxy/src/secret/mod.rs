//! Where secrets come from, one file a kind, and the secrets once loaded. Never prints a value, and never reads one
//! while a call waits.

mod aws;
mod command;
mod credential;
mod env;
mod errands;
mod fetched;
mod file;
mod onepassword;
mod pace;
pub mod store;
mod vault;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use postern_contract::{
    Period, Secret, SecretName,
    config::{self, Problem},
};
use serde::Deserialize;

pub(crate) use self::{
    env::Taken,
    errands::{Errands, Question, Unanswered, roots},
    fetched::{Fetched, Health, Held},
};
use self::{
    pace::Pace,
    store::{NoStore, Opened},
    vault::{Account, NoVault, Sessions},
};
use crate::dial::UnreadableRoots;

/// The longest secret, in bytes; a key or certificate chain is far below.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// `[secrets.NAME]`: exactly one kind of source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Source {
    origin: Origin,
    pace: Pace,
}

/// `[secrets.NAME]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    file: Option<file::File>,
    env: Option<env::Env>,
    credential: Option<credential::Credential>,
    command: Option<command::Command>,
    vault: Option<vault::Vault>,
    aws: Option<aws::Aws>,
    onepassword: Option<onepassword::OnePassword>,
    store: Option<bool>,
    ttl: Option<Period>,
    refresh_ahead: Option<Period>,
    keep: Option<Period>,
    timeout: Option<Period>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// A file that only the gate can read.
    File(file::File),
    /// A variable in the gate's own environment.
    Env(env::Env),
    /// A credential from systemd.
    Credential(credential::Credential),
    /// What a program prints.
    Command(command::Command),
    /// A field of a secret that HashiCorp Vault keeps.
    Vault(Box<vault::Vault>),
    /// A secret or parameter that AWS keeps.
    Aws(Box<aws::Aws>),
    /// A field of an item that 1Password keeps.
    OnePassword(Box<onepassword::OnePassword>),
    /// The operator's own store, under the secret's own name.
    Store,
}

/// A source as it is read: there and then, by itself or with others of its store, or asked for in the background.
enum Kind<'a> {
    AtHand(&'a dyn Fetch),
    Stored,
    Asked(&'a dyn Ask),
}

/// What sources are read by.
#[derive(Clone, Copy)]
pub(crate) struct Base<'a> {
    /// Where relative paths start from.
    pub(crate) directory: &'a Path,
    /// The operator's own store, if there is one.
    pub(crate) store: Option<&'a config::Store>,
    /// What was in the environment when the gate started.
    pub(crate) taken: Option<&'a Taken>,
}

impl TryFrom<Written> for Source {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let origins = [
            written.file.map(Origin::File),
            written.env.map(Origin::Env),
            written.credential.map(Origin::Credential),
            written.command.map(Origin::Command),
            written.vault.map(Box::new).map(Origin::Vault),
            written.aws.map(Box::new).map(Origin::Aws),
            written.onepassword.map(Box::new).map(Origin::OnePassword),
            written.store.map(|_| Origin::Store),
        ];
        let mut origins = origins.into_iter().flatten();
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            let words = "a secret has exactly one of `file`, `env`, `credential`, `command`, `vault`, `aws`, `onepassword` and `store`";
            return Err(words.to_owned());
        };
        if written.store == Some(false) {
            return Err("`store` is `true`, or left out".to_owned());
        }
        let times = [
            ("ttl", written.ttl),
            ("refresh_ahead", written.refresh_ahead),
            ("keep", written.keep),
            ("timeout", written.timeout),
        ];
        let timed = times.iter().find(|(_, time)| time.is_some());
        if let (Kind::AtHand(_) | Kind::Stored, Some((key, _))) = (origin.kind(), timed) {
            let kind = origin.key();
            return Err(format!(
                "`{key}` is for sources that are asked; a change of a `{kind}` is seen by itself"
            ));
        }
        let pace = Pace::of(times.map(|(_, time)| time.map(|time| time.0)))?;
        Ok(Self { origin, pace })
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSecret {
    #[error("{path}: {error}")]
    Unreadable { path: String, error: std::io::Error },
    #[error("{path} is no regular file")]
    NotAFile { path: String },
    #[error("{path} can be read by others (mode {mode:03o}): run `chmod 600 {path}`")]
    Exposed { path: String, mode: u32 },
    #[error("{0} is empty")]
    Empty(String),
    #[error("the environment variable {0} is not set for the gate, or empty")]
    Unset(String),
    #[error(
        "{0} holds a line break or another control character, which no header or query can carry"
    )]
    Unprintable(String),
    #[error("systemd gave this process no credentials: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
    #[error("{program}: {error}")]
    Unstarted {
        program: String,
        error: std::io::Error,
    },
    #[error("{program} ended with {status}")]
    Failed {
        program: String,
        status: std::process::ExitStatus,
    },
    #[error("{program} took longer than its `timeout` and was ended")]
    TooSlow { program: String },
    #[error("{program} printed more than 64 KiB")]
    TooMuch { program: String },
    #[error(transparent)]
    Vault(#[from] NoVault),
    #[error(transparent)]
    Aws(#[from] aws::NoAws),
    #[error(transparent)]
    OnePassword(#[from] onepassword::NoItem),
    #[error(transparent)]
    Authorities(#[from] UnreadableRoots),
    #[error(transparent)]
    Store(#[from] Arc<NoStore>),
    #[error("there is no store: say where it is, as `[store]` with `path` and `key`")]
    Storeless,
    #[error("the gate is going")]
    Going,
}

/// What every kind of source can do.
trait Fetch {
    /// Reads the value.
    fn fetch(&self, base: Base<'_>) -> Result<Secret, NoSecret>;

    /// Finds what is wrong without reading the value, for `postern check` by somebody who may not read it.
    fn inspect(&self, directory: &Path) -> Result<(), NoSecret>;

    /// The key under `[secrets.NAME]` that an error points at.
    fn key(&self) -> &'static str;

    /// The file that the value is in, if it is in one.
    fn file(&self, directory: &Path) -> Option<PathBuf>;
}

/// What every kind of source can do that is asked, and may be slow or down.
trait Ask: Send + Sync {
    /// Asks for the value. What it logs never holds the value nor the last one.
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Secret, NoSecret>>;

    /// Finds what is wrong without asking, for `postern check` by somebody who may not read a file that it needs.
    fn inspect(&self, _directory: &Path) -> Result<(), NoSecret> {
        Ok(())
    }

    /// Who it is asked as, where that is shared with others.
    fn account(&self) -> Option<&Account> {
        None
    }

    /// The key under `[secrets.NAME]` that an error points at.
    fn key(&self) -> &'static str;
}

/// What asking is done with.
#[derive(Clone, Copy)]
struct Asking<'a> {
    /// Where relative paths start from.
    directory: &'a Path,
    /// How long it may take.
    time: Duration,
    /// The value that there is.
    last: Option<&'a Secret>,
    errands: &'a Arc<Errands>,
    sessions: &'a Sessions,
}

impl Origin {
    fn kind(&self) -> Kind<'_> {
        match self {
            Self::File(file) => Kind::AtHand(file),
            Self::Env(env) => Kind::AtHand(env),
            Self::Credential(credential) => Kind::AtHand(credential),
            Self::Command(command) => Kind::Asked(command),
            Self::Vault(vault) => Kind::Asked(&**vault),
            Self::Aws(aws) => Kind::Asked(&**aws),
            Self::OnePassword(item) => Kind::Asked(&**item),
            Self::Store => Kind::Stored,
        }
    }

    fn key(&self) -> &'static str {
        match self.kind() {
            Kind::AtHand(kind) => kind.key(),
            Kind::Stored => "store",
            Kind::Asked(kind) => kind.key(),
        }
    }
}

impl Source {
    fn at_hand(&self) -> Option<&dyn Fetch> {
        match self.origin.kind() {
            Kind::AtHand(kind) => Some(kind),
            Kind::Stored | Kind::Asked(_) => None,
        }
    }

    fn asked(&self) -> Option<&dyn Ask> {
        match self.origin.kind() {
            Kind::AtHand(_) | Kind::Stored => None,
            Kind::Asked(kind) => Some(kind),
        }
    }

    /// The variable that the value is in, if it is in one.
    fn variable(&self) -> Option<&str> {
        match &self.origin {
            Origin::Env(env) => Some(env.name()),
            _ => None,
        }
    }

    /// Whether the value is in the operator's own store.
    pub(crate) fn is_stored(&self) -> bool {
        self.origin == Origin::Store
    }

    fn key(&self) -> &'static str {
        self.origin.key()
    }
}

/// Every secret of the config, by name.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    values: BTreeMap<SecretName, Arc<Secret>>,
    since: BTreeMap<SecretName, u64>,
}

impl Secrets {
    /// Loads all that can be had, and says what is wrong with the others.
    ///
    /// Those that are `with_lines` may have several; elsewhere a line break is a fault. Of sources that are asked, the value
    /// is the one that is `held`; that there is none is told where they are tended, and no fault of the config.
    pub(crate) fn load(
        sources: &BTreeMap<SecretName, Source>,
        base: Base<'_>,
        with_lines: &BTreeSet<SecretName>,
        held: &Held,
    ) -> (Self, Vec<Problem>) {
        let mut loaded = BTreeMap::new();
        let mut problems = Vec::new();
        let store = OnceCell::new();
        for (name, source) in sources {
            let value = match source.origin.kind() {
                Kind::AtHand(kind) => kind.fetch(base).map(Arc::new),
                Kind::Stored => base.stored(&store, name).map(Arc::new),
                Kind::Asked(_) => match held.get(name, source) {
                    Some(value) => Ok(value),
                    None => continue,
                },
            };
            let fitting = value.and_then(|value| {
                fit(name, &value, with_lines.contains(name))?;
                Ok(value)
            });
            match fitting {
                Ok(value) => drop(loaded.insert(name.clone(), value)),
                Err(error) => problems.push(problem(name, source, &error)),
            }
        }
        let secrets = Self {
            values: loaded,
            since: BTreeMap::new(),
        };
        (secrets, problems)
    }

    /// Secrets that are known already.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(known: [(&str, &str); N]) -> Self {
        let values = known.map(|(name, value)| {
            let value = Arc::new(Secret::new(value.as_bytes().to_vec()));
            (name.parse().unwrap(), value)
        });
        Self {
            values: values.into(),
            since: BTreeMap::new(),
        }
    }

    /// A loaded secret.
    pub(crate) fn get(&self, name: &SecretName) -> Option<&Arc<Secret>> {
        self.values.get(name)
    }

    /// The same secrets as those of a policy generation. One whose value is what it was `before` keeps the generation that
    /// it had there, so that the number moves when the value does.
    #[must_use]
    pub(crate) fn for_generation(mut self, generation: u64, before: Option<&Self>) -> Self {
        let since = self.values.iter().map(|(name, value)| {
            let unchanged =
                before.filter(|before| before.get(name).is_some_and(|old| old.is(value.expose())));
            let since = unchanged.and_then(|before| before.since(name));
            (name.clone(), since.unwrap_or(generation))
        });
        self.since = since.collect();
        self
    }

    /// The policy generation that a secret's value was first read for.
    pub(crate) fn since(&self, name: &SecretName) -> Option<u64> {
        self.since.get(name).copied()
    }
}

impl Base<'_> {
    /// A value of the store, which is opened for the first of them.
    fn stored(
        self,
        opened: &OnceCell<Result<Opened, Arc<NoStore>>>,
        name: &SecretName,
    ) -> Result<Secret, NoSecret> {
        let settings = self.store.ok_or(NoSecret::Storeless)?;
        let store = opened.get_or_init(|| Opened::open(settings, self.directory).map_err(Arc::new));
        let store = store.as_ref().map_err(Arc::clone)?;
        Ok(store.value(name).map_err(Arc::new)?)
    }

    fn inspect_stored(self, name: &SecretName) -> Result<(), NoSecret> {
        let settings = self.store.ok_or(NoSecret::Storeless)?;
        Ok(store::inspect(settings, self.directory, name).map_err(Arc::new)?)
    }
}

/// Whether a credential of systemd's can be called this.
pub(crate) fn is_credential(name: &str) -> Result<(), &'static str> {
    credential::Credential::try_from(name.to_owned()).map(drop)
}

/// The files that the values are in.
pub(crate) fn files(sources: &BTreeMap<SecretName, Source>, base: Base<'_>) -> Vec<PathBuf> {
    let kinds = sources.values().filter_map(Source::at_hand);
    let own = kinds.filter_map(|kind| kind.file(base.directory));
    let is_used = sources.values().any(Source::is_stored);
    let store = base.store.filter(|_| is_used);
    let stores = store.map(|store| store::files(store, base.directory));
    own.chain(stores.into_iter().flatten()).collect()
}

/// Takes the variables that they name out of the gate's environment.
pub(crate) fn take_variables(sources: &BTreeMap<SecretName, Source>) -> Taken {
    Taken::take(sources.values().filter_map(Source::variable))
}

/// What can be told about the sources without reading a value.
pub(crate) fn inspect(sources: &BTreeMap<SecretName, Source>, base: Base<'_>) -> Vec<Problem> {
    let faults = sources.iter().filter_map(|(name, source)| {
        let inspected = match source.origin.kind() {
            Kind::AtHand(kind) => kind.inspect(base.directory),
            Kind::Stored => base.inspect_stored(name),
            Kind::Asked(kind) => kind.inspect(base.directory),
        };
        Some(problem(name, source, &inspected.err()?))
    });
    faults.collect()
}

/// Those whose files are shorter than this; of other sources nothing is known without the value.
pub(crate) fn shorter_than<'a>(
    bytes: u64,
    sources: &'a BTreeMap<SecretName, Source>,
    directory: &'a Path,
) -> impl Iterator<Item = &'a SecretName> {
    let size = |source: &Source| {
        let file = source.at_hand()?.file(directory)?;
        Some(std::fs::metadata(file).ok()?.len())
    };
    let short = sources
        .iter()
        .filter(move |(_, source)| size(source).is_some_and(|size| size < bytes));
    short.map(|(name, _)| name)
}

fn problem(name: &SecretName, source: &Source, error: &NoSecret) -> Problem {
    Problem::at(["secrets", name.as_str(), source.key()], error.to_string())
}

/// A value with a control character would be refused by every request that needs it: say so at the start.
fn fit(name: &SecretName, value: &Secret, has_lines: bool) -> Result<(), NoSecret> {
    if value.expose().is_empty() {
        return Err(NoSecret::Empty(format!("secret `{name}`")));
    }
    let is_odd = |byte: &u8| byte.is_ascii_control() && !(has_lines && b"\r\n\t".contains(byte));
    if value.expose().iter().any(is_odd) {
        return Err(NoSecret::Unprintable(format!("secret `{name}`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
