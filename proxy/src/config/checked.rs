//! What `postern check` says of a config: what it comes to, and what is hardly meant as it is written. Never reads a secret's value.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use postern_contract::AgentName;
use postern_daemon::config::ConfigError;
use postern_policy::Each;

use super::Config;
use crate::{book::Grants, inject::Credentials, mask, secret};

/// What `postern check` shows of a good config.
#[derive(Debug)]
pub struct Checked {
    /// The compiled rules, in lines for people.
    pub rules: Vec<String>,
    /// What is weaker than it could be, in lines for people.
    pub weakened: Vec<String>,
    /// What is hardly meant as it is written, in lines for people.
    pub warnings: Vec<String>,
}

/// Checks a config without starting anything. Secrets must be there and private; their values are not read.
///
/// # Errors
/// Everything that is wrong, each with file, line and column.
pub fn check(path: &Path) -> Result<Checked, ConfigError> {
    let config = Config::read(path)?;
    let problems = secret::inspect(&config.secrets, config.base());
    if !problems.is_empty() {
        return Err(config.source.errors(&problems));
    }
    Ok(Checked {
        rules: config.rulebook.describe(),
        warnings: warnings(&config),
        weakened: config.weakened,
    })
}

fn warnings(config: &Config) -> Vec<String> {
    let mut told = useless(&config.agents);
    told.extend(short(config));
    told.extend(anybodys(config));
    told
}

/// Agents that were given something and can use none of it.
fn useless(agents: &BTreeMap<AgentName, Each<Grants>>) -> Vec<String> {
    let given = |grants: &Grants| match (grants.tools.is_empty(), grants.models.is_empty()) {
        (true, true) => None,
        (false, true) => Some("tools"),
        (true, false) => Some("models"),
        (false, false) => Some("tools and models"),
    };
    let agents = agents.iter().map(|(name, each)| (name, each.get(None)));
    let without = agents.filter(|(_, grants)| !grants.has_policy);
    let told = without.filter_map(|(name, grants)| {
        Some(format!(
            "agent `{name}` has {} and no policy, so each of its calls is denied: name a policy in `policies` of \
             `[agents.{name}]`, an empty one if it is for models alone",
            given(grants)?
        ))
    });
    told.collect()
}

/// Secrets that stand in requests and are too short to be looked for in the answers.
fn short(config: &Config) -> Vec<String> {
    let credentials = config
        .targets()
        .filter_map(|target| target.credential.as_ref());
    let sent: BTreeSet<_> = credentials.flat_map(Credentials::sent).collect();
    let directory = config.source.directory();
    let short = secret::shorter_than(mask::forms::VALUE_BYTES_MIN, &config.secrets, directory);
    let told = short.filter(|name| sent.contains(name)).map(|name| {
        format!(
            "secret `{name}` is shorter than {} bytes, so an answer that repeats it is not masked: ask for a longer one",
            mask::forms::VALUE_BYTES_MIN
        )
    });
    told.collect()
}

/// Tools that take a consent from whoever opens its link.
fn anybodys(config: &Config) -> impl Iterator<Item = String> {
    let is_anybodys = |credential: &Credentials| {
        let mut wanted = credential.wanted().flatten();
        wanted.any(|one| {
            one.grant
                .consent()
                .is_some_and(|grant| grant.login().is_none())
        })
    };
    let tools = config.tools.iter();
    let without =
        tools.filter(move |(_, target)| target.credential.as_ref().is_some_and(is_anybodys));
    without.map(|(name, _)| {
        format!(
            "tool `{name}` takes a consent from whoever opens its link, also from somebody else than the end user whose agent asks: say `login`, with \
             `issuer` and the scope `openid`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, secret: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), secret).unwrap();
        let path = directory.path().join("postern.toml");
        std::fs::write(&path, text).unwrap();
        warnings(&Config::read(&path).unwrap())
    }

    #[test]
    fn an_agent_that_can_use_nothing_is_warned_of() {
        let mute = "[tools.a]\nurl = \"https://a.example\"\n[agents.desk]\ntools = [\"a\"]\n";
        let told_of = told(mute, "");
        assert_eq!(told_of.len(), 1, "{told_of:?}");
        assert!(told_of[0].contains("agent `desk` has tools and no policy"));
        let useful = format!("{mute}policies = [\"p\"]\n[policies.p]\n");
        assert!(told(&useful, "").is_empty());
    }

    #[test]
    fn a_secret_that_is_too_short_to_be_masked_is_warned_of() {
        let with = |credential: &str| {
            format!(
                "[secrets.key]\nfile = \"key\"\n[tools.a]\nurl = \"https://a.example\"\ncredential = {{ {credential} }}\n"
            )
        };
        let bearer = with(r#"kind = "bearer", secret = "key""#);
        let told_of = told(&bearer, "hunter2\n");
        assert_eq!(told_of.len(), 1, "{told_of:?}");
        assert!(
            told_of[0].contains("secret `key` is shorter than") && !told_of[0].contains("hunter2")
        );
        assert!(told(&bearer, "sk_live_0123456789abcdef\n").is_empty());
        // It never stands in a request.
        let signs = with(r#"kind = "hmac", secret = "key", sign = "{body}", header = "X-Sign""#);
        assert!(told(&signs, "hunter2\n").is_empty());
    }

    #[test]
    fn a_consent_that_nobody_checks_is_warned_of() {
        let with = |more: &str| {
            format!(
                "[consent]\nlisten = \"127.0.0.1:0\"\nurl = \"https://box.example\"\n[secrets.key]\nfile = \"key\"\n[tools.a]\n\
                 url = \"https://a.example\"\n[tools.a.credential]\nkind = \"authorization_code\"\nclient_id = \"c\"\nclient_secret = \"key\"\n\
                 authorization_url = \"https://p.example/a\"\ntoken_url = \"https://p.example/t\"\n{more}"
            )
        };
        let told_of = told(&with("scopes = [\"a\"]\n"), "sk_live_0123456789abcdef\n");
        assert_eq!(told_of.len(), 1, "{told_of:?}");
        assert!(
            told_of[0].contains("tool `a` takes a consent from whoever"),
            "{told_of:?}"
        );
        let checked = "scopes = [\"openid\"]\nissuer = \"https://p.example\"\nlogin = \"sub\"\n";
        assert!(told(&with(checked), "sk_live_0123456789abcdef\n").is_empty());
    }

    #[test]
    fn a_missing_secret_file_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        let absent = "[secrets.stripe]\nfile = \"stripe.key\"\n";
        std::fs::write(&path, absent).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("postern.toml:2:1"), "{error}");
        assert!(error.contains("stripe.key"), "{error}");
    }
}
