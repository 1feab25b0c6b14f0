//! The condition on the query: `query` of a rule. Never looks at a parameter that its rule does not name.

use std::collections::BTreeMap;

use postern_contract::config::Wanted;

use super::{Call, Judge, Match, Why};

/// Holds where every parameter says what is wanted.
#[derive(Debug)]
pub(crate) struct Query(pub(crate) BTreeMap<String, Wanted>);

impl Judge for Query {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return Match::CannotTell(Why::InTunnel);
        }
        let parameter = |(name, wanted): (&String, &Wanted)| {
            let parameters = call.parameters();
            let fits = match wanted {
                Wanted::Exactly(text) => parameters.says(name, text),
                Wanted::Presence(wanted) => parameters
                    .one(name)
                    .map(|found| found.is_some() == wanted.present),
            };
            fits.map_or_else(
                |unclear| Match::CannotTell(Why::Query(unclear)),
                Match::from,
            )
        };
        let parameters = self.0.iter().map(parameter);
        parameters.fold(Match::Yes, |so_far, parameter| so_far.and(|| parameter))
    }
}
