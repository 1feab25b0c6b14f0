//! A segment of the path, for tools that want their key there: `/bot<TOKEN>/sendMessage`. Decisions, logs and people see a
//! hyphen in its place; never part of the URL that is decided on.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use postern_contract::SecretName;
use postern_policy::CanonicalPath;
use serde::Deserialize;

use super::{Draft, Kind, Place, Unfit, Values};

/// What stands in the value's place until the call goes out.
const STAND_IN: &str = "-";

/// The most places of one credential.
const PLACES_MAX: usize = 8;

/// Everything but what a segment may hold as it is and keys are made of.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'=')
    .remove(b',')
    .remove(b'!')
    .remove(b'$');

/// `{ kind = "path", at = "/bot{}", secret = "NAME" }`; `at` may be a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    at: Spots,
    secret: SecretName,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "OneOrMore")]
struct Spots(Vec<Spot>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// How a path begins that has the value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// What stands before the value, from the first slash on.
    before: String,
    /// What stands behind it in the same segment.
    behind: String,
}

#[derive(Debug, thiserror::Error)]
enum NoSpot {
    #[error("`{0}` is not how a path begins with one `{{}}` for the value, as `/bot{{}}` is")]
    Form(String),
    #[error("a credential has one to {PLACES_MAX} places")]
    Number,
}

impl TryFrom<OneOrMore> for Spots {
    type Error = NoSpot;

    fn try_from(written: OneOrMore) -> Result<Self, NoSpot> {
        let texts = match written {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        if texts.is_empty() || texts.len() > PLACES_MAX {
            return Err(NoSpot::Number);
        }
        let spots = texts.iter().map(|text| Spot::read(text));
        Ok(Self(spots.collect::<Result<_, _>>()?))
    }
}

impl Spot {
    fn read(text: &str) -> Result<Self, NoSpot> {
        let wrong = || NoSpot::Form(text.escape_default().take(80).collect());
        let (before, behind) = text.split_once("{}").ok_or_else(wrong)?;
        let path: CanonicalPath = [before, STAND_IN, behind]
            .concat()
            .parse()
            .map_err(|_| wrong())?;
        let whole = path.as_str().len() == text.len() - "{}".len() + STAND_IN.len();
        if !whole || behind.contains('/') || behind.contains("{}") {
            return Err(wrong());
        }
        Ok(Self {
            before: before.to_owned(),
            behind: behind.to_owned(),
        })
    }

    /// What stands in the value's place in a path, and the path's rest.
    fn find<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let rest = path.strip_prefix(self.before.as_str())?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (segment, rest) = rest.split_at(end);
        let value = segment.strip_suffix(self.behind.as_str())?;
        (!value.is_empty()).then_some((value, rest))
    }

    fn filled(&self, value: &str, rest: &str) -> String {
        [&self.before, value, &self.behind, rest].concat()
    }

    /// The path's beginning, for people.
    pub(super) fn in_words(&self) -> String {
        self.filled(STAND_IN, "")
    }
}

/// A path with nothing of the agent's in the value's place, and whether there was; `None` for a path without the place.
pub(super) fn without(path: &CanonicalPath, spots: &[Spot]) -> Option<(CanonicalPath, bool)> {
    let (spot, (value, rest)) = spots
        .iter()
        .find_map(|spot| Some((spot, spot.find(path.as_str())?)))?;
    if value == STAND_IN {
        return Some((path.clone(), false));
    }
    let path = spot.filled(STAND_IN, rest).parse().ok()?;
    Some((path, true))
}

impl Kind for Path {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Path(&self.at.0)]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?.expose();
        // A dot segment would lead elsewhere than what was decided on.
        if secret.iter().all(|byte| *byte == b'.') {
            return Err(Unfit);
        }
        let end = draft.target.find('?').unwrap_or(draft.target.len());
        let (path, query) = draft.target.split_at(end);
        let found = self.at.0.iter().find_map(|spot| {
            let (_, rest) = spot.find(path).filter(|(value, _)| *value == STAND_IN)?;
            Some((spot, rest))
        });
        let (spot, rest) = found.ok_or(Unfit)?;
        let value = percent_encode(secret, ENCODED).to_string();
        draft.target = spot.filled(&value, rest) + query;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inject::tests::targeted, secret::Secrets};

    const TELEGRAM: &str = r#"{"at":["/bot{}","/file/bot{}"],"secret":"a"}"#;

    fn read(text: &str) -> Path {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_value_stands_in_its_place_on_the_wire_alone() {
        let path = read(TELEGRAM);
        let secrets = Secrets::of([("a", "123:AAF-x/y")]);
        let add = |draft: &mut Draft<'_>| path.add(&Values::of(&secrets), draft);
        for (decided, sent) in [
            ("/bot-/getMe", "/bot123:AAF-x%2Fy/getMe"),
            ("/bot-", "/bot123:AAF-x%2Fy"),
            ("/file/bot-/a?b=/bot-", "/file/bot123:AAF-x%2Fy/a?b=/bot-"),
        ] {
            assert_eq!(targeted(decided, add).unwrap(), sent);
        }
        for elsewhere in [
            "/",
            "/a/bot-/getMe",
            "/bot/getMe",
            "/bot9/getMe",
            "/?/bot-/x",
        ] {
            assert!(targeted(elsewhere, add).is_err(), "{elsewhere}");
        }
        let dots = Secrets::of([("a", "..")]);
        let whole = read(r#"{"at":"/{}","secret":"a"}"#);
        let add = |draft: &mut Draft<'_>| whole.add(&Values::of(&dots), draft);
        assert!(targeted("/-/x", add).is_err());
    }

    #[test]
    fn what_the_agent_puts_there_stays_behind() {
        let path = read(TELEGRAM);
        let without = |text: &str| {
            let (path, dropped) = without(&text.parse().unwrap(), &path.at.0)?;
            Some((path.to_string(), dropped))
        };
        for (asked, decided, dropped) in [
            ("/bot-/getMe", "/bot-/getMe", false),
            ("/bot1:dummy/getMe", "/bot-/getMe", true),
            ("/file/bot1:dummy/a/b", "/file/bot-/a/b", true),
        ] {
            assert_eq!(without(asked), Some((decided.to_owned(), dropped)));
        }
        for none in ["/getMe", "/bot", "/bot/getMe", "/BOT1/getMe"] {
            assert_eq!(without(none), None, "{none}");
        }
    }

    #[test]
    fn a_place_is_one_segment_of_a_plain_path() {
        for at in [
            "bot{}", "/bot", "/{}{}", "/{}/x", "/a?{}", "/a/../{}", "/a b{}", "/%zz{}",
        ] {
            let text = format!(r#"{{"at":"{at}","secret":"a"}}"#);
            assert!(serde_json::from_str::<Path>(&text).is_err(), "{at}");
        }
        assert!(serde_json::from_str::<Path>(r#"{"at":[],"secret":"a"}"#).is_err());
    }
}
