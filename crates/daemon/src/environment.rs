//! The one place that reads the environment. Never changes it.

/// The value of a variable, if it is set, not empty and valid UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
