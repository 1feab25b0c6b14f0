//! What several targets need: configs, calls and their verdicts. Never asserts by itself.

use postern_contract::{
    AgentName,
    config::{Document, Granted},
};
use postern_policy::{CanonicalUrl, Evidence, Facts, Method, Route, Rulebook, Verdict};

/// Compiles a config; `None` where it is none.
#[must_use]
pub fn compile(config: &str) -> Option<Rulebook> {
    let document: Document<Granted> = toml::from_str(config).ok()?;
    Rulebook::compile(&document).ok()
}

/// A call of the agent `desk`.
pub struct Call<'a> {
    /// How.
    pub method: Method,
    /// Where.
    pub url: CanonicalUrl,
    /// What it shows.
    pub evidence: Evidence<'a>,
}

impl Call<'_> {
    /// A POST of JSON (or what says it is) to `https://a.example/api`.
    ///
    /// # Panics
    /// Never: the URL is one.
    #[must_use]
    pub fn of_json(body: &[u8]) -> Call<'_> {
        let fields = [("content-type", &b"application/json"[..])];
        Call {
            method: "POST".parse().expect("a method"),
            url: CanonicalUrl::parse("https://a.example/api").expect("a URL"),
            evidence: Evidence::none()
                .with_headers(fields)
                .with_body(postern_policy::BodyShown::Whole(body)),
        }
    }

    /// What a rulebook says.
    ///
    /// # Panics
    /// Never: the agent's name is one.
    #[must_use]
    pub fn judged(&self, book: &Rulebook) -> Verdict {
        let agent: AgentName = "desk".parse().expect("a name");
        let facts = Facts {
            agent: &agent,
            method: &self.method,
            url: &self.url,
            tool: book.route(&self.url).map(Route::tool),
        };
        let verdict = book.decide_with(&facts, &self.evidence);
        let traced = book.trace(&facts, &self.evidence).verdict;
        assert_eq!(
            kind(&verdict),
            kind(&traced),
            "the explanation says something else"
        );
        verdict
    }
}

/// Which of the three a verdict is.
#[must_use]
pub fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed(_) => "allowed",
        Verdict::ApprovalRequired(_) => "approval",
        Verdict::Denied(_) => "denied",
    }
}

/// A config whose one agent may do everything on `a.example`, plus one rule with these keys and this permission.
#[must_use]
pub fn config(permission: &str, keys: &str, beside_allow: bool) -> String {
    let mut text = String::from("[agents.desk]\npolicies = [\"p\"]\n[policies.p]\n");
    let resource = "resource = \"https://a.example/*\"";
    if beside_allow {
        text +=
            &format!("[[policies.p.rules]]\nname = \"all\"\npermission = \"allow\"\n{resource}\n");
    }
    text += &format!(
        "[[policies.p.rules]]\nname = \"one\"\npermission = \"{permission}\"\n{resource}\n{keys}\n"
    );
    text
}

/// What a condition says of a call: `Some(true)` it holds, `Some(false)` it does not, `None` that it cannot be judged.
///
/// # Panics
/// When the condition helps more than it may: what allows where it is asked for must deny where it is forbidden, and what
/// cannot be judged must refuse on both sides.
#[must_use]
pub fn held(keys: &str, call: &Call<'_>) -> Option<bool> {
    let (allow, deny) = (
        compile(&config("allow", keys, false))?,
        compile(&config("deny", keys, true))?,
    );
    let (allowed, denied) = (kind(&call.judged(&allow)), kind(&call.judged(&deny)));
    assert_ne!(
        (allowed, denied),
        ("allowed", "allowed"),
        "a condition that holds for one rule and not for another"
    );
    match (allowed, denied) {
        ("allowed", "denied") => Some(true),
        ("denied", "allowed") => Some(false),
        ("denied", "denied") => None,
        other => panic!("no such verdicts: {other:?}"),
    }
}

/// The text as a TOML string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted += &format!("\\u{:04x}", u32::from(letter)),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}
