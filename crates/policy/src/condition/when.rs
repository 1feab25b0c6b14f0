//! The condition in CEL: `when` of a rule. Never evaluated where its inputs are not all there.

use std::fmt;

use super::{Call, Judge, Match, Why};
use crate::expression::Expression;

/// Holds where an expression is true.
pub(crate) struct When(pub(crate) Expression);

impl Judge for When {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            Match::CannotTell(Why::InTunnel)
        } else {
            self.0.judge(call)
        }
    }

    fn needs_body(&self) -> bool {
        self.0.names("body")
    }

    fn reads_headers(&self) -> bool {
        self.0.names("headers")
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When(..)")
    }
}
