//! A real HTTP server on a loopback port that records what reaches it, byte for byte, and answers as the test says. Never
//! forgives: what is not HTTP is not recorded.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, runtime::Runtime, sync::Semaphore};

use crate::wait::DEADLINE;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The request target, with query.
    pub target: String,
    /// Header names in lower case, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The values of a header, by its name in lower case.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// If there is one, the answer waits until it is open.
    pub hold: Option<Latch>,
}

impl Answer {
    /// 200 with JSON.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self {
            status: 200,
            headers,
            body: value.to_string().into_bytes(),
            hold: None,
        }
    }

    /// Another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Keeps the answer back until the latch is open.
    #[must_use]
    pub fn held_by(mut self, latch: &Latch) -> Self {
        self.hold = Some(latch.clone());
        self
    }
}

/// Something that can be waited for and is opened once.
#[derive(Debug, Clone)]
pub struct Latch(Arc<Semaphore>);

impl Default for Latch {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Latch {
    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // The semaphore has no permits: waiting ends when it is closed.
        drop(self.0.acquire().await);
    }
}

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Recorded>>,
    arrived: Condvar,
}

type Responder = dyn Fn(&Recorded) -> Answer + Send + Sync;

impl Upstream {
    /// Starts a server on a free loopback port.
    ///
    /// # Panics
    /// When there is no free port or thread.
    pub fn start(respond: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        Self::try_start(Arc::new(respond)).unwrap_or_else(|error| panic!("no upstream: {error}"))
    }

    fn try_start(respond: Arc<Responder>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        runtime.spawn(accept(listener, Arc::clone(&seen), respond));
        Ok(Self {
            address,
            seen,
            _runtime: runtime,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has arrived so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.seen
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until `count` requests have arrived.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    #[must_use]
    pub fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let guard = self
            .seen
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .seen
            .arrived
            .wait_timeout_while(guard, DEADLINE, |seen| seen.len() < count);
        let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timeout.timed_out(),
            "{} of {count} requests arrived",
            guard.len()
        );
        guard.clone()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, respond: Arc<Responder>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, respond) = (Arc::clone(&seen), Arc::clone(&respond));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (seen, respond) = (Arc::clone(&seen), Arc::clone(&respond));
                async move { Ok::<_, Infallible>(answer(request, &seen, &*respond).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            drop(
                builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: &Seen,
    respond: &Responder,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|whole| whole.to_bytes().to_vec())
        .unwrap_or_default();
    let lossy = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts
        .headers
        .iter()
        .map(|(key, value)| (key.as_str().to_owned(), lossy(value)))
        .collect();
    let recorded = Recorded {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers,
        body,
    };
    let answer = respond(&recorded);
    seen.requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(recorded);
    seen.arrived.notify_all();
    if let Some(latch) = &answer.hold {
        latch.passed().await;
    }
    let mut response = Response::builder().status(answer.status);
    for (key, value) in &answer.headers {
        response = response.header(key, value);
    }
    response.body(Full::from(answer.body)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Curl;

    #[test]
    fn it_records_and_answers_in_both_versions() {
        let upstream = Upstream::start(|_| Answer::json(&serde_json::json!({"ok": true})));
        let old = Curl::post(format!("{}/a?b=c", upstream.url()), "{}").send();
        let new = Curl::get(upstream.url())
            .flag("--http2-prior-knowledge")
            .send();
        assert_eq!((old.version.as_str(), new.version.as_str()), ("1.1", "2"));
        let seen = upstream.wait_for(2);
        assert_eq!(
            (seen[0].target.as_str(), &seen[0].body[..]),
            ("/a?b=c", &b"{}"[..])
        );
        assert_eq!(old.json()["ok"], true);
    }
}
