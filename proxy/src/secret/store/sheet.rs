//! The file of a store: JSON, of which names and times can be read by whoever may read the file, and values by whoever has the
//! key. A code over the whole tells when an entry was added, removed, renamed or put back by somebody without it. Never
//! shows a value.

use std::{collections::BTreeMap, path::Path};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use postern_contract::{Secret, SecretName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    NoStore, damaged,
    key::{ID_BYTES, Keys, Material, ROUNDS},
    shown,
};

/// The format that is read and written.
const VERSION: u32 = 1;

/// What says that a key is the right one.
const CHECKED: &[u8] = b"this key opens this store";

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sheet {
    version: u32,
    /// The store's name, which nobody chose.
    id: Bytes,
    /// How often the passphrase is hashed, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pbkdf2_hmac_sha256: Option<u32>,
    check: Bytes,
    secrets: BTreeMap<SecretName, Sealed>,
    code: Bytes,
}

/// One secret in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    /// When it was set, in seconds since 1970.
    pub(super) set: u64,
    #[serde(with = "bytes")]
    pub(super) sealed: Vec<u8>,
}

/// Only the number of the format, of a file that may have anything beside it.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Bytes(#[serde(with = "bytes")] Vec<u8>);

mod bytes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let decoded = BASE64_STANDARD.decode(text);
        decoded.map_err(|_| serde::de::Error::custom("no base64"))
    }
}

impl Sheet {
    /// What a file says. Nothing of it is believed before it is unlocked.
    pub(super) fn of(text: &[u8], path: &Path) -> Result<Self, NoStore> {
        let Format { version } = serde_json::from_slice(text).map_err(|_| damaged(path))?;
        if version != VERSION {
            return Err(NoStore::Later { path: shown(path) });
        }
        serde_json::from_slice(text).map_err(|_| damaged(path))
    }

    /// An empty one that this opens.
    pub(super) fn fresh(material: &Material) -> Result<(Self, Keys), NoStore> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).map_err(|_| NoStore::Unsealed)?;
        let rounds = material.passphrase.then_some(ROUNDS);
        let keys = material.keys(id, rounds)?;
        let mut sheet = Self {
            version: VERSION,
            id: Bytes(id.to_vec()),
            pbkdf2_hmac_sha256: rounds,
            check: Bytes(hmac::sign(&keys.check, CHECKED).as_ref().to_vec()),
            secrets: BTreeMap::new(),
            code: Bytes::default(),
        };
        sheet.vouch(&keys);
        Ok((sheet, keys))
    }

    /// The keys, if this is what it was made with and nobody else has changed it.
    pub(super) fn unlock(&self, path: &Path, material: &Material) -> Result<Keys, NoStore> {
        let kind = match (self.pbkdf2_hmac_sha256, material.passphrase) {
            (Some(_), false) => Some(("a passphrase", "say `passphrase = true`")),
            (None, true) => Some(("a key", "leave out `passphrase`")),
            _ => None,
        };
        if let Some((made, remedy)) = kind {
            let path = shown(path);
            return Err(NoStore::OtherKind { path, made, remedy });
        }
        let id = self.id.0.as_slice().try_into().map_err(|_| damaged(path))?;
        let keys = material.keys(id, self.pbkdf2_hmac_sha256);
        let keys = keys.map_err(|error| match error {
            NoStore::Unsealed => damaged(path),
            other => other,
        })?;
        if hmac::verify(&keys.check, CHECKED, &self.check.0).is_err() {
            let (path, key) = (shown(path), material.from.clone());
            return Err(NoStore::WrongKey { path, key });
        }
        let code = hmac::verify(&keys.whole, &self.said(), &self.code.0);
        code.map_err(|_| damaged(path))?;
        Ok(keys)
    }

    /// One of its secrets, sealed.
    pub(super) fn get(&self, name: &SecretName) -> Option<&Sealed> {
        self.secrets.get(name)
    }

    /// All of them.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&SecretName, &Sealed)> {
        self.secrets.iter()
    }

    /// Takes a value; whether there was one before.
    pub(super) fn set(
        &mut self,
        keys: &Keys,
        (name, set): (&SecretName, u64),
        value: &Secret,
    ) -> Result<bool, NoStore> {
        let sealed = keys.close((name, set), value).ok_or(NoStore::Unsealed)?;
        let sealed = Sealed { set, sealed };
        let before = self.secrets.insert(name.clone(), sealed);
        self.vouch(keys);
        Ok(before.is_some())
    }

    /// Drops a value; whether there was one.
    pub(super) fn remove(&mut self, keys: &Keys, name: &SecretName) -> bool {
        let before = self.secrets.remove(name);
        self.vouch(keys);
        before.is_some()
    }

    /// The file's text.
    pub(super) fn text(&self) -> Result<Vec<u8>, NoStore> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|_| NoStore::Unsealed)?;
        text.push(b'\n');
        Ok(text)
    }

    fn vouch(&mut self, keys: &Keys) {
        let code = hmac::sign(&keys.whole, &self.said());
        self.code = Bytes(code.as_ref().to_vec());
    }

    /// All that it says, with every part's length before it.
    fn said(&self) -> Vec<u8> {
        let mut said = Vec::new();
        let mut say = |part: &[u8]| {
            said.extend_from_slice(&(part.len() as u64).to_be_bytes());
            said.extend_from_slice(part);
        };
        say(&self.version.to_be_bytes());
        say(&self.id.0);
        say(&self.pbkdf2_hmac_sha256.unwrap_or_default().to_be_bytes());
        for (name, entry) in &self.secrets {
            say(name.as_str().as_bytes());
            say(&entry.set.to_be_bytes());
            say(&entry.sealed);
        }
        said
    }
}
