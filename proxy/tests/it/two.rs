//! A server that speaks HTTP/2 alone, in the clear or behind TLS, and answers as gRPC does. Never anything else.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{Certificate, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

pub(crate) type Stream = UnsyncBoxBody<Bytes, Infallible>;

/// A request as it came, with its body and trailers.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: Request<()>,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

#[derive(Clone)]
pub(crate) struct Two {
    pub(crate) address: SocketAddr,
    /// What the second half of a slow answer waits for.
    pub(crate) go: Arc<Notify>,
    /// Makes every connection say goodbye.
    pub(crate) bye: Arc<Notify>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

/// One message as gRPC frames it.
pub(crate) fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

pub(crate) fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, http::HeaderValue::from_static(value))
    });
    fields.collect()
}

impl Two {
    pub(crate) async fn start(identity: Option<(Certificate, KeyPair)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let two = Self {
            address: listener.local_addr().unwrap(),
            go: Arc::default(),
            bye: Arc::default(),
            seen: Arc::default(),
            connections: Arc::default(),
            ended: Arc::default(),
        };
        let acceptor = identity.map(|identity| acceptor(identity, &["h2"]));
        let server = two.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.connections.fetch_add(1, Ordering::SeqCst);
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(server.attend(stream, acceptor));
            }
        });
        two
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that are over.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    async fn attend(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        let Some(acceptor) = acceptor else {
            return self.serve(stream).await;
        };
        if let Ok(stream) = acceptor.accept(stream).await {
            self.serve(stream).await;
        }
    }

    async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut serving = pin!(serving.serve_connection(TokioIo::new(stream), service));
        let asked = tokio::select! {
            _ = &mut serving => false,
            () = self.bye.notified() => true,
        };
        if asked {
            serving.as_mut().graceful_shutdown();
            drop(serving.await);
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Stream>, Infallible> {
        let (parts, body) = request.into_parts();
        let whole = body.collect().await;
        let head = Request::from_parts(parts, ());
        let path = head.uri().path().to_owned();
        let (trailers, body) = match whole {
            Ok(whole) => (whole.trailers().cloned(), whole.to_bytes()),
            Err(_) => Default::default(),
        };
        let trailers = trailers.unwrap_or_default();
        self.seen.lock().unwrap().push(Seen {
            head,
            body: body.clone(),
            trailers,
        });
        let response = Response::builder().header("content-type", "application/grpc");
        if path.ends_with("/Nothing") {
            let response = response
                .header("grpc-status", "5")
                .header("grpc-message", "none");
            return Ok(response
                .body(StreamBody::new(futures_util::stream::empty()).boxed_unsync())
                .unwrap());
        }
        let waits = path.ends_with("/Slow");
        Ok(response.body(self.stream(body, waits)).unwrap())
    }

    /// Echoes, and says one more thing after a word from the test where it should wait.
    fn stream(&self, body: Bytes, waits: bool) -> Stream {
        let go = Arc::clone(&self.go);
        let steps =
            futures_util::stream::unfold((0, body, go), move |(step, body, go)| async move {
                let frame = match step {
                    0 => Frame::data(body.clone()),
                    1 => {
                        if waits {
                            go.notified().await;
                        }
                        Frame::data(message("more"))
                    }
                    2 => Frame::trailers(trailers(&[
                        ("grpc-status", "0"),
                        ("x-postern-decision", "allow"),
                    ])),
                    _ => return None,
                };
                Some((Ok(frame), (step + 1, body, go)))
            });
        StreamBody::new(steps).boxed_unsync()
    }
}

/// The server side of TLS, with these protocols to choose from.
pub(crate) fn acceptor(
    (certificate, key): (Certificate, KeyPair),
    protocols: &[&str],
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
    config.alpn_protocols = protocols.collect();
    TlsAcceptor::from(Arc::new(config))
}
