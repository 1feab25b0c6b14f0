//! A connection to a port that no config named when its sandbox began. If the config of now names the port, it is captured like
//! any other; else it is written down and reset. Never reads a byte of it.

use std::sync::Arc;

use http::HeaderMap;
use nix::sys::socket::{setsockopt, sockopt};
use postern_contract::{Code, Refusal};
use tokio::net::TcpStream;

use super::captured::{self, begin};
use crate::{
    accept::{Arrival, Tenure},
    dns::Meant,
    gate::Gate,
};

/// Attends to one connection.
pub(crate) fn attend(stream: TcpStream, tenure: Tenure, gate: &Arc<Gate>, arrival: &Arrival) {
    let Ok(at) = stream.local_addr() else {
        return tracing::debug!("a connection without an address");
    };
    let (meant, room) = (arrival.room.names.meant(at), &arrival.room);
    let book = gate.book();
    let grants = book.grants(room.holder());
    if grants.is_some_and(|grants| grants.ports.contains(&meant.at.port())) {
        return captured::attend(stream, tenure, gate, arrival);
    }
    write_down(gate, arrival, (&meant, book.generation));
    // Reset, not ended: as by a host that has nobody there, and whatever was said is thrown away.
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    if let Err(error) = setsockopt(&stream, sockopt::Linger, &at_once) {
        tracing::debug!(%error, "a connection ends instead of being reset");
    }
}

/// The attempt leaves a line like any call that was refused; attempts without end are counted.
fn write_down(gate: &Gate, arrival: &Arrival, (meant, generation): (&Meant, u64)) {
    let mut record = begin(gate, arrival);
    let caller = Arc::new(
        arrival
            .room
            .caller(&HeaderMap::new(), None, record.number()),
    );
    record.caller(&caller, generation);
    let port = meant.at.port();
    let place = match meant.host() {
        Some(host) => format!("{host}:{port}"),
        None => meant.at.to_string(),
    };
    let message = format!(
        "No rule and no tool of {} is about port {port} of any host.",
        arrival.room.holder()
    );
    record.line.authority = Some(place);
    record.abandon(Refusal::new(Code::UnknownDestination, "unknown port", message).into());
}
