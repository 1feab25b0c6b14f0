//! An end user's consent in the middle of a run, as posternd and the gate speak of it. The gate alone keeps it, and the token that
//! comes of it never leaves the gate.

use serde::{Deserialize, Serialize};

/// What became of a consent that a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Consented {
    /// The gate has asked nobody for it.
    Unknown,
    /// The end user has not gone through with it.
    Pending,
    /// The gate has a token of theirs.
    Given,
    /// They did not in time, or nobody needs it any more.
    Expired,
}
