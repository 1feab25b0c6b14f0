//! Scheme, host and port: what a connection is made to and what a `Host` header says. Never holds user-info.

use std::{fmt, str::FromStr};

use crate::host::{Host, NotAHost};

/// How a URL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
    /// Not at all: bytes both ways, of which the gate knows host and port alone. Stands in a config, never in a request.
    Tcp,
}

/// A scheme, a host and a port. The port is always there; where it is the scheme's own it is not written.
///
/// ```
/// use postern_policy::{Authority, Scheme};
///
/// let authority = Authority::parse(Scheme::Https, "API.example.com:443")?;
/// assert_eq!(authority.to_string(), "api.example.com");
/// assert_eq!(authority.host_and_port(), "api.example.com:443");
/// # Ok::<(), postern_policy::BadAuthority>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// Why a text is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// The host is none.
    #[error(transparent)]
    Host(#[from] NotAHost),
    /// The port is none.
    #[error("a port is a number from 1 to 65535 without leading zeros")]
    Port,
    /// A tunnel must say where to, and so must what is no HTTP.
    #[error("CONNECT and `tcp://` name a host and a port, such as `db.example.com:5432`")]
    NoPort,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }

    /// The port that is meant where none is written, if there is one.
    #[must_use]
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }

    /// The scheme that a config names; a request names no other than `http` and `https`.
    #[must_use]
    pub fn of_config(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("tcp") {
            Some(Self::Tcp)
        } else {
            text.parse().ok()
        }
    }
}

impl Authority {
    /// Puts an authority together.
    ///
    /// # Errors
    /// The port 0 is none.
    pub fn new(scheme: Scheme, host: Host, port: u16) -> Result<Self, BadAuthority> {
        if port == 0 {
            Err(BadAuthority::Port)
        } else {
            Ok(Self { scheme, host, port })
        }
    }

    /// Reads `host` or `host:port`, as in a URL or a `Host` header.
    ///
    /// # Errors
    /// Anything but a host and a port, user-info above all; no port where the scheme has none of its own.
    pub fn parse(scheme: Scheme, text: &str) -> Result<Self, BadAuthority> {
        let (host, port) = split(text)?;
        let host = host.parse()?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => scheme.default_port().ok_or(BadAuthority::NoPort)?,
        };
        Ok(Self { scheme, host, port })
    }

    /// Reads the target of a CONNECT: `host:port`. The scheme is a guess from the port, for nobody knows what will be
    /// spoken inside; a decision on a tunnel ignores it.
    ///
    /// # Errors
    /// Anything but a host and a port.
    pub fn parse_connect(text: &str) -> Result<Self, BadAuthority> {
        let (host, port) = split(text)?;
        let port = parse_port(port.ok_or(BadAuthority::NoPort)?)?;
        let scheme = if Some(port) == Scheme::Https.default_port() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        Ok(Self {
            scheme,
            host: host.parse()?,
            port,
        })
    }

    /// How it is spoken.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Which machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Which port; never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` with the port always written, as a dialler or an upstream proxy wants it.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The host and, after the colon, the port; a colon inside brackets is the address's own.
fn split(text: &str) -> Result<(&str, Option<&str>), BadAuthority> {
    if !text.starts_with('[') {
        return Ok(match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    }
    let close = text.find(']').ok_or(NotAHost::Brackets)?;
    let (host, rest) = text.split_at(close + 1);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(NotAHost::Brackets.into()),
    }
}

fn parse_port(text: &str) -> Result<u16, BadAuthority> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or(BadAuthority::Port)
}

impl FromStr for Scheme {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.eq_ignore_ascii_case("https") {
            Ok(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Ok(Self::Http)
        } else {
            Err(())
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Authority {
    /// As in a URL or a `Host` header: without the port where it is the scheme's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        if Some(self.port) == self.scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(text: &str) -> Result<String, BadAuthority> {
        Authority::parse(Scheme::Https, text).map(|authority| authority.to_string())
    }

    #[test]
    fn the_default_port_is_not_written() {
        assert_eq!(https("a.b:443").unwrap(), "a.b");
        assert_eq!(https("a.b:80").unwrap(), "a.b:80");
        assert_eq!(https("[::1]:8443").unwrap(), "[::1]:8443");
        assert_eq!(
            Authority::parse(Scheme::Http, "a.b:80")
                .unwrap()
                .to_string(),
            "a.b"
        );
    }

    #[test]
    fn what_is_no_http_always_has_its_port() {
        let tcp = |text: &str| Authority::parse(Scheme::Tcp, text).map(|at| at.to_string());
        assert_eq!(tcp("db.example:443").unwrap(), "db.example:443");
        assert_eq!(tcp("db.example"), Err(BadAuthority::NoPort));
        assert_eq!(Scheme::of_config("TCP"), Some(Scheme::Tcp));
        assert_eq!("tcp".parse::<Scheme>(), Err(()));
    }

    #[test]
    fn a_port_is_a_plain_number() {
        for bad in [
            "a:", "a:0", "a:00080", "a:+80", "a:-1", "a:65536", "a: 80", "a:80 ", "a:8o", "[::1]:",
        ] {
            assert_eq!(https(bad), Err(BadAuthority::Port), "{bad}");
        }
    }

    #[test]
    fn brackets_hold_an_address_and_end_the_host() {
        for bad in [
            "[a.b]",
            "[::1",
            "[::1]x",
            "[::1%25lo]",
            "[::1%lo]",
            "[127.0.0.1]",
            "[]",
            "[[::1]]",
        ] {
            assert_eq!(
                https(bad),
                Err(BadAuthority::Host(NotAHost::Brackets)),
                "{bad}"
            );
        }
        assert_eq!(https("::1"), Err(BadAuthority::Host(NotAHost::NoBrackets)));
    }

    #[test]
    fn a_tunnel_names_its_port() {
        assert_eq!(Authority::parse_connect("a.b"), Err(BadAuthority::NoPort));
        let tls = Authority::parse_connect("a.b:443").unwrap();
        assert_eq!(
            (tls.scheme(), tls.host_and_port()),
            (Scheme::Https, "a.b:443".to_owned())
        );
        assert_eq!(
            Authority::parse_connect("a.b:5432").unwrap().scheme(),
            Scheme::Http
        );
    }
}
