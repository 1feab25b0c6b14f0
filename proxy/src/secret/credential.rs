//! A secret that systemd hands the gate's service as a credential, decrypted already if it was encrypted. Never in a
//! variable: the environment only says which directory they are in.

use std::path::{Path, PathBuf};

use postern_contract::Secret;
use postern_daemon::environment;
use serde::Deserialize;

use super::{Base, Fetch, NoSecret, file};

/// Where systemd says that a service's credentials are (systemd.exec(5)).
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// `credential = "NAME"`, as `LoadCredential=`, `LoadCredentialEncrypted=` and their like name it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Credential(String);

impl TryFrom<String> for Credential {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(
                "a credential is named as in `LoadCredential=NAME`: a file's name, no path",
            );
        }
        Ok(Self(name))
    }
}

impl Credential {
    /// Where systemd put it, if it gave this process any.
    pub(super) fn path(&self) -> Option<PathBuf> {
        Some(Path::new(&environment::read(DIRECTORY)?).join(&self.0))
    }
}

impl Fetch for Credential {
    /// Modes are systemd's business: a credential of a service with a user of its own has an access list, whose mask reads as a
    /// group's right.
    fn fetch(&self, _base: Base<'_>) -> Result<Secret, NoSecret> {
        file::read(&self.path().ok_or(NoSecret::NoCredentials)?, file::regular)
    }

    /// Whoever checks a config has other credentials than the gate will have.
    fn inspect(&self, _directory: &Path) -> Result<(), NoSecret> {
        Ok(())
    }

    fn key(&self) -> &'static str {
        "credential"
    }

    fn file(&self, _directory: &Path) -> Option<PathBuf> {
        self.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for path in ["", ".", "..", "a/b", "/etc/shadow", ".hidden"] {
            assert!(Credential::try_from(path.to_owned()).is_err(), "{path}");
        }
        assert!(Credential::try_from("stripe.key".to_owned()).is_ok());
    }
}
