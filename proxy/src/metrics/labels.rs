//! The labels of the gate's numbers: what the config names and what the gate itself says. Never what an agent wrote.

use postern_contract::{AgentName, ModelName, SecretName, ToolName};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::word;
use crate::audit::{Decision, Line};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    decision: Ruling,
    code: &'static str,
    agent: Name<AgentName>,
    tool: Name<ToolName>,
    model: Name<ModelName>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ruled {
    decision: Ruling,
}

/// Which way bytes went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Asked {
    pub(super) direction: Direction,
}

/// Where an upstream connection came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Leg {
    from: From,
}

/// Which secret it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Of {
    secret: Name<SecretName>,
}

/// A way through the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum From {
    Dialled,
    Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ruling(&'static str);

/// A name of the config's, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name<N>(Option<N>);

impl Call {
    pub(super) fn of(line: &Line) -> Self {
        Self {
            decision: Ruling::of(line),
            code: word(line.reason),
            agent: Name(line.agent.clone()),
            tool: Name(line.tool.clone()),
            model: Name(line.model.clone()),
        }
    }
}

impl Of {
    pub(super) fn secret(name: &SecretName) -> Self {
        Self {
            secret: Name(Some(name.clone())),
        }
    }
}

impl Ruled {
    pub(super) fn of(line: &Line) -> Self {
        Self {
            decision: Ruling::of(line),
        }
    }
}

impl Leg {
    /// A kept connection took no time to connect.
    pub(super) fn of(line: &Line) -> Self {
        let dialled = line.timings.connect_us.is_some();
        Self {
            from: if dialled { From::Dialled } else { From::Kept },
        }
    }
}

impl Ruling {
    fn of(line: &Line) -> Self {
        Self(match line.decision {
            Decision::Allowed => "allowed",
            Decision::Intercepted => "intercepted",
            Decision::Refused => "refused",
        })
    }
}

impl EncodeLabelValue for Ruling {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
        .encode(encoder)
    }
}

impl EncodeLabelValue for From {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Dialled => "dialled",
            Self::Kept => "kept",
        }
        .encode(encoder)
    }
}

macro_rules! names {
    ($($name:ident)*) => {$(
        impl EncodeLabelValue for Name<$name> {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.0.as_ref().map_or("", $name::as_str).encode(encoder)
            }
        }
    )*};
}

names!(AgentName ToolName ModelName SecretName);
