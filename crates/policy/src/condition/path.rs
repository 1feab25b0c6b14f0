//! The condition on the path's form: `paths` of a rule. Never looks at the host.

use super::{Call, Judge, Match, Why};
use crate::{glob::Glob, shelf::Step};

/// Holds for paths that have one of the forms.
#[derive(Debug)]
pub(crate) struct Paths(pub(crate) Vec<Glob>);

impl Judge for Paths {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return Match::CannotTell(Why::PathInTunnel);
        }
        let path = call.facts.url.path().as_str();
        if self.0.iter().any(|glob| glob.fits(path)) {
            Match::Yes
        } else if self
            .0
            .iter()
            .any(|glob| glob.fits_unescaped(&call.unescaped))
        {
            Match::CannotTell(Why::Spelling)
        } else {
            Match::No
        }
    }

    fn trails(&self) -> Vec<Vec<Step>> {
        self.0.iter().map(Glob::trail).collect()
    }
}
