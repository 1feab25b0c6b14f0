//! The form that an agent asks a token endpoint with, as far as one of its fields is a refresh token. Never changes another byte of it.

use std::ops::Range;

use http::{HeaderMap, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use postern_contract::Secret;
use zeroize::Zeroizing;

/// The field whose value is one.
const REFRESH_TOKEN: &[u8] = b"refresh_token";

/// A form says which refresh token it is about more than once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a form has one `refresh_token`")]
pub(crate) struct Twice;

/// A refresh token in a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// As the agent means it.
    pub(super) text: String,
    /// Where it stands.
    pub(super) place: Range<usize>,
}

/// Whether a request with these fields has a form.
pub(super) fn is_one(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The refresh token of a form, if it has one.
pub(super) fn refresh_token(form: &[u8]) -> Result<Option<Shown>, Twice> {
    let (mut found, mut start) = (None, 0);
    for pair in form.split(|byte| *byte == b'&') {
        let end = start + pair.len();
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair.split_at(equals.unwrap_or(pair.len()));
        if plain(name).as_bytes() == REFRESH_TOKEN {
            let value = value.get(1..).unwrap_or_default();
            let shown = Shown {
                text: plain(value),
                place: end - value.len()..end,
            };
            if found.replace(shown).is_some() {
                return Err(Twice);
            }
        }
        start = end + 1;
    }
    Ok(found)
}

/// A part of a form with its escapes undone.
fn plain(part: &[u8]) -> String {
    let part = String::from_utf8_lossy(part).replace('+', " ");
    percent_decode_str(&part).decode_utf8_lossy().into_owned()
}

/// The form with the real token in this place.
pub(super) fn with(form: &[u8], place: &Range<usize>, real: &Secret) -> Zeroizing<Vec<u8>> {
    let real = Zeroizing::new(String::from_utf8_lossy(real.expose()).into_owned());
    // Room for all of it at once, so that no copy of a part is left behind.
    let mut all = Zeroizing::new(Vec::with_capacity(form.len() + 3 * real.len()));
    all.extend_from_slice(&form[..place.start]);
    for piece in utf8_percent_encode(&real, NON_ALPHANUMERIC) {
        all.extend_from_slice(piece.as_bytes());
    }
    all.extend_from_slice(&form[place.end..]);
    all
}

/// What of a form is left without what stands in this place.
pub(super) fn without(form: &[u8], place: &Range<usize>) -> Vec<u8> {
    [&form[..place.start], b" ", &form[place.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(form: &str) -> Option<(String, &str)> {
        let shown = refresh_token(form.as_bytes()).unwrap()?;
        Some((shown.text, &form[shown.place]))
    }

    #[test]
    fn a_refresh_token_is_found_wherever_it_stands_and_however_it_is_escaped() {
        for (form, text, written) in [
            ("refresh_token=a-b", "a-b", "a-b"),
            ("x=1&refresh_token=a%2Db&y=2", "a-b", "a%2Db"),
            ("x=refresh_token&refresh%5Ftoken=a+b", "a b", "a+b"),
            ("refresh_token", "", ""),
            ("refresh_token=&x", "", ""),
            ("refresh_token=a=b", "a=b", "a=b"),
        ] {
            assert_eq!(found(form), Some((text.to_owned(), written)), "{form}");
        }
        for form in ["", "&&", "x=1", "xrefresh_token=1", "refresh_token_=1"] {
            assert_eq!(found(form), None, "{form}");
        }
        let twice = b"refresh_token=a&x&refresh_toke%6E=b";
        assert_eq!(refresh_token(twice), Err(Twice));
    }

    #[test]
    fn the_real_one_takes_its_place_and_all_else_stays() {
        let form = b"a=%20&refresh_token=x&b=+";
        let place = refresh_token(form).unwrap().unwrap().place;
        let real = Secret::new(b"r/1 +".to_vec());
        let filled = with(form, &place, &real);
        assert_eq!(&**filled, b"a=%20&refresh_token=r%2F1%20%2B&b=+");
        assert_eq!(without(form, &place), b"a=%20&refresh_token= &b=+");
    }
}
