//! A captured connection that was permitted as a whole, from its permit to its end: dialled, and carried unread. Never
//! looks inside beyond a greeting, and never adds a credential.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{DENIED, say};
use crate::{
    body,
    book::Target,
    call::{Call, Freight},
    decide::Permit,
    dial::{Journey, Pipe},
    gate::Gate,
    greeting::Greeting,
    identify::Caller,
    record::Record,
    refuse::Refused,
    tunnel::{self, Terms},
};

/// Carries it for as long as it lasts. Whoever must greet by TLS is told in its words where nothing comes of it; any other
/// connection is only closed.
pub(super) async fn carry<S>(
    (stream, greeting): (S, Option<Greeting>),
    gate: &Gate,
    (permit, caller, call): (Permit, &Caller, Call),
    mut record: Box<Record>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let silence_max = gate.book().patience.tunnel;
    // Of the call only this: what else it is would not wait where the connection does.
    let Call { target, .. } = call;
    match reach(gate, (&permit, caller, &target), &mut record).await {
        Ok(pipe) => {
            let terms = Terms {
                silence_max,
                greeting,
                sieve: None,
                is_opaque: true,
            };
            tunnel::carry((stream, pipe.stream), terms, record).await;
        }
        Err(refused) => {
            record.abandon(refused);
            if greeting.is_some() {
                say(stream, DENIED).await;
            }
        }
    }
}

/// A bare connection to where the permit leads, within the limits of its tool.
pub(crate) async fn reach(
    gate: &Gate,
    (permit, caller, target): (&Permit, &Caller, &Target),
    record: &mut Record,
) -> Result<Pipe, Refused> {
    let book = gate.book();
    let journey = Journey {
        permit,
        private: target.private,
        sandbox: &caller.sandbox,
        credential: None,
        user: None,
        is_signed: false,
        identity: None,
        generation: record.line.policy_generation,
        speaks: target.speaks,
        manner: &target.manner,
        proxy: book.proxy.as_ref(),
    };
    record.turn(gate.turnstiles.admit(&caller.sandbox, &target.manner)?);
    record.begun(&Freight::Request(body::empty()))?;
    let pipe = Box::pin(gate.dialer.pipe(&journey)).await?;
    record.reached(pipe.address, pipe.timings);
    Ok(pipe)
}
