//! The condition on the tool: `tags` of a rule. Never holds for a host that is no tool.

use super::{Call, Judge, Match, Place};

/// Holds for tools with at least one of the tags.
#[derive(Debug)]
pub(crate) struct Tags(pub(crate) Vec<String>);

impl Judge for Tags {
    fn judge(&self, call: &Call<'_>) -> Match {
        let tagged = call
            .tool
            .is_some_and(|tool| tool.tags.iter().any(|tag| self.0.contains(tag)));
        if tagged { Match::Yes } else { Match::No }
    }

    fn place(&self) -> Place<'_> {
        Place::Tagged(&self.0)
    }
}
