//! `[patience]` as the gate means it. Never zero: a gate that waits for nothing serves nobody.

use postern_contract::config::{Patience as Written, Problem};

use crate::book::Patience;

/// How long agents are waited for; what is wrong with it goes to the other problems.
pub(super) fn patience(written: &Written, problems: &mut Vec<Problem>) -> Patience {
    let all = [
        ("head", written.head),
        ("body", written.body),
        ("silence", written.silence),
        ("tunnel", written.tunnel),
    ];
    for (key, period) in all {
        if period.0.is_zero() {
            let words = "this must be longer than nothing, such as `60s`";
            problems.push(Problem::at(["patience", key], words));
        }
    }
    Patience {
        head: written.head.0,
        body: written.body.0,
        silence: written.silence.0,
        tunnel: written.tunnel.0,
    }
}
