//! Whom programs in sandboxes trust: the host's list of authorities and the gate's own, merged into one file, and once
//! more as Java reads it. Never holds a key.

mod java;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use postern_contract::launch::Trusted;
use postern_daemon::files;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// The merged list among the files that sandboxes are shown.
const NAME: &str = "ca-certificates.crt";

/// The same for Java.
const JAVA_NAME: &str = "cacerts";

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

/// Where the merged list lies, once it is placed.
pub(crate) fn lists(shims: &Path) -> Trusted {
    Trusted {
        list: shims.join(NAME),
        java: shims.join(JAVA_NAME),
    }
}

/// Places the list for the authority that a gate tells of, and says whether sandboxes were made for another one before.
pub(crate) fn following(
    shims: PathBuf,
) -> impl FnMut(&str) -> Result<bool, String> + Send + Sync + 'static {
    let mut placed: Option<String> = None;
    move |ca_certificate| {
        if placed.as_deref() == Some(ca_certificate) {
            return Ok(false);
        }
        place(&shims, ca_certificate).map_err(|error| error.to_string())?;
        Ok(placed.replace(ca_certificate.to_owned()).is_some())
    }
}

/// Writes the merged list into a directory that sandboxes are shown files of.
fn place(shims: &Path, ca_certificate: &str) -> Result<Trusted, NoTrust> {
    if !ca_certificate.contains(CERTIFICATE) {
        return Err(NoTrust::NoCertificate);
    }
    let list = merged(&host_list()?, ca_certificate);
    let trusted = lists(shims);
    write(&trusted.list, &list)?;
    write(&trusted.java, &for_java(&list))?;
    Ok(trusted)
}

/// Writes a file that everybody may read.
fn write(path: &Path, written: &[u8]) -> Result<(), NoTrust> {
    let done = files::write_private(path, written)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)));
    done.map_err(|error| NoTrust::File {
        path: path.to_owned(),
        error,
    })
}

/// The list as Java reads it. What in the host's list is no certificate is no authority either.
fn for_java(list: &[u8]) -> Vec<u8> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(list)
        .filter_map(Result::ok)
        .collect();
    java::key_store(certificates.iter().map(AsRef::as_ref))
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
    fn java_is_given_every_certificate_of_the_list() {
        let one = format!("{CERTIFICATE}\nAAAA\n-----END CERTIFICATE-----\n");
        let three_bytes = [0, 0, 0, 3, 0, 0, 0];
        let count = |store: &[u8]| store.windows(7).filter(|at| *at == three_bytes).count();
        assert_eq!(count(&for_java(one.repeat(2).as_bytes())), 2);
        assert_eq!(for_java(b"no certificate").len(), 12 + 20);
    }

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
        let trusted = place(directory.path(), &ours).unwrap();
        assert!(fs::read_to_string(&trusted.list).unwrap().ends_with(&ours));
        assert!(
            fs::read(&trusted.java)
                .unwrap()
                .ends_with(&for_java(&fs::read(&trusted.list).unwrap()))
        );
        for path in [&trusted.list, &trusted.java] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
        }
        assert!(matches!(
            place(directory.path(), "no certificate"),
            Err(NoTrust::NoCertificate)
        ));
    }
}
