//! Requests that may be sent a second time: those that do the same when done twice and have no body, to a tool that wants
//! retries. Never a POST, never a body, never a third time, and never one that was answered.

use std::{error::Error as _, io};

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body::Body as _;

use crate::{
    body::{self, Body},
    dial::Manner,
};

/// What does the same when it is done twice (RFC 9110 section 9.2.2).
const IDEMPOTENT: [Method; 5] = [
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PUT,
    Method::DELETE,
];

/// All that it takes to make a request once more. It holds the credential, so it cannot be printed.
pub(crate) struct Spare {
    method: Method,
    url: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Spare {
    /// A copy of a request that may be sent twice; in a box, so that calls are not made larger by what is rarely needed.
    pub(crate) fn of(request: &Request<Body>, manner: &Manner) -> Option<Box<Self>> {
        let may = manner.retries.0 > 0
            && IDEMPOTENT.contains(request.method())
            && request.body().is_end_stream()
            && !request.headers().contains_key(http::header::UPGRADE);
        may.then(|| {
            let fields = request.headers().iter();
            Box::new(Self {
                method: request.method().clone(),
                url: request.uri().clone(),
                fields: fields
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            })
        })
    }

    /// The request once more, if it was lost by this.
    pub(crate) fn after(self, error: &hyper::Error) -> Option<Request<Body>> {
        is_lost(error).then(|| {
            let mut request = Request::new(body::empty());
            *request.method_mut() = self.method;
            *request.uri_mut() = self.url;
            request.headers_mut().extend(self.fields);
            request
        })
    }
}

/// Whether the connection ended before the head of an answer was there. An answer that makes no sense is an answer.
fn is_lost(error: &hyper::Error) -> bool {
    let broken = || {
        let io = error.source()?.downcast_ref::<io::Error>()?;
        Some(matches!(
            io.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        ))
    };
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || broken().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method) -> Request<Body> {
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = "https://a.example/one?two".parse().unwrap();
        let fields = request.headers_mut();
        fields.append("x-a", HeaderValue::from_static("1"));
        fields.append("x-a", HeaderValue::from_static("2"));
        request
    }

    fn retries(retries: u8) -> Manner {
        let mut manner = Manner::default();
        manner.retries.0 = retries;
        manner
    }

    #[test]
    fn what_does_the_same_when_done_twice_and_has_no_body_may_go_again() {
        for (method, may) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
            (Method::TRACE, false),
            (Method::from_bytes(b"get").unwrap(), false),
        ] {
            let request = request(method);
            let spare = Spare::of(&request, &retries(1));
            assert_eq!(spare.is_some(), may, "{}", request.method());
            assert!(Spare::of(&request, &retries(0)).is_none());
        }
        let mut socket = request(Method::GET);
        let websocket = HeaderValue::from_static("websocket");
        socket.headers_mut().insert("upgrade", websocket);
        assert!(Spare::of(&socket, &retries(1)).is_none());
    }

    #[test]
    fn a_body_that_may_have_been_read_goes_out_once() {
        let mut put = request(Method::PUT);
        *put.body_mut() = body::full("body");
        assert!(Spare::of(&put, &retries(1)).is_none());
    }
}
