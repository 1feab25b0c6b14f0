//! The collector: one POST at a time over a connection of its own, with a limit on everything. Its address is the
//! operator's, from the environment; never an agent's, and never shown what an agent may not see.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postern_policy::Host;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::dial::{Speaks, Tls, Unreached};

/// How long one message may take, from the look-up to the answer's head.
const SEND_MAX: Duration = Duration::from_secs(10);

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCollector {
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is no http or https URL")]
    Endpoint,
    #[error("OTEL_EXPORTER_OTLP_HEADERS is no list of `name=value`")]
    Headers,
    #[error("it took too long")]
    Late,
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Tls(#[from] Unreached),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Form(#[from] http::Error),
    #[error("it answered {0}")]
    Refused(http::StatusCode),
}

/// Where messages go.
pub(super) struct Collector {
    host: String,
    port: u16,
    secure: bool,
    /// The path of the endpoint, without a slash at its end.
    base: String,
    fields: HeaderMap,
    tls: Tls,
}

impl Collector {
    /// The collector that the two variables of the OpenTelemetry specification name.
    pub(super) fn new(endpoint: &str, fields: &str) -> Result<Self, NoCollector> {
        let uri: Uri = endpoint.parse().map_err(|_| NoCollector::Endpoint)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(NoCollector::Endpoint),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(NoCollector::Endpoint)?.to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let base = uri.path().trim_end_matches('/').to_owned();
        let pairs = fields
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        let fields = pairs.map(field).collect::<Option<HeaderMap>>();
        Ok(Self {
            host,
            port,
            secure,
            base,
            fields: fields.ok_or(NoCollector::Headers)?,
            tls: Tls::default(),
        })
    }

    /// Sends one message.
    pub(super) async fn send(&self, path: &str, message: &Value) -> Result<(), NoCollector> {
        timeout(SEND_MAX, self.deliver(path, message))
            .await
            .map_err(|_| NoCollector::Late)?
    }

    async fn deliver(&self, path: &str, message: &Value) -> Result<(), NoCollector> {
        let plain = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((plain, self.port)).await?;
        let request = self.request(path, message)?;
        if !self.secure {
            return exchange(stream, request).await;
        }
        let host: Host = self.host.parse().map_err(|_| NoCollector::Endpoint)?;
        let (stream, _) = self
            .tls
            .secure(&host, stream, (None, Speaks::Http1))
            .await?;
        exchange(stream, request).await
    }

    fn request(&self, path: &str, message: &Value) -> Result<Request<Full<Bytes>>, NoCollector> {
        let body = Full::new(Bytes::from(message.to_string()));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)?;
        let own = self.fields.clone();
        request.headers_mut().extend(own);
        Ok(request)
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), NoCollector>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async { sender.send_request(request).await };
    let answer = tokio::select! {
        answer = answer => answer?,
        ended = connection => {
            ended?;
            return Err(NoCollector::Late);
        }
    };
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(NoCollector::Refused(answer.status()))
    }
}

fn field(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let value = percent_encoding::percent_decode_str(value.trim())
        .decode_utf8()
        .ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_are_read_as_the_specification_has_them() {
        let collector =
            Collector::new("http://127.0.0.1:4318/base/", "api-key=a%20b, x=y").unwrap();
        assert_eq!((collector.port, collector.base.as_str()), (4318, "/base"));
        assert_eq!(collector.fields["api-key"], "a b");
        assert_eq!(collector.fields["x"], "y");
        for bad in ["", "ftp://a", "a:4318", "http://"] {
            assert!(Collector::new(bad, "").is_err(), "{bad}");
        }
        assert!(Collector::new("http://a", "nonsense").is_err());
    }
}
