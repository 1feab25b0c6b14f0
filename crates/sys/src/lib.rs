//! Thin safe wrappers of the system calls that no safe crate offers. Holds no policy and knows nothing of Postern.

#![deny(unsafe_op_in_unsafe_fn)]
#![allow(
    unsafe_code,
    reason = "this crate is the one place for it; every other crate forbids it"
)]

pub mod capability;
pub mod divert;
pub mod environment;
pub mod exec;
pub mod fork;
pub mod image;
pub mod interface;
pub mod keyring;
pub mod listen;
pub mod mount;
mod netlink;
pub mod pidfd;
pub mod route;
pub mod seqpacket;
pub mod wait;
