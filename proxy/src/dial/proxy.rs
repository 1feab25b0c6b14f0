//! The way through the proxy of the operator's network: CONNECT to an address that the gate has checked. Never asks for a
//! name unless the config says so, never repeats what the proxy says, and never waits for it without end.
//!
//! ```text
//! connected to the proxy ─▶ CONNECT ADDRESS:PORT (+ Proxy-Authorization) ─▶ 2xx: the stream is the destination's
//!                                                                         └▶ anything else: Barred
//! ```

use std::{fmt, io, net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_contract::{Secret, config};
use postern_policy::{Authority, Host, Scheme};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use zeroize::Zeroizing;

/// The longest answer to a CONNECT, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How long the proxy may take for it.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A proxy of the operator's.
#[derive(Clone)]
pub(crate) struct Proxy {
    authority: Authority,
    authorization: Option<Zeroizing<String>>,
    except: Vec<Except>,
    by_name: bool,
}

/// Hosts that are reached without the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Except {
    Host(Host),
    /// All beneath a zone, which begins with its dot.
    Beneath(String),
}

/// Why a config names no proxy that can be used, and the key that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAProxy {
    #[error("write the proxy as `http://HOST:PORT`: it is asked with CONNECT over plain HTTP")]
    Url,
    #[error("`{0}` is neither a host nor a zone such as `*.corp.example`")]
    Except(String),
    #[error("there is no `proxy` that it could be for")]
    Alone,
    #[error("a proxy's user has no colon and no control character")]
    User,
}

impl NotAProxy {
    /// The key under `[egress]` that is wrong.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Url => "proxy",
            Self::Except(_) => "no_proxy",
            Self::Alone | Self::User => "credential",
        }
    }
}

/// Why the proxy lets nothing through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Barred {
    #[error("it asks for a credential, or for another one (407): see `[egress] credential`")]
    Credential,
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer made no sense")]
    Nonsense,
    #[error("its answer had no end")]
    Endless,
    #[error("it did not answer in time")]
    Late,
    #[error("the connection failed: {0}")]
    Broken(#[from] io::Error),
}

impl Proxy {
    /// What the config says, with the password's place still empty.
    pub(crate) fn written(egress: &config::Egress) -> Result<Option<Self>, NotAProxy> {
        let Some(url) = &egress.proxy else {
            return match egress.credential {
                Some(_) => Err(NotAProxy::Alone),
                None => Ok(None),
            };
        };
        if let Some(config::ProxyCredential::Basic { user, .. }) = &egress.credential
            && user.chars().any(|c| c == ':' || c.is_control())
        {
            return Err(NotAProxy::User);
        }
        let place = url.strip_prefix("http://").ok_or(NotAProxy::Url)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let authority = Authority::parse(Scheme::Http, place).map_err(|_| NotAProxy::Url)?;
        let except = egress.no_proxy.iter().map(|text| except(text));
        Ok(Some(Self {
            authority,
            authorization: None,
            except: except.collect::<Result<_, _>>()?,
            by_name: egress.resolve == config::Resolve::Proxy,
        }))
    }

    /// The same with the password, if it asks for one.
    #[must_use]
    pub(crate) fn with(mut self, credential: &config::ProxyCredential, password: &Secret) -> Self {
        let config::ProxyCredential::Basic { user, .. } = credential;
        let mut plain = Zeroizing::new(format!("{user}:").into_bytes());
        plain.extend_from_slice(password.expose());
        self.authorization = Some(Zeroizing::new(STANDARD.encode(&*plain)));
        self
    }

    /// Where it is.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether the way to a host leads through it.
    pub(crate) fn leads_to(&self, host: &Host) -> bool {
        let name = host.to_string();
        !self.except.iter().any(|except| match except {
            Except::Host(exactly) => exactly == host,
            Except::Beneath(zone) => matches!(host, Host::Name(_)) && name.ends_with(zone),
        })
    }

    /// Whether it is asked for names that nobody has checked.
    pub(crate) fn takes_names(&self) -> bool {
        self.by_name
    }

    /// Has the proxy, which is at the other end of this connection, lead it on to a destination.
    pub(super) async fn lead(&self, stream: &mut TcpStream, to: &To<'_>) -> Result<(), Barred> {
        let mut request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(authorization) = &self.authorization {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = timeout(ANSWER_MAX, answer(stream));
        match status(&answer.await.map_err(|_| Barred::Late)??)? {
            200..=299 => Ok(()),
            407 => Err(Barred::Credential),
            other => Err(Barred::Status(other)),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.authority)
    }
}

/// What the proxy is asked for.
pub(super) enum To<'a> {
    /// An address that was checked.
    Address(SocketAddr),
    /// A name that was not.
    Unchecked(&'a Authority),
}

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unchecked(authority) => {
                write!(f, "{}:{}", authority.host(), authority.port())
            }
        }
    }
}

fn except(text: &str) -> Result<Except, NotAProxy> {
    let unknown = || NotAProxy::Except(text.to_owned());
    if let Some(zone) = text.strip_prefix("*.") {
        let zone: Host = zone.parse().map_err(|_| unknown())?;
        return match zone {
            Host::Name(name) => Ok(Except::Beneath(format!(".{}", name.as_str()))),
            Host::Ip(_) => Err(unknown()),
        };
    }
    text.parse().map(Except::Host).map_err(|_| unknown())
}

/// The head of the answer and not a byte more: what follows is the destination's.
async fn answer(stream: &mut TcpStream) -> Result<Vec<u8>, Barred> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == ANSWER_BYTES_MAX {
            return Err(Barred::Endless);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Result<u16, Barred> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Barred::Nonsense)?;
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") {
        return Err(Barred::Nonsense);
    }
    let status = words.next().and_then(|word| word.parse().ok());
    status
        .filter(|status| (100..=599).contains(status))
        .ok_or(Barred::Nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<Option<Proxy>, NotAProxy> {
        Proxy::written(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_perhaps_exceptions() {
        let proxy = written(
            r#"{"proxy":"http://proxy.corp:3128","no_proxy":["*.corp","git.other","10.0.0.1"]}"#,
        );
        let proxy = proxy.unwrap().unwrap();
        assert_eq!(proxy.authority().to_string(), "proxy.corp:3128");
        for (host, through) in [
            ("a.b", true),
            ("corp", true),
            ("a.corp", false),
            ("x.a.corp", false),
            ("acorp", true),
            ("git.other", false),
            ("a.git.other", true),
            ("10.0.0.1", false),
            ("10.0.0.2", true),
        ] {
            assert_eq!(proxy.leads_to(&host.parse().unwrap()), through, "{host}");
        }
        assert!(!proxy.takes_names());
    }

    #[test]
    fn what_is_no_proxy_names_its_key() {
        for (text, key) in [
            (r#"{"proxy":"https://proxy.corp:3128"}"#, "proxy"),
            (r#"{"proxy":"http://user@proxy.corp:3128"}"#, "proxy"),
            (r#"{"proxy":"http://proxy.corp:3128/path"}"#, "proxy"),
            (
                r#"{"proxy":"http://proxy.corp","no_proxy":["a b"]}"#,
                "no_proxy",
            ),
            (
                r#"{"proxy":"http://proxy.corp","no_proxy":["*.10.0.0.1"]}"#,
                "no_proxy",
            ),
            (
                r#"{"credential":{"kind":"basic","user":"u","secret":"s"}}"#,
                "credential",
            ),
            (
                r#"{"proxy":"http://a.b","credential":{"kind":"basic","user":"a:b","secret":"s"}}"#,
                "credential",
            ),
        ] {
            assert_eq!(written(text).unwrap_err().key(), key, "{text}");
        }
    }

    #[test]
    fn a_status_line_is_understood_or_is_nonsense() {
        assert_eq!(status(b"HTTP/1.0 200 OK\r\n\r\n").unwrap(), 200);
        assert_eq!(status(b"HTTP/1.1 407\r\n\r\n").unwrap(), 407);
        for bad in [
            &b"ICY 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 99999 x\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert!(matches!(status(bad), Err(Barred::Nonsense)), "{bad:?}");
        }
    }
}
