//! How a credential's value may be written in an answer: as it is, and as programs write it when they put it into a URL, JSON,
//! HTML, base64 or hexadecimal digits. Never keeps one longer than its owner, and never prints one.

use base64::{
    Engine as _,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use zeroize::Zeroizing;

/// The fewest bits that a value must be worth to be looked for: what is worth less could be guessed by an agent that has a
/// tool repeat its guesses and sees which of them is masked.
const WORTH_BITS_MIN: f64 = 80.0;

/// No shorter value is worth that, whatever its characters.
pub(crate) const VALUE_BYTES_MIN: u64 = 11;

/// The longest value that is looked for, in bytes; of a longer one this much of its beginning is.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// What a longer value is looked for in pieces of, in bytes, so that no more than that is ever held back for it.
const PIECE_BYTES_MAX: usize = 256;

/// One way of writing a value.
pub(crate) struct Form {
    pub(crate) text: Zeroizing<Vec<u8>>,
    pub(super) fill: Fill,
}

/// What stands in the place of a form: as many bytes, and nothing that breaks what is around it. Where forms overlap the
/// later of these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fill {
    /// `A`, in base64.
    Letter,
    /// `0`, among hexadecimal digits.
    Digit,
    /// `*`, anywhere else.
    Star,
}

impl Fill {
    /// The byte itself.
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Letter => b'A',
            Self::Digit => b'0',
            Self::Star => b'*',
        }
    }
}

/// Characters that an encoder of URLs leaves as they are, besides letters and digits, and what it makes of a space.
const URL_MANNERS: [(&[u8], &[u8]); 7] = [
    // RFC 3986; Go; a form in PHP, which encodes the tilde; a browser's `encodeURIComponent`, form and `encodeURI`; Python.
    (b"-._~", b"%20"),
    (b"-._~", b"+"),
    (b"-._", b"+"),
    (b"-_.!~*'()", b"%20"),
    (b"*-._", b"+"),
    (b"-_.!~*'();/?:@&=+$,#", b"%20"),
    (b"-._~/", b"%20"),
];

/// Characters besides `"` and `\` that a writer of JSON writes as `\uXXXX`, and whether it does so with all beyond ASCII.
const JSON_MANNERS: [(&[u8], bool); 4] = [
    // Most; Python, PHP; Go, Ruby on Rails; .NET.
    (b"", false),
    (b"", true),
    (b"<>&", false),
    (b"\"&'+<>`", true),
];

/// Every form of a value that is looked for; none where it is worth too little.
pub(crate) fn of(value: &[u8]) -> Vec<Form> {
    let mut forms = Forms::default();
    for piece in pieces(value) {
        forms.add_all(piece);
    }
    forms.0
}

/// A value in the pieces that are looked for. Lines stand for themselves, so that no form holds a line break; the first and
/// last line of a key in PEM say nothing.
fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let value = &value[..value.len().min(VALUE_BYTES_MAX)];
    let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = lines.filter(|line| !line.starts_with(b"-----"));
    let pieces = lines.flat_map(|line| {
        // The last piece of a line is as long as the others, and begins within the one before.
        let starts = (0..line.len()).step_by(PIECE_BYTES_MAX);
        starts.map(move |start| {
            let end = line.len().min(start + PIECE_BYTES_MAX);
            &line[end.saturating_sub(PIECE_BYTES_MAX).min(start)..end]
        })
    });
    pieces.filter(|piece| worth_bits(piece) >= WORTH_BITS_MIN)
}

/// A kind of characters, and how many there are.
type Characters = (fn(&u8) -> bool, u16);

/// What it takes to guess a value, in bits, by the kinds of characters in it; rather too much for words.
fn worth_bits(value: &[u8]) -> f64 {
    let any = |kind: fn(&u8) -> bool| value.iter().any(kind);
    let hex = |letters: std::ops::RangeInclusive<u8>| {
        value
            .iter()
            .all(|byte| byte.is_ascii_digit() || letters.contains(byte))
    };
    let kinds: [Characters; 6] = [
        (u8::is_ascii_lowercase, 26),
        (u8::is_ascii_uppercase, 26),
        (u8::is_ascii_digit, 10),
        (|byte| matches!(byte, b'-' | b'_'), 2),
        (
            |byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_'),
            31,
        ),
        (|byte| !byte.is_ascii(), 128),
    ];
    let alphabet = if any(u8::is_ascii_alphabetic) && (hex(b'a'..=b'f') || hex(b'A'..=b'F')) {
        16
    } else {
        kinds
            .iter()
            .map(|(kind, size)| if any(*kind) { *size } else { 0 })
            .sum::<u16>()
    };
    // No value is long enough to lose anything here.
    value.len() as f64 * f64::from(alphabet.max(1)).log2()
}

#[derive(Default)]
struct Forms(Vec<Form>);

impl Forms {
    fn add_all(&mut self, piece: &[u8]) {
        self.add(piece.to_vec(), Fill::Star);
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            for (kept, space) in URL_MANNERS {
                self.add(in_url(piece, kept, (space, digits)), Fill::Star);
            }
            self.add(in_hex(piece, digits), Fill::Digit);
            if let Ok(text) = std::str::from_utf8(piece) {
                for (escaped, ascii) in JSON_MANNERS {
                    for slash in ["/", "\\/"] {
                        self.add(in_json(text, (escaped, ascii), (slash, digits)), Fill::Star);
                    }
                }
            }
        }
        for quote in ["&#39;", "&#x27;", "&apos;"] {
            self.add(in_html(piece, quote), Fill::Star);
        }
        for alphabet in [&STANDARD, &URL_SAFE] {
            for before in 0..3 {
                self.add(in_base64(piece, before, alphabet), Fill::Letter);
            }
        }
    }

    fn add(&mut self, text: Vec<u8>, fill: Fill) {
        let text = Zeroizing::new(text);
        match self.0.iter_mut().find(|known| *known.text == *text) {
            Some(known) => known.fill = known.fill.max(fill),
            None => self.0.push(Form { text, fill }),
        }
    }
}

fn in_url(value: &[u8], kept: &[u8], (space, digits): (&[u8], &[u8; 16])) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() * 3);
    for byte in value {
        match byte {
            b' ' => text.extend_from_slice(space),
            byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => text.push(*byte),
            byte => text.extend_from_slice(&[b'%', high(*byte, digits), low(*byte, digits)]),
        }
    }
    text
}

fn in_hex(value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let pairs = value.iter();
    pairs
        .flat_map(|byte| [high(*byte, digits), low(*byte, digits)])
        .collect()
}

fn high(byte: u8, digits: &[u8; 16]) -> u8 {
    digits[usize::from(byte >> 4)]
}

fn low(byte: u8, digits: &[u8; 16]) -> u8 {
    digits[usize::from(byte & 15)]
}

fn in_json(
    value: &str,
    (escaped, ascii): (&[u8], bool),
    (slash, digits): (&str, &[u8; 16]),
) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() * 6);
    for letter in value.chars() {
        let byte = u8::try_from(letter).unwrap_or(b' ');
        if letter.is_control() || escaped.contains(&byte) || (ascii && !letter.is_ascii()) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let [first, second] = unit.to_be_bytes();
                text.extend_from_slice(b"\\u");
                text.extend(
                    [first, second]
                        .map(|byte| [high(byte, digits), low(byte, digits)])
                        .concat(),
                );
            }
        } else {
            match letter {
                '"' | '\\' => text.extend_from_slice(&[b'\\', byte]),
                '/' => text.extend_from_slice(slash.as_bytes()),
                letter => text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    text
}

fn in_html(value: &[u8], quote: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() * 6);
    for byte in value {
        match byte {
            b'&' => text.extend_from_slice(b"&amp;"),
            b'<' => text.extend_from_slice(b"&lt;"),
            b'>' => text.extend_from_slice(b"&gt;"),
            b'"' => text.extend_from_slice(b"&quot;"),
            b'\'' => text.extend_from_slice(quote.as_bytes()),
            byte => text.push(*byte),
        }
    }
    text
}

/// The value in base64 behind so many other bytes, as far as these do not change it.
fn in_base64(value: &[u8], before: usize, alphabet: &Alphabet) -> Vec<u8> {
    let whole = Zeroizing::new([&[0; 2][..before], value].concat());
    let mut text = GeneralPurpose::new(alphabet, NO_PAD)
        .encode(&whole)
        .into_bytes();
    text.truncate(whole.len() * 8 / 6);
    text.drain(..(before * 8).div_ceil(6));
    text
}

#[cfg(test)]
mod tests;
