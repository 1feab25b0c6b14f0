//! Bytes that come in pieces, as text: what is no UTF-8 is replaced, and no piece ends in the middle of a character. Never holds
//! more back than one character, and the line ends at the end.

use std::str;

/// The most bytes of line ends that are held back: more than that are no end any more.
const HELD_BYTES_MAX: usize = 1024;

/// A text on its way.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a character.
    cut: Vec<u8>,
    /// Line ends that may be the last.
    held: String,
}

impl Decoder {
    /// What is text now.
    pub(super) fn read(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.cut);
        all.extend_from_slice(bytes);
        let mut text = std::mem::take(&mut self.held);
        let mut left = all.as_slice();
        loop {
            match str::from_utf8(left) {
                Ok(whole) => {
                    text.push_str(whole);
                    break;
                }
                Err(error) => {
                    let (whole, rest) = left.split_at(error.valid_up_to());
                    text.push_str(str::from_utf8(whole).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        self.cut = rest.to_vec();
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    left = &rest[bad..];
                }
            }
        }
        let kept = text.trim_end_matches(['\r', '\n']).len();
        if text.len() - kept <= HELD_BYTES_MAX {
            self.held = text.split_off(kept);
        }
        text
    }

    /// What was no whole character when everything had come; line ends at the end are no part of it.
    pub(super) fn end(self) -> String {
        if self.cut.is_empty() {
            return String::new();
        }
        self.held + &String::from_utf8_lossy(&self.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_text_wherever_they_are_cut() {
        let text = "a\u{20ac}b\u{1f980}\n\nc\u{fc}\r\n\n";
        for cut in 0..text.len() {
            for second in cut..text.len() {
                let bytes = text.as_bytes();
                let mut decoder = Decoder::default();
                let mut read = decoder.read(&bytes[..cut]);
                read += &decoder.read(&bytes[cut..second]);
                read += &decoder.read(&bytes[second..]);
                read += &decoder.end();
                assert_eq!(read, text.trim_end(), "{cut} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut decoder = Decoder::default();
        assert_eq!(
            decoder.read(b"a\xff\xfeb\xed\xa0\x80c"),
            "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}c"
        );
        assert_eq!(decoder.read(b"\xe2\x82"), "");
        assert_eq!(decoder.end(), "\u{fffd}");
        let mut decoder = Decoder::default();
        for _line in 0..100 {
            drop(decoder.read(&[b'\n'; 100]));
            assert!(decoder.held.len() <= HELD_BYTES_MAX);
        }
    }
}
