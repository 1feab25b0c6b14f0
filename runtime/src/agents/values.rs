//! JSON that an agent's code wrote, read within bounds: of size by whoever reads it off a socket or a pipe, of depth by the reader
//! itself, and of parts here, since a part weighs many times in memory what it is as text.

use serde_json::Value;

/// The most lists, objects and elements of one text.
pub(super) const PARTS_MAX: usize = 100_000;

/// Why a text is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("it has more than {PARTS_MAX} parts")]
    TooMany,
    #[error(transparent)]
    NoJson(#[from] serde_json::Error),
}

/// Reads a text.
pub(super) fn read(text: &[u8]) -> Result<Value, Unread> {
    if parts(text) > PARTS_MAX {
        return Err(Unread::TooMany);
    }
    Ok(serde_json::from_slice(text)?)
}

/// How many parts it has at most: what opens one or stands between two, but for texts.
fn parts(text: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' | b',' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_weigh_too_much_is_not_read_and_a_long_text_is() {
        let many = format!("[{}0]", "{\"\":0},".repeat(PARTS_MAX));
        assert!(matches!(read(many.as_bytes()), Err(Unread::TooMany)));
        let long = format!("{{\"a\":\"{}\"}}", "\\\",[{\\\\".repeat(PARTS_MAX));
        assert!(read(long.as_bytes()).is_ok(), "{:?}", read(long.as_bytes()));
        assert!(matches!(read(b"{"), Err(Unread::NoJson(_))));
    }
}
