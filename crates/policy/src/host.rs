//! Which machine a request is for: one type, parsed once, in one spelling. Never resolves a name and never judges
//! whether an address may be dialled.

use std::{
    borrow::Borrow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

/// The longest host name, in bytes without the trailing dot (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// The longest label of a host name, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// A DNS name in lower case without a trailing dot: letters, digits and hyphens in labels of 1 to 63 bytes.
///
/// Underscores are refused (no public host name has one), and so is all that some resolver reads as a number.
/// Names beyond ASCII must arrive as A-labels (`xn--…`).
///
/// ```
/// use postern_policy::HostName;
///
/// let name: HostName = "API.Example.com.".parse()?;
/// assert_eq!(name.as_str(), "api.example.com");
/// assert!("127.1".parse::<HostName>().is_err());
/// # Ok::<(), postern_policy::NotAHost>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// A DNS name or an address literal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name, not yet resolved.
    Name(HostName),
    /// An address; a version 4 address in version 6 clothes (`::ffff:a.b.c.d`) is held as version 4.
    Ip(IpAddr),
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAHost {
    /// Nothing there.
    #[error("the host is missing")]
    Empty,
    /// Too long as a whole.
    #[error("a host name has at most 253 bytes")]
    TooLong,
    /// A label that is empty or too long: `a..b`, `.a`, `a..`.
    #[error("a label of a host name has 1 to 63 bytes")]
    Label,
    /// A label that begins or ends with a hyphen.
    #[error("a label of a host name neither begins nor ends with `-`")]
    Hyphen,
    /// A character that no host name has.
    #[error(
        "a host name has letters, digits, `-` and `.` only; other scripts are written as `xn--` labels"
    )]
    Character,
    /// A number that some programs read as an address: `127.1`, `2130706433`, `0x7f.1`, `0177.0.0.1`.
    #[error("an IPv4 address is written as four decimal numbers without leading zeros")]
    Number,
    /// Brackets with something else than an IPv6 address inside; zone ids are refused too.
    #[error("brackets hold an IPv6 address without a zone, and nothing else")]
    Brackets,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets")]
    NoBrackets,
}

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names above this one, nearest first: `b.c` and `c` for `a.b.c`.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('.').map(|(dot, _)| &self.0[dot + 1..])
    }
}

impl FromStr for HostName {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(NotAHost::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(NotAHost::TooLong);
        }
        name.split('.').try_for_each(check_label)?;
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(NotAHost::Number);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

fn check_label(label: &str) -> Result<(), NotAHost> {
    if !label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return Err(NotAHost::Character);
    }
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return Err(NotAHost::Label);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NotAHost::Hyphen);
    }
    Ok(())
}

/// Whether `inet_aton` and the URL parsers of browsers would read a last label as a number.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl FromStr for Host {
    type Err = NotAHost;

    /// Reads a host as it stands in a URL: an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, NotAHost> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').ok_or(NotAHost::Brackets)?;
            let address: Ipv6Addr = address.parse().map_err(|_| NotAHost::Brackets)?;
            return Ok(Self::Ip(IpAddr::V6(address).to_canonical()));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(NotAHost::NoBrackets);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Self::Ip(IpAddr::V4(address))),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl From<HostName> for Host {
    fn from(name: HostName) -> Self {
        Self::Name(name)
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_machine() {
        for (text, canonical) in [
            ("EXAMPLE.com", "example.com"),
            ("example.com.", "example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1password.com", "1password.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!(host.to_string(), canonical, "{text}");
            assert_eq!(host.to_string().parse(), Ok(host));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(LABEL_BYTES_MAX);
        assert!(label.parse::<HostName>().is_ok());
        assert_eq!(
            format!("{label}a").parse::<HostName>(),
            Err(NotAHost::Label)
        );
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), NAME_BYTES_MAX);
        assert!(longest.parse::<HostName>().is_ok());
        assert_eq!(
            format!("{longest}a").parse::<HostName>(),
            Err(NotAHost::TooLong)
        );
    }

    #[test]
    fn parents_go_up_to_the_last_label() {
        let name: HostName = "a.b.c".parse().unwrap();
        assert_eq!(name.parents().collect::<Vec<_>>(), ["b.c", "c"]);
    }
}
