//! The link: what posternd tells the gate about sandboxes and runs. Never carries a credential of a tool; approvals
//! pass through it with the approver's credential for the gate to verify.
//!
//! ```text
//! posternd ── Hello ─────────────────────▶ gate     SOCK_SEQPACKET, peer checked by uid (and token)
//!          ── SandboxStarted + listeners ─▶         the gate accepts on them from now on, and may give something to keep
//!          ── Dummies ────────────────────▶         what programs there hold in the place of credentials
//!          ── Listening ──────────────────▶         none of these addresses is a destination for an agent
//!          ── RunStarted … RunEnded ──────▶
//!          ── Asked, Withdrawn ───────────▶         an agent's own question; the gate keeps it
//!          ── Answer ─────────────────────▶         a human's, with the key that the gate verifies
//!          ── SandboxEnded ───────────────▶         the gate has closed the listeners when it answers
//!          ◀─ Reply{re} ──────────────────          one for each, in order; Welcome for Hello
//! ```
//!
//! When the link ends, the gate closes every listener it was given: without a runtime nobody runs. A runtime that lives on
//! holds each listener itself, and tells the next gate everything again; connections wait in the socket until then.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ActionId, AgentName, Code, ModelName, PolicyName, RunId, SandboxId, ToolName,
    approval::{Answer, Approval, Question, Unanswered, Wanted, Whole},
    config::Stage,
    consent::{self, Consented, Granted},
    launch::Listener,
    secret::Shown,
};

/// The version of this dialect; a gate refuses any other.
pub const LINK_VERSION: u32 = 16;

/// The most listeners that a runtime may tell of.
pub const LISTENING_MAX: usize = 16;

/// The most dummies in one sandbox.
pub const DUMMIES_MAX: usize = 64;

/// One message of posternd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToGate {
    /// Counts up from 1; the reply repeats it.
    pub seq: u64,
    /// What is told.
    pub news: News,
}

/// What posternd tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum News {
    /// First, once; the reply is [`Reply::Welcome`].
    Hello {
        /// [`LINK_VERSION`].
        version: u32,
        /// The token of this boot, where uids cannot tell daemons and agents apart.
        token: Option<Shown>,
    },
    /// Sockets of a new sandbox, or of posternd itself, travel along.
    SandboxStarted {
        /// Its id.
        sandbox: SandboxId,
        /// Whose calls will come.
        agent: AgentName,
        /// Where they will come from.
        origin: Origin,
        /// What the descriptors are, in order.
        listeners: Vec<ListenerKind>,
    },
    /// What stands for credentials in a sandbox; told once, before anything runs there. None of it is a secret: where it goes
    /// is watched.
    Dummies {
        /// Where.
        sandbox: SandboxId,
        /// All of them; at most [`DUMMIES_MAX`].
        dummies: Vec<Dummy>,
    },
    /// The gate has been told all of a sandbox that stood before it: what waits there is answered from now on.
    SandboxGoesOn {
        /// Its id.
        sandbox: SandboxId,
    },
    /// The sandbox is gone; its listeners close.
    SandboxEnded {
        /// Its id.
        sandbox: SandboxId,
    },
    /// A run is active in a sandbox.
    RunStarted {
        /// Where.
        sandbox: SandboxId,
        /// Which.
        run: RunId,
        /// The end user, if the caller was allowed to name one.
        user: Option<String>,
    },
    /// A run has ended.
    RunEnded {
        /// Where.
        sandbox: SandboxId,
        /// Which.
        run: RunId,
    },
    /// The runtime listens now; no agent's call goes to any of these, whatever the config left to the system.
    Listening {
        /// Where, ports as the system gave them; at most [`LISTENING_MAX`].
        addresses: Vec<SocketAddr>,
    },
    /// Asks how the gate is; the reply is [`Reply::Status`].
    Status,
    /// The public keys of whoever gives callers' tokens out are wanted, unless they are those that are here.
    CallersKeys {
        /// Which are here: the digest that came with them.
        have: Option<String>,
        /// A token named a key that is not among them.
        lacks: bool,
    },
    /// Asks which requests wait for a human or did: those that wait before the others, newest first, at most
    /// [`crate::approval::LISTED_MAX`]. The reply is [`Reply::Approvals`].
    Approvals {
        /// Which.
        wanted: Box<Wanted>,
        /// The key of who asks, to be verified; none where posternd has verified its own operator's.
        key: Option<Shown>,
    },
    /// Asks about one of them; the reply is [`Reply::Approval`].
    Approval {
        /// Which.
        action: ActionId,
        /// As in [`News::Approvals`].
        key: Option<Shown>,
    },
    /// An agent asks a human by itself; the same again changes nothing. The reply is [`Reply::Approval`]. What becomes of it is
    /// asked with [`News::Approval`].
    Asked(Box<Question>),
    /// What became of a consent that a run waits for; the reply is [`Reply::Consent`].
    Consent {
        /// Which.
        action: ActionId,
    },
    /// Nobody needs an answer to a request any more: the run that waited for it is over.
    Withdrawn {
        /// Which.
        action: ActionId,
    },
    /// Somebody takes a yes to more than one call back; the reply is [`Reply::Approval`] or [`Reply::Unanswered`].
    Revoke {
        /// Which.
        action: ActionId,
        /// Who they are.
        key: Shown,
    },
    /// Asks what end users have consented to, newest first; the reply is [`Reply::Consents`] or [`Reply::Unanswered`].
    Consents {
        /// Which.
        wanted: Box<consent::Wanted>,
        /// As in [`News::Approvals`].
        key: Option<Shown>,
    },
    /// Somebody takes one of these back; the reply is [`Reply::Done`] or [`Reply::Unanswered`].
    TakeBack {
        /// Which.
        consent: ActionId,
        /// As in [`News::Approvals`].
        key: Option<Shown>,
    },
    /// Somebody answers one; the reply is [`Reply::Approval`] or [`Reply::Unanswered`].
    Answer {
        /// Which.
        action: ActionId,
        /// What they say.
        answer: Answer,
        /// Who they are.
        key: Shown,
    },
}

/// A stand-in for a tool's credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dummy {
    /// Whose credential it stands for.
    pub tool: ToolName,
    /// All of it.
    pub text: String,
    /// How many bytes of its beginning others have too.
    pub fixed: usize,
}

/// Where calls on a listener come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Agent code in a sandbox that several runs share: nothing it says of itself is believed.
    Sandbox,
    /// Agent code in a sandbox that runs of one user have one after the other: whatever comes is the active run's.
    User,
    /// Agent code in a sandbox that one run has: whatever comes is that run's, and there is no other ever.
    Run,
    /// posternd on behalf of an agent that has no code: its run, user and `X-Tool-*` headers are believed.
    Runtime,
    /// The sandbox that fetches an agent's files: runs nobody's code, is judged by `[agents.NAME.install] fetch`.
    Fetch,
    /// The sandbox that runs what an agent's files bring for their own setup: judged by `setup`, gets no credential.
    Setup,
}

impl Origin {
    /// The part in an install; `None` where the calls are an agent's.
    #[must_use]
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Fetch => Some(Stage::Fetch),
            Self::Setup => Some(Stage::Setup),
            Self::Sandbox | Self::User | Self::Run | Self::Runtime => None,
        }
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Tools, models and the explicit proxy by request form.
    Gate,
    /// Whatever a program of the sandbox connects to by address: the address that it meant is the accepted socket's own.
    Captured,
    /// The same at a port that no config named when the sandbox began.
    Others,
    /// Questions for names (DNS), on a datagram socket or a stream socket that listens.
    Names,
    /// No listener, but the gate's end of a socket for what the agent reports ([`crate::report`]).
    Reports,
    /// No socket: what a gate gave back with [`Reply::Done`] when it first heard of this sandbox. The others are accepted on
    /// once [`News::SandboxGoesOn`] comes.
    Kept,
}

impl From<Listener> for ListenerKind {
    fn from(made: Listener) -> Self {
        match made {
            Listener::Gate => Self::Gate,
            Listener::Captured { .. } => Self::Captured,
            Listener::Others => Self::Others,
            Listener::NamesByDatagram | Listener::NamesByStream => Self::Names,
        }
    }
}

/// One answer of the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromGate {
    /// The message's number.
    pub re: u64,
    /// The answer.
    pub reply: Reply,
}

/// What the gate answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// Done. A descriptor that comes along is kept unread, and shown with the same sandbox to the next gate.
    Done,
    /// Not done, and why.
    Refused {
        /// A sentence for people.
        why: String,
    },
    /// How the gate is.
    Status(GateStatus),
    /// The runtime is who it should be.
    Welcome(Welcome),
    /// Requests, newest first.
    Approvals(Vec<Approval>),
    /// One request; whole while its call waits.
    Approval(Box<Approval>, Option<Box<Whole>>),
    /// What became of a consent.
    Consent(Consented),
    /// What end users have consented to, newest first.
    Consents(Vec<Granted>),
    /// The keys of whoever gives callers' tokens out; nothing where there are no others than are there already.
    CallersKeys(Option<CallersKeys>),
    /// The answer does not count, or nothing is told.
    Unanswered(Unanswered),
}

/// What a runtime is told once the gate has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The certificate, in PEM, of the authority that signs for intercepted hosts: what every sandbox must trust. Its
    /// key never leaves the gate.
    pub ca_certificate: String,
}

/// A JSON Web Key Set as its issuer shows it, at most [`CALLERS_KEYS_BYTES_MAX`]. Nobody has looked into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallersKeys {
    /// Of the text: SHA-256, in hexadecimal digits.
    pub digest: String,
    /// The text.
    pub set: String,
}

/// The largest set of keys that crosses the link, in bytes; without control characters but those of white space it is twice as long
/// in a message at worst.
pub const CALLERS_KEYS_BYTES_MAX: usize = 48 * 1024;

/// How the gate is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateStatus {
    /// Counts the policies put in force since the start.
    pub policy_generation: u64,
    /// What the gate cannot do now, in words; empty when all is well.
    pub troubles: Vec<String>,
    /// Why the config as it stands in its files is not wholly in force, a line each with its place; the last good one is
    /// in force instead. Empty when all of it is.
    pub config_troubles: Vec<String>,
    /// How often the config was read anew and not all of it could be put in force, since the start.
    pub config_failures: u64,
    /// What the config made weaker than it could be, in words.
    pub weakened: Vec<String>,
    /// Policies that only watch: what none of their rules mentions passes and is written down.
    pub audit_mode: Vec<PolicyName>,
    /// Sandboxes it accepts for.
    pub sandboxes: u32,
    /// How many consents were given since the start.
    pub consents_given: u64,
    /// What came of the last question to each model that was asked anything since the start.
    pub models: Vec<Sighting>,
}

/// When a model's provider was last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Which model.
    pub model: ModelName,
    /// When its provider last answered anything, in milliseconds since 1970 (UTC).
    pub answered_ms: Option<i64>,
    /// Why it did not the last time, and since when it has not (as above); none while it answers.
    pub unreached: Option<(Code, i64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"seq":1,"news":{"hello":{"version":1,"token":null,"admin":true}}}"#;
        assert!(serde_json::from_str::<ToGate>(text).is_err());
    }

    #[test]
    fn a_welcome_carries_a_certificate_and_nothing_else() {
        let text = r#"{"re":1,"reply":{"welcome":{"ca_certificate":"c"}}}"#;
        assert!(serde_json::from_str::<FromGate>(text).is_ok());
        let text = r#"{"re":1,"reply":{"welcome":{"ca_certificate":"c","ca_key":"k"}}}"#;
        assert!(serde_json::from_str::<FromGate>(text).is_err());
    }

    #[test]
    fn a_status_comes_back_whole() {
        let status = GateStatus {
            policy_generation: 3,
            troubles: vec![],
            config_troubles: vec!["postern.toml:3:1: no".to_owned()],
            config_failures: 1,
            weakened: vec![],
            audit_mode: vec!["support".parse().unwrap()],
            sandboxes: 2,
            consents_given: 3,
            models: vec![Sighting {
                model: "fast".parse().unwrap(),
                answered_ms: None,
                unreached: Some((Code::UpstreamUnreachable, 7)),
            }],
        };
        let message = FromGate {
            re: 9,
            reply: Reply::Status(status),
        };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<FromGate>(&text).unwrap(), message);
    }
}
