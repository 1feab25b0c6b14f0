//! The built launcher, spoken to as posternd speaks to it: as root with uids of its own for agents, and as an ordinary
//! user. Never needs anything but what every Debian has (sh, bash, perl).

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in #[test] functions, not in what they share"
)]

mod attacks;
mod capture;
mod ends;
mod harness;
mod hostile;
mod images;
mod inside;
mod limits;
mod programs;
mod verbs;
mod walls;
