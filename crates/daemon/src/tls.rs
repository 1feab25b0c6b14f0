//! TLS of a listener: a certificate and its key out of two files, read anew when they change. Never speaks less than TLS 1.2, and
//! never takes a key that others may read.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::files;

/// The largest of the two files, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What clients may speak, in this order.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Who may do something with the key besides its owner: its group may read it.
const FORBIDDEN_MODE: u32 = 0o037;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct BadTls {
    path: PathBuf,
    why: String,
}

/// A certificate in use. Clones share it.
#[derive(Debug, Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Reads the files, and watches over them from then on; what is broken changes nothing but the log.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub async fn watch(from: TlsFiles) -> Result<Self, BadTls> {
        let mut seen = from.stamps();
        let tls = Self(Arc::new(RwLock::new(from.read()?)));
        let shared = Arc::downgrade(&tls.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_AGAIN).await;
                let now = from.stamps();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if now == seen {
                    continue;
                }
                seen = now;
                match from.read() {
                    Ok(new) => {
                        *shared.write().unwrap_or_else(PoisonError::into_inner) = new;
                        tracing::info!(certificate = %from.certificate.display(), "a new certificate is in use");
                    }
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                }
            }
        });
        Ok(tls)
    }

    /// What ends the TLS of the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

impl TlsFiles {
    /// What changes when a file does.
    fn stamps(&self) -> [Option<(u64, i64, i64, u64)>; 2] {
        let stamp = |found: Metadata| (found.ino(), found.mtime(), found.mtime_nsec(), found.len());
        [&self.certificate, &self.key].map(|path| fs::metadata(path).ok().map(stamp))
    }

    fn read(&self) -> Result<Arc<ServerConfig>, BadTls> {
        let (certificate, key) = (self.certificate.as_path(), self.key.as_path());
        let chain = of(certificate, chain(certificate))?;
        let secret = of(key, private_key(key))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, secret)
            });
        let mut config = of(certificate, config.map_err(|error| error.to_string()))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn of<T>(path: &Path, done: Result<T, String>) -> Result<T, BadTls> {
    done.map_err(|why| BadTls {
        path: path.to_owned(),
        why,
    })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let mode = fs::metadata(path).map_err(|error| in_words(&error))?;
    let mode = mode.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(format!(
            "others may use it (mode {mode:o}): chmod it to 600 or 640"
        ));
    }
    // Of what is wrong with a key, nothing of the key is told.
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| "it has no private key in PEM".to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_bounded(path, FILE_BYTES_MAX).map_err(|error| in_words(&error))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    }
}
