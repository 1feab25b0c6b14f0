//! The compiled policy: immutable, indexed, shared freely between threads. Never changes; a new config makes a new one.

use std::collections::{BTreeMap, HashSet};

use postern_contract::{
    AgentName, ModelName, PolicyName, ToolName,
    config::{AgentGrants, Document, Mode, Problem},
};

use crate::{
    authority::{Authority, Scheme},
    compile, decide,
    decide::Facts,
    describe,
    evidence::Evidence,
    holder::{Each, Holder},
    host::Host,
    index::PolicyIndex,
    tools::{NoToolUrl, Residence, Route, Tools},
    trace::{self, Trace},
    url::CanonicalUrl,
    verdict::{Verdict, WouldDeny},
};

/// Every agent's rules, and every tool that they can reach.
#[derive(Debug)]
pub struct Rulebook {
    pub(crate) agents: BTreeMap<AgentName, Each<Agent>>,
    pub(crate) policies: Vec<PolicyIndex>,
    pub(crate) tools: Tools,
}

/// What one agent has been given, or one stage of its install.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Tools it may call.
    pub(crate) tools: HashSet<ToolName>,
    /// Models it may ask. No rule judges that; they are here to be described.
    pub(crate) models: Vec<ModelName>,
    /// Positions in [`Rulebook::policies`].
    pub(crate) policies: Vec<usize>,
    /// Whether all of these only watch; never where there is none.
    pub(crate) only_watched: bool,
}

impl Rulebook {
    /// Compiles the policies, tools and grants of a config. Also checks the config's references, so that no rule is
    /// lost to a misspelt name.
    ///
    /// # Errors
    /// All that is wrong with the file's meaning, [`Document::problems`] included.
    pub fn compile<Agent: AgentGrants, Credential, Source>(
        document: &Document<Agent, Credential, Source>,
    ) -> Result<Self, Vec<Problem>> {
        compile::rulebook(document)
    }

    /// The tool that a URL belongs to, from the URL alone: the one with the longest base path that the URL's path lies
    /// beneath, at a segment border.
    #[must_use]
    pub fn route(&self, url: &CanonicalUrl) -> Option<Route<'_>> {
        self.tools.route(url)
    }

    /// The URL that `/tools/NAME` followed by `rest` stands for. `rest` is the raw rest of the request's path: empty,
    /// or beginning with `/`; `query` is what stands behind `?`.
    ///
    /// # Errors
    /// No such tool; or a URL that has no canonical form, leaves the tool's base path or belongs to another tool.
    pub fn tool_url(
        &self,
        tool: &ToolName,
        rest: &str,
        query: Option<&str>,
    ) -> Result<CanonicalUrl, NoToolUrl> {
        self.tools.url(tool, rest, query)
    }

    /// Judges one call by its facts alone. What no rule allows is denied, and a rule that needs more than the facts
    /// cannot be judged: an allow rule does not hold then, any other refuses.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        decide::decide(self, facts, &Evidence::none())
    }

    /// Judges one call by its facts and what else is known of it.
    #[must_use]
    pub fn decide_with(&self, facts: &Facts<'_>, evidence: &Evidence<'_>) -> Verdict {
        decide::decide(self, facts, evidence)
    }

    /// The proof that a call may pass though no rule mentions it: all policies of the agent have `mode = "audit"`, and
    /// enforcement would deny the call for want of a rule and for nothing else.
    #[must_use]
    pub fn watched(&self, facts: &Facts<'_>, evidence: &Evidence<'_>) -> Option<WouldDeny> {
        decide::watched(self, facts, evidence)
    }

    /// Policies that only watch, by name.
    #[must_use]
    pub fn in_audit_mode(&self) -> Vec<PolicyName> {
        let watching = self.policies.iter();
        let watching = watching.filter(|policy| policy.mode == Mode::Audit);
        watching.map(|policy| policy.name.clone()).collect()
    }

    /// What somebody has been given.
    pub(crate) fn given(&self, holder: Holder<'_>) -> Option<&Agent> {
        let each = self.agents.get(holder.agent)?;
        Some(each.get(holder.stage))
    }

    /// Whether any of somebody's rules looks at header fields or bodies.
    #[must_use]
    pub fn looks_inside(&self, holder: Holder<'_>) -> bool {
        let held = self.given(holder).into_iter();
        let mut held = held.flat_map(|agent| &agent.policies);
        held.any(|at| {
            self.policies
                .get(*at)
                .is_some_and(|policy| policy.looks_inside)
        })
    }

    /// What a CONNECT to this place is for: where a tool lives that nobody looks into, the tool itself.
    #[must_use]
    pub fn tunnel_to(&self, authority: Authority) -> CanonicalUrl {
        let authority = match self.tools.residence(&authority) {
            Residence::Opaque(tool) => tool.url.authority().clone(),
            Residence::Nobody | Residence::LookedInto => authority,
        };
        CanonicalUrl::of_authority(authority)
    }

    /// The URL of a connection that is no HTTP, where a tool lives that is spoken to so; `None` at any other place.
    #[must_use]
    pub fn raw_at(&self, host: &Host, port: u16) -> Option<CanonicalUrl> {
        let place = Authority::new(Scheme::Tcp, host.clone(), port).ok()?;
        match self.tools.residence(&place) {
            Residence::Opaque(tool) if tool.is_raw() => Some(tool.url.clone()),
            Residence::Opaque(_) | Residence::Nobody | Residence::LookedInto => None,
        }
    }

    /// Whether a decision needs the body: some rule of the agent may speak about this call and cannot without it.
    #[must_use]
    pub fn needs_body(&self, facts: &Facts<'_>) -> bool {
        decide::needs_body(self, facts)
    }

    /// Whether the decision hangs on the body, given everything else: some rule cannot be judged without it, and the
    /// call is not refused whatever the body says. Where this says no, nobody needs to read it.
    #[must_use]
    pub fn hangs_on_body(&self, facts: &Facts<'_>, evidence: &Evidence<'_>) -> bool {
        decide::hangs_on_body(self, facts, evidence)
    }

    /// Whether some rule of somebody's looks at header fields, so that nothing may pass which a server could take for one
    /// and nobody has shown.
    #[must_use]
    pub fn reads_headers(&self, holder: Holder<'_>) -> bool {
        let policies = self.given(holder).into_iter();
        let mut policies = policies
            .flat_map(|agent| &agent.policies)
            .filter_map(|at| self.policies.get(*at));
        policies.any(|policy| policy.reads_headers)
    }

    /// Judges one call and tells how it came to that, for people.
    #[must_use]
    pub fn trace(&self, facts: &Facts<'_>, evidence: &Evidence<'_>) -> Trace {
        trace::trace(self, facts, evidence)
    }

    /// Whether some call of somebody's to this host could come to be allowed, as far as the host alone can tell: a tool that
    /// they were given lives there, a rule of their policies that does more than deny is about it, or these only watch.
    /// What this says of a host lets nothing out: each call is judged by itself.
    #[must_use]
    pub fn could_open(&self, holder: Holder<'_>, host: &Host) -> bool {
        let agent = self.given(holder);
        let Some(agent) = agent.filter(|agent| !agent.policies.is_empty()) else {
            return false;
        };
        let mut tools = agent.tools.iter().filter_map(|name| self.tools.get(name));
        let mut policies = agent.policies.iter();
        agent.only_watched
            || tools.any(|tool| tool.url.authority().host() == host)
            || policies.any(|at| {
                self.policies
                    .get(*at)
                    .is_some_and(|policy| policy.could_open(host))
            })
    }

    /// The rulebook in plain lines, agent by agent, for people.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        describe::lines(self)
    }
}
