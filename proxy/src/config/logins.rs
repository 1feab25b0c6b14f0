//! Credentials that are logins or that need TLS, and tools that take one: each needs the other. Never reads a secret.

use postern_contract::config::{Problem, Protocol};

use super::Written;
use crate::inject::{Credentials, Login};

/// Logins where there is nothing to log in to, and the other way round.
pub(super) fn problems(document: &Written) -> Vec<Problem> {
    let tools = document.tools.iter().filter_map(|(name, tool)| {
        let login = tool.credential.as_ref().and_then(Credentials::login);
        let spoken = tool.protocol;
        let message = match (spoken, login) {
            (Protocol::Postgres, None) => "`protocol = \"postgres\"` needs a login: `credential = { kind = \"postgres\", user = \"NAME\", secret = \"NAME\" }`",
            (Protocol::Redis, None) => "`protocol = \"redis\"` needs a login: `credential = { kind = \"redis\", user = \"NAME\", secret = \"NAME\" }`",
            (_, Some(login)) if login.protocol() != spoken => alone(login),
            (_, Some(login)) if !login.makes_sense() => "`user` and `database` are names",
            _ => return None,
        };
        Some(Problem::at(["tools", name.as_str(), "credential"], message))
    });
    let providers = document.providers.iter().filter_map(|(name, provider)| {
        let login = provider.credential.as_ref().and_then(Credentials::login);
        login.map(|login| {
            let message = format!("a provider speaks HTTP: {}", alone(login));
            Problem::at(["providers", name.as_str(), "credential"], message)
        })
    });
    tools
        .chain(providers)
        .chain(in_the_clear(document))
        .collect()
}

fn alone(login: Login<'_>) -> &'static str {
    match login {
        Login::Postgres(_) => "this kind of credential is for `protocol = \"postgres\"`",
        Login::Redis(_) => "this kind of credential is for `protocol = \"redis\"`",
    }
}

/// Certificates for connections that have none to show them on.
fn in_the_clear(document: &Written) -> impl Iterator<Item = Problem> {
    let tools = document.tools.iter();
    let tools = tools.map(|(name, tool)| {
        (
            "tools",
            name.as_str(),
            tool.url.as_str(),
            tool.credential.as_ref(),
        )
    });
    let providers = document.providers.iter();
    let providers = providers.map(|(name, provider)| {
        let url = provider.url.as_deref().unwrap_or_default();
        (
            "providers",
            name.as_str(),
            url,
            provider.credential.as_ref(),
        )
    });
    tools
        .chain(providers)
        .filter_map(|(table, name, url, credential)| {
            let is_https = url
                .get(..8)
                .is_some_and(|start| start.eq_ignore_ascii_case("https://"));
            let message = "a client certificate is for `https://` alone";
            (credential?.need_tls() && !is_https)
                .then(|| Problem::at([table, name, "credential"], message))
        })
}

#[cfg(test)]
mod tests {
    use postern_daemon::config::Source;

    use super::*;

    const LOGIN: &str = "credential = { kind = \"postgres\", user = \"app\", secret = \"db\" }";

    fn found(tool: &str) -> usize {
        let text = format!("[secrets.db]\nfile = \"key\"\n[tools.db]\n{tool}\n");
        let loaded = Source::of_text("postern.toml", &text).parse::<Written>();
        problems(&loaded.unwrap_or_else(|error| panic!("{error}")).document).len()
    }

    #[test]
    fn a_login_and_a_server_to_log_in_to_need_each_other() {
        let server = "url = \"tcp://db:5432\"\nprotocol = \"postgres\"";
        let site = "url = \"https://db\"";
        assert_eq!(found(&format!("{server}\n{LOGIN}")), 0);
        assert_eq!(found(site), 0);
        assert_eq!(found(server), 1);
        let cache = "url = \"tcp://db:6379\"\nprotocol = \"redis\"";
        let redis = LOGIN.replace("postgres", "redis");
        assert_eq!(found(&format!("{cache}\n{redis}")), 0);
        assert_eq!(found(cache), 1);
        assert_eq!(found(&format!("{cache}\n{LOGIN}")), 1);
        assert_eq!(found(&format!("{server}\n{redis}")), 1);
        assert_eq!(found(&format!("{cache}\n{}", redis.replace("app", " "))), 1);
        assert_eq!(found(&format!("{site}\n{LOGIN}")), 1);
        assert_eq!(found(&format!("{server}\n{}", LOGIN.replace("app", ""))), 1);
        let shown =
            "credential = { kind = \"client_certificate\", certificate = \"db\", key = \"db\" }";
        assert_eq!(found(&format!("{site}\n{shown}")), 0);
        assert_eq!(found(&format!("url = \"http://db\"\n{shown}")), 1);
    }
}
