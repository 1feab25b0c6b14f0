//! Percent-escapes in one spelling, for paths and queries alike. Never decides which decoded bytes are acceptable.

/// Why a text has no canonical escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadEscape {
    /// `%` without two hexadecimal digits behind it.
    Percent,
    /// A control character or a space as it is.
    Control,
}

/// Rewrites a text (RFC 3986, 6.2.2): escapes of unreserved characters become the characters, all other escapes are
/// upper case, and what may not stand in a URL as it is becomes an escape. `plain` names the characters that stay.
pub(crate) fn canonical(text: &str, plain: fn(u8) -> bool) -> Result<String, BadEscape> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => push(&mut out, high << 4 | low, is_unreserved),
                _ => return Err(BadEscape::Percent),
            },
            0..=b' ' | 0x7f => return Err(BadEscape::Control),
            _ => push(&mut out, byte, plain),
        }
    }
    Ok(out)
}

/// The bytes that a canonical text stands for.
pub(crate) fn decoded(canonical: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(canonical.len());
    let mut bytes = canonical.bytes();
    while let Some(byte) = bytes.next() {
        let pair = if byte == b'%' {
            (hex(bytes.next()), hex(bytes.next()))
        } else {
            (None, None)
        };
        out.push(if let (Some(high), Some(low)) = pair {
            high << 4 | low
        } else {
            byte
        });
    }
    out
}

/// Whether a canonical text would hold an escape again after one decoding, as `%252e` does.
pub(crate) fn is_escaped_twice(canonical: &str) -> bool {
    canonical.match_indices("%25").any(|(at, escape)| {
        let mut after = canonical[at + escape.len()..].bytes();
        hex(after.next()).is_some() && hex(after.next()).is_some()
    })
}

/// The characters that mean the same with and without an escape.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The characters of a path segment (`pchar`), which a query may have too.
pub(crate) fn is_segment_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

fn push(out: &mut String, byte: u8, plain: fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if plain(byte) {
        out.push(char::from(byte));
    } else {
        out.push('%');
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let digit = digit?;
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
