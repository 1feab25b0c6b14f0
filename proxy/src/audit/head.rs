//! The head of the log, its last line's number and hash, under a key of the gate's: whoever holds one that was sent out
//! sees whether the log was cut, edited or made again since. Never reads the log, and never shows the key.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;
use postern_daemon::files;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How long a key is, in bytes.
const KEY_BYTES: usize = 32;

/// The largest key file, in bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// What every MAC begins with, so that one made for something else is never taken for one of these.
const PURPOSE: &str = "postern audit head 1";

/// How much of a MAC names its key, in hexadecimal digits.
const NAME_DIGITS: usize = 16;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// The file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
    /// Others may read it, so it vouches for nothing.
    #[error("{}: others may read this key: remove it, and a new one is made", .0.display())]
    Open(PathBuf),
    /// It holds something else.
    #[error("{}: this is no key of the audit's", .0.display())]
    NoKey(PathBuf),
}

/// The key of a log's heads.
pub struct HeadKey(hmac::Key);

/// What the log ended with at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// When, RFC 3339.
    pub time: String,
    /// The number of the last line.
    pub seq: u64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// Which key the MAC was made with.
    pub key: String,
    /// HMAC-SHA-256 over the rest, in hexadecimal.
    pub mac: String,
}

impl HeadKey {
    /// The key of this file; made, 0600, if there is none.
    ///
    /// # Errors
    /// As [`HeadKey::read`], and when none can be made.
    pub fn open_or_make(path: &Path) -> Result<Self, NoKey> {
        let file = |error| NoKey::File {
            path: path.to_owned(),
            error,
        };
        match Self::read(path) {
            Err(NoKey::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = Zeroizing::new(files::random_hex(KEY_BYTES).map_err(file)?);
                files::write_private(path, fresh.as_bytes()).map_err(file)?;
                Self::read(path)
            }
            read => read,
        }
    }

    /// The key of this file.
    ///
    /// # Errors
    /// When it cannot be read, when others can, or when it holds no key.
    pub fn read(path: &Path) -> Result<Self, NoKey> {
        let file = |error| NoKey::File {
            path: path.to_owned(),
            error,
        };
        let mode = fs::metadata(path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(NoKey::Open(path.to_owned()));
        }
        let text = Zeroizing::new(files::read_bounded(path, FILE_BYTES_MAX).map_err(file)?);
        let bytes = hex::decode(text.trim_ascii()).map(Zeroizing::new);
        match bytes {
            Ok(bytes) if bytes.len() == KEY_BYTES => {
                Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
            }
            _ => Err(NoKey::NoKey(path.to_owned())),
        }
    }

    /// A head with its MAC.
    #[must_use]
    pub fn head(&self, time: String, (seq, hash): (u64, &str)) -> Head {
        let mac = hmac::sign(&self.0, &covered(&time, seq, hash));
        Head {
            time,
            seq,
            hash: hash.to_owned(),
            key: self.name(),
            mac: hex::encode(mac),
        }
    }

    /// Whether this key's gate made the head.
    #[must_use]
    pub fn made(&self, head: &Head) -> bool {
        let covered = covered(&head.time, head.seq, &head.hash);
        hex::decode(&head.mac).is_ok_and(|mac| hmac::verify(&self.0, &covered, &mac).is_ok())
    }

    /// What tells this key from others and nothing about it.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = hex::encode(hmac::sign(&self.0, b"postern audit key"));
        name.truncate(NAME_DIGITS);
        name
    }
}

impl std::fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeadKey(..)")
    }
}

/// What a MAC covers: no part holds a line break, so parts cannot run into one another.
fn covered(time: &str, seq: u64, hash: &str) -> Vec<u8> {
    format!("{PURPOSE}\n{time}\n{seq}\n{hash}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_keys_own_and_nothing_in_it_can_be_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        let key = HeadKey::open_or_make(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let head = key.head("now".to_owned(), (7, "ab"));
        assert!(HeadKey::read(&path).unwrap().made(&head));
        let other = HeadKey::open_or_make(&directory.path().join("other")).unwrap();
        assert!(!other.made(&head) && other.name() != key.name());
        let changed: [fn(&mut Head); 4] = [
            |head| head.time.push('x'),
            |head| head.seq += 1,
            |head| head.hash.push('x'),
            |head| head.mac = "zz".to_owned(),
        ];
        for change in changed {
            let mut head = head.clone();
            change(&mut head);
            assert!(!key.made(&head), "{head:?}");
        }
        assert_eq!(format!("{key:?}"), "HeadKey(..)");
    }

    #[test]
    fn a_key_that_others_can_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        fs::write(&path, "00".repeat(KEY_BYTES)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(HeadKey::open_or_make(&path), Err(NoKey::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(HeadKey::read(&path).is_ok());
        fs::write(&path, "short").unwrap();
        assert!(matches!(HeadKey::open_or_make(&path), Err(NoKey::NoKey(_))));
    }
}
