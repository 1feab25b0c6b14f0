//! Tokens that are each end user's own, as far as the config can be wrong about them: whose call it is must be known, and there
//! must be somewhere to ask. Never asks anybody.

use postern_contract::config::{Consent, Granted, Problem};
use postern_policy::CanonicalUrl;

use super::Written;
use crate::inject::Credentials;

/// Everything that does not go together.
pub(super) fn problems(document: &Written) -> Vec<Problem> {
    let is_users = |credential: &Option<Credentials>| {
        let all = credential.as_ref();
        all.map_or(0, |all| all.users().count())
    };
    let mut problems = Vec::new();
    for (name, tool) in &document.tools {
        let mut wrong = |words: &str| {
            problems.push(Problem::at(["tools", name.as_str(), "credential"], words));
        };
        match is_users(&tool.credential) {
            1 if document.consent.is_none() => wrong(
                "end users are asked for this on a page of the gate's own: say where it listens, as in \
                 `[consent]` with `listen = \"127.0.0.1:8093\"`",
            ),
            0 | 1 => {}
            _ => wrong("a tool has one token of the end user's own at most"),
        }
    }
    for (name, provider) in &document.providers {
        if is_users(&provider.credential) > 0 {
            let words = "a model is asked with a credential of the operator's: `authorization_code` is for tools";
            problems.push(Problem::at(
                ["providers", name.as_str(), "credential"],
                words,
            ));
        }
    }
    for (name, agent) in &document.agents {
        for (place, tool) in agent.tools.iter().enumerate() {
            let tools = document.tools.get(tool);
            let needs = tools.is_some_and(|tool| is_users(&tool.credential) > 0);
            if needs && !knows_users(agent) {
                let words = format!(
                    "`{tool}` is used with a token of the end user's own, and the runs of this agent share a sandbox: \
                     say `isolation = \"user\"` or `\"run\"`"
                );
                let place = place.to_string();
                problems.push(Problem::at(
                    ["agents", name.as_str(), "tools", &place],
                    words,
                ));
            }
        }
        for (place, tool) in agent.install.tools.iter().enumerate() {
            let tools = document.tools.get(tool);
            if tools.is_some_and(|tool| is_users(&tool.credential) > 0) {
                let words = "an install is for no end user, so it cannot use this tool's token";
                let place = place.to_string();
                let path = ["agents", name.as_str(), "install", "tools", &place];
                problems.push(Problem::at(path, words));
            }
        }
    }
    problems.extend(document.consent.as_ref().and_then(no_url));
    problems
}

/// Whether whose call it is can be known: posternd makes those of an agent without code, and else a sandbox is one user's.
fn knows_users(agent: &Granted) -> bool {
    let is_builtin = agent.kind.as_deref() == Some("builtin");
    is_builtin || matches!(agent.isolation.as_deref(), Some("user" | "run"))
}

fn no_url(written: &Consent) -> Option<Problem> {
    let url = written.url.as_ref()?;
    let wrong = |words: &str| Some(Problem::at(["consent", "url"], words));
    let Ok(parsed) = CanonicalUrl::parse(url) else {
        return wrong("this is no URL");
    };
    if url.ends_with('/') || parsed.path().as_str() != "/" || parsed.query().is_some() {
        return wrong("say scheme and host alone, as in `https://consent.example.com`");
    }
    let is_here = written.listen.ip().is_loopback();
    if !(url.starts_with("https://") || url.starts_with("http://") && is_here) {
        return wrong("browsers bring codes to this address: say https");
    }
    None
}

#[cfg(test)]
mod tests {
    use postern_daemon::config::Source;

    use super::*;

    const GOOD: &str = r#"
[consent]
listen = "127.0.0.1:8093"
url = "https://consent.example.com"
[tools.mail]
url = "https://mail.example"
credential = { kind = "authorization_code", authorization_url = "https://a.b/a", token_url = "https://a.b/t", client_id = "x" }
[agents.desk]
kind = "python"
isolation = "user"
tools = ["mail"]
[agents.plain]
kind = "builtin"
tools = ["mail"]
"#;

    fn found(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from));
        let text = GOOD.replace(from, to);
        let loaded = Source::of_text("postern.toml", &text).parse::<Written>();
        let document = loaded.unwrap_or_else(|error| panic!("{error}")).document;
        let found = problems(&document).into_iter();
        found.map(|problem| problem.path.join(".")).collect()
    }

    #[test]
    fn a_token_of_a_users_own_needs_a_known_user_and_somewhere_to_ask() {
        let none: [&str; 0] = [];
        assert_eq!(found("\"user\"", "\"user\""), none);
        assert_eq!(found("\"user\"", "\"run\""), none);
        assert_eq!(found("\"user\"", "\"agent\""), ["agents.desk.tools.0"]);
        assert_eq!(found("isolation = \"user\"\n", ""), ["agents.desk.tools.0"]);
        assert_eq!(
            found(
                "[consent]\nlisten = \"127.0.0.1:8093\"\nurl = \"https://consent.example.com\"",
                ""
            ),
            ["tools.mail.credential"]
        );
        for odd in [
            "https://a.b/",
            "https://a.b/c",
            "http2://x",
            "https://a.b?c",
        ] {
            assert_eq!(
                found("https://consent.example.com", odd),
                ["consent.url"],
                "{odd}"
            );
        }
        assert_eq!(found("https://consent.example.com", "http://a.b"), none);
        let open = "listen = \"0.0.0.0:8093\"\nurl = \"http://a.b\"";
        let closed = "listen = \"127.0.0.1:8093\"\nurl = \"https://consent.example.com\"";
        assert_eq!(found(closed, open), ["consent.url"]);
        let install = "isolation = \"user\"\ninstall = { tools = [\"mail\"] }";
        assert_eq!(
            found("isolation = \"user\"", install),
            ["agents.desk.install.tools.0"]
        );
    }
}
