//! Requests over one upstream connection, in the HTTP version that is spoken there. Never sends one twice: what was not
//! written at all comes back to the caller.

use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};

use crate::body::Body;

/// Which versions a call can be made in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Speaks {
    /// Either, as TLS agrees on; in the clear HTTP/1.1.
    #[default]
    Either,
    /// HTTP/1.1 alone, on a connection of its own: it will be a WebSocket.
    Http1,
    /// HTTP/2 alone, also in the clear: gRPC.
    Http2,
}

/// One end of an upstream connection.
#[derive(Debug)]
pub(crate) enum Sender {
    /// HTTP/1.1: one request at a time.
    One(http1::SendRequest<Body>),
    /// HTTP/2: many at once.
    Two(http2::SendRequest<Body>),
}

/// A request that brought no answer.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// Why.
    pub(crate) error: hyper::Error,
    /// The request itself, if nothing of it was written.
    pub(crate) request: Option<Box<Request<Body>>>,
}

impl Sender {
    /// Sends a request, which has its whole URL and a `Host` field, in the form of the version.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unsent> {
        let uri = request.uri().clone();
        let host = request.headers().get(header::HOST).cloned();
        let sent = match self {
            Self::One(sender) => sender.try_send_request(in_one(request)).await,
            Self::Two(sender) => sender.try_send_request(in_two(request)).await,
        };
        sent.map_err(|error| unsent(error, uri, host))
    }

    /// Whether the connection can take a request now, as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_ready(),
            Self::Two(sender) => sender.is_ready(),
        }
    }

    /// Waits until the answer before was read to its end; says whether the connection can go on then.
    pub(crate) async fn is_free_again(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Another end of the same connection, where calls can share one.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(sender) => Some(Self::Two(sender.clone())),
        }
    }
}

/// `GET /path`, and the fields of this connection.
fn in_one(mut request: Request<Body>) -> Request<Body> {
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(target);
    }
    let fields = request.headers_mut();
    // A WebSocket's handshake has a Connection field of its own and no trailers.
    if fields.contains_key(header::UPGRADE) {
        fields.remove(header::TE);
    } else if fields.contains_key(header::TE) {
        // RFC 9110 section 10.1.4: who says TE says that it belongs to this connection.
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if has_length_to_come(&request) {
        // hyper would send no body at all then where the method is GET; what was decided on is what is sent.
        let fields = request.headers_mut();
        fields.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    request
}

/// Whether there is a body that nobody knows the length of.
fn has_length_to_come(request: &Request<Body>) -> bool {
    let body = request.body();
    !body.is_end_stream()
        && body.size_hint().exact().is_none()
        && !request.headers().contains_key(header::CONTENT_LENGTH)
}

/// `:scheme`, `:authority` and `:path` come from the URL, so `Host` has nothing to add.
fn in_two(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(header::HOST);
    *request.version_mut() = http::Version::HTTP_2;
    request
}

fn unsent(mut error: TrySendError<Request<Body>>, uri: Uri, host: Option<HeaderValue>) -> Unsent {
    let request = error.take_message().map(|mut request| {
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        if !request.headers().contains_key(header::UPGRADE) {
            request.headers_mut().remove(header::CONNECTION);
        }
        request.headers_mut().remove(header::TRANSFER_ENCODING);
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host);
        }
        Box::new(request)
    });
    Unsent {
        error: error.into_error(),
        request,
    }
}
