//! The condition on the URL: `resource` of a rule. Never looks at the method but to see whether the path is hidden.

use super::{Call, Judge, Match, Place, Why};
use crate::{
    pattern::{Fit, HostPattern, Pattern},
    shelf::Step,
};

/// Holds for the URLs that fit a pattern.
#[derive(Debug)]
pub(crate) struct Resource(pub(crate) Pattern);

impl Judge for Resource {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return self.judge_tunnel(call);
        }
        match self.0.fits(call.facts.url, &call.unescaped) {
            Fit::Yes => Match::Yes,
            Fit::Unescaped => Match::CannotTell(Why::Spelling),
            Fit::No => Match::No,
        }
    }

    fn port(&self) -> Option<u16> {
        self.0.port()
    }

    fn trails(&self) -> Vec<Vec<Step>> {
        if self.0.is_whole_host() {
            Vec::new()
        } else {
            vec![self.0.trail()]
        }
    }

    fn place(&self) -> Place<'_> {
        match self.0.host() {
            HostPattern::Exact(host) => Place::Host(host),
            HostPattern::Beneath(zone) => Place::Zone(zone),
        }
    }
}

impl Resource {
    fn judge_tunnel(&self, call: &Call<'_>) -> Match {
        if !self.0.fits_place(call.facts.url.authority()) {
            Match::No
        } else if self.0.is_whole_host() {
            Match::Yes
        } else {
            Match::CannotTell(Why::PathInTunnel)
        }
    }
}
