//! Files that only their owner may read, written whole or not at all. Never follows a link at the destination.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::Path,
};

/// Writes a file with mode 0600 beside its place, syncs it and renames it there.
///
/// # Errors
/// As the file system says; the old file, if any, is untouched then.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_private_of(path, bytes, None)
}

/// The same, and the file is this user's and group's.
///
/// # Errors
/// As the file system says; the old file, if any, is untouched then.
pub fn write_private_of(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let staged = directory.join(format!(".{name}.{}", random_hex(8)?));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)
        .and_then(|mut file| {
            if let Some((user, group)) = owner {
                fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&staged, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        drop(fs::remove_file(&staged));
    }
    written
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As the file system says; `FileTooLarge` beyond the limit.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// `bytes` random bytes of the kernel, in hexadecimal: for keys, tokens and names nobody can guess.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn random_hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(io::Error::from)?;
    Ok(hex::encode(buffer))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_file_is_the_owners_alone_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read_bounded(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
