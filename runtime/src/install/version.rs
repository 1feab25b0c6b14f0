//! The name of an installed tree, and what is kept beside it. Never looks into the tree.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Digest, NotADigest, Resolved};

/// One installed tree: what it was made of, and how often that had been made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// See [`crate::source::Source::version`].
    pub digest: Digest,
    /// 0 for the first tree of this digest; one more each time that somebody had it renewed.
    pub renewal: u32,
}

impl Version {
    /// The first tree of a digest.
    #[must_use]
    pub fn first(digest: Digest) -> Self {
        Self { digest, renewal: 0 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.renewal {
            0 => write!(f, "{}", self.digest),
            renewal => write!(f, "{}-{renewal}", self.digest),
        }
    }
}

impl FromStr for Version {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let (digest, renewal) = text.split_once('-').unwrap_or((text, "0"));
        let version = Self {
            digest: digest.parse()?,
            renewal: renewal.parse().map_err(|_| NotADigest)?,
        };
        // One tree has one name.
        (version.to_string() == text)
            .then_some(version)
            .ok_or(NotADigest)
    }
}

/// What is kept of how a version came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// What its source led to, if it was fetched.
    pub resolved: Option<Resolved>,
    /// What the config said of its source.
    pub source: Value,
    /// When it was whole, in milliseconds since 1970 (UTC).
    pub installed_at_ms: i64,
    /// How many bytes it takes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What all of it hashes to, where somebody wants to know whether it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What was done, in order.
    pub stages: Vec<Stage>,
}

/// One stage of an install.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `fetch`, `unpack`, `copy`, `setup`, or `cache` where it was there already.
    pub stage: String,
    /// How long it took.
    pub seconds: f64,
    /// How many files and directories came of it, where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// How many bytes they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Stage {
    pub(super) fn took(stage: &str, time: Duration) -> Self {
        Self {
            stage: stage.to_owned(),
            // As people read it.
            seconds: (time.as_secs_f64() * 1000.0).round() / 1000.0,
            entries: None,
            bytes: None,
        }
    }
}

/// A version with what is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Which.
    pub version: Version,
    /// What is kept of it; nothing of one that an older Postern installed.
    pub note: Option<Note>,
}

/// What an agent's next sandbox is shown, and what could be instead.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What is live.
    pub live: Kept,
    /// Where `rollback` leads.
    pub way_back: Option<Kept>,
    /// Whether the live one is there because of `rollback`.
    pub rolled_back: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_name() {
        let digest = "0a".repeat(32);
        for name in [
            digest.clone(),
            format!("{digest}-1"),
            format!("{digest}-12"),
        ] {
            assert_eq!(name.parse::<Version>().unwrap().to_string(), name);
        }
        for odd in [
            format!("{digest}-0"),
            format!("{digest}-01"),
            format!("{digest}-+1"),
            format!("{digest}-"),
            format!("{digest}.json"),
            digest.to_uppercase(),
            ".staging-00".to_owned(),
        ] {
            assert!(odd.parse::<Version>().is_err(), "{odd}");
        }
    }
}
