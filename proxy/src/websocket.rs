//! WebSocket handshakes (RFC 6455), checked on both sides, and the bytes that follow. Never lets two ends agree on an
//! extension that would hide text from whoever looks, and never takes anything else for a WebSocket.
//!
//! ```text
//! GET, Upgrade: websocket ─▶ checked ─▶ decided, dialled, credential added ─▶ 101? ── no ─▶ an answer like any other
//!                                                                             └─ yes, and the right one ─▶ bytes both ways
//! ```

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;

use crate::{
    body::{self, Body},
    headers,
    mask::{Mask, Sieve},
    record::Record,
    relay::Broken,
    scope::Scope,
    tunnel::{self, Terms},
};

/// What both sides append to the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A key is sixteen bytes.
const KEY_BYTES: usize = 16;

/// Why a request for a WebSocket is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHandshake {
    #[error("a WebSocket is asked for with GET in HTTP/1.1")]
    NotGet,
    #[error("`Upgrade` names something besides websocket")]
    MoreThanOne,
    #[error("a WebSocket needs one `Sec-WebSocket-Version: 13`")]
    Version,
    #[error("a WebSocket needs one `Sec-WebSocket-Key` of sixteen bytes in base64")]
    Key,
    #[error("a request for a WebSocket has no body")]
    Body,
}

/// Why what an upstream switched to is no WebSocket that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("it switched to something that is no WebSocket")]
    Protocol,
    #[error("its `Sec-WebSocket-Accept` does not answer the key")]
    Accept,
    #[error("it uses an extension that was not asked for")]
    Extension,
    #[error("it chose a subprotocol that was not asked for")]
    Subprotocol,
}

/// What an agent asked for, and its connection once it is free.
pub(crate) struct Handshake {
    agent: OnUpgrade,
    key: HeaderValue,
    protocols: Vec<String>,
    silence_max: Duration,
}

/// A WebSocket that both sides agreed on.
pub(crate) struct Socket {
    agent: OnUpgrade,
    upstream: OnUpgrade,
    head: HeaderMap,
    sieve: Option<Box<Sieve>>,
    silence_max: Duration,
}

impl Handshake {
    /// The WebSocket that a request asks for; `None` where it asks for none. What else `Upgrade` may name stays behind
    /// like every field of a connection. It may carry nothing for `silence_max`.
    pub(crate) fn asked(
        parts: &mut http::request::Parts,
        silence_max: Duration,
    ) -> Result<Option<Self>, NoHandshake> {
        let fields = &parts.headers;
        let wanted = tokens(fields, &header::UPGRADE);
        if !wanted.iter().any(|token| token == "websocket")
            || !tokens(fields, &header::CONNECTION).contains(&"upgrade".to_owned())
        {
            return Ok(None);
        }
        if parts.method != Method::GET || parts.version != Version::HTTP_11 {
            return Err(NoHandshake::NotGet);
        }
        if wanted.len() != 1 {
            return Err(NoHandshake::MoreThanOne);
        }
        if only(fields, &header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(NoHandshake::Version);
        }
        let key = only(fields, &header::SEC_WEBSOCKET_KEY)
            .filter(|key| is_key(key))
            .cloned()
            .ok_or(NoHandshake::Key)?;
        let empty = only(fields, &header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if !empty || fields.contains_key(header::TRANSFER_ENCODING) {
            return Err(NoHandshake::Body);
        }
        let protocols = tokens(fields, &header::SEC_WEBSOCKET_PROTOCOL);
        let agent = parts.extensions.remove::<OnUpgrade>();
        Ok(Some(Self {
            agent: agent.ok_or(NoHandshake::NotGet)?,
            key,
            protocols,
            silence_max,
        }))
    }

    /// Puts into cleaned fields what the handshake needs, whatever `Connection` said of it.
    pub(crate) fn dress(&self, fields: &mut HeaderMap) {
        let hiding: Vec<HeaderName> = fields
            .keys()
            .filter(|name| {
                name.as_str()
                    .replace('_', "-")
                    .starts_with("sec-websocket-")
            })
            .filter(|name| *name != header::SEC_WEBSOCKET_PROTOCOL)
            .cloned()
            .collect();
        for name in hiding {
            fields.remove(name);
        }
        fields.remove(header::CONTENT_LENGTH);
        fields.insert(header::CONNECTION, UPGRADE);
        fields.insert(header::UPGRADE, WEBSOCKET);
        fields.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
        fields.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// What the upstream switched to, if it is what was asked for.
    pub(crate) fn agree(
        self,
        response: Response<Incoming>,
        mask: Option<Mask>,
    ) -> Result<Socket, Broken> {
        let accept = accept(&self.key);
        self.check(response.headers(), &accept)?;
        let mut head = response.headers().clone();
        headers::clean_response(&mut head);
        head.remove(header::CONTENT_LENGTH);
        head.insert(header::CONNECTION, UPGRADE);
        head.insert(header::UPGRADE, WEBSOCKET);
        let sieve = mask.map(|mask| mask.socket(&mut head)).transpose()?;
        Ok(Socket {
            sieve,
            agent: self.agent,
            upstream: hyper::upgrade::on(response),
            head,
            silence_max: self.silence_max,
        })
    }

    fn check(&self, fields: &HeaderMap, accept: &str) -> Result<(), NotAccepted> {
        let switches = tokens(fields, &header::CONNECTION).contains(&"upgrade".to_owned());
        if tokens(fields, &header::UPGRADE) != ["websocket"] || !switches {
            return Err(NotAccepted::Protocol);
        }
        if only(fields, &header::SEC_WEBSOCKET_ACCEPT).is_none_or(|said| said != accept) {
            return Err(NotAccepted::Accept);
        }
        if fields.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(NotAccepted::Extension);
        }
        let chosen = tokens(fields, &header::SEC_WEBSOCKET_PROTOCOL);
        if chosen.len() > 1 || !chosen.iter().all(|one| self.protocols.contains(one)) {
            return Err(NotAccepted::Subprotocol);
        }
        Ok(())
    }
}

impl Socket {
    /// Tells the agent that it stands, and carries until it ends.
    pub(crate) fn open(self, scope: &Scope, mut record: Box<Record>) -> Response<Body> {
        let Self {
            agent,
            upstream,
            head,
            sieve,
            silence_max,
        } = self;
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = head;
        record.answered(response.status());
        scope.spawn(async move {
            match tokio::try_join!(agent, upstream) {
                Ok((agent, upstream)) => {
                    let terms = Terms {
                        silence_max,
                        greeting: None,
                        sieve,
                        is_opaque: false,
                    };
                    tunnel::carry((io(agent), io(upstream)), terms, record).await;
                }
                Err(error) => tracing::debug!(%error, "a WebSocket was not taken up"),
            }
        });
        response
    }
}

fn io(upgraded: Upgraded) -> TokioIo<Upgraded> {
    TokioIo::new(upgraded)
}

/// What the upstream must answer to a key.
fn accept(key: &HeaderValue) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

fn is_key(key: &HeaderValue) -> bool {
    STANDARD
        .decode(key.as_bytes())
        .is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// The value of a field that is there once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = fields.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// All that a list names, in lower case.
fn tokens(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = fields.get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let tokens = values.flat_map(|value| {
        let tokens = value
            .split(',')
            .map(|token| token.trim().to_ascii_lowercase());
        tokens.collect::<Vec<_>>()
    });
    tokens.filter(|token| !token.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn asked(fields: &[(&str, &str)]) -> Result<bool, NoHandshake> {
        let mut request = Request::builder().method("GET").uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        match Handshake::asked(&mut request.into_parts().0, Duration::ZERO) {
            // There is no connection here that could be switched.
            Err(NoHandshake::NotGet) => Ok(true),
            other => other.map(|handshake| handshake.is_some()),
        }
    }

    #[test]
    fn the_accept_of_the_standards_own_key() {
        let key = HeaderValue::from_static(KEY);
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_says_every_part_once() {
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        assert_eq!(asked(&good), Ok(true));
        let with = |name: &'static str, value: &'static str| {
            let mut fields = good.to_vec();
            fields.push((name, value));
            asked(&fields)
        };
        assert_eq!(with("upgrade", "h2c"), Err(NoHandshake::MoreThanOne));
        assert_eq!(with("sec-websocket-key", KEY), Err(NoHandshake::Key));
        assert_eq!(
            with("sec-websocket-version", "8"),
            Err(NoHandshake::Version)
        );
        assert_eq!(with("content-length", "5"), Err(NoHandshake::Body));
        assert_eq!(with("transfer-encoding", "chunked"), Err(NoHandshake::Body));
        let without = |at: usize| {
            let mut fields = good.to_vec();
            fields.remove(at);
            asked(&fields)
        };
        assert_eq!(without(0), Ok(false));
        assert_eq!(without(1), Ok(false));
        assert_eq!(without(2), Err(NoHandshake::Version));
        assert_eq!(without(3), Err(NoHandshake::Key));
        assert_eq!(
            asked(&[("upgrade", "h2c"), ("connection", "upgrade")]),
            Ok(false)
        );
    }
}
