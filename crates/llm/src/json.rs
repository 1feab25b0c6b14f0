//! JSON read strictly: no object has a key twice, since where two parsers could disagree nobody may choose; depth and number
//! of values are bounded. Numbers are checked and not kept; texts are borrowed where that is possible.

use std::{borrow::Cow, cell::Cell, cell::RefCell, collections::HashSet, fmt};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::RequestError;

/// The most values, keys not counted, of one text. The largest questions that people send are vectors of token numbers.
pub const VALUES_MAX: usize = 400_000;

/// How much of a key an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Keys by which serde_json marks values of its own inside a map. In a body from outside they could make one parser see
/// another document than the next.
const PARSER_MARK: &str = "$serde_json::private::";

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number,
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// Members in their order, each key once.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    /// Reads a whole text, nested at most 128 deep.
    ///
    /// # Errors
    /// [`RequestError::DuplicateKey`] names the first key that stands twice in one object; [`RequestError::TooManyValues`]
    /// beyond [`VALUES_MAX`]; [`RequestError::NotJson`] for anything that is not exactly one JSON value of bounded depth.
    pub fn read(text: &'a [u8]) -> Result<Self, RequestError> {
        let fault = RefCell::new(None);
        let left = Cell::new(VALUES_MAX);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let reader = Reader {
            fault: &fault,
            left: &left,
        };
        let read = reader.deserialize(&mut deserializer).and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
        read.map_err(|_| fault.into_inner().unwrap_or(RequestError::NotJson))
    }

    /// A member of an object; nothing for anything else, and for a member that is null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let (_, value) = self.members().iter().find(|(at, _)| at == key)?;
        (*value != Self::Null).then_some(value)
    }

    /// The members of an object; none for anything else.
    #[must_use]
    pub fn members(&self) -> &[(Cow<'a, str>, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The value as text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a member.
    #[must_use]
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// Whether there is nothing in it: null, `[]` or `{}`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::List(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
            Self::Bool(_) | Self::Number | Self::Text(_) => false,
        }
    }
}

/// Checks a whole JSON text.
///
/// # Errors
/// As [`Json::read`].
pub fn refuse_duplicate_keys(text: &[u8]) -> Result<(), RequestError> {
    Json::read(text).map(drop)
}

/// A key, and any part of a field's name that an error shows.
#[must_use]
pub fn shown(key: &str) -> String {
    key.escape_debug().take(SHOWN_CHARS_MAX).collect()
}

/// Reads one value; puts what is wrong where the caller finds it.
#[derive(Clone, Copy)]
struct Reader<'r> {
    fault: &'r RefCell<Option<RequestError>>,
    left: &'r Cell<usize>,
}

impl Reader<'_> {
    fn fail<E: Error>(self, fault: RequestError) -> E {
        let error = E::custom(&fault);
        *self.fault.borrow_mut() = Some(fault);
        error
    }

    fn count<E: Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or_else(|| self.fail(RequestError::TooManyValues))?);
        Ok(())
    }
}

/// A key as it stands in the text, where that is possible.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut seen = HashSet::new();
        let mut members = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if key.starts_with(PARSER_MARK) {
                return Err(A::Error::custom("a key of the parser's own"));
            }
            if !seen.insert(key.clone()) {
                return Err(self.fail(RequestError::DuplicateKey(shown(&key))));
            }
            members.push((key, map.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
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

    #[test]
    fn the_number_of_values_is_bounded() {
        let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(Json::read(zeros(VALUES_MAX - 1).as_bytes()).is_ok());
        let error = Json::read(zeros(VALUES_MAX).as_bytes()).unwrap_err();
        assert_eq!(error, RequestError::TooManyValues);
    }
}
