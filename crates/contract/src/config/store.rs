//! `[store]` as written: where the operator's own secrets lie, and the key that opens them. Never holds either.

use std::path::PathBuf;

use serde::Deserialize;

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The file, which `postern secrets` writes and the gate reads; a relative path starts from the config's directory.
    pub path: PathBuf,
    /// Where its key is.
    pub key: StoreKey,
}

/// `{ credential = "NAME" }` or `{ file = "FILE" }`, and whether a passphrase is in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenKey")]
pub struct StoreKey {
    /// Where it is.
    pub place: StoreKeyPlace,
    /// That it is a passphrase, and no key.
    pub passphrase: bool,
}

/// Where the key of a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKeyPlace {
    /// A credential that systemd gives the gate's service.
    Credential(String),
    /// A file that only the gate can read.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    credential: Option<String>,
    file: Option<PathBuf>,
    #[serde(default)]
    passphrase: bool,
}

impl TryFrom<WrittenKey> for StoreKey {
    type Error = &'static str;

    fn try_from(written: WrittenKey) -> Result<Self, Self::Error> {
        let place = match (written.credential, written.file) {
            (Some(name), None) => StoreKeyPlace::Credential(name),
            (None, Some(file)) => StoreKeyPlace::File(file),
            _ => return Err("a store's key is in exactly one of `credential` and `file`"),
        };
        Ok(Self {
            place,
            passphrase: written.passphrase,
        })
    }
}
