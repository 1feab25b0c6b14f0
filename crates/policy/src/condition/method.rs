//! The condition on the method: `operations` of a rule. Never looks at the URL.

use super::{Call, Judge, Match, Why};
use crate::method::{Method, NotAMethod};

/// Holds for the methods listed; a rule without a list has no such condition.
#[derive(Debug)]
pub(crate) struct Methods(Vec<Method>);

impl Methods {
    /// Reads the list; on failure says at which position.
    pub(crate) fn compile(written: &[String]) -> Result<Self, (usize, NotAMethod)> {
        let parse = |(at, text): (usize, &String)| text.parse().map_err(|why| (at, why));
        written
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Methods {
    /// Whether nothing but tunnels is listed.
    pub(super) fn are_tunnels(&self) -> bool {
        self.0.iter().all(Method::is_connect)
    }
}

impl Judge for Methods {
    fn judge(&self, call: &Call<'_>) -> Match {
        let method = call.facts.method;
        if self.0.contains(method) {
            Match::Yes
        } else if method.is_connect() {
            Match::CannotTell(Why::MethodInTunnel)
        } else {
            Match::No
        }
    }
}
