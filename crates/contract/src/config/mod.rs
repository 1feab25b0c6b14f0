//! `postern.toml` as written: the shape that both daemons read, each filling in the parts that are its own. Never reads
//! a file (that is `postern_daemon::config`) and never holds a secret's value.

mod api;
mod approvals;
mod audit;
mod document;
mod egress;
mod policy;
mod ports;
mod reach;
mod tool;

pub use api::Api;
pub use approvals::{Approvals, Approver};
pub use audit::Audit;
pub use document::{AgentGrants, Document, Granted, Ignored, Listen, Patience, Problem};
pub use egress::{Egress, ProxyCredential, Resolve};
pub use policy::{GraphQl, Mcp, Mode, Operation, Permission, Policy, Presence, Rule, Wanted};
pub use reach::{Limits, Timeouts, Together};
pub use tool::{Capability, Model, Protocol, Provider, Role, Tls, Tool};
