//! The order service of the tour: a small HTTP server on a loopback port that answers only whoever has the key, and
//! remembers what it saw. Never listens anywhere else.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::stage::KEY;

/// The most requests that are remembered.
const SEEN_MAX: usize = 64;

/// What the service saw of one request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Method and path.
    pub(super) line: String,
    /// The credential, as sent.
    pub(super) authorization: Option<String>,
}

/// The running service.
#[derive(Debug)]
pub(super) struct Orders {
    address: SocketAddr,
    seen: Log,
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Orders {
    /// Listens on a free loopback port.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Log::default();
        tokio::spawn(accept(listener, seen.clone()));
        Ok(Self { address, seen })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen since the last time it was asked.
    pub(super) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: TcpListener, seen: Log) {
    // An accept that fails ends the service; the tour's next step will say that it cannot be reached.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(attend(stream, seen.clone()));
    }
}

async fn attend(stream: TcpStream, seen: Log) {
    let service = service_fn(move |request| {
        let response = answer(&request, &seen);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    drop(served.await);
}

fn answer(request: &Request<Incoming>, seen: &Log) -> Response<Full<Bytes>> {
    let authorization = request.headers().get(AUTHORIZATION);
    let authorization =
        authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let known = authorization.as_deref() == Some(&format!("Bearer {KEY}"));
    let line = format!("{} {}", request.method(), request.uri().path());
    let mut list = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
    if list.len() < SEEN_MAX {
        list.push(Seen {
            line,
            authorization,
        });
    }
    drop(list);
    let (status, body) = match known {
        true => order(request.method(), request.uri().path()),
        false => (StatusCode::UNAUTHORIZED, json!({"error": "who are you?"})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

fn order(method: &Method, path: &str) -> (StatusCode, Value) {
    let orders = [
        ("1042", "a brass key", "packed, leaves today"),
        ("1043", "a lantern", "on its way"),
    ];
    let shown =
        |(id, item, status): &(&str, &str, &str)| json!({"id": id, "item": item, "status": status});
    match (method, path.strip_prefix("/orders")) {
        (&Method::GET, Some("" | "/")) => (
            StatusCode::OK,
            json!({"orders": orders.iter().map(shown).collect::<Vec<_>>()}),
        ),
        (&Method::GET, Some(rest)) => {
            let found = orders
                .iter()
                .find(|(id, ..)| rest.strip_prefix('/') == Some(id));
            found.map_or_else(
                || (StatusCode::NOT_FOUND, json!({"error": "no such order"})),
                |order| (StatusCode::OK, shown(order)),
            )
        }
        (&Method::POST, Some(_)) => (StatusCode::OK, json!({"refunded": true})),
        _ => (StatusCode::NOT_FOUND, json!({"error": "not found"})),
    }
}
