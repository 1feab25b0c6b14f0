//! The story of one egress request, told once and in order. Every step is a call into the room that does it; nothing is
//! done here.

use std::{pin::pin, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use postern_contract::{Code, Refusal};

use crate::{
    accept::Arrival,
    approve,
    audit::Sealed,
    body::{self, Body},
    call::Freight,
    consent,
    decide::{Way, way},
    dial::Journey,
    door::{self, Form, Unclear},
    gate::Gate,
    identify::CALLS_PER_SANDBOX_MAX,
    inject::{self, Outbound},
    intercept::Interception,
    record::Record,
    refuse::Refused,
    relay::{Relayed, Sending},
    sealed,
    tunnel::Tunnel,
    websocket::Socket,
};

/// What a call comes to.
enum Outcome {
    /// An answer, whose end waits for the audit.
    Answer(Response<Body>),
    /// A tunnel, whose end waits for the audit.
    Tunnel(Tunnel),
    /// A WebSocket, whose end waits for the audit.
    Socket(Socket),
    /// A CONNECT that is looked into: each request inside comes here by itself.
    Interception(Interception),
}

/// A request that wants out, as far as its form could be made out.
pub(crate) type Asked = (Result<Form, Unclear>, Request<Incoming>);

/// Answers one request; there is one audit line for it, whatever happens.
pub(crate) async fn exchange(gate: &Arc<Gate>, arrival: &Arrival, asked: Asked) -> Response<Body> {
    let mut record = Record::begin((&gate.audit, &gate.ledger), &gate.clock);
    match story(gate, arrival, asked, &mut record).await {
        Ok(Outcome::Answer(response)) => Sealed::response(response, record)
            .unwrap_or_else(|unrecorded| Refused::from(unrecorded).answer()),
        Ok(Outcome::Tunnel(tunnel)) => tunnel.open(&arrival.scope, record),
        Ok(Outcome::Socket(socket)) => socket.open(&arrival.scope, record),
        Ok(Outcome::Interception(inside)) => inside.open(gate, arrival, record),
        Err(refused) => record.refuse(refused),
    }
}

async fn story(
    gate: &Gate,
    arrival: &Arrival,
    (form, request): Asked,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    record.asked(form.as_ref().ok(), &request);
    let mut book = gate.book();
    let room = &arrival.room;
    let caller = Arc::new(room.caller(request.headers(), arrival.hint(), record.number()));
    record.caller(&caller, book.generation);
    record.line.sni = arrival.sni().map(crate::audit::cut);
    record.share(room.share().ok_or_else(too_many)?);
    gate.may_call(room, &caller)?;

    let mut call = door::call(&book, &caller, (form?, request), record).await?;
    let way = way(&book, &caller, &mut call, record).await?;
    record.enter(&gate.live);
    let whose = (&way, &*caller, &**room);
    consent::ready(gate, (&mut book, &mut call), whose, record).await?;
    let permit = match way {
        Way::Out(permit) => permit,
        Way::Ask(pending) => {
            approve::ask(gate, (pending, room), (&mut book, &mut call), record).await?
        }
        Way::In => return Ok(Interception::new(call, &caller, room)?.into()),
    };
    record.allowed(&permit);

    // Replay: a call that the journal already holds is answered here. There is no journal yet.
    // Reserve: budget, grant and intent in one transaction. There are no budgets yet.
    let turn = gate.turnstiles.admit(&caller.sandbox, &call.target.manner);
    record.turn(turn?);
    record.begun(&call.freight)?;

    let credential = permit.credential(&call.target);
    let from = (&*caller, call.speaks());
    let journey = Journey::of(&permit, (&book, &call.target), from).with(&call.claim);
    let (body, handshake) = match call.freight {
        Freight::Question(chat) => return Ok(Outcome::Answer(gate.answer(&chat))),
        Freight::Tunnel(agent) => {
            let pipe = Box::pin(gate.dialer.pipe(&journey)).await?;
            record.reached(pipe.address, pipe.timings);
            let silence_max = book.patience.tunnel;
            let tunnel = Tunnel::new((agent, pipe), (&permit, &call.subject), silence_max);
            return Ok(Outcome::Tunnel(tunnel));
        }
        Freight::Request(body) => (body, None),
        Freight::Socket(handshake) => (body::empty(), Some(handshake)),
    };
    let outbound = Outbound::new(call.headers, body).claiming(call.claim.clone());
    let (outbound, claim) = inject::look(outbound, credential, (&book, &caller), record).await?;
    let minting = consent::purse(gate, (&book, credential), (&caller, &call.subject));
    let purse = record.unless_cut(pin!(minting)).await??;
    let reaching = gate.dialer.reach(&journey);
    let leg = record.unless_cut(pin!(reaching)).await??;
    record.reached(leg.address(), leg.timings());
    let addition = book.addition(credential)?;
    let addition = addition.map(|addition| addition.with(&purse));
    record.credential(journey.credential, book.credential_generation(credential));
    let outbound = gate.timely(&caller.agent, &permit, outbound);
    let ready = inject::apply(&permit, &leg, addition, outbound)?;
    let mask = book.mask(credential, (&call.target, &caller), (&purse, &claim));
    let sending = Sending::new((&gate.dialer, &journey), handshake, mask);
    let relayed = sending.relay(leg, ready, record).await?;
    let carried = (&book, credential, &purse);
    gate.heard((&caller.agent, &journey), carried, &relayed);
    let sealed = sealed::answer(relayed, &claim, &caller, record).await?;
    Ok(sealed.into())
}

impl From<Relayed> for Outcome {
    fn from(relayed: Relayed) -> Self {
        match relayed {
            Relayed::Answer(answer) => Self::Answer(answer),
            Relayed::Socket(socket) => Self::Socket(socket),
        }
    }
}

impl From<Interception> for Outcome {
    fn from(inside: Interception) -> Self {
        Self::Interception(inside)
    }
}

fn too_many() -> Refused {
    let message = format!("A sandbox has at most {CALLS_PER_SANDBOX_MAX} calls under way at once.");
    Refusal::new(Code::RateLimited, "too many calls", message).into()
}

#[cfg(test)]
mod tests;
