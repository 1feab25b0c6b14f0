//! A captured connection to a tool that speaks no HTTP: the address that was meant says which tool, and the connection is
//! judged as a whole before a byte of it is read. Never guesses a tool from what is said on a connection, and never dials
//! before it is decided.

use std::sync::Arc;

use postern_contract::{Code, Refusal, config::Protocol};
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
    inject::Login,
    postgres, redis,
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
    let login = call.target.login().map(Login::protocol);
    let refused = match judged(gate, &arrival, call, &mut record).await {
        Ok((Way::Out(permit), caller, call)) => {
            record.allowed(&permit);
            let target = &call.target;
            match login {
                Some(Protocol::Postgres) => {
                    postgres::attend(stream, gate, (&permit, &caller, target), record).await;
                }
                Some(Protocol::Redis) => {
                    redis::attend(stream, gate, (&permit, &caller, target), record).await;
                }
                _ => carry((stream, None), gate, (permit, &caller, call), record).await,
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
    match login {
        Some(Protocol::Postgres) => postgres::refuse(stream, gate, refused, record).await,
        Some(Protocol::Redis) => redis::refuse(stream, gate, refused, record).await,
        _ => record.abandon(refused),
    }
    drop(tenure);
}
