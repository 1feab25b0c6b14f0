//! `postern.toml` as written: the shape that both daemons read, each filling in the parts that are its own. Never reads
//! a file (that is `postern_daemon::config`) and never holds a secret's value.

mod answers;
mod api;
mod approvals;
mod audit;
mod callers;
mod consent;
mod document;
mod dummy;
mod egress;
mod install;
mod policy;
mod ports;
mod reach;
mod rotation;
mod store;
mod tokens;
mod tool;

pub use answers::{Answers, Encoding, Mask};
pub use api::Api;
pub use approvals::{Approvals, Approver};
pub use audit::Audit;
pub use callers::{Algorithm, Callers, Jwt};
pub use consent::Consent;
pub use document::{AgentGrants, Document, Granted, Ignored, Listen, ListenTls, Patience, Problem};
pub use dummy::{Alphabet, DUMMY_BYTES_MAX, DUMMY_BYTES_MIN, Dummy, DummyFile, Shape};
pub use egress::{Egress, ProxyCredential, Resolve};
pub use install::{Cache, Install, NotAStage, Stage, granted_to};
pub use policy::{GraphQl, Mcp, Mode, Operation, Permission, Policy, Presence, Rule, Wanted};
pub use reach::{Limits, Timeouts, Together};
pub use rotation::OnRotation;
pub use store::{Store, StoreKey, StoreKeyPlace};
pub use tokens::TokenEndpoints;
pub use tool::{Capability, Model, Protocol, Provider, Role, Tls, Tool};
