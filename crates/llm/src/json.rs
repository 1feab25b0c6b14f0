//! A check that no object of a JSON text has a key twice: where two parsers could disagree, nobody may choose. Never keeps
//! the values.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::RequestError;

/// How much of a key an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Keys by which serde_json marks values of its own inside a map. In a body from outside they could make one parser see
/// another document than the next.
const PARSER_MARK: &str = "$serde_json::private::";

/// Checks a whole JSON text.
///
/// # Errors
/// [`RequestError::DuplicateKey`] names the first key that stands twice in one object; [`RequestError::NotJson`] for anything
/// that is not exactly one JSON value of bounded depth.
pub fn refuse_duplicate_keys(text: &[u8]) -> Result<(), RequestError> {
    let twice = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let checked = Check { twice: &twice }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match (checked, twice.into_inner()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(key)) => Err(RequestError::DuplicateKey(key)),
        (Err(_), None) => Err(RequestError::NotJson),
    }
}

/// Walks one value; puts the key that stands twice where the caller finds it.
#[derive(Clone, Copy)]
struct Check<'a> {
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if key.starts_with(PARSER_MARK) {
                return Err(A::Error::custom("a key of the parser's own"));
            }
            if seen.contains(&key) {
                let shown = key.escape_debug().take(SHOWN_CHARS_MAX).collect();
                *self.twice.borrow_mut() = Some(shown);
                return Err(A::Error::custom("duplicate key"));
            }
            seen.insert(key);
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_twice_is_found_at_any_depth_and_in_any_spelling() {
        for bad in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","\u006dodel":"b"}"#,
            r#"{"a":[{"b":{"model":1,"x":2,"model":1}}]}"#,
        ] {
            let error = refuse_duplicate_keys(bad.as_bytes()).unwrap_err();
            assert_eq!(
                error,
                RequestError::DuplicateKey("model".to_owned()),
                "{bad}"
            );
        }
        assert_eq!(
            refuse_duplicate_keys(br#"{"a":{"b":1},"b":[{"a":1},{"a":null}]}"#),
            Ok(())
        );
    }

    #[test]
    fn anything_but_one_value_is_refused() {
        let deep = "[".repeat(100_000);
        for bad in ["", "{", "{} {}", "nul", "{\"a\":1,}", "\u{feff}{}", &deep] {
            assert_eq!(
                refuse_duplicate_keys(bad.as_bytes()),
                Err(RequestError::NotJson)
            );
        }
        assert_eq!(
            refuse_duplicate_keys(b"{\"a\":\"\xff\"}"),
            Err(RequestError::NotJson)
        );
    }

    #[test]
    fn a_document_hidden_from_the_check_is_refused() {
        let hidden = br#"{"$serde_json::private::RawValue":"{\"model\":\"a\",\"model\":\"b\"}"}"#;
        assert_eq!(refuse_duplicate_keys(hidden), Err(RequestError::NotJson));
    }

    #[test]
    fn a_shown_key_is_short_and_plain() {
        let key = format!("\u{1b}[31m{}", "x".repeat(500));
        let text = serde_json::to_string(&key).unwrap();
        let error = refuse_duplicate_keys(format!("{{{text}:1,{text}:2}}").as_bytes()).unwrap_err();
        let shown = error.to_string();
        assert!(shown.len() < 100 && !shown.contains('\u{1b}'), "{shown}");
    }
}
