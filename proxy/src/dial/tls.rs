//! TLS towards upstreams: always verified, for the host that was decided on. Never skips a check and never offers a
//! protocol that the gate does not speak there.

use std::{io, sync::Arc, time::Duration};

use postern_policy::Host;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{net::TcpStream, sync::OnceCell, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Unreached;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is offered; HTTP/2 towards upstreams comes with a later version.
const ALPN: &[u8] = b"http/1.1";

/// The client side of TLS. The system's roots (and those of `SSL_CERT_FILE`) are read when first needed, since many
/// gates never need them, and kept here.
#[derive(Default)]
pub(super) struct Tls(OnceCell<Arc<ClientConfig>>);

impl Tls {
    /// Secures a connection for a host.
    pub(super) async fn secure(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unreached> {
        let failed = |error| Unreached::Tls {
            host: host.to_string(),
            error,
        };
        let config = self.0.get_or_try_init(load).await?;
        let name = match host {
            Host::Ip(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .map_err(|error| failed(io::Error::other(error)))?,
        };
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        match timeout(HANDSHAKE_MAX, handshake).await {
            Ok(secured) => secured.map_err(failed),
            Err(_) => Err(Unreached::Timeout {
                host: host.to_string(),
                step: "the TLS handshake",
            }),
        }
    }
}

async fn load() -> Result<Arc<ClientConfig>, Unreached> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = loaded.map_err(|_| Unreached::NoRoots)?;
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
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
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
