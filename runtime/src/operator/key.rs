//! The operator's key, and the callers': each made once, kept in a file that only this daemon's user reads, never logged.

use std::{fs::Permissions, io, os::unix::fs::PermissionsExt, path::Path};

use axum::http::{HeaderMap, HeaderName, header};
use postern_contract::Secret;
use postern_daemon::files;

/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// The largest key file, in bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// The header of newer clients of the dialect; older ones send a bearer token.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("x-runagents-api-key");

/// The key in a file, which is made if it is not there.
pub(crate) fn read_or_make(path: &Path) -> io::Result<Secret> {
    match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok(bytes) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            let key = bytes.trim_ascii();
            if key.len() < KEY_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the key is too short",
                ));
            }
            Ok(Secret::new(key.to_vec()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = files::random_hex(KEY_BYTES)?;
            files::write_private(path, format!("{key}\n").as_bytes())?;
            Ok(Secret::new(key.into_bytes()))
        }
        Err(error) => Err(error),
    }
}

/// The key that a request shows.
pub(crate) fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_the_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.key");
        let made = read_or_make(&path).unwrap();
        let read = read_or_make(&path).unwrap();
        assert!(made.is(read.expose()) && made.expose().len() == 2 * KEY_BYTES);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "short").unwrap();
        assert!(read_or_make(&path).is_err());
    }
}
