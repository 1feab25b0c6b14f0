//! JSON that every server reads alike. Never holds what two of them could read differently: a key that is there twice
//! (in whatever case), a number beyond what all of them count with, a list without end.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The longest list or object, in items.
pub(crate) const ITEMS_MAX: usize = 10_000;

/// From here on a floating-point number no longer holds every integer.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// In the order in which it was sent, each key once.
    Object(Vec<(String, Self)>),
}

/// How large the parts of a value are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Items of the longest list or object.
    pub(crate) items: usize,
    /// Bytes of the longest text or key.
    pub(crate) bytes: usize,
}

impl Json {
    /// A member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(at, _)| at == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value as text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The keys of an object; none for anything else.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let members = match self {
            Self::Object(members) => members.as_slice(),
            _ => &[],
        };
        members.iter().map(|(key, _)| key.as_str())
    }

    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Text(text) => Extent {
                items: 0,
                bytes: text.len(),
            },
            Self::List(items) => {
                let own = Extent {
                    items: items.len(),
                    bytes: 0,
                };
                items.iter().map(Self::extent).fold(own, Extent::max)
            }
            Self::Object(members) => {
                let own = Extent {
                    items: members.len(),
                    bytes: 0,
                };
                let member = |(key, value): &(String, Self)| {
                    value.extent().max(Extent {
                        items: 0,
                        bytes: key.len(),
                    })
                };
                members.iter().map(member).fold(own, Extent::max)
            }
            _ => Extent::default(),
        }
    }
}

impl Extent {
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            items: self.items.max(other.items),
            bytes: self.bytes.max(other.bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Uint(value), Json::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        if value.abs() < EXACT_MAX {
            Ok(Json::Float(value))
        } else {
            Err(E::custom("a number that not every server holds"))
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            check_room(items.len())?;
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            check_room(members.len())?;
            if !seen.insert(folded(&key)) {
                return Err(A::Error::custom("a key that is there twice"));
            }
            members.push((key, access.next_value()?));
        }
        Ok(Json::Object(members))
    }
}

fn check_room<E: Error>(items: usize) -> Result<(), E> {
    if items < ITEMS_MAX {
        Ok(())
    } else {
        Err(E::custom("a list without end"))
    }
}

/// A key as servers read it that do not look at case; upper case first, so that every letter meets its kin.
fn folded(key: &str) -> String {
    key.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Json> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn keys_are_there_once() {
        for twice in [
            r#"{"amount":1,"amount":2}"#,
            r#"{"amount":1,"Amount":2}"#,
            r#"{"amount":1,"\u0061mount":2}"#,
            "{\"task\":1,\"ta\u{17f}\u{212a}\":2}",
            r#"[{"x":{"a":1,"a":1}}]"#,
        ] {
            assert_eq!(read(twice), None, "{twice}");
        }
        let body = read(r#"{"b":[1,-1,1.5,18446744073709551615,true,null],"a":"x"}"#).unwrap();
        assert_eq!(body.get("a").and_then(Json::text), Some("x"));
        assert_eq!(body.keys().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(body.extent(), Extent { items: 6, bytes: 1 });
    }

    #[test]
    fn numbers_that_servers_count_differently() {
        for number in [
            "18446744073709551616",
            "1e400",
            "9007199254740993.0",
            "-1e16",
        ] {
            assert_eq!(read(number), None, "{number}");
        }
    }

    #[test]
    fn lists_and_depth_have_an_end() {
        let list = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        assert!(read(&list(ITEMS_MAX)).is_some());
        assert_eq!(read(&list(ITEMS_MAX + 1)), None);
        assert_eq!(read(&"[".repeat(100_000)), None);
        for broken in [
            "",
            "{",
            "nul",
            "{\"a\":1}x",
            "\u{feff}{}",
            "{'a':1}",
            "[1,]",
            "NaN",
            "\"\u{1}\"",
        ] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }
}
