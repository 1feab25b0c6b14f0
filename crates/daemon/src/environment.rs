//! The one place that reads the environment, and takes out of it what nobody else shall read.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use postern_contract::Secret;
use postern_sys::{environment as own, fork::SingleThread};

/// The value of a variable, if it is set, not empty and valid UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Takes variables' values out for good: they are in no `/proc` and no dump any more. Those that are not set are left out.
///
/// # Errors
/// When the process has several threads, which might read it meanwhile; then nothing is taken.
pub fn take<'a>(names: impl Iterator<Item = &'a str>) -> io::Result<BTreeMap<String, Secret>> {
    let one = SingleThread::prove()?;
    // A name that comes twice is taken once: what would be found the second time is no value any more.
    let names: BTreeSet<_> = names.collect();
    let taken = names.into_iter().filter_map(|name| {
        let value = own::take(name, &one)?;
        Some((name.to_owned(), Secret::new(value)))
    });
    Ok(taken.collect())
}
