//! Token endpoints of tools, as far as the config can be wrong about them, and which tools their tokens are for. Never asks one.

use std::collections::BTreeMap;

use postern_contract::{
    ToolName,
    config::{Problem, Protocol, Tls, TokenEndpoints, Tool},
};
use postern_policy::CanonicalUrl;

use super::Written;
use crate::{
    inject::Credentials,
    sealed::{Terms, plain},
};

/// The field that a token stands in.
const AUTHORIZATION: &str = "authorization";

/// The most endpoints of one tool.
const ENDPOINTS_MAX: usize = 16;

/// What each tool has to do with tokens of agents' own.
pub(super) fn terms(document: &Written) -> BTreeMap<ToolName, Terms> {
    let mut all: BTreeMap<ToolName, Terms> = BTreeMap::new();
    for (name, tool) in &document.tools {
        let Some(tokens) = &tool.tokens else { continue };
        let paths = tokens.endpoints.iter();
        let paths = paths.filter_map(|path| path_of(tool, path));
        let endpoints = paths.map(|path| plain(&path)).collect();
        all.entry(name.clone()).or_default().endpoints = endpoints;
        let own = (!has_authorization(tool)).then_some(name);
        for at in tokens.spent_at.iter().chain(own) {
            let issuers = &mut all.entry(at.clone()).or_default().issuers;
            if !issuers.contains(name) {
                issuers.push(name.clone());
            }
        }
    }
    all
}

/// Everything that does not go together.
pub(super) fn problems(document: &Written) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, tool) in &document.tools {
        let Some(tokens) = &tool.tokens else { continue };
        let mut wrong = |key: &[&str], words: String| {
            let path = ["tools", name.as_str(), "tokens"].into_iter();
            problems.push(Problem::at(path.chain(key.iter().copied()), words));
        };
        if let Some(words) = no_issuer(tool, tokens) {
            wrong(&[], words.to_owned());
        }
        for (place, path) in tokens.endpoints.iter().enumerate() {
            if path_of(tool, path).is_none() {
                let words = "an endpoint is a path beneath the tool's URL, as in `/oauth/token`";
                wrong(&["endpoints", &place.to_string()], words.to_owned());
            }
        }
        for (place, at) in tokens.spent_at.iter().enumerate() {
            let words = match document.tools.get(at) {
                None => format!("there is no tool `{at}`: define it as `[tools.{at}]`"),
                Some(at) if !is_seen(at) => {
                    "the gate does not look into calls to this tool".to_owned()
                }
                Some(at) if has_authorization(at) => {
                    "this tool has a credential in `Authorization` already".to_owned()
                }
                Some(_) => continue,
            };
            wrong(&["spent_at", &place.to_string()], words);
        }
    }
    problems
}

fn no_issuer(tool: &Tool<Credentials>, tokens: &TokenEndpoints) -> Option<&'static str> {
    let signs = tool.credential.as_ref().is_some_and(Credentials::sign);
    if tokens.endpoints.is_empty() || tokens.endpoints.len() > ENDPOINTS_MAX {
        return Some("`endpoints` names one path at least, and 16 at most");
    }
    if !is_seen(tool) {
        return Some("the gate does not look into calls to this tool");
    }
    signs.then_some(
        "this tool's credential is a signature, which would be over what the agent has of a token",
    )
}

/// Whether the gate sees what calls to a tool carry.
fn is_seen(tool: &Tool<Credentials>) -> bool {
    tool.protocol == Protocol::Http && tool.tls == Tls::Intercept
}

fn has_authorization(tool: &Tool<Credentials>) -> bool {
    let credential = tool.credential.as_ref();
    credential.is_some_and(|all| all.fields().iter().any(|field| field == AUTHORIZATION))
}

/// The whole path of an endpoint, if it is one beneath the tool's URL in its canonical form.
fn path_of(tool: &Tool<Credentials>, path: &str) -> Option<String> {
    let base = tool.url.trim_end_matches('/');
    let home = CanonicalUrl::parse(base).ok()?;
    let url = CanonicalUrl::parse(&format!("{base}{path}")).ok()?;
    let whole = format!("{}{path}", home.path().as_str().trim_end_matches('/'));
    let is_path = path.len() > 1 && path.starts_with('/') && !path.contains('*');
    let is_it = url.path().as_str() == whole && url.query().is_none();
    (is_path && is_it).then_some(whole)
}

#[cfg(test)]
mod tests {
    use postern_daemon::config::Source;

    use super::*;

    fn read(text: &str) -> (Vec<String>, BTreeMap<ToolName, Terms>) {
        let loaded = Source::of_text("postern.toml", text).parse::<Written>();
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        let errors = problems(&loaded.document);
        let errors = match errors.as_slice() {
            [] => Vec::new(),
            some => loaded
                .source
                .errors(some)
                .to_string()
                .lines()
                .map(str::to_owned)
                .collect(),
        };
        (errors, terms(&loaded.document))
    }

    const GOOD: &str = r#"
[tools.idp]
url = "https://idp.example/realms/one/"
tokens = { endpoints = ["/OAuth/token"], spent_at = ["crm"] }
[tools.crm]
url = "https://crm.example"
"#;

    #[test]
    fn an_endpoint_is_beneath_its_tool_and_its_tokens_are_for_tools_that_are_named() {
        let (errors, terms) = read(GOOD);
        assert!(errors.is_empty(), "{errors:?}");
        let of = |name: &str| &terms[&name.parse::<ToolName>().unwrap()];
        assert_eq!(of("idp").endpoints, ["/realms/one/oauth/token"]);
        let idp: ToolName = "idp".parse().unwrap();
        assert_eq!(of("idp").issuers, std::slice::from_ref(&idp));
        assert_eq!(of("crm").issuers, [idp]);
        let own =
            "crm.example\"\ncredential = { kind = \"header\", name = \"x-key\", secret = \"a\" }";
        assert!(read(&GOOD.replace("crm.example\"", own)).0.is_empty());
    }

    #[test]
    fn what_does_not_go_together_is_told_with_its_place() {
        for (from, to, words) in [
            ("/OAuth/token", "oauth", "a path beneath"),
            ("/OAuth/token", "/a/../b", "a path beneath"),
            ("/OAuth/token", "/a?b", "a path beneath"),
            ("/OAuth/token", "/*", "a path beneath"),
            ("/OAuth/token", "/", "a path beneath"),
            ("[\"/OAuth/token\"]", "[]", "names one path at least"),
            ("[\"crm\"]", "[\"cmr\"]", "no tool `cmr`"),
            (
                "crm.example\"",
                "crm.example\"\ntls = \"tunnel\"",
                "does not look into",
            ),
            (
                "crm.example\"",
                "crm.example\"\ncredential = { kind = \"bearer\", secret = \"a\" }",
                "`Authorization` already",
            ),
            (
                "one/\"",
                "one/\"\ncredential = { kind = \"hmac\", secret = \"a\", sign = \"{body}\", header = \"X-S\" }",
                "a signature",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let (errors, _) = read(&GOOD.replace(from, to));
            assert_eq!(errors.len(), 1, "{to}: {errors:?}");
            assert!(
                errors[0].contains(words) && errors[0].starts_with("postern.toml:"),
                "{errors:?}"
            );
        }
    }
}
