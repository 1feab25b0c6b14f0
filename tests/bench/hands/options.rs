//! `--name value` pairs, and nothing cleverer. Never guesses: a name that is missing is an error where it is needed.

use std::str::FromStr;

use anyhow::{Context as _, anyhow};

/// What was said on the command line, in order; a name may come more than once.
#[derive(Debug)]
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    /// Reads the pairs.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut pairs = Vec::new();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} takes a value"))?;
            let name = name.strip_prefix("--").map(str::to_owned);
            pairs.push((name.context("names begin with --")?, value));
        }
        Ok(Self(pairs))
    }

    /// Every value of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(said, _)| said == name);
        pairs.map(|(_, value)| value.as_str())
    }

    /// The value of a name, if it was said.
    pub(crate) fn maybe<T: FromStr>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let read = |text: &str| {
            let value = text.parse::<T>();
            value.map_err(|_| anyhow!("--{name} {text} is not understood"))
        };
        self.all(name).next().map(read).transpose()
    }

    /// The value of a name that must be said.
    pub(crate) fn must<T: FromStr>(&self, name: &str) -> anyhow::Result<T> {
        self.maybe(name)?
            .with_context(|| format!("--{name} is needed"))
    }
}
