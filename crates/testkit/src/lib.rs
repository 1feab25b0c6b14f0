//! Fakes that speak true protocols, and the harness that starts the built binaries; for tests only. Never links a daemon:
//! what is tested is what is shipped.

#![forbid(unsafe_code)]

pub mod archive;
pub mod binaries;
pub mod browser;
pub mod curl;
pub mod devbox;
pub mod leftovers;
pub mod model;
pub mod play;
pub mod provider;
pub mod upstream;
pub mod vault;
pub mod wait;

pub use archive::Archive;
pub use browser::Browser;
pub use curl::Curl;
pub use devbox::{Devbox, Ended, Setup};
pub use leftovers::Folder;
pub use provider::Provider;
pub use upstream::{Answer, Latch, Recorded, Upstream};
pub use vault::Vault;
