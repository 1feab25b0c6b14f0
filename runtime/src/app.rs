//! What the APIs serve: the agents, their runs and how the gate is. Never changes after the start but for what its parts say
//! of themselves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use postern_contract::{AgentName, Secret, link::GateStatus};
use tokio::sync::watch;

use crate::{
    agents::Readiness,
    checks::Found,
    config::{Agent, ApiLimits},
    link::{Link, LinkError},
    runs::{Asker, Callee, RunDesk},
    token::Tokens,
};

/// How often the gate is asked how it is.
const GATE_ASKED_EVERY: Duration = Duration::from_secs(2);

/// One served agent.
#[derive(Clone)]
pub struct Served {
    /// What the config says of it.
    pub agent: Arc<Agent>,
    /// How it is called.
    pub callee: Callee,
}

impl Served {
    /// Whoever asks for its runs, for an end user or for nobody.
    #[must_use]
    pub fn asked_by<'a>(&'a self, user: Option<&'a str>) -> Asker<'a> {
        Asker {
            agent: &self.agent.name,
            user,
        }
    }

    /// Whether it can be called now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.callee.host.readiness().borrow().clone()
    }
}

/// How the gate is, as the last question found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateView {
    /// It answers.
    Reachable(GateStatus),
    /// It does not, and why.
    Unreachable(String),
}

impl GateView {
    /// What stands in the way of calls, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Reachable(status) if status.troubles.is_empty() => None,
            Self::Reachable(status) => Some(status.troubles.join("; ")),
            Self::Unreachable(why) => Some(why.clone()),
        }
    }
}

/// All of it. Clones share it.
#[derive(Clone)]
pub struct App {
    agents: Arc<BTreeMap<AgentName, Served>>,
    default_agent: Option<AgentName>,
    /// Runs.
    pub desk: RunDesk,
    gate: watch::Receiver<GateView>,
    checks: watch::Receiver<Found>,
    callers_key: Option<Arc<Secret>>,
    tokens: Option<Tokens>,
    callers_required: bool,
    end_user_ignored: Arc<AtomicBool>,
    limits: ApiLimits,
}

impl App {
    /// An app of these parts.
    #[must_use]
    pub fn new(
        agents: BTreeMap<AgentName, Served>,
        default_agent: Option<AgentName>,
        desk: RunDesk,
        gate: watch::Receiver<GateView>,
    ) -> Self {
        Self {
            agents: Arc::new(agents),
            default_agent,
            desk,
            gate,
            checks: watch::channel(Found::default()).1,
            callers_key: None,
            tokens: None,
            callers_required: false,
            end_user_ignored: Arc::default(),
            limits: ApiLimits::default(),
        }
    }

    /// The same, believing callers who show this key when they name an end user.
    #[must_use]
    pub fn believing(self, callers_key: Secret) -> Self {
        Self {
            callers_key: Some(Arc::new(callers_key)),
            ..self
        }
    }

    /// Whether a caller who shows this may name an end user.
    #[must_use]
    pub fn believes(&self, shown: &[u8]) -> bool {
        self.callers_key.as_ref().is_some_and(|key| key.is(shown))
    }

    /// The same, for callers with tokens, if there are any; where `required`, for nobody who shows neither token nor key.
    #[must_use]
    pub(crate) fn identifying(self, tokens: Option<Tokens>, required: bool) -> Self {
        Self {
            tokens,
            callers_required: required,
            ..self
        }
    }

    /// Checks callers' tokens, if they have any.
    #[must_use]
    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// Whether nobody is served who shows neither a token nor the callers' key.
    #[must_use]
    pub(crate) fn requires_callers(&self) -> bool {
        self.callers_required
    }

    /// The same, saying what these looks find.
    #[must_use]
    pub(crate) fn checked(self, checks: watch::Receiver<Found>) -> Self {
        Self { checks, ..self }
    }

    /// What the last look at our own files found.
    #[must_use]
    pub(crate) fn checks(&self) -> Found {
        self.checks.borrow().clone()
    }

    /// The same with other limits than the defaults.
    #[must_use]
    pub fn limited(self, limits: ApiLimits) -> Self {
        Self { limits, ..self }
    }

    /// What the public API takes, and how long it waits.
    #[must_use]
    pub fn limits(&self) -> &ApiLimits {
        &self.limits
    }

    /// All agents, by name.
    #[must_use]
    pub fn agents(&self) -> &BTreeMap<AgentName, Served> {
        &self.agents
    }

    /// An agent by its name, or the one that the root routes serve.
    #[must_use]
    pub fn served(&self, name: Option<&str>) -> Option<&Served> {
        match name {
            Some(name) => self.agents.get(name),
            None => self
                .default_agent
                .as_ref()
                .and_then(|name| self.agents.get(name)),
        }
    }

    /// How the gate is.
    #[must_use]
    pub fn gate(&self) -> GateView {
        self.gate.borrow().clone()
    }

    /// Says once that callers who name an end user are not believed unless they show their key.
    pub fn note_ignored_end_user(&self) {
        if !self.end_user_ignored.swap(true, Ordering::Relaxed) {
            tracing::warn!("X-End-User-Id is ignored: the caller did not show the callers' key");
        }
    }
}

/// Asks the gate how it is, now and again and again, so that no probe has to.
pub async fn watch_gate(link: Link) -> watch::Receiver<GateView> {
    let (seen, view) = watch::channel(look(link.status().await));
    let mut condition = link.condition();
    tokio::spawn(async move {
        while !seen.is_closed() {
            // A link that is lost ends the daemon, and a probe before that finds no gate.
            tokio::select! {
                () = tokio::time::sleep(GATE_ASKED_EVERY) => {}
                Ok(()) = condition.changed() => {}
            }
            seen.send_replace(look(link.status().await));
        }
    });
    view
}

fn look(status: Result<GateStatus, LinkError>) -> GateView {
    match status {
        Ok(status) => GateView::Reachable(status),
        Err(error) => GateView::Unreachable(error.to_string()),
    }
}
