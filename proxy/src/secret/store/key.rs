//! The key of a store: where it is, how a passphrase becomes one, and what is done with it. Never keeps what it was made from.

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, MAX_TAG_LEN, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf, hmac, pbkdf2,
};
use postern_contract::{
    Secret, SecretName,
    config::{Store, StoreKeyPlace},
};
use zeroize::Zeroizing;

use super::{NoStore, PASSPHRASE_BYTES_MIN, unfit};
use crate::secret::{NoSecret, credential::Credential, file};

/// How long a key is, in bytes.
const KEY_BYTES: usize = 32;

/// How long the name of a store is, in bytes; it is the salt too, which NIST SP 800-132 wants of 128 bits at least.
pub(super) const ID_BYTES: usize = 16;

/// How often a passphrase is hashed: what OWASP's Password Storage Cheat Sheet asks of PBKDF2 with HMAC-SHA-256.
pub(super) const ROUNDS: u32 = 600_000;

/// More than this a file cannot ask for: it would only make the gate slow.
const ROUNDS_MAX: u32 = 10_000_000;

/// What a store is opened with, and how to call it.
pub(super) struct Material {
    pub(super) secret: Secret,
    pub(super) passphrase: bool,
    /// For people: where it is from.
    pub(super) from: String,
}

/// What seals values and vouches for the whole.
pub(super) struct Keys {
    seal: RandomizedNonceKey,
    /// Of the whole file.
    pub(super) whole: hmac::Key,
    /// Tells a wrong key from a damaged file.
    pub(super) check: hmac::Key,
    id: [u8; ID_BYTES],
}

/// The length of a key, as HKDF wants to be told.
struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// The file that must be the gate's alone, if the key is in one.
pub(super) fn file(settings: &Store, directory: &Path) -> Option<PathBuf> {
    match &settings.key.place {
        StoreKeyPlace::Credential(_) => None,
        StoreKeyPlace::File(file) => Some(directory.join(file)),
    }
}

/// Where systemd put a credential, if it gave this process any.
pub(super) fn credential(name: &str) -> Option<PathBuf> {
    Credential::try_from(name.to_owned()).ok()?.path()
}

/// Reads what a store is opened with.
pub(super) fn read(settings: &Store, directory: &Path) -> Result<Material, NoStore> {
    let passphrase = settings.key.passphrase;
    match &settings.key.place {
        StoreKeyPlace::Credential(name) => {
            let path = credential(name).ok_or_else(|| NoStore::NotHere(name.clone()))?;
            read_at(&path, file::regular, passphrase)
        }
        StoreKeyPlace::File(file) => read_at(&directory.join(file), file::judge, passphrase),
    }
}

/// Reads it from a file that somebody names: it may be a pipe.
pub(super) fn read_named(path: &Path, passphrase: bool) -> Result<Material, NoStore> {
    let judge = |path: &Path, found: &Metadata| {
        if found.is_file() {
            file::judge(path, found)
        } else {
            Ok(())
        }
    };
    read_at(path, judge, passphrase)
}

fn read_at(
    path: &Path,
    judge: fn(&Path, &Metadata) -> Result<(), NoSecret>,
    passphrase: bool,
) -> Result<Material, NoStore> {
    Ok(Material {
        secret: file::read(path, judge).map_err(|error| unfit(&error))?,
        passphrase,
        from: path.display().to_string(),
    })
}

impl Material {
    /// A passphrase that a new store is made with must be hard to guess.
    pub(super) fn good_for_new(&self) -> Result<(), NoStore> {
        if self.passphrase && self.secret.expose().len() < PASSPHRASE_BYTES_MIN {
            return Err(NoStore::ShortPassphrase(self.from.clone()));
        }
        Ok(())
    }

    /// The keys of the store with this name. `rounds` is what its file says of passphrases.
    pub(super) fn keys(&self, id: [u8; ID_BYTES], rounds: Option<u32>) -> Result<Keys, NoStore> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        match rounds {
            None => {
                let decoded = hex::decode_to_slice(self.secret.expose(), &mut key[..]);
                decoded.map_err(|_| NoStore::NoKey(self.from.clone()))?;
            }
            Some(rounds) if (ROUNDS..=ROUNDS_MAX).contains(&rounds) => {
                let rounds = rounds.try_into().map_err(|_| NoStore::Unsealed)?;
                let passphrase = self.secret.expose();
                let hash = pbkdf2::PBKDF2_HMAC_SHA256;
                pbkdf2::derive(hash, rounds, &id, passphrase, &mut key[..]);
            }
            Some(_) => return Err(NoStore::Unsealed),
        }
        Keys::of(&key, id).ok_or(NoStore::Unsealed)
    }
}

impl Keys {
    /// Three keys for three purposes from one.
    fn of(key: &[u8; KEY_BYTES], id: [u8; ID_BYTES]) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, &id).extract(key);
        let derived = |purpose: &[u8]| {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            let purpose = [purpose];
            root.expand(&purpose, Length)
                .ok()?
                .fill(&mut bytes[..])
                .ok()?;
            Some(bytes)
        };
        let seal = derived(b"postern store seal 1")?;
        let mac = |purpose| Some(hmac::Key::new(hmac::HMAC_SHA256, &derived(purpose)?[..]));
        Some(Self {
            seal: RandomizedNonceKey::new(&AES_256_GCM, &seal[..]).ok()?,
            whole: mac(b"postern store whole 1")?,
            check: mac(b"postern store check 1")?,
            id,
        })
    }

    /// A value as it may lie on a disk: it can be opened under this name and time alone.
    pub(super) fn close(&self, place: (&SecretName, u64), value: &Secret) -> Option<Vec<u8>> {
        let mut text = Zeroizing::new(value.expose().to_vec());
        let aad = Aad::from(self.associated(place));
        let sealed = self.seal.seal_in_place_separate_tag(aad, &mut text);
        let (nonce, tag) = sealed.ok()?;
        let nonce: &[u8] = nonce.as_ref();
        Some([nonce, &text, tag.as_ref()].concat())
    }

    /// The value once more.
    pub(super) fn reveal(&self, place: (&SecretName, u64), sealed: &[u8]) -> Option<Secret> {
        if sealed.len() < NONCE_LEN + MAX_TAG_LEN {
            return None;
        }
        let (nonce, sealed) = sealed.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(self.associated(place));
        let value = self.seal.open_in_place(nonce, aad, &mut text).ok()?;
        Some(Secret::new(value.to_vec()))
    }

    /// What a sealed value belongs to: the store, the name, and the time that it was set.
    fn associated(&self, (name, set): (&SecretName, u64)) -> Vec<u8> {
        let name = name.as_str().as_bytes();
        let length = (name.len() as u64).to_be_bytes();
        [&self.id[..], &length, name, &set.to_be_bytes()].concat()
    }
}
