//! Configs, calls and verdicts for the tests of this folder. Never part of the library.

use postern_contract::{
    AgentName,
    config::{Document, Granted, Problem},
};
use postern_policy::{CanonicalUrl, Evidence, Facts, Method, Route, Rulebook, Verdict};

/// Compiles a config in TOML.
pub(crate) fn compile(config: &str) -> Result<Rulebook, Vec<Problem>> {
    let document: Document<Granted> = toml::from_str(config).expect("the fixture is TOML");
    Rulebook::compile(&document)
}

/// A URL that must have a canonical form.
pub(crate) fn url(text: &str) -> CanonicalUrl {
    CanonicalUrl::parse(text).expect("the fixture is a URL")
}

/// Judges a call of agent `desk` as the gate would.
pub(crate) fn judge(book: &Rulebook, method: &str, url: &CanonicalUrl) -> Verdict {
    judge_for(book, "desk", method, url)
}

/// Judges a call of some agent as the gate would.
pub(crate) fn judge_for(book: &Rulebook, agent: &str, method: &str, url: &CanonicalUrl) -> Verdict {
    let agent: AgentName = agent.parse().expect("the fixture is a name");
    let method: Method = method.parse().expect("the fixture is a method");
    let tool = book.route(url).map(Route::tool);
    book.decide(&Facts {
        stage: None,
        agent: &agent,
        method: &method,
        url,
        tool,
    })
}

/// Judges a call of agent `desk` by all that is known of it.
pub(crate) fn judge_with(
    book: &Rulebook,
    method: &str,
    url: &CanonicalUrl,
    evidence: &Evidence<'_>,
) -> Verdict {
    let agent: AgentName = "desk".parse().expect("the fixture is a name");
    let method: Method = method.parse().expect("the fixture is a method");
    let tool = book.route(url).map(Route::tool);
    book.decide_with(
        &Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url,
            tool,
        },
        evidence,
    )
}

/// A verdict in a few words: `allow RULE`, `ask RULE`, or `CODE RULE`.
pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed(allowed) => format!("allow {}", allowed.rule()),
        Verdict::ApprovalRequired(pending) => format!("ask {}", pending.rule()),
        Verdict::Denied(denied) => format!("{} {}", denied.code().word(), denied.rule()),
    }
}
