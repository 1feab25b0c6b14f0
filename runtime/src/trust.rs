//! Whom programs in sandboxes trust: the host's list of authorities and the gate's own, merged into one file. Never
//! holds a key.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use postern_daemon::files;

/// The merged list among the files that sandboxes are shown.
const NAME: &str = "ca-certificates.crt";

/// Where distributions keep their list; the first that is there counts.
const HOST_LISTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The largest list of a host, in bytes; usual ones have a quarter of a mebibyte.
const LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What every certificate in PEM begins with.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTrust {
    /// What the gate sent is something else.
    #[error("the gate sent no certificate of its authority")]
    NoCertificate,
    /// The file could not be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Writes the merged list into a directory that sandboxes are shown files of.
pub(crate) fn place(shims: &Path, ca_certificate: &str) -> Result<PathBuf, NoTrust> {
    if !ca_certificate.contains(CERTIFICATE) {
        return Err(NoTrust::NoCertificate);
    }
    let path = shims.join(NAME);
    let written = merged(&host_list()?, ca_certificate);
    files::write_private(&path, &written)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
        .map_err(|error| NoTrust::File {
            path: path.clone(),
            error,
        })?;
    Ok(path)
}

/// The host's own list; a host without one trusts nobody else.
fn host_list() -> Result<Vec<u8>, NoTrust> {
    for path in HOST_LISTS {
        match files::read_bounded(Path::new(path), LIST_BYTES_MAX) {
            Ok(list) => return Ok(list),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.into();
                return Err(NoTrust::File { path, error });
            }
        }
    }
    Ok(Vec::new())
}

fn merged(host: &[u8], ours: &str) -> Vec<u8> {
    let mut list = host.to_vec();
    if list.last().is_some_and(|last| *last != b'\n') {
        list.push(b'\n');
    }
    list.extend_from_slice(ours.as_bytes());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_at_a_line_border() {
        assert_eq!(merged(b"a", "b\n"), b"a\nb\n");
        assert_eq!(merged(b"a\n", "b\n"), b"a\nb\n");
        assert_eq!(merged(b"", "b\n"), b"b\n");
    }

    #[test]
    fn everybody_may_read_the_list_and_it_ends_with_the_gates_own() {
        let directory = tempfile::tempdir().unwrap();
        let ours = format!("{CERTIFICATE}\nAAAA\n-----END CERTIFICATE-----\n");
        let path = place(directory.path(), &ours).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with(&ours));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert!(matches!(
            place(directory.path(), "no certificate"),
            Err(NoTrust::NoCertificate)
        ));
    }
}
