//! One HTTP call of the tour, and the curl line that does the same. Never follows a redirect.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The body as it came.
    pub(super) text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// The body of an invocation.
fn body(message: &str) -> String {
    json!({ "message": message }).to_string()
}

/// The curl line for [`invoke`].
pub(super) fn curl_line(api: SocketAddr, message: &str) -> String {
    let quoted = body(message).replace('\'', r"'\''");
    format!("curl -s http://{api}/invoke -H 'Content-Type: application/json' -d '{quoted}'")
}

/// POST /invoke with a message.
pub(super) async fn invoke(api: SocketAddr, message: &str) -> anyhow::Result<Answer> {
    tokio::time::timeout(CALL_LIMIT, exchange(api, body(message)))
        .await
        .map_err(|_| anyhow::anyhow!("no answer in {} s", CALL_LIMIT.as_secs()))?
}

async fn exchange(api: SocketAddr, body: String) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(api).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post("/invoke")
        .header("host", api.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curl_line_survives_a_shell() {
        let line = curl_line(([127, 0, 0, 1], 8080).into(), "it's");
        assert!(line.ends_with(r#"-d '{"message":"it'\''s"}'"#), "{line}");
    }
}
