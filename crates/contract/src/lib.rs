//! The nouns of Postern and what its processes say to each other. Never does I/O, never knows tokio or hyper.

#![forbid(unsafe_code)]

pub mod approval;
pub mod config;
pub mod consent;
pub mod digest;
pub mod exit;
pub mod id;
pub mod launch;
pub mod link;
pub mod name;
pub mod refusal;
pub mod report;
pub mod secret;
pub mod size;

pub use digest::{Digest, NotADigest};
pub use id::{ActionId, RequestId, RunId, SandboxId};
pub use name::{
    AgentName, ApproverName, ModelName, PolicyName, ProviderName, SecretName, ToolName,
};
pub use refusal::{Code, Refusal};
pub use secret::Secret;
pub use size::{ByteSize, Period};

/// The address inside every sandbox where the gate answers: tools, models and the explicit proxy.
///
/// Not 127.0.0.1, because many clients skip their proxy for that address and for `localhost`.
pub const GATE_ADDRESS: &str = "127.127.0.1";

/// The port beside [`GATE_ADDRESS`].
pub const GATE_PORT: u16 = 4180;

/// The largest message on the link and on the launcher's socket, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// The most descriptors that travel with one message.
pub const MESSAGE_FDS_MAX: usize = 64;
