//! Serves an axum router on a listener: HTTP/1.1 and HTTP/2 on one port, with prior knowledge or as TLS agrees on, bounded, drained
//! on shutdown. Never looks at a request.
//!
//! ```text
//! accept ─▶ connection task ─▶ router          shutdown asked: no more accepts, HTTP/1.1 closes after the running
//!    │          (≤ connections_max)            answer, HTTP/2 sends GOAWAY; after `drain` what is left is cut off
//! ```

use std::{
    fs::Permissions, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use tokio_rustls::TlsAcceptor;

use crate::{Shutdown, Unread, channel::is_socket, files, prompt::Prompt, tls::Tls};

/// Where to serve.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a TCP address, inside TLS.
    Tls(TcpListener, Tls),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Bounds on serving.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a client may take to agree on TLS, for its first bytes, and again for the head of a request.
    pub head: Duration,
    /// How long a client may leave unread what it is sent.
    pub unread: Duration,
    /// How long running answers may take once shutdown is asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            head: Duration::from_secs(10),
            unread: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Who may connect to a Unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until shutdown is asked for and the running answers are through, or cut off after `limits.drain`.
pub async fn serve(listener: Listener, router: Router, limits: Limits, shutdown: Shutdown) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let builder = Arc::new(connection_builder(limits));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let connection = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.requested() => break,
        };
        match connection {
            Ok(Connection::Tcp(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                attend(
                    (patient(stream, limits), place),
                    router.clone(),
                    &builder,
                    &graceful,
                );
            }
            Ok(Connection::Unix(stream)) => {
                attend(
                    (patient(stream, limits), place),
                    router.clone(),
                    &builder,
                    &graceful,
                );
            }
            Ok(Connection::Tls(stream, acceptor)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                let inside = (Arc::clone(&builder), graceful.watcher());
                let connection = agree((stream, acceptor), (router.clone(), limits), inside);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(after = ?limits.drain, "some answers were cut off");
    }
}

/// The stream, for as long as its client says and reads something.
fn patient<Stream>(stream: Stream, limits: Limits) -> Prompt<Unread<Stream>> {
    Prompt::new(Unread::new(stream, limits.unread), limits.head)
}

fn connection_builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

fn attend<Stream>(
    (stream, place): (Stream, OwnedSemaphorePermit),
    router: Router,
    builder: &auto::Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let watched = graceful.watch(connection.into_owned());
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(place);
    });
}

/// Agrees on TLS, for as long as the head of a request may take, and serves what is inside.
async fn agree(
    (stream, acceptor): (TcpStream, TlsAcceptor),
    (router, limits): (Router, Limits),
    (builder, watcher): (Arc<auto::Builder<TokioExecutor>>, Watcher),
) {
    let stream = match tokio::time::timeout(limits.head, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a client did not agree on TLS"),
        Err(_) => return tracing::debug!("a client was too slow to agree on TLS"),
    };
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(patient(stream, limits));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

enum Connection {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on a TCP address; port 0 takes any free one.
    ///
    /// # Errors
    /// As bind(2) says, with the address in the text.
    pub async fn tcp(address: std::net::SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        Ok(Self::Tcp(listener))
    }

    /// The same, inside TLS.
    ///
    /// # Errors
    /// As bind(2) says, with the address in the text.
    pub async fn tls(address: std::net::SocketAddr, tls: Tls) -> io::Result<Self> {
        match Self::tcp(address).await? {
            Self::Tcp(listener) => Ok(Self::Tls(listener, tls)),
            other => Ok(other),
        }
    }

    /// Listens on a Unix socket that its owner and group may use. One that a dead daemon left there is replaced; anything else there
    /// is an error.
    ///
    /// # Errors
    /// As bind(2) says, with the path in the text; `AddrInUse` if somebody answers there, or something else is there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let listener = bound(path);
        listener
            .map(Self::Unix)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// The TCP address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => Ok(Connection::Tcp(listener.accept().await?.0)),
            Self::Tls(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                Ok(Connection::Tls(stream, tls.acceptor()))
            }
            Self::Unix(listener) => Ok(Connection::Unix(listener.accept().await?.0)),
        }
    }
}

/// A socket that takes the place of a dead one in one step, and is nobody else's at no time.
fn bound(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok() {
        let answer = std::os::unix::net::UnixStream::connect(path);
        if answer.is_ok() || !is_socket(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}", files::random_hex(4)?));
    let staged = Path::new(&staged);
    let placed = UnixListener::bind(staged).and_then(|listener| {
        std::fs::set_permissions(staged, Permissions::from_mode(SOCKET_MODE))?;
        std::fs::rename(staged, path)?;
        Ok(listener)
    });
    if placed.is_err() {
        drop(std::fs::remove_file(staged));
    }
    placed
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use base64::Engine as _;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;
    use crate::tls::TlsFiles;

    #[tokio::test]
    async fn a_running_answer_is_finished_after_shutdown_is_asked_for() {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, gate) = (Arc::clone(&entered), Arc::clone(&release));
        let router = Router::new().route(
            "/",
            get(|| async move {
                inside.notify_one();
                gate.notified().await;
                "done"
            }),
        );
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.address().unwrap();
        let shutdown = Shutdown::manual();
        let server = tokio::spawn(serve(listener, router, Limits::default(), shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        entered.notified().await;
        shutdown.trigger("test");
        release.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[tokio::test]
    async fn who_does_not_agree_on_tls_in_time_holds_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let files = TlsFiles {
            certificate: directory.path().join("crt"),
            key: directory.path().join("key"),
        };
        std::fs::write(&files.certificate, pem("CERTIFICATE", certificate.der())).unwrap();
        let secret = pem("PRIVATE KEY", &key.serialize_der());
        files::write_private(&files.key, secret.as_bytes()).unwrap();
        let tls = Tls::watch(files).await.unwrap();
        let listener = Listener::tls(([127, 0, 0, 1], 0).into(), tls)
            .await
            .unwrap();
        let address = listener.address().unwrap();
        let limits = Limits {
            connections_max: 1,
            head: Duration::from_millis(20),
            ..Limits::default()
        };
        let router = Router::new().route("/", get(|| async { "done" }));
        let shutdown = Shutdown::manual();
        let server = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        // The second has its turn once the first has lost its place.
        for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(beginning).await.unwrap();
            let mut told = Vec::new();
            drop(silent.read_to_end(&mut told).await);
            assert!(!told.starts_with(b"HTTP"), "{told:?}");
        }
        shutdown.trigger("test");
        server.await.unwrap();
    }
}
