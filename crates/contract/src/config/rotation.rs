//! `on_rotation` of a tool or provider as written: what becomes of what is under way when its credential changes. Never cuts anything.

use serde::Deserialize;

/// What becomes of streams that began with a credential whose value is another now. Where it has none any more they are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRotation {
    /// They are cut.
    #[default]
    Cut,
    /// They go on until they end.
    Finish,
}
