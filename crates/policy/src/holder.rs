//! Who has been given something: an agent, or the sandbox of one stage of its install. Neither ever has what the other was
//! given.

use std::fmt;

use postern_contract::{AgentName, config::Stage};

/// Whose calls are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The agent.
    pub agent: &'a AgentName,
    /// The stage of its install; `None` for the agent itself.
    pub stage: Option<Stage>,
}

impl<'a> Holder<'a> {
    /// The agent itself.
    #[must_use]
    pub fn agent(agent: &'a AgentName) -> Self {
        Self { agent, stage: None }
    }

    /// Where its policies stand in the config.
    pub(crate) fn policies(self) -> String {
        let agent = self.agent;
        match self.stage {
            Some(stage) => format!("`{}` of `[agents.{agent}.install]`", stage.as_str()),
            None => format!("`policies` of `[agents.{agent}]`"),
        }
    }

    /// Where its tools stand in the config.
    pub(crate) fn tools(self) -> String {
        let agent = self.agent;
        match self.stage {
            Some(_) => format!("`tools` of `[agents.{agent}.install]`"),
            None => format!("`tools` of `[agents.{agent}]`"),
        }
    }
}

/// In the middle of a sentence.
impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Some(stage) => write!(f, "the {} of agent `{}`", stage.as_str(), self.agent),
            None => write!(f, "agent `{}`", self.agent),
        }
    }
}

/// One for an agent and one for each stage of its install.
#[derive(Debug)]
pub struct Each<T> {
    own: T,
    fetch: T,
    setup: T,
}

impl<T> Each<T> {
    /// Makes all of them.
    pub fn of(mut make: impl FnMut(Option<Stage>) -> T) -> Self {
        Self {
            own: make(None),
            fetch: make(Some(Stage::Fetch)),
            setup: make(Some(Stage::Setup)),
        }
    }

    /// The one of a stage, or the agent's.
    #[must_use]
    pub fn get(&self, stage: Option<Stage>) -> &T {
        match stage {
            None => &self.own,
            Some(Stage::Fetch) => &self.fetch,
            Some(Stage::Setup) => &self.setup,
        }
    }
}
