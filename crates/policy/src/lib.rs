//! Policy as a pure function: canonical facts go in, a verdict with its reason comes out. Never opens a socket, reads
//! a clock or a file, or sees a credential.
//!
//! ```text
//! text of a request ─▶ HostName, Authority, CanonicalPath, CanonicalQuery ─▶ CanonicalUrl   (parsed once, at the door)
//! config as written ─▶ Rulebook::compile ─▶ Rulebook                              (immutable, indexed by host, port and path)
//! Facts{agent, stage, method, url, tool}, Evidence{headers, body, run, user} ─▶ Rulebook::decide ─▶ Allowed | ApprovalRequired | Denied
//! ```
//!
//! What was decided is what is sent: [`Allowed`] carries the method and the URL it was given for, and nothing but
//! [`Rulebook::decide`] can make one.
//!
//! ```
//! use postern_policy::CanonicalUrl;
//!
//! let url: CanonicalUrl = "HTTPS://API.Example.com.:443/a/./b/%2e%2e/%63?x=%7e".parse()?;
//! assert_eq!(url.to_string(), "https://api.example.com/a/c?x=~");
//! # Ok::<(), postern_policy::BadUrl>(())
//! ```

#![forbid(unsafe_code)]

mod authority;
mod body;
mod capability;
mod compile;
mod condition;
mod decide;
mod describe;
mod escape;
mod evidence;
mod explain;
mod expression;
mod glob;
mod graphql;
mod holder;
mod host;
mod index;
mod json;
mod method;
mod parameters;
mod path;
mod pattern;
mod query;
mod rule;
mod rulebook;
mod shelf;
mod tools;
mod trace;
mod url;
mod verdict;

pub use authority::{Authority, BadAuthority, Scheme};
pub use decide::Facts;
pub use evidence::{BODY_BYTES_MAX, BodyShown, Evidence};
pub use holder::{Each, Holder};
pub use host::{Host, HostName, NotAHost};
pub use method::{Method, NotAMethod};
pub use path::{BadPath, CanonicalPath, PATH_BYTES_MAX};
pub use query::{BadQuery, CanonicalQuery, QUERY_BYTES_MAX};
pub use rulebook::Rulebook;
pub use tools::{NoToolUrl, Route};
pub use trace::{Heard, Step, Trace};
pub use url::{BadUrl, CanonicalUrl};
pub use verdict::{Allowed, DEFAULT_RULE, Denied, INSTALL_RULE, Pending, Verdict, WouldDeny};
