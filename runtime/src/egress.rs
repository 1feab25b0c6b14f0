//! posternd's own way through the gate, for agents without code: HTTP over a Unix listener that it made and handed to the
//! gate. Never dials anything else, never carries a credential.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long the gate may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why a call did not come back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    /// The gate does not accept.
    #[error("the gate cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// The exchange broke off.
    #[error("the gate broke off: {0}")]
    Exchange(#[from] hyper::Error),
    /// The answer is larger than allowed, or broke off.
    #[error("the answer was not read: {0}")]
    Body(String),
    /// No answer in time.
    #[error("no answer in {0:?}")]
    Slow(Duration),
}

/// A Unix listener in posternd's private directory; the gate accepts on it, posternd connects to it.
#[derive(Debug)]
pub(crate) struct Egress {
    directory: File,
    path: PathBuf,
    name: String,
}

impl Egress {
    /// Binds a socket of this name, and gives the listening end to be handed to the gate.
    ///
    /// # Errors
    /// As bind(2) says.
    pub(crate) fn bind(directory: &Path, name: &str) -> io::Result<(Self, OwnedFd)> {
        let egress = Self {
            directory: File::open(directory)?,
            path: directory.join(name),
            name: name.to_owned(),
        };
        // What a killed daemon left there; nobody else can write in this directory.
        drop(fs::remove_file(&egress.path));
        let listener = UnixListener::bind(egress.address())?;
        fs::set_permissions(&egress.path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok((egress, listener.into()))
    }

    /// The socket's path by way of the open directory: a socket's address holds 108 bytes, a state directory may be deeper.
    fn address(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{}",
            self.directory.as_raw_fd(),
            self.name
        ))
    }

    /// Sends one request; `within` bounds the time until the answer's head.
    ///
    /// # Errors
    /// See [`EgressError`].
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Response<Incoming>, EgressError> {
        match tokio::time::timeout(within, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(EgressError::Slow(within)),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, EgressError> {
        let connecting = tokio::time::timeout(CONNECT_MAX, UnixStream::connect(self.address()));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(EgressError::Connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the gate ended early");
            }
        });
        Ok(sender.send_request(request).await?)
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// An answer's body, whole.
///
/// # Errors
/// It is larger than `bytes_max`, late or broken off.
pub(crate) async fn whole(
    body: Incoming,
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, EgressError> {
    match tokio::time::timeout(within, Limited::new(body, bytes_max).collect()).await {
        Ok(collected) => collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| EgressError::Body(error.to_string())),
        Err(_) => Err(EgressError::Slow(within)),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::post};
    use postern_daemon::{Shutdown, serve};

    use super::*;

    #[tokio::test]
    async fn a_request_goes_over_the_socket_however_deep_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let (egress, listener) = Egress::bind(&deep, "desk.sock").unwrap();
        let listener = tokio::net::UnixListener::from_std(listener.into()).unwrap();
        let router = Router::new().route("/echo", post(|body: String| async move { body }));
        let serving = serve::serve(
            serve::Listener::Unix(listener),
            router,
            serve::Limits::default(),
            Shutdown::manual(),
        );
        tokio::spawn(serving);
        let request = Request::post("/echo")
            .header("host", "gate")
            .body(Full::from("hello"))
            .unwrap();
        let second = Duration::from_secs(5);
        let answer = egress.send(request, second).await.unwrap();
        assert_eq!(
            whole(answer.into_body(), 100, second).await.unwrap(),
            "hello"
        );
        drop(egress);
        assert!(!deep.join("desk.sock").exists());
    }
}
