//! Where secrets come from, one file a kind, and the secrets once loaded. Never prints a value, and never reads one
//! while a call waits.

mod env;
mod file;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::{Secret, SecretName, config::Problem};
use serde::Deserialize;

/// The longest secret, in bytes; a key or certificate chain is far below.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// `[secrets.NAME]` as written: exactly one kind of source.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A file that only the gate can read.
    File(file::File),
    /// A variable in the gate's own environment.
    Env(env::Env),
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
}

/// What every kind of source can do.
trait Fetch {
    /// Reads the value; relative paths start from the config's directory.
    fn fetch(&self, directory: &Path) -> Result<Secret, NoSecret>;

    /// Finds what is wrong without reading the value, for `postern check` by somebody who may not read it.
    fn inspect(&self, directory: &Path) -> Result<(), NoSecret>;

    /// The key under `[secrets.NAME]` that an error points at.
    fn key(&self) -> &'static str;

    /// The file that the value is in, if it is in one.
    fn file(&self, directory: &Path) -> Option<PathBuf>;
}

impl Source {
    fn kind(&self) -> &dyn Fetch {
        match self {
            Self::File(file) => file,
            Self::Env(env) => env,
        }
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
    pub(crate) fn load(
        sources: &BTreeMap<SecretName, Source>,
        directory: &Path,
    ) -> (Self, Vec<Problem>) {
        let mut loaded = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, source) in sources {
            match source
                .kind()
                .fetch(directory)
                .and_then(|value| fit(name, value))
            {
                Ok(value) => drop(loaded.insert(name.clone(), Arc::new(value))),
                Err(error) => problems.push(problem(name, source, &error)),
            }
        }
        let secrets = Self {
            values: loaded,
            since: BTreeMap::new(),
        };
        (secrets, problems)
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

/// The files that the values are in.
pub(crate) fn files(sources: &BTreeMap<SecretName, Source>, directory: &Path) -> Vec<PathBuf> {
    let kinds = sources.values().map(Source::kind);
    kinds.filter_map(|kind| kind.file(directory)).collect()
}

/// What can be told about the sources without reading a value.
pub(crate) fn inspect(sources: &BTreeMap<SecretName, Source>, directory: &Path) -> Vec<Problem> {
    let faults = sources.iter().filter_map(|(name, source)| {
        let error = source.kind().inspect(directory).err()?;
        Some(problem(name, source, &error))
    });
    faults.collect()
}

fn problem(name: &SecretName, source: &Source, error: &NoSecret) -> Problem {
    Problem::at(
        ["secrets", name.as_str(), source.kind().key()],
        error.to_string(),
    )
}

/// A value with a control character would be refused by every request that needs it: say so at the start.
fn fit(name: &SecretName, value: Secret) -> Result<Secret, NoSecret> {
    if value.expose().is_empty() {
        return Err(NoSecret::Empty(format!("secret `{name}`")));
    }
    if value.expose().iter().any(u8::is_ascii_control) {
        return Err(NoSecret::Unprintable(format!("secret `{name}`")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn sources(text: &str) -> BTreeMap<SecretName, Source> {
        serde_json::from_str(text).unwrap()
    }

    fn written(mode: u32, content: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        directory
    }

    fn only_problem(directory: &Path) -> String {
        let (loaded, problems) = Secrets::load(&sources(r#"{"stripe":{"file":"key"}}"#), directory);
        assert!(loaded.values.is_empty());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, ["secrets", "stripe", "file"]);
        problems[0].message.clone()
    }

    #[test]
    fn a_file_gives_its_content_without_the_last_line_break() {
        let directory = written(0o600, "sk_live_1\n");
        let (loaded, problems) =
            Secrets::load(&sources(r#"{"stripe":{"file":"key"}}"#), directory.path());
        assert!(problems.is_empty());
        assert!(
            loaded
                .get(&"stripe".parse().unwrap())
                .unwrap()
                .is(b"sk_live_1")
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let directory = written(0o640, "sk_live_1");
        let message = only_problem(directory.path());
        assert!(message.contains("chmod 600"), "{message}");
        assert!(!message.contains("sk_live_1"), "{message}");
    }

    #[test]
    fn missing_empty_and_broken_files_are_refused() {
        let nowhere = tempfile::tempdir().unwrap();
        assert!(only_problem(nowhere.path()).contains("No such file"));
        assert!(only_problem(written(0o600, "\n").path()).contains("empty"));
        assert!(only_problem(written(0o600, "a\nb").path()).contains("control character"));
    }

    #[test]
    fn an_unset_variable_is_refused_when_loaded_and_not_when_inspected() {
        let sources = sources(r#"{"openai":{"env":"POSTERN_TEST_NO_SUCH_VARIABLE"}}"#);
        assert!(inspect(&sources, Path::new(".")).is_empty());
        let (_, problems) = Secrets::load(&sources, Path::new("."));
        assert!(
            problems[0]
                .message
                .contains("POSTERN_TEST_NO_SUCH_VARIABLE")
        );
    }

    #[test]
    fn two_kinds_at_once_are_no_source() {
        let text = r#"{"a":{"env":"A","file":"b"}}"#;
        assert!(serde_json::from_str::<BTreeMap<SecretName, Source>>(text).is_err());
    }

    #[test]
    fn a_generation_moves_when_the_value_does() {
        let written = written(0o600, "one");
        let load = || Secrets::load(&sources(r#"{"stripe":{"file":"key"}}"#), written.path());
        let name: SecretName = "stripe".parse().unwrap();
        let first = load().0.for_generation(1, None);
        let same = load().0.for_generation(2, Some(&first));
        assert_eq!((first.since(&name), same.since(&name)), (Some(1), Some(1)));
        fs::write(written.path().join("key"), "two").unwrap();
        let moved = load().0.for_generation(3, Some(&same));
        assert_eq!(moved.since(&name), Some(3));
    }
}
