//! TLS towards upstreams: always verified, for the host that was decided on. Never skips a check and never offers a
//! protocol that the gate does not speak there.

use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};

use postern_policy::Host;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    sign::SingleCertAndKey,
};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, sync::OnceCell, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Speaks, Unreached};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is offered.
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// The only authorities that are believed about a tool or provider.
#[derive(Clone)]
pub(crate) struct Roots {
    client: Arc<ClientConfig>,
    digest: Digest,
}

/// What tells one set of authorities from another.
pub(crate) type Digest = [u8; 32];

/// Why a file names no authorities.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableRoots {
    #[error("{path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("{0} holds no certificate in PEM that could be an authority's")]
    None(String),
}

impl Roots {
    /// Reads a file of certificates in PEM.
    pub(crate) fn read(file: &Path) -> Result<Self, UnreadableRoots> {
        let path = || file.display().to_string();
        let bytes = fs::read(file).map_err(|error| UnreadableRoots::Unreadable {
            path: path(),
            error,
        })?;
        let found = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
        let client = client(found.collect()).map_err(|_| UnreadableRoots::None(path()))?;
        Ok(Self {
            client,
            digest: Sha256::digest(&bytes).into(),
        })
    }

    /// What tells them from others.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots(..)")
    }
}

/// The client side of TLS. The system's roots (and those of `SSL_CERT_FILE`) are read when first needed, since many
/// gates never need them, and kept here.
#[derive(Default)]
pub(crate) struct Tls(OnceCell<Arc<ClientConfig>>);

impl Tls {
    /// Secures a connection for a host, which these authorities must vouch for (absent: the system's), and says which
    /// version of HTTP it agreed to.
    pub(crate) async fn secure(
        &self,
        host: &Host,
        stream: TcpStream,
        (roots, speaks): (Option<&Roots>, Speaks),
    ) -> Result<(TlsStream<TcpStream>, Speaks), Unreached> {
        let config = offering(self.client(roots).await?, speaks);
        agreed(handshake(host, stream, config).await?, host, speaks)
    }

    /// The same, with a certificate for a server that asks who this is. It is shown on this connection alone: no session
    /// that began with one is taken up again by a connection with another or none.
    pub(super) async fn secure_showing(
        &self,
        host: &Host,
        stream: TcpStream,
        (roots, speaks): (Option<&Roots>, Speaks),
        shown: Option<Arc<SingleCertAndKey>>,
    ) -> Result<(TlsStream<TcpStream>, Speaks), Unreached> {
        let Some(shown) = shown else {
            return self.secure(host, stream, (roots, speaks)).await;
        };
        let mut config = ClientConfig::clone(&*offering(self.client(roots).await?, speaks));
        config.client_auth_cert_resolver = shown;
        config.resumption = Resumption::disabled();
        agreed(
            handshake(host, stream, Arc::new(config)).await?,
            host,
            speaks,
        )
    }

    /// The same for a protocol that is no HTTP, which nobody has to agree to by name.
    pub(crate) async fn secure_as(
        &self,
        host: &Host,
        stream: TcpStream,
        (roots, alpn): (Option<&Roots>, Option<&[u8]>),
    ) -> Result<TlsStream<TcpStream>, Unreached> {
        let mut config = ClientConfig::clone(self.client(roots).await?);
        config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
        handshake(host, stream, Arc::new(config)).await
    }

    async fn client<'a>(
        &'a self,
        roots: Option<&'a Roots>,
    ) -> Result<&'a Arc<ClientConfig>, Unreached> {
        match roots {
            Some(roots) => Ok(&roots.client),
            None => self.0.get_or_try_init(load).await,
        }
    }
}

/// Speaks TLS to whoever proves to be the host.
async fn handshake(
    host: &Host,
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Unreached> {
    let failed = |error| Unreached::Tls {
        host: host.to_string(),
        error,
    };
    let name = match host {
        Host::Ip(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| failed(io::Error::other(error)))?,
    };
    let handshake = TlsConnector::from(config).connect(name, stream);
    match timeout(HANDSHAKE_MAX, handshake).await {
        Ok(secured) => secured.map_err(failed),
        Err(_) => Err(Unreached::Timeout {
            host: host.to_string(),
            step: "the TLS handshake",
        }),
    }
}

/// The config for what a call can be made in.
fn offering(config: &Arc<ClientConfig>, speaks: Speaks) -> Arc<ClientConfig> {
    let only = match speaks {
        Speaks::Either => return Arc::clone(config),
        Speaks::Http1 => HTTP_1,
        Speaks::Http2 => HTTP_2,
    };
    let mut narrowed = ClientConfig::clone(config);
    narrowed.alpn_protocols = vec![only.to_vec()];
    Arc::new(narrowed)
}

/// What was agreed on. A server that says nothing speaks HTTP/1.1.
fn agreed(
    secured: TlsStream<TcpStream>,
    host: &Host,
    speaks: Speaks,
) -> Result<(TlsStream<TcpStream>, Speaks), Unreached> {
    match (secured.get_ref().1.alpn_protocol(), speaks) {
        (Some(HTTP_2), _) => Ok((secured, Speaks::Http2)),
        (_, Speaks::Http2) => Err(Unreached::NoHttp2 {
            host: host.to_string(),
        }),
        _ => Ok((secured, Speaks::Http1)),
    }
}

async fn load() -> Result<Arc<ClientConfig>, Unreached> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = loaded.map_err(|_| Unreached::NoRoots)?;
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates could not be read");
    }
    client(found.certs)
}

/// A client that believes these authorities alone.
fn client(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, Unreached> {
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(authorities);
    tracing::debug!(added, ignored, "root certificates loaded");
    if roots.is_empty() {
        return Err(Unreached::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let mut config = builder
        .with_safe_default_protocol_versions()
        .map_err(|_| Unreached::NoRoots)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok(Arc::new(config))
}
