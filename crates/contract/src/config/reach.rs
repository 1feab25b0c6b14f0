//! `timeouts`, `limits` and `retries` of a tool or provider as written. Never waits or counts.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::size::Period;

/// How long things may take; what is left out is the gate's default, and `"0s"` means without end where that is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until a connection stands: its name found, TLS spoken. Default 10 s; never without end.
    pub connect: Option<Period>,
    /// Until the answer begins. Default 10 min; never without end.
    pub first_byte: Option<Period>,
    /// The longest silence in the middle of a body. Default 5 min; never without end.
    pub idle: Option<Period>,
    /// The whole exchange, once a connection stands. Without end by default.
    pub total: Option<Period>,
}

/// What each sandbox may have of a tool or provider for itself; what is left out is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls at once, answers under way included.
    pub concurrent: Option<NonZeroU32>,
    /// Calls a second, on the whole.
    pub per_second: Option<NonZeroU32>,
    /// Calls at a time before the rate counts; a second's worth by default.
    pub burst: Option<NonZeroU32>,
    /// What all sandboxes may have of it together.
    #[serde(default)]
    pub together: Together,
}

/// What all sandboxes may have of a tool or provider together; what is left out is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// Calls at once, answers under way included.
    pub concurrent: Option<NonZeroU32>,
    /// Calls a second, on the whole.
    pub per_second: Option<NonZeroU32>,
    /// Calls at a time before the rate counts; a second's worth by default.
    pub burst: Option<NonZeroU32>,
}
