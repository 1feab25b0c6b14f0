//! Who answers for people, as far as the config itself can be wrong about it: a key is one person's, and it is for nothing
//! else. Never reads a key.

use std::collections::BTreeMap;

use postern_contract::{SecretName, config::Problem};

use super::Written;
use crate::inject::Credentials;

/// Everything that is wrong with the approvers' secrets.
pub(super) fn problems(document: &Written) -> Vec<Problem> {
    let mut owners = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, approver) in &document.approvals.approvers {
        let secret = &approver.secret;
        let mut wrong = |words: String| {
            let path = ["approvals", "approvers", name.as_str(), "secret"];
            problems.push(Problem::at(path, words));
        };
        if !document.secrets.contains_key(secret) {
            wrong(format!(
                "there is no secret `{secret}`: define it as `[secrets.{secret}]`"
            ));
        } else if let Some(other) = owners.insert(secret, name) {
            wrong(format!(
                "`{secret}` is `{other}`'s key: nobody could tell who of the two has answered"
            ));
        } else if is_sent(document, secret) {
            wrong(format!(
                "`{secret}` is sent as a credential: whoever gets it could answer for a human"
            ));
        }
    }
    problems
}

/// Whether a secret goes out to anybody.
fn is_sent(document: &Written, secret: &SecretName) -> bool {
    let tools = document.tools.values().map(|tool| &tool.credential);
    let providers = document.providers.values().map(|one| &one.credential);
    let mut sent = tools
        .chain(providers)
        .flatten()
        .flat_map(Credentials::secrets);
    let proxy = document.egress.credential.as_ref();
    sent.any(|one| one == secret) || proxy.is_some_and(|one| one.secret() == secret)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn said(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postern.toml");
        let secrets = "[secrets.a]\nfile = \"a\"\n[secrets.b]\nfile = \"b\"\n";
        std::fs::write(&path, format!("{secrets}{text}")).unwrap();
        Config::read(&path)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_key_is_one_persons_and_for_nothing_else() {
        let ada = "[approvals.approvers.ada]\nsecret = \"a\"\n";
        let eve = |secret: &str| format!("[approvals.approvers.eve]\nsecret = \"{secret}\"\n");
        let tool = "[tools.t]\nurl = \"https://t.example\"\ncredential = { kind = \"bearer\", secret = \"a\" }\n";
        let proxy = "[egress]\nproxy = \"http://p.example:3128\"\ncredential = { kind = \"basic\", user = \"u\", secret = \"a\" }\n";
        for (text, words) in [
            (format!("{ada}{}", eve("b")), ""),
            (format!("{ada}{}", eve("a")), "`a` is `ada`'s key"),
            (eve("c"), "there is no secret `c`"),
            (format!("{ada}{tool}"), "sent as a credential"),
            (format!("{ada}{proxy}"), "sent as a credential"),
        ] {
            let said = said(&text);
            assert!(
                said.contains(words) && said.is_empty() == words.is_empty(),
                "{text}\n{said}"
            );
        }
    }
}
