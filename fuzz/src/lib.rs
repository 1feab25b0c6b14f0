//! What several targets need: configs, calls and their verdicts. Never asserts by itself.

use postern_contract::{
    AgentName,
    config::{Document, Granted},
};
use postern_policy::{CanonicalUrl, Evidence, Facts, Heard, Method, Route, Rulebook, Verdict};

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
        let facts = self.facts(&agent, book);
        let verdict = book.decide_with(&facts, &self.evidence);
        let traced = book.trace(&facts, &self.evidence).verdict;
        assert_eq!(
            kind(&verdict),
            kind(&traced),
            "the explanation says something else"
        );
        verdict
    }

    fn facts<'f>(&'f self, agent: &'f AgentName, book: &'f Rulebook) -> Facts<'f> {
        Facts {
            stage: None,
            agent,
            method: &self.method,
            url: &self.url,
            tool: book.route(&self.url).map(Route::tool),
        }
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

/// A config whose one agent may do everything on `a.example`, or nothing, and has a rule with this permission for each of
/// these keys.
fn config(permission: &str, keys: &[String], beside_allow: bool) -> String {
    let mut text = String::from("[agents.desk]\npolicies = [\"p\"]\n[policies.p]\n");
    let mut rule = |name: &str, permission: &str, keys: &str| {
        text += &format!(
            "[[policies.p.rules]]\nname = \"{name}\"\npermission = \"{permission}\"\n\
             resource = \"https://a.example/*\"\n{keys}\n"
        );
    };
    if beside_allow {
        rule("all", "allow", "");
    }
    for (at, keys) in keys.iter().enumerate() {
        rule(&at.to_string(), permission, keys);
    }
    text
}

/// Conditions, compiled once: each for a rule that allows and for one that forbids.
pub struct Conditions {
    count: usize,
    allow: Rulebook,
    deny: Rulebook,
}

impl Conditions {
    /// The conditions that these keys of rules are; `None` where one of them is none.
    ///
    /// # Panics
    /// When keys that an allow rule may have are none for a deny rule.
    #[must_use]
    pub fn new(keys: &[String]) -> Option<Self> {
        let allow = compile(&config("allow", keys, false))?;
        let deny = compile(&config("deny", keys, true));
        Some(Self {
            count: keys.len(),
            allow,
            deny: deny.expect("a condition for one permission and not for another"),
        })
    }

    /// What each says of a call: `Some(true)` it holds, `Some(false)` it does not, `None` that it cannot be judged.
    ///
    /// # Panics
    /// When one of them helps more than it may: what allows where it is asked for must deny where it is forbidden, and what
    /// cannot be judged must refuse on both sides.
    #[must_use]
    pub fn held(&self, call: &Call<'_>) -> Vec<Option<bool>> {
        let agent: AgentName = "desk".parse().expect("a name");
        let trace = self
            .allow
            .trace(&call.facts(&agent, &self.allow), &call.evidence);
        let mut held = vec![Some(false); self.count];
        for step in &trace.steps {
            let at: usize = step.rule.parse().expect("a rule of ours");
            held[at] = match &step.heard {
                Heard::Holds => Some(true),
                Heard::Not(_) => Some(false),
                Heard::CannotTell(_) => None,
            };
        }
        let allows = held.contains(&Some(true));
        let wanted = if allows { "allowed" } else { "denied" };
        assert_eq!(kind(&trace.verdict), wanted, "where it allows: {held:?}");
        let denies = held.iter().any(|held| *held != Some(false));
        let wanted = if denies { "denied" } else { "allowed" };
        let verdict = self
            .deny
            .decide_with(&call.facts(&agent, &self.deny), &call.evidence);
        assert_eq!(kind(&verdict), wanted, "where it forbids: {held:?}");
        held
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
