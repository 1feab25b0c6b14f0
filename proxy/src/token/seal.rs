//! What of tokens lies in the gate's database, under a key of the gate's that lies beside it: a copy of the database alone tells
//! nothing. Never keeps anything by itself, and never shows the key.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hmac,
};
use postern_contract::Secret;
use postern_daemon::files;
use zeroize::Zeroizing;

/// The file of the key, in the gate's directory.
const FILE: &str = "tokens.key";

/// How long the key is, in bytes.
const KEY_BYTES: usize = 32;

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// How long a nonce is, in bytes.
const NONCE_BYTES: usize = 12;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSeal {
    /// The file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
    /// Others may read it.
    #[error("{}: others can read this key: run `chmod 600` on it if nobody has", .0.display())]
    Open(PathBuf),
    /// It holds something else.
    #[error("{}: this is no key of the gate's", .0.display())]
    NoKey(PathBuf),
}

/// What was kept cannot be read with this key.
#[derive(Debug, thiserror::Error)]
#[error("what is kept was sealed with another key, or changed since")]
pub(super) struct Broken;

/// What seals and opens.
pub(crate) struct Seal {
    seal: RandomizedNonceKey,
    name: hmac::Key,
}

/// What a sealed secret is kept under: it says which secret of which client it has followed, and tells neither.
pub(crate) type Origin = [u8; 32];

impl Seal {
    /// The key in this directory; made, 0600, if there is none.
    pub(crate) fn open(directory: &Path) -> Result<Self, NoSeal> {
        let path = directory.join(FILE);
        let file = |error| NoSeal::File {
            path: path.clone(),
            error,
        };
        if let Err(error) = fs::metadata(&path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(file(error));
            }
            let fresh = Zeroizing::new(files::random_hex(KEY_BYTES).map_err(file)?);
            files::write_private(&path, fresh.as_bytes()).map_err(file)?;
        }
        let mode = fs::metadata(&path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(NoSeal::Open(path));
        }
        let text = Zeroizing::new(files::read_bounded(&path, FILE_BYTES_MAX).map_err(file)?);
        let bytes = hex::decode(text.trim_ascii()).map(Zeroizing::new);
        let bytes = bytes.ok().filter(|bytes| bytes.len() == KEY_BYTES);
        let made = bytes.as_deref().and_then(|bytes| Self::of(bytes));
        made.ok_or(NoSeal::NoKey(path))
    }

    /// Two keys for two purposes from one.
    fn of(bytes: &[u8]) -> Option<Self> {
        let whole = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let seal = hmac::sign(&whole, b"postern token seal 1");
        let name = hmac::sign(&whole, b"postern token name 1");
        Some(Self {
            seal: RandomizedNonceKey::new(&AES_256_GCM, seal.as_ref()).ok()?,
            name: hmac::Key::new(hmac::HMAC_SHA256, name.as_ref()),
        })
    }

    /// The name of what these parts stand for.
    pub(crate) fn origin(&self, parts: &[&[u8]]) -> Origin {
        let mut context = hmac::Context::with_key(&self.name);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut origin = [0; 32];
        origin.copy_from_slice(context.sign().as_ref());
        origin
    }

    /// A secret as it may lie on a disk.
    pub(super) fn close(&self, origin: &Origin, secret: &Secret) -> Result<Vec<u8>, Broken> {
        let mut sealed = secret.expose().to_vec();
        let nonce = self
            .seal
            .seal_in_place_append_tag(Aad::from(origin), &mut sealed)
            .map_err(|_| Broken)?;
        let nonce: &[u8] = nonce.as_ref();
        Ok([nonce, &sealed].concat())
    }

    /// The secret once more.
    pub(super) fn reveal(&self, origin: &Origin, sealed: &[u8]) -> Result<Secret, Broken> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or(Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let secret = self
            .seal
            .open_in_place(nonce, Aad::from(origin), &mut bytes)
            .map_err(|_| Broken)?;
        Ok(Secret::new(secret.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_what_was_closed_and_only_for_the_same_origin() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Seal::open(directory.path()).unwrap();
        let origin = seal.origin(&[b"https://a", b"app"]);
        assert_ne!(origin, seal.origin(&[b"https://", b"aapp"]));
        let sealed = seal
            .close(&origin, &Secret::new(b"hunter2".to_vec()))
            .unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        let again = Seal::open(directory.path()).unwrap();
        assert_eq!(again.origin(&[b"https://a", b"app"]), origin);
        assert!(again.reveal(&origin, &sealed).unwrap().is(b"hunter2"));
        assert!(seal.reveal(&[0; 32], &sealed).is_err());
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert!(seal.reveal(&origin, &changed).is_err());
        assert!(seal.reveal(&origin, b"short").is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Seal::open(elsewhere.path()).unwrap();
        assert!(other.reveal(&origin, &sealed).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        drop(Seal::open(directory.path()).unwrap());
        let path = directory.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Seal::open(directory.path()), Err(NoSeal::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(
            Seal::open(directory.path()),
            Err(NoSeal::NoKey(_))
        ));
    }
}
