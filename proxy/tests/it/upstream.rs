//! A server that keeps every byte it is sent and answers what it is told to. Never parses more than it must.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

/// What it answers: bytes at once, then perhaps more when told.
pub(crate) struct Answer {
    pub(crate) now: Vec<u8>,
    pub(crate) then: Option<(Arc<Notify>, Vec<u8>)>,
}

impl Answer {
    pub(crate) fn raw(text: &str) -> Self {
        Self {
            now: text.as_bytes().to_vec(),
            then: None,
        }
    }

    pub(crate) fn ok(body: &str) -> Self {
        Self::raw(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

impl Upstream {
    /// Starts one on a free loopback port.
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn start_at(
        address: &str,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                tokio::spawn(async move { attend(stream, &seen, &*answer).await });
            }
        });
        Self { address, seen }
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                let accepting = acceptor.accept(stream);
                tokio::spawn(async move {
                    if let Ok(stream) = accepting.await {
                        attend(stream, &seen, &*answer).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// Every request so far, head and body as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The one request that came.
    #[track_caller]
    pub(crate) fn only(&self) -> String {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn attend<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: &Seen,
    answer: &(dyn Fn(&str) -> Answer + Send + Sync),
) {
    while let Some(request) = read_message(&mut stream).await {
        seen.requests.lock().unwrap().push(request.clone());
        let Answer { now, then } = answer(&request);
        if now.is_empty() && then.is_none() {
            // Gone without a word.
            return;
        }
        if stream.write_all(&now).await.is_err() {
            return;
        }
        if let Some((go, more)) = then {
            go.notified().await;
            if stream.write_all(&more).await.is_err() {
                return;
            }
        }
    }
}

/// One HTTP/1 message: its head, and its body if the head tells its length or that it is chunked.
pub(crate) async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
    let chunked = head.contains("transfer-encoding: chunked");
    while (chunked && !has_last_chunk(&bytes[end..])) || bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            break;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a chunked body is there to its end, trailers included. Counts lengths: a body may look like an end.
fn has_last_chunk(mut bytes: &[u8]) -> bool {
    while let Some(at) = find(bytes, b"\r\n") {
        let length = std::str::from_utf8(&bytes[..at]).unwrap();
        match usize::from_str_radix(length, 16).unwrap() {
            0 => return find(&bytes[at..], b"\r\n\r\n").is_some(),
            length => match bytes.get(at + 2 + length + 2..) {
                Some(rest) => bytes = rest,
                None => return false,
            },
        }
    }
    false
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
