//! What the stand-in for a token looks like: as the token does, as far as that is no secret. Never takes over more of one than how every
//! token of its kind begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postern_contract::config::{Alphabet, DUMMY_BYTES_MAX, DUMMY_BYTES_MIN, Shape};

/// How often a token says in words what it is: `sk_live_` does twice.
const WORDS_MAX: usize = 2;

/// The longest of these words, in bytes.
const WORD_BYTES_MAX: usize = 6;

/// A shape like a token's.
pub(super) fn like(token: &str) -> Shape {
    if is_jwt(token) {
        return Shape::Jwt;
    }
    let (like, rest) = token.split_at(beginning(token));
    let alphabet = alphabet(rest);
    let least = (like.len() + alphabet.characters_min()).max(DUMMY_BYTES_MIN);
    Shape::Key {
        like: like.to_owned(),
        length: token.len().clamp(least, DUMMY_BYTES_MAX),
        alphabet,
    }
}

/// Three parts, of which the first says how it is signed.
fn is_jwt(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, _, _] = parts.as_slice() else {
        return false;
    };
    let head = URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&head).is_ok_and(|head| head.get("alg").is_some())
}

/// How many bytes say what kind of token it is: `gho_`, `ya29.`, `xoxb-`. What is random hardly ever looks so, and if it does, few of
/// its bytes are shown.
fn beginning(token: &str) -> usize {
    let mut end = 0;
    for _ in 0..WORDS_MAX {
        let rest = &token[end..];
        let is_a_word = |word: &str| {
            (2..=WORD_BYTES_MAX).contains(&word.len())
                && word.starts_with(|first: char| first.is_ascii_lowercase())
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        match rest.find(['_', '-', '.']) {
            Some(length) if is_a_word(&rest[..length]) => end += length + 1,
            _ => break,
        }
    }
    end
}

fn alphabet(text: &str) -> Alphabet {
    let all = |is: fn(u8) -> bool| text.bytes().all(is);
    if all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        Alphabet::Hex
    } else if all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte)) {
        Alphabet::Base32
    } else if all(|byte| byte.is_ascii_alphanumeric()) {
        Alphabet::Base62
    } else {
        Alphabet::Base64url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: &str) -> (String, usize, Alphabet) {
        match like(token) {
            Shape::Key {
                like,
                length,
                alphabet,
            } => (like, length, alphabet),
            Shape::Jwt => panic!("{token} is a key"),
        }
    }

    #[test]
    fn a_stand_in_begins_and_is_made_as_the_token_is() {
        for (token, begins, alphabet) in [
            (
                "gho_16C7e42F292c6912E7710c838347Ae178B4a",
                "gho_",
                Alphabet::Base62,
            ),
            (
                "sk_live_16C7e42F292c6912E7710c838347",
                "sk_live_",
                Alphabet::Base62,
            ),
            (
                "ya29.a0AfH6SMC-x_y16C7e42F292c6912E7710",
                "ya29.",
                Alphabet::Base64url,
            ),
            ("2YotnFZFEjr1zCsicMWpAA2YotnFZFEjr1zC", "", Alphabet::Base62),
            (
                "b6d2c58c1f0e4a7b9d3e5f7081a2b3c4d5e6f708",
                "",
                Alphabet::Hex,
            ),
            (
                "f81d4fae7dec-11d0-a765-00a0c91e6bf6",
                "",
                Alphabet::Base64url,
            ),
            (
                "a/b+c=16C7e42F292c6912E7710c838347Ae17",
                "",
                Alphabet::Base64url,
            ),
        ] {
            let length = token.len();
            assert_eq!(key(token), (begins.to_owned(), length, alphabet), "{token}");
        }
    }

    #[test]
    fn a_token_of_any_length_has_a_stand_in_that_nobody_guesses() {
        assert_eq!(key("x"), (String::new(), 18, Alphabet::Base62));
        assert_eq!(key("gho_"), ("gho_".to_owned(), 29, Alphabet::Hex));
        assert_eq!(key(&"x".repeat(9000)).1, DUMMY_BYTES_MAX);
    }

    #[test]
    fn a_web_token_is_told_by_its_head() {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        assert_eq!(like(&format!("{head}.e30.c2ln")), Shape::Jwt);
        for other in ["a.b.c", "e30.e30.c2ln", &head, &format!("{head}.e30")] {
            assert_ne!(like(other), Shape::Jwt, "{other}");
        }
    }
}
