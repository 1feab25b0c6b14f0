//! What an agent asks permission for, and the one of the answers it offers that says yes or no. Never decides which.

use postern_contract::approval::{DETAIL_BYTES_MAX, WORDS_BYTES_MAX};
use serde_json::{Value, json};

/// Offers that are looked at.
const OFFERS_MAX: usize = 32;

/// The longest id of an offer, in bytes.
const OFFER_BYTES_MAX: usize = 1024;

/// A request that waits for its answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permission {
    /// The request's own id.
    pub(super) id: Value,
    /// What the agent wants to use, in its own words.
    pub(super) tool: String,
    /// Of what, as it shows it: a text of JSON.
    pub(super) detail: String,
    offers: Vec<Offer>,
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No,
}

/// An answer that the agent would take.
#[derive(Debug, Clone, PartialEq)]
struct Offer {
    kind: Kind,
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AllowOnce,
    AllowAlways,
    RejectOnce,
    RejectAlways,
}

impl Permission {
    pub(super) fn read(id: Value, tool: String, params: &Value) -> Self {
        let offers = params["options"].as_array().into_iter().flatten();
        Self {
            id,
            detail: detail(&params["toolCall"]),
            tool,
            offers: offers.take(OFFERS_MAX).filter_map(Offer::read).collect(),
        }
    }

    /// The question for a human, in words.
    pub(super) fn words(&self) -> String {
        let mut words = format!("May I use this: {}", self.tool);
        words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
        words
    }

    /// The result that says so: for this once where that is offered. An agent that offers no such answer hears that it is off.
    pub(super) fn result(&self, verdict: Verdict) -> Value {
        let wanted = match verdict {
            Verdict::Yes => [Kind::AllowOnce, Kind::AllowAlways],
            Verdict::No => [Kind::RejectOnce, Kind::RejectAlways],
        };
        let of = |kind: &Kind| self.offers.iter().find(|offer| offer.kind == *kind);
        match wanted.iter().find_map(of) {
            Some(offer) => json!({ "outcome": { "outcome": "selected", "optionId": offer.id } }),
            None => cancelled(),
        }
    }
}

/// What is shown of a call: all of it, or as much as fits.
fn detail(call: &Value) -> String {
    let whole = call.to_string();
    if whole.len() <= DETAIL_BYTES_MAX {
        return whole;
    }
    // A character is at most four bytes, or six as an escape.
    let begun: String = whole.chars().take(DETAIL_BYTES_MAX / 8).collect();
    json!({ "too long to be shown whole": begun }).to_string()
}

/// The result where nobody answers.
pub(super) fn cancelled() -> Value {
    json!({ "outcome": { "outcome": "cancelled" } })
}

impl Offer {
    fn read(offer: &Value) -> Option<Self> {
        let kind = match offer["kind"].as_str()? {
            "allow_once" => Kind::AllowOnce,
            "allow_always" => Kind::AllowAlways,
            "reject_once" => Kind::RejectOnce,
            "reject_always" => Kind::RejectAlways,
            _ => return None,
        };
        let id = offer["optionId"].as_str()?;
        (id.len() <= OFFER_BYTES_MAX).then(|| Self {
            kind,
            id: id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(offers: &Value, verdict: Verdict) -> Value {
        let params = json!({ "options": offers });
        let permission = Permission::read(json!(1), "Write".to_owned(), &params);
        permission.result(verdict)["outcome"]["optionId"].clone()
    }

    #[test]
    fn the_narrowest_offer_that_says_so_is_chosen() {
        let offer = |id: &str, kind: &str| json!({ "optionId": id, "name": id, "kind": kind });
        let all = json!([
            offer("aa", "allow_always"),
            offer("a", "allow_once"),
            offer("ra", "reject_always"),
            offer("r", "reject_once"),
        ]);
        assert_eq!(chosen(&all, Verdict::Yes), "a");
        assert_eq!(chosen(&all, Verdict::No), "r");
        let only_yes = json!([offer("aa", "allow_always")]);
        assert_eq!(chosen(&only_yes, Verdict::Yes), "aa");
        // A no is never turned into a yes, whatever is offered.
        for odd in [
            only_yes,
            json!([]),
            json!(7),
            json!([null, [], { "optionId": 7, "kind": "reject_once" }, offer("x", "reject")]),
            json!([offer(&"x".repeat(2000), "reject_once")]),
        ] {
            assert_eq!(chosen(&odd, Verdict::No), Value::Null, "{odd}");
        }
    }
}
