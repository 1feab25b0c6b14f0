//! The decision itself: deny, then approval, then allow, then deny; then the tool's own guards. Never looks at
//! anything but its arguments.

use postern_contract::{
    AgentName, ToolName,
    config::{Permission, Stage},
};

use crate::{
    condition::{Call, Match, Why},
    evidence::Evidence,
    explain,
    holder::Holder,
    method::Method,
    rule::Rule,
    rulebook::{Agent, Rulebook},
    tools::Residence,
    url::CanonicalUrl,
    verdict::{Allowed, Denied, Judged, Pending, Verdict, WouldDeny},
};

/// What a decision is taken on. Everything here is already canonical.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whose call it is.
    pub agent: &'a AgentName,
    /// The stage of the agent's install that it comes from; `None` where it is the agent's own. In an install nobody is
    /// asked, and a setup only reads.
    pub stage: Option<Stage>,
    /// Its method. `CONNECT` means a tunnel whose inside nobody will see: only a rule about one whole host, for all
    /// methods or for `CONNECT` by name, allows one, and none is ever allowed to where a tool lives, except to a tool
    /// whose config says `tls = "tunnel"`, or that speaks no HTTP. To the latter there is nothing else.
    pub method: &'a Method,
    /// Where it goes; for a tunnel [`CanonicalUrl::of_authority`].
    pub url: &'a CanonicalUrl,
    /// The tool that the caller will treat the call as: what [`Rulebook::route`] gave for this URL. A decision routes
    /// again by itself, and refuses where the two differ.
    pub tool: Option<&'a ToolName>,
}

impl<'a> Facts<'a> {
    /// Whose policies and tools count.
    #[must_use]
    pub fn holder(&self) -> Holder<'a> {
        Holder {
            agent: self.agent,
            stage: self.stage,
        }
    }

    /// Whether it is none of a setup's calls: those are read-only, and somebody looks into all of them.
    fn is_beyond_setup(&self) -> bool {
        self.stage == Some(Stage::Setup) && !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// What the rules say, strictest first; the order is the precedence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Saying<'r> {
    /// A rule denies.
    Deny(&'r Rule),
    /// A rule that denies or asks a human may or may not hold.
    Doubt(&'r Rule, Why),
    /// A rule asks a human.
    Ask(&'r Rule),
    /// A rule allows.
    Allow(&'r Rule),
    /// No rule speaks; one would allow if it could be judged.
    Nothing(Option<(&'r Rule, Why)>),
}

pub(crate) fn decide(book: &Rulebook, facts: &Facts<'_>, evidence: &Evidence<'_>) -> Verdict {
    let tool = book.route(facts.url).map(|route| route.tool);
    let call = Call::new(facts, evidence, tool);
    if tool.map(|tool| &tool.name) != facts.tool {
        return Verdict::Denied(explain::misrouted(&call));
    }
    let Some(agent) = book
        .given(facts.holder())
        .filter(|agent| !agent.policies.is_empty())
    else {
        return Verdict::Denied(explain::no_policy(&call));
    };
    if facts.is_beyond_setup() {
        return Verdict::Denied(explain::beyond_setup(&call));
    }
    if facts.method.is_connect() && !may_be_opaque(book, &call) {
        return Verdict::Denied(explain::tunnel_to_a_tool(&call));
    }
    if let Some(raw) = tool.filter(|tool| tool.is_raw() && !facts.method.is_connect()) {
        return Verdict::Denied(explain::no_http(&call, raw));
    }
    let (rule, make): (_, fn(Judged) -> Verdict) = match weigh(book, agent, &call) {
        Saying::Deny(rule) => return Verdict::Denied(explain::by_rule(&call, rule)),
        Saying::Doubt(rule, why) => return Verdict::Denied(explain::in_doubt(&call, rule, why)),
        Saying::Nothing(nearly) => return Verdict::Denied(explain::by_default(&call, nearly)),
        Saying::Ask(rule) if facts.stage.is_some() => {
            return Verdict::Denied(explain::nobody_to_ask(&call, rule));
        }
        Saying::Ask(rule) => (rule, |call| Verdict::ApprovalRequired(Pending { call })),
        Saying::Allow(rule) => (rule, |call| Verdict::Allowed(Allowed { call })),
    };
    // Before a human is asked, so that nobody is asked for what could not be done anyway.
    match guard(agent, &call) {
        Err(denied) => Verdict::Denied(denied),
        Ok(()) => make(judged(&call, rule)),
    }
}

/// Whether some rule that may speak about a call cannot without its body.
pub(crate) fn needs_body(book: &Rulebook, facts: &Facts<'_>) -> bool {
    // What a tunnel carries is no body that anybody could show.
    if facts.method.is_connect() {
        return false;
    }
    let tool = book.route(facts.url).map(|route| route.tool);
    let evidence = Evidence::none();
    let call = Call::new(facts, &evidence, tool);
    let policies = book.given(facts.holder()).into_iter();
    let policies = policies
        .flat_map(|agent| &agent.policies)
        .filter_map(|at| book.policies.get(*at));
    policies
        .filter(|policy| policy.reads_bodies)
        .flat_map(|policy| policy.candidates(&call))
        .any(|rule| rule.needs_body(&call))
}

/// Whether the body could make the difference: without it the call is not refused for certain, and some rule about it
/// cannot be judged.
pub(crate) fn hangs_on_body(book: &Rulebook, facts: &Facts<'_>, evidence: &Evidence<'_>) -> bool {
    if !needs_body(book, facts) {
        return false;
    }
    let tool = book.route(facts.url).map(|route| route.tool);
    let call = Call::new(facts, evidence, tool);
    let Some(agent) = book.given(facts.holder()) else {
        return false;
    };
    if facts.is_beyond_setup() || guard(agent, &call).is_err() {
        return false;
    }
    let policies = agent
        .policies
        .iter()
        .filter_map(|at| book.policies.get(*at));
    let (mut hangs, mut opens) = (false, false);
    for rule in policies.flat_map(|policy| policy.candidates(&call)) {
        let is_about_it = rule.needs_body(&call);
        hangs |= is_about_it;
        match listen(rule, &call) {
            Saying::Deny(_) => return false,
            Saying::Doubt(..) if !is_about_it => return false,
            Saying::Ask(_) | Saying::Allow(_) => opens = true,
            Saying::Doubt(..) | Saying::Nothing(_) => {
                opens |= is_about_it && rule.permission != Permission::Deny;
            }
        }
    }
    hangs && opens
}

/// The strictest word of all rules that the agent's policies have for a call.
fn weigh<'r>(book: &'r Rulebook, agent: &Agent, call: &Call<'_>) -> Saying<'r> {
    let mut strictest = Saying::Nothing(None);
    let policies = agent
        .policies
        .iter()
        .filter_map(|at| book.policies.get(*at));
    for rule in policies.flat_map(|policy| policy.candidates(call)) {
        let saying = listen(rule, call);
        if saying.rank() < strictest.rank() {
            strictest = saying;
        }
        if saying.rank() == 0 {
            break;
        }
    }
    strictest
}

/// What one rule says of a call. A doubt never helps the call.
fn listen<'r>(rule: &'r Rule, call: &Call<'_>) -> Saying<'r> {
    match (rule.judge(call), rule.permission) {
        (Match::No, _) => Saying::Nothing(None),
        (Match::Yes, Permission::Deny) => Saying::Deny(rule),
        (Match::Yes, Permission::ApprovalRequired) => Saying::Ask(rule),
        (Match::Yes, Permission::Allow) => Saying::Allow(rule),
        (Match::CannotTell(why), Permission::Allow) => Saying::Nothing(Some((rule, why))),
        (Match::CannotTell(why), _) => Saying::Doubt(rule, why),
    }
}

impl Saying<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Deny(_) => 0,
            Self::Doubt(..) => 1,
            Self::Ask(_) => 2,
            Self::Allow(_) => 3,
            Self::Nothing(Some(_)) => 4,
            Self::Nothing(None) => 5,
        }
    }
}

/// Whether a tunnel may be unread by the gate, as far as its destination alone can tell.
fn may_be_opaque(book: &Rulebook, call: &Call<'_>) -> bool {
    match book.tools.residence(call.facts.url.authority()) {
        Residence::Nobody => true,
        Residence::Opaque(tool) => call.tool.is_some_and(|called| called.name == tool.name),
        Residence::LookedInto => false,
    }
}

/// What lets a call pass that is denied for want of a rule, where all of the agent's policies only watch.
pub(crate) fn watched(
    book: &Rulebook,
    facts: &Facts<'_>,
    evidence: &Evidence<'_>,
) -> Option<WouldDeny> {
    let agent = book.given(facts.holder())?;
    if !agent.only_watched {
        return None;
    }
    let Verdict::Denied(denied) = decide(book, facts, evidence) else {
        return None;
    };
    let tool = book.route(facts.url).map(|route| route.tool);
    let call = Call::new(facts, evidence, tool);
    if !denied.is_for_want_of_a_rule() || guard(agent, &call).is_err() {
        return None;
    }
    let (method, url) = (facts.method.clone(), facts.url.clone());
    Some(WouldDeny {
        denied,
        method,
        url,
    })
}

/// What holds besides the rules: the agent was given the tool, and the tool has the operation.
fn guard(agent: &Agent, call: &Call<'_>) -> Result<(), Denied> {
    let Some(tool) = call.tool else { return Ok(()) };
    // To a setup a tool is a host like any other, without its credential.
    let is_host = call.facts.stage == Some(Stage::Setup);
    if !is_host && !agent.tools.contains(&tool.name) {
        return Err(explain::tool_not_given(call, tool));
    }
    let rest = tool.beneath(call.facts.url.path()).unwrap_or_default();
    let covered = tool
        .capabilities
        .iter()
        .any(|can| can.covers(call.facts.method, rest));
    if tool.capabilities.is_empty() || covered {
        return Ok(());
    }
    Err(explain::no_capability(call, tool))
}

fn judged(call: &Call<'_>, rule: &Rule) -> Judged {
    Judged {
        rule: rule.name.clone(),
        tool: call.tool.map(|tool| tool.name.clone()),
        method: call.facts.method.clone(),
        url: call.facts.url.clone(),
    }
}
