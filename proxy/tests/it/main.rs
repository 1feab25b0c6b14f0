//! The gate from outside: a real gate in this process, played at by a pretend posternd over the link and by raw clients
//! over the listeners of pretend sandboxes. Never looks inside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod again;
mod approvals;
mod asking;
mod audit;
mod audit_mode;
mod aws;
mod bodies;
mod calls;
mod captured;
mod chaos;
mod clients;
mod consent;
mod corporate;
mod cutover;
mod differential;
mod dns;
mod dummies;
mod dumps;
mod echoes;
mod evidence;
mod expect;
mod flood;
mod formats;
mod framing;
mod grpc;
mod house;
mod idle;
mod installs;
mod intercept;
mod lies;
mod link;
mod minted;
mod models;
mod names;
mod program;
mod proxying;
mod questions;
mod raw;
mod reach;
mod reload;
mod scopes;
mod sealed;
mod seeing;
mod signing;
mod streams;
mod tls;
mod tunnels;
mod two;
mod uploads;
mod upstream;
mod vault;
mod websocket;
mod wss;
