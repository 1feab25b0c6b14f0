//! One call of an API of posternd's. Never follows a redirect, and never goes through a proxy.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body as it came.
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// A request to begin with, for an API at this address.
pub(crate) fn request(api: SocketAddr) -> http::request::Builder {
    Request::builder()
        .header(header::HOST, api.to_string())
        .header(header::CONTENT_TYPE, "application/json")
}

/// Asks, and reads the whole answer.
pub(crate) async fn ask(api: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    ask_within(CALL_LIMIT, api, request).await
}

/// Asks what may take longer than other calls.
pub(crate) async fn ask_within(
    limit: Duration,
    api: SocketAddr,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Answer> {
    tokio::time::timeout(limit, exchange(api, request))
        .await
        .map_err(|_| anyhow::anyhow!("no answer in {} s", limit.as_secs()))?
}

async fn exchange(api: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(api).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?
        .to_bytes();
    driver.abort();
    Ok(Answer {
        status: parts.status,
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}
