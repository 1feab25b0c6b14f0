//! How every program of Postern's ends where it does not end well. Never ends one.

/// Something failed while starting or running, or the answer is no.
pub const RUN: u8 = 1;

/// The config or the command line asks for what cannot be, or what was asked cannot be told.
pub const CONFIG: u8 = 2;
