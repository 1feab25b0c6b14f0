//! One call as somebody wrote it down, brought into the form that rules judge. Never sent.

use postern_contract::{
    AgentName, ToolName,
    config::{Permission, Stage},
};
use postern_policy::{
    Authority, BODY_BYTES_MAX, BodyShown, CanonicalUrl, Evidence, Facts, Heard, Method, Route,
    Step, Trace, Verdict,
};
use serde_json::{Value, json};

use super::book::Book;
use crate::Failure;

/// The call.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) agent: Option<&'a str>,
    /// The sandbox of the agent's install whose call it is; its own if none.
    pub(super) stage: Option<Stage>,
    pub(super) method: &'a str,
    /// A URL, or `/tools/NAME/...` as an agent would call it; for CONNECT, `HOST:PORT` too.
    pub(super) url: &'a str,
    pub(super) fields: Vec<(&'a str, &'a str)>,
    pub(super) body: Option<&'a [u8]>,
    pub(super) run: Option<&'a str>,
    pub(super) user: Option<&'a str>,
}

/// What the rules say of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) agent: AgentName,
    pub(super) stage: Option<Stage>,
    pub(super) method: Method,
    pub(super) url: CanonicalUrl,
    pub(super) trace: Trace,
    /// It is a CONNECT that the gate looks into: each request inside is judged by itself.
    pub(super) looked_into: bool,
}

impl Written<'_> {
    /// Judges the call by the rules of a book.
    pub(super) fn judge(&self, book: &Book) -> Result<Judged, Failure> {
        let agent = book.agent(self.agent)?;
        let method: Method = self
            .method
            .parse()
            .map_err(|why| wrong(self.method, &why))?;
        let url = if method.is_connect() {
            book.rules.tunnel_to(self.tunnel()?)
        } else {
            self.canonical(book)?
        };
        let facts = Facts {
            stage: self.stage,
            agent,
            method: &method,
            url: &url,
            tool: book.rules.route(&url).map(Route::tool),
        };
        let trace = book.rules.trace(&facts, &self.evidence());
        let looked_into = method.is_connect() && {
            let doorway = book.doorway(facts.holder(), url.authority());
            match trace.verdict {
                Verdict::Allowed(_) => doorway.is_home,
                Verdict::ApprovalRequired(_) | Verdict::Denied(_) => doorway.may_look,
            }
        };
        Ok(Judged {
            agent: agent.clone(),
            stage: self.stage,
            method,
            url,
            trace,
            looked_into,
        })
    }

    /// Where a CONNECT leads.
    fn tunnel(&self) -> Result<Authority, Failure> {
        let bare = self.url.strip_prefix("tcp://").unwrap_or(self.url);
        if bare.contains("://") {
            let url: CanonicalUrl = self.url.parse().map_err(|why| wrong(self.url, &why))?;
            return Ok(url.authority().clone());
        }
        Authority::parse_connect(bare).map_err(|why| wrong(self.url, &why))
    }

    fn canonical(&self, book: &Book) -> Result<CanonicalUrl, Failure> {
        let Some(beneath) = self.url.strip_prefix("/tools/") else {
            return self.url.parse().map_err(|why| wrong(self.url, &why));
        };
        let (path, query) = match beneath.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (beneath, None),
        };
        let (tool, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let tool: ToolName = tool.parse().map_err(|why| wrong(self.url, &why))?;
        let url = book.rules.tool_url(&tool, rest, query);
        url.map_err(|why| wrong(self.url, &why))
    }

    /// A body that says nothing of itself is JSON.
    fn evidence(&self) -> Evidence<'_> {
        let mut fields = self.fields.clone();
        let says_type = fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if self.body.is_some() && !says_type {
            fields.push(("content-type", "application/json"));
        }
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name, value.as_bytes()));
        let body = match self.body {
            None => BodyShown::Absent,
            Some(body) if body.len() > BODY_BYTES_MAX => BodyShown::TooLong,
            Some(body) => BodyShown::Whole(body),
        };
        let mut evidence = Evidence::none().with_headers(fields).with_body(body);
        if let Some(run) = self.run {
            evidence = evidence.with_run(run);
        }
        match self.user {
            Some(user) => evidence.with_user(user),
            None => evidence,
        }
    }
}

impl Judged {
    /// The verdict in a word: `allow`, `ask` or `deny`; `look inside` for a CONNECT that says nothing yet.
    pub(super) fn word(&self) -> &'static str {
        match &self.trace.verdict {
            _ if self.looked_into => "look inside",
            Verdict::Allowed(_) => "allow",
            Verdict::ApprovalRequired(_) => "ask",
            Verdict::Denied(_) => "deny",
        }
    }

    /// The rule that decided, or `default`; that of a CONNECT that is looked into is not known yet.
    pub(super) fn rule(&self) -> &str {
        match &self.trace.verdict {
            _ if self.looked_into => "default",
            Verdict::Allowed(allowed) => allowed.rule(),
            Verdict::ApprovalRequired(pending) => pending.rule(),
            Verdict::Denied(denied) => denied.rule(),
        }
    }

    /// What an agent would read; nothing where the call is allowed.
    pub(super) fn message(&self) -> Option<String> {
        let inside = "The gate looks into this tunnel: ask about the request inside.";
        match &self.trace.verdict {
            _ if self.looked_into => Some(inside.to_owned()),
            Verdict::Allowed(_) => None,
            Verdict::ApprovalRequired(pending) => Some(pending.refusal().message),
            Verdict::Denied(denied) => Some(denied.message().to_owned()),
        }
    }

    /// All of it as one object.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "agent": self.agent.as_str(),
            "stage": self.stage.map(Stage::as_str),
            "method": self.method.as_str(),
            "url": self.url.to_string(),
            "tool": self.trace.tool,
            "rules": self.trace.rules,
            "needs_body": self.trace.needs_body,
            "steps": self.trace.steps.iter().map(step_as_json).collect::<Vec<_>>(),
            "verdict": self.word(),
            "rule": self.rule(),
            "message": self.message(),
        })
    }
}

fn step_as_json(step: &Step) -> Value {
    let (holds, why) = match &step.heard {
        Heard::Holds => ("yes", Value::Null),
        Heard::Not(key) => ("no", json!(key)),
        Heard::CannotTell(why) => ("cannot tell", json!(why)),
    };
    json!({
        "policy": step.policy,
        "rule": step.rule,
        "permission": word_of(step.permission),
        "conditions": step.written,
        "holds": holds,
        "why": why,
    })
}

/// A permission in the word that verdicts use.
pub(super) fn word_of(permission: Permission) -> &'static str {
    match permission {
        Permission::Allow => "allow",
        Permission::ApprovalRequired => "ask",
        Permission::Deny => "deny",
    }
}

fn wrong(written: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{written}: {why}"))
}
