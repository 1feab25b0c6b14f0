//! Black-box tests: they start the built binaries, speak to them with the real curl, and look at what is left. Never
//! links a daemon.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and says where"
)]

mod acp;
mod approvals;
mod audit;
mod audit_command;
mod bad_input;
mod bombs;
mod caches;
mod capture;
mod chaos;
mod command;
mod commands;
mod consent;
mod database;
mod documents;
mod dummies;
mod examples;
mod fixture;
mod gateway;
mod gemini;
mod held;
mod hostile;
mod http;
mod installs;
mod interception;
mod isolation;
mod lifecycle;
mod listen;
mod logs;
mod memory;
mod node;
mod overlap;
mod policy;
mod policy_command;
mod presets;
mod questions;
mod raw;
mod readme;
mod reload;
mod restart;
mod resume;
mod sandbox;
mod sealed;
mod secrets;
mod servers;
mod streams;
mod structure;
mod systemd;
mod tokens;
mod tour;
