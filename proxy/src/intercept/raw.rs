//! A captured connection to a tool that speaks no HTTP: the address that was meant says which tool, and the connection is
//! judged as a whole before a byte of it is read. Never guesses a tool from what is said on a connection, and never dials
//! before it is decided.

use std::sync::Arc;

use postern_contract::{Code, Refusal};
use postern_policy::CanonicalUrl;
use tokio::net::TcpStream;

use super::{
    captured::{begin, connection_to, judged},
    carry::carry,
};
use crate::{
    accept::{Arrival, Tenure},
    decide::Way,
    dns::Meant,
    gate::Gate,
    postgres,
};

/// The tool's URL, where the address and the port that were meant are those of a tool that speaks no HTTP.
pub(super) fn meant(meant: &Meant, gate: &Gate) -> Option<CanonicalUrl> {
    gate.book().rulebook.raw_at(&meant.host()?, meant.at.port())
}

/// Judges the connection, and carries it where it may go.
pub(super) async fn attend(
    stream: TcpStream,
    url: CanonicalUrl,
    (tenure, arrival): (Tenure, Arrival),
    gate: &Arc<Gate>,
) {
    let mut record = begin(gate, &arrival);
    let call = connection_to(&gate.book(), url, (&arrival.room, &mut record));
    let logs_in = postgres::is_for(&call.target);
    let refused = match judged(gate, &arrival, call, &mut record).await {
        Ok((Way::Out(permit), caller, call)) => {
            record.allowed(&permit);
            if logs_in {
                let target = call.target;
                postgres::attend(stream, gate, (&permit, &caller, &target), record).await;
            } else {
                carry((stream, None), gate, (permit, &caller, call), record).await;
            }
            return drop(tenure);
        }
        // Only watched: what no rule allows as a whole is carried by nobody, and there is nothing inside to look at.
        Ok((Way::In, ..)) => {
            let message =
                "No rule allows this connection, and nobody can look into what is no HTTP.";
            Refusal::new(Code::PolicyDenied, "no rule", message.to_owned()).into()
        }
        // Nobody can be shown what it will carry.
        Ok((Way::Ask(pending), ..)) => pending.refusal().into(),
        Err(refused) => refused,
    };
    if logs_in {
        postgres::refuse(stream, gate, refused, record).await;
    } else {
        record.abandon(refused);
    }
    drop(tenure);
}
