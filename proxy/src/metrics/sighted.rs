//! When each model's provider last answered, as the calls that ended tell it. Never asks one, and never decides whether a call
//! may be made: that an agent's question was too much for a provider says nothing to its neighbours but this.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use postern_contract::{Code, ModelName, link::Sighting};

use crate::audit::Line;

/// The last news of each model; there are as many as the configs since the start have named.
#[derive(Debug, Default)]
pub(super) struct Sighted(Mutex<BTreeMap<ModelName, Seen>>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    answered_ms: Option<i64>,
    unreached: Option<(Code, i64)>,
}

impl Sighted {
    /// A call is over, at this time in milliseconds since 1970, and this is its line.
    pub(super) fn ended(&self, line: &Line, at_ms: i64) {
        let Some(model) = &line.model else { return };
        let answered = line.timings.first_byte_us.is_some();
        let unreached = line.reason.filter(|code| says_unreached(*code));
        if !answered && unreached.is_none() {
            return;
        }
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = models.entry(model.clone()).or_default();
        if answered {
            seen.answered_ms = Some(at_ms);
            seen.unreached = None;
        } else if let Some(code) = unreached {
            let since = seen.unreached.map_or(at_ms, |(_, since)| since);
            seen.unreached = Some((code, since));
        }
    }

    /// All of it, by the models' names.
    pub(super) fn all(&self) -> Vec<Sighting> {
        let models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = models.iter().map(|(model, seen)| Sighting {
            model: model.clone(),
            answered_ms: seen.answered_ms,
            unreached: seen.unreached,
        });
        all.collect()
    }
}

fn says_unreached(code: Code) -> bool {
    matches!(
        code,
        Code::UpstreamUnreachable | Code::UpstreamTimeout | Code::CircuitOpen
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Timings;

    fn line(model: &str) -> Line {
        Line {
            model: Some(model.parse().unwrap()),
            ..Line::default()
        }
    }

    #[test]
    fn a_provider_counts_as_gone_since_it_first_did_not_answer_and_until_it_does() {
        let sighted = Sighted::default();
        let gone = |code| Line {
            reason: Some(code),
            ..line("fast")
        };
        sighted.ended(&gone(Code::UpstreamUnreachable), 10);
        sighted.ended(&gone(Code::CircuitOpen), 20);
        // What the gate refused says nothing of the provider.
        sighted.ended(&gone(Code::PolicyDenied), 30);
        sighted.ended(&line("other"), 30);
        let seen = sighted.all();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].answered_ms, None);
        assert_eq!(seen[0].unreached, Some((Code::CircuitOpen, 10)));
        let timings = Timings {
            first_byte_us: Some(1),
            ..Timings::default()
        };
        let answered = Line {
            timings,
            ..line("fast")
        };
        sighted.ended(&answered, 40);
        let seen = sighted.all();
        assert_eq!((seen[0].answered_ms, seen[0].unreached), (Some(40), None));
    }
}
