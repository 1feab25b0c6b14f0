//! Serves an axum router on a listener: HTTP/1.1 and HTTP/2 with prior knowledge on one port, bounded, drained on
//! shutdown. Never looks at a request.
//!
//! ```text
//! accept ─▶ connection task ─▶ router          shutdown asked: no more accepts, HTTP/1.1 closes after the running
//!    │          (≤ connections_max)            answer, HTTP/2 sends GOAWAY; after `drain` what is left is cut off
//! ```

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{Shutdown, Unread, prompt::Prompt};

/// Where to serve.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Bounds on serving.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a client may take for its first bytes, and again for the head of a request.
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

enum Connection {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
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

    /// The TCP address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => Ok(Connection::Tcp(listener.accept().await?.0)),
            Self::Unix(listener) => Ok(Connection::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;

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
}
