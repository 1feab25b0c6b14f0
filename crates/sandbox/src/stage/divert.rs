//! Connections to ports that nobody captures, led to one socket, so that somebody writes the attempts down. Never lets anything
//! out: without it they are refused, unless it is a port of the agent's own, and lead out of the sandbox neither way.

use std::{io, net::IpAddr, os::fd::OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use postern_contract::launch::{Layer, Listener, OTHERS_PORT, Obstacle};
use postern_sys::divert::Divert;

use super::net_namespace::{NAMES_PORT, OWN_V4, OWN_V6};
use crate::ledger::Ledger;

/// Leads them to the plan's listener for others, in the network that was made for it; `made` are all of them in the plan's order.
pub(crate) fn lead(
    listeners: &[Listener],
    made: &[OwnedFd],
    ledger: &mut Ledger,
) -> Result<(), Obstacle> {
    if listeners.is_empty() {
        ledger.enforced(Layer::Divert, "nobody listens, every port is closed");
        return Ok(());
    }
    let mut all = listeners.iter().zip(made);
    let others = all.find(|(is, _)| **is == Listener::Others);
    let led = match others {
        Some((_, socket)) => begin(listeners, socket),
        None => Err(io::Error::other("the plan has no listener for them")),
    };
    match led {
        Ok(()) => {
            ledger.enforced(
                Layer::Divert,
                "attempts at other ports are recorded and reset",
            );
            Ok(())
        }
        Err(error) => {
            let why = format!("attempts at other ports leave no record: {error}");
            let fix = "it takes a kernel whose nf_tables has `tproxy` for namespaces";
            ledger.absent(Obstacle::layer(Layer::Divert, why).with_fix(fix))
        }
    }
}

fn begin(listeners: &[Listener], to: &OwnedFd) -> io::Result<()> {
    let captured = listeners.iter().filter_map(|listener| match listener {
        Listener::Captured { port } => Some(*port),
        _ => None,
    });
    let ports: Vec<u16> = captured.chain([NAMES_PORT]).collect();
    setsockopt(to, sockopt::IpTransparent, &true)?;
    Divert {
        port: OTHERS_PORT,
        ports: &ports,
        own: &[IpAddr::V4(OWN_V4), IpAddr::V6(OWN_V6)],
    }
    .begin()
}
