//! A connection that a program made to some address, and that came out here: what it greets is where it goes, at the port
//! that was meant. Never dials the address that was meant for a name, and never anything before a request is decided.
//!
//! ```text
//! no HTTP is spoken where that is (raw.rs) ─▶ judged like a CONNECT ─▶ carried, or closed
//!
//! first bytes ─┬─ HTTP in the clear: each request names its host (door/captured.rs) ─▶ exchange
//!              └─ TLS: server name, or what the address stands for     ─▶ judged like a CONNECT ─┬─ looked into
//!                                                                                               ├─ carried (`tls = "tunnel"`)
//!                                                                                               └─ refused
//! ```

use std::sync::Arc;

use http::HeaderMap;
use postern_policy::{CanonicalUrl, Host, Method, Scheme};
use tokio::net::TcpStream;

use super::{
    Connect, DENIED, Hello, OPENING_MAX, Opening, Rewound, UNEXPECTED, Uninvited, WRONG_NAME,
    carry::carry, peek, raw, say, too_many,
};
use crate::{
    accept::{self, Arrival, Tenure},
    audit::{Door, cut},
    body,
    book::Book,
    call::{Call, Freight},
    decide::{Way, way},
    dns::Meant,
    door::{self, Unclear},
    gate::Gate,
    greeting::Greeting,
    identify::{Caller, Room},
    record::Record,
    refuse::Refused,
    sealed::Claim,
};

/// Attends to one connection.
pub(crate) fn attend(stream: TcpStream, tenure: Tenure, gate: &Arc<Gate>, arrival: &Arrival) {
    let (gate, arrival) = (Arc::clone(gate), arrival.clone());
    arrival.scope.clone().spawn(async move {
        match stream.local_addr() {
            Ok(at) => {
                let meant = arrival.room.names.meant(at);
                Box::pin(open(stream, meant, (tenure, arrival), &gate)).await;
            }
            Err(error) => tracing::debug!(%error, "a connection without an address"),
        }
    });
}

async fn open(
    mut stream: TcpStream,
    meant: Meant,
    (tenure, arrival): (Tenure, Arrival),
    gate: &Arc<Gate>,
) {
    if let Some(url) = raw::meant(&meant, gate) {
        return raw::attend(stream, url, (tenure, arrival), gate).await;
    }
    let opened = peek::opening(&mut stream, OPENING_MAX).await;
    let (hello, first) = match opened {
        Ok((Opening::Plain, first)) => {
            let (stream, arrival) = (Rewound::new(first, stream), arrival.captured(meant));
            return accept::serve(stream, tenure, Arc::clone(gate), arrival);
        }
        Ok((Opening::Tls(hello), first)) => (hello, first),
        Err(unopened) => {
            begin(gate, &arrival).abandon(Uninvited::from(unopened).into());
            return say(stream, UNEXPECTED).await;
        }
    };
    let mut record = begin(gate, &arrival);
    record.line.sni = hello.name.as_deref().map(cut);
    let greeted = Greeted {
        stream: Rewound::new(first, stream),
        hello,
        meant,
    };
    Box::pin(greeted.go_on((tenure, arrival), gate, record)).await;
}

/// The record of a connection of which nothing is known yet.
pub(super) fn begin(gate: &Gate, arrival: &Arrival) -> Box<Record> {
    let mut record = Record::begin((&gate.audit, &gate.ledger), &gate.clock);
    record.room(&arrival.room);
    record.line.door = Some(Door::Captured);
    record.line.method = Some(Method::connect().to_string());
    record
}

/// A connection that began with TLS.
struct Greeted {
    stream: Rewound<TcpStream>,
    hello: Hello,
    meant: Meant,
}

impl Greeted {
    async fn go_on(
        self,
        (tenure, arrival): (Tenure, Arrival),
        gate: &Arc<Gate>,
        mut record: Box<Record>,
    ) {
        let call = match self.call(gate, (&arrival.room, &mut record)) {
            Ok(call) => call,
            Err(refused) => {
                record.abandon(refused);
                return say(self.stream, WRONG_NAME).await;
            }
        };
        match judged(gate, &arrival, call, &mut record).await {
            Ok((Way::Out(permit), caller, call)) => {
                let greeting = Greeting {
                    host: permit.url().authority().host().clone(),
                    is_tls: true,
                };
                record.allowed(&permit);
                let ends = (self.stream, Some(greeting));
                carry(ends, gate, (permit, &caller, call), record).await;
                drop(tenure);
            }
            Ok((Way::In, _, call)) => {
                let Some(place) = arrival.room.interception() else {
                    record.abandon(too_many());
                    return say(self.stream, DENIED).await;
                };
                let connect = Connect {
                    authority: call.url.authority().clone(),
                    hint: None,
                    door: Door::Captured,
                };
                let Self { stream, hello, .. } = self;
                let place = ((place, arrival), record);
                connect.serve_tls(stream, hello, gate, place).await;
            }
            // Nobody can be shown what a connection will carry.
            Ok((Way::Ask(pending), ..)) => {
                record.abandon(pending.refusal().into());
                say(self.stream, DENIED).await;
            }
            Err(refused) => {
                record.abandon(refused);
                say(self.stream, DENIED).await;
            }
        }
    }

    /// What the connection is for: as if it had begun with a CONNECT to that host and port.
    fn call(&self, gate: &Gate, (room, record): (&Room, &mut Record)) -> Result<Call, Refused> {
        let host: Host = match &self.hello.name {
            Some(name) => name.parse().map_err(|_| Uninvited::NoHost {
                sni: name
                    .chars()
                    .take(80)
                    .flat_map(char::escape_default)
                    .collect(),
            })?,
            None => self
                .meant
                .host()
                .ok_or(Unclear::NoName(self.meant.at.ip()))?,
        };
        let authority = door::at(Scheme::Https, host, &self.meant)?;
        let book = gate.book();
        let url = book.rulebook.tunnel_to(authority);
        Ok(connection_to(&book, url, (room, record)))
    }
}

/// The call that a connection is which is judged as a whole.
pub(super) fn connection_to(
    book: &Book,
    url: CanonicalUrl,
    (room, record): (&Room, &mut Record),
) -> Call {
    let (subject, target) = door::routed(book, room.origin.stage(), &url);
    record.destination(&subject, &url, 0);
    Call {
        method: Method::connect(),
        url,
        subject,
        target,
        headers: HeaderMap::new(),
        freight: Freight::Request(body::empty()),
        claim: Claim::default(),
    }
}

/// Judges it by the book of now, as the story of a request does.
pub(super) async fn judged(
    gate: &Gate,
    arrival: &Arrival,
    mut call: Call,
    record: &mut Record,
) -> Result<(Way, Arc<Caller>, Call), Refused> {
    let book = gate.book();
    let room = &arrival.room;
    let caller = Arc::new(room.caller(&HeaderMap::new(), None, record.number()));
    record.caller(&caller, book.generation);
    record.share(room.share().ok_or_else(too_many)?);
    gate.may_call(room, &caller)?;
    let way = way(&book, &caller, &mut call, record).await?;
    record.enter(&gate.live);
    Ok((way, caller, call))
}
