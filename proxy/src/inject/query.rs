//! A query parameter, for tools that want their key in the URL. Never part of the URL that is decided on, shown or
//! written down: it is appended on the wire alone.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use postern_contract::SecretName;
use postern_policy::CanonicalQuery;
use serde::Deserialize;

use super::{Draft, Kind, Place, Unfit, Values};

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `{ kind = "query", name = "key", secret = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    name: Parameter,
    secret: SecretName,
}

/// A parameter's name: not empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Parameter(pub(super) String);

#[derive(Debug, thiserror::Error)]
#[error("a query parameter needs a name")]
pub(super) struct NoName;

impl TryFrom<String> for Parameter {
    type Error = NoName;

    fn try_from(text: String) -> Result<Self, NoName> {
        if text.is_empty() {
            Err(NoName)
        } else {
            Ok(Self(text))
        }
    }
}

impl Kind for Query {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Query(&self.name.0)]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?;
        let name = percent_encode(self.name.0.as_bytes(), ENCODED);
        let value = percent_encode(secret.expose(), ENCODED);
        draft.append(&format!("{name}={value}"));
        Ok(())
    }
}

/// A name or value as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes(), ENCODED).to_string()
}

/// A query without the parameter of this name, and how often the agent had put it there. What some servers take for the
/// parameter counts as it: behind a `;`, or as an item of a list (`key[]`, `key[0]`).
pub(super) fn without(query: &CanonicalQuery, name: &str) -> (Option<CanonicalQuery>, u32) {
    let is_own = |pair: &&str| pair.split(';').any(|part| is_named(part, name));
    let pairs = query.as_str().split('&');
    let dropped = pairs.clone().filter(is_own).count();
    if dropped == 0 {
        return (Some(query.clone()), 0);
    }
    let kept: Vec<&str> = pairs.filter(|pair| !is_own(pair)).collect();
    // Pairs of a canonical query make a canonical query again.
    let rest = if kept.is_empty() {
        None
    } else {
        kept.join("&").parse().ok()
    };
    (rest, u32::try_from(dropped).unwrap_or(u32::MAX))
}

/// Whether a server could read a value of this name from it.
fn is_named(pair: &str, name: &str) -> bool {
    let key = pair.split('=').next().unwrap_or(pair).replace('+', " ");
    let key = percent_decode_str(&key).collect::<Vec<u8>>();
    let whole = key.split(|byte| *byte == b'[').next().unwrap_or(&key);
    [&*key, whole]
        .iter()
        .any(|key| key.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inject::tests::targeted, secret::Secrets};

    #[test]
    fn the_value_is_encoded_whole() {
        let query: Query = serde_json::from_str(r#"{"name":"api key","secret":"a"}"#).unwrap();
        let secrets = Secrets::of([("a", "k&x=1#/?")]);
        let add = |draft: &mut Draft<'_>| query.add(&Values::of(&secrets), draft);
        for (target, sent) in [
            ("/", "/?api%20key=k%26x%3D1%23%2F%3F"),
            ("/?a=1", "/?a=1&api%20key=k%26x%3D1%23%2F%3F"),
        ] {
            assert_eq!(targeted(target, add).unwrap(), sent);
        }
    }

    #[test]
    fn the_agents_own_parameter_stays_behind_however_it_is_spelt() {
        let query = "a=1&key=mine&%6bey=mine&KEY=mine&b".parse().unwrap();
        let (rest, dropped) = without(&query, "key");
        assert_eq!((rest.unwrap().as_str(), dropped), ("a=1&b", 3));
        let query = "a=1;key=mine&key[]=mine&key%5B0%5D=mine&keys=1&b"
            .parse()
            .unwrap();
        let (rest, dropped) = without(&query, "key");
        assert_eq!((rest.unwrap().as_str(), dropped), ("keys=1&b", 3));
        let (rest, dropped) = without(&"key=mine".parse().unwrap(), "key");
        assert_eq!((rest, dropped), (None, 1));
    }

    #[test]
    fn a_nameless_parameter_is_refused() {
        assert!(serde_json::from_str::<Query>(r#"{"name":"","secret":"a"}"#).is_err());
    }
}
