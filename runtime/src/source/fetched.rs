//! What the sources that a program fetches have in common: which script does it, what it is told, and what it found. Never
//! starts one: that is the installer's.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// A script for the shell, what it is told, and what stands in its environment beside what every install has. It runs in the
/// new tree, prints a [`Resolved`] as one line, and everything else on its standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The program of it that people know, for messages.
    pub program: &'static str,
    /// What the shell reads.
    pub text: &'static str,
    /// Its arguments from `$1` on.
    pub arguments: Vec<String>,
    /// More variables.
    pub env: BTreeMap<String, String>,
    /// What it reads.
    pub input: Option<Arc<str>>,
}

/// Which version a source led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// The commit, or the package's version.
    pub version: String,
    /// What the registry says the package's bytes hash to, as it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
}

/// The longest text that is believed to be a version, in bytes.
const VERSION_BYTES_MAX: usize = 256;

impl Resolved {
    /// What a script printed, if it is plain enough to be kept and shown.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(line).ok()?;
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= VERSION_BYTES_MAX
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let is_plain = plain(&read.version) && read.integrity.as_deref().is_none_or(plain);
        is_plain.then_some(read)
    }
}

/// A text that stands in the config and becomes an argument of a program: it is no option and has nothing to be split by.
pub(super) fn plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= VERSION_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The `http` or `https` URL of a place that a program fetches from: the program is told all of it, and so is whoever reads the log.
///
/// # Errors
/// What is wrong with it, for the config's author.
pub(super) fn told(url: &str) -> Result<String, String> {
    if url.contains(['?', '#']) {
        return Err("it has no query and no fragment, which would be seen in the log: a credential belongs into a tool \
                    that `[agents.NAME.install] tools` names"
            .to_owned());
    }
    place(url)
}

/// The `http` or `https` URL of a place that is fetched from, which names no user.
///
/// # Errors
/// What is wrong with it, for the config's author.
pub(super) fn place(url: &str) -> Result<String, String> {
    let parsed: http::Uri = url
        .parse()
        .map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err(
            "it begins with `https://` (or `http://`): nothing else passes the gate with a credential"
                .to_owned(),
        );
    }
    let authority = parsed
        .authority()
        .map(http::uri::Authority::as_str)
        .unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(
            "it names a host and no user: a credential belongs into a tool that `[agents.NAME.install] tools` names"
                .to_owned(),
        );
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_prints_is_believed_only_where_it_is_plain() {
        let read = |line: &str| Resolved::read(line.as_bytes());
        assert_eq!(read("{\"version\":\"1.0\"}\n").unwrap().version, "1.0");
        for odd in [
            "",
            "1.0",
            "{\"version\":\"\"}",
            "{\"version\":\"a b\"}",
            "{\"version\":\"\\u001b[2J\"}",
            "{\"version\":\"1\",\"integrity\":\"\\n\"}",
            "{\"version\":\"1\",\"more\":1}",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_a_program_is_told_and_the_log_shows_has_no_query() {
        assert!(told("https://git.example/a.git").is_ok());
        for wrong in [
            "https://git.example/a.git?private_token=key",
            "https://git.example/a.git#key",
            "https://ada:key@git.example/a",
        ] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
        assert!(place("https://files.example/a.tar?sig=key").is_ok());
    }

    #[test]
    fn places_are_urls_without_users() {
        assert!(place("https://git.example/a.git").is_ok());
        for wrong in [
            "git@git.example:a.git",
            "ssh://git.example/a",
            "file:///etc",
            "ext::sh",
            "https://ada:key@git.example/a",
            "https:///a",
            "--upload-pack=x",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
