//! What is in force: rules, tools, models, who may ask which, and the secrets that go with them. Immutable; a new config
//! makes a new one. Never judges and never dials.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use postern_contract::config::{Answers, OnRotation, Stage};
use postern_contract::{AgentName, ModelName, ProviderName, ToolName};
use postern_llm::{Act, Api, Format};
use postern_policy::{Authority, CanonicalUrl, Each, Holder, Host, Rulebook};

use crate::{
    approve::Approvers,
    call::Call,
    dial::{Manner, Proxy, Speaks},
    door,
    identify::Caller,
    inject::{Addition, Credentials, Login, Misdirected, Values},
    mask::{Mask, Masks},
    sealed,
    secret::Secrets,
    token::{Purse, Wanted},
};

/// Everything that a call is judged and sent by.
pub(crate) struct Book {
    /// Counts up with every new one.
    pub(crate) generation: u64,
    /// The compiled policies.
    pub(crate) rulebook: Rulebook,
    /// What the rulebook's tools need to be called.
    pub(crate) tools: BTreeMap<ToolName, Arc<Target>>,
    /// Models by the names that agents use.
    pub(crate) models: BTreeMap<ModelName, Arc<Model>>,
    /// Where tools and providers live.
    pub(crate) homes: Homes,
    /// What each agent has been given, and each stage of its install.
    pub(crate) agents: BTreeMap<AgentName, Each<Grants>>,
    /// The values behind the credentials' names.
    pub(crate) secrets: Secrets,
    /// What answers are looked through for.
    pub(crate) masks: Masks,
    /// How long agents are waited for.
    pub(crate) patience: Patience,
    /// A digest of the tools, policies and agents as they are written: what a human's wider yes was given under.
    pub(crate) terms: String,
    /// Who answers for people.
    pub(crate) approvers: Approvers,
    /// The proxy of the operator's network, if there is one.
    pub(crate) proxy: Option<Proxy>,
    /// What is weaker than it could be, in words.
    pub(crate) weakened: Vec<String>,
}

/// How long the gate waits for the agent's side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a request's head, and for the next request.
    pub(crate) head: Duration,
    /// For a body that is read whole.
    pub(crate) body: Duration,
    /// For the next bytes of a body.
    pub(crate) silence: Duration,
    /// For anything in either direction on a tunnel or a WebSocket.
    pub(crate) tunnel: Duration,
}

/// Hosts and ports, whatever is spoken there.
pub(crate) type Places = HashSet<(Host, u16)>;

/// Where somebody lives whom the gate has a credential or a list of operations for.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    pub(crate) tools: Places,
    pub(crate) providers: Places,
}

/// The place of an authority.
pub(crate) fn place(authority: &Authority) -> (Host, u16) {
    (authority.host().clone(), authority.port())
}

impl Book {
    /// What somebody has been given.
    pub(crate) fn grants(&self, holder: Holder<'_>) -> Option<&Grants> {
        let each = self.agents.get(holder.agent)?;
        Some(each.get(holder.stage))
    }

    /// What a call to a tool needs: of a setup no credential, whatever the tool has.
    pub(crate) fn tool(&self, name: &ToolName, stage: Option<Stage>) -> Option<Arc<Target>> {
        let target = self.tools.get(name)?;
        Some(match stage {
            Some(Stage::Setup) => Arc::new(target.bare()),
            Some(Stage::Fetch) | None => Arc::clone(target),
        })
    }

    /// Whether some request of somebody's to this place might be allowed. A guess that lets nothing out: it only says
    /// where looking into a CONNECT makes sense.
    pub(crate) fn may_call(&self, holder: Holder<'_>, authority: &Authority) -> bool {
        let place = place(authority);
        self.grants(holder).is_some_and(|grants| {
            grants.has_policy
                && (grants.named.contains(&place) || self.homes.tools.contains(&place))
        })
    }

    /// What somebody's call to a tool, host or model leads to now; `None` where that is something else than it was.
    pub(crate) fn target_of(&self, holder: Holder<'_>, call: &Call) -> Option<Arc<Target>> {
        let Some(name) = call.subject.model() else {
            let (subject, target) = door::routed(self, holder.stage, &call.url);
            return (subject == call.subject).then_some(target);
        };
        let own = self.grants(holder).map(|grants| &grants.models)?;
        let model = self.models.get(name).filter(|_| own.contains(name))?;
        match &model.endpoint {
            Some(endpoint) => {
                let mut urls = endpoint.urls.values();
                urls.any(|url| *url == call.url)
                    .then(|| Arc::clone(&endpoint.target))
            }
            None => Some(Arc::default()),
        }
    }

    /// Every token that a call may want.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Wanted> {
        let endpoints = self
            .models
            .values()
            .filter_map(|model| model.endpoint.as_ref());
        let providers = endpoints.map(|endpoint| &endpoint.target);
        let credentials = self.tools.values().chain(providers);
        let credentials = credentials.filter_map(|target| target.credential.as_ref());
        credentials.flat_map(Credentials::wanted).flatten()
    }

    /// The generation that the newest of these credentials' values was first read for; `None` where a value is missing.
    pub(crate) fn credential_generation(&self, credentials: Option<&Credentials>) -> Option<u64> {
        let since = credentials?.secrets().map(|name| self.secrets.since(name));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// What the answer to a call that carries these credentials is looked through for; `None` where it carries none, where
    /// its tool wants none of it, or where no value is long enough.
    pub(crate) fn mask(
        &self,
        credentials: Option<&Credentials>,
        (target, caller): (&Target, &Caller),
        (purse, claim): (&Purse, &sealed::Claim),
    ) -> Option<Mask> {
        let named = credentials.and_then(|credentials| self.masks.scanner(credentials));
        let named = named.cloned().into_iter();
        let scanners = named.chain(purse.scanners()).chain(claim.scanners());
        Mask::new(scanners.collect(), target.answers, caller)
    }

    /// Credentials with their values.
    pub(crate) fn addition<'a>(
        &'a self,
        credentials: Option<&'a Credentials>,
    ) -> Result<Option<Addition<'a>>, Misdirected> {
        let Some(credentials) = credentials else {
            return Ok(None);
        };
        if credentials
            .secrets()
            .any(|name| self.secrets.get(name).is_none())
        {
            return Err(Misdirected::NoValue);
        }
        let values = Values::of(&self.secrets);
        Ok(Some(Addition {
            credentials,
            values,
            purse: None,
        }))
    }
}

/// What an agent or a stage of its install has been given, by name.
#[derive(Debug)]
pub(crate) struct Grants {
    /// Tools that its rules may let it call.
    pub(crate) tools: Vec<ToolName>,
    /// Models that it may ask.
    pub(crate) models: Vec<ModelName>,
    /// Whether any policy is for it.
    pub(crate) has_policy: bool,
    /// Places that a rule of its policies may open.
    pub(crate) named: Places,
    /// Ports at which a connection may be for something.
    pub(crate) ports: BTreeSet<u16>,
}

/// What the gate must know of a tool or provider to call it.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// What is added to a call.
    pub(crate) credential: Option<Credentials>,
    /// Whether it may live at a private address.
    pub(crate) private: bool,
    /// Which versions of HTTP it can be called in.
    pub(crate) speaks: Speaks,
    /// Whether it is told which run and user a call is for.
    pub(crate) forward_identity: bool,
    /// How it wants to be reached.
    pub(crate) manner: Manner,
    /// What becomes of its answers.
    pub(crate) answers: Answers,
    /// What becomes of its streams when its credential changes.
    pub(crate) on_rotation: OnRotation,
    /// What it has to do with tokens that agents ask for.
    pub(crate) tokens: sealed::Terms,
}

impl Target {
    /// What the gate logs in to it with, if it does.
    pub(crate) fn login(&self) -> Option<Login<'_>> {
        self.credential.as_ref()?.login()
    }

    /// The same without its credential, and told of nobody.
    fn bare(&self) -> Self {
        Self {
            credential: None,
            private: self.private,
            speaks: self.speaks,
            forward_identity: false,
            manner: self.manner.clone(),
            answers: self.answers,
            on_rotation: self.on_rotation,
            tokens: self.tokens.clone(),
        }
    }
}

/// A model.
#[derive(Debug)]
pub(crate) struct Model {
    /// What agents call it.
    pub(crate) name: ModelName,
    /// What its provider calls it.
    pub(crate) upstream: String,
    /// Who answers.
    pub(crate) provider: ProviderName,
    /// What that provider speaks.
    pub(crate) format: Format,
    /// What that provider may do on its own for this model.
    pub(crate) allow: Vec<Act>,
    /// Where its questions go, and how; `None` for one that the gate answers itself.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
}

/// Where a provider is asked.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The URL of each route that it answers.
    pub(crate) urls: BTreeMap<Api, CanonicalUrl>,
    /// What a call needs.
    pub(crate) target: Arc<Target>,
}
