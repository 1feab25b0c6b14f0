//! A connection that a program made to some address, and that came out here: what it greets is where it goes, at the port
//! that was meant. Never dials the address that was meant for a name, and never anything before a request is decided.
//!
//! ```text
//! first bytes ─┬─ HTTP in the clear: each request names its host (door/captured.rs) ─▶ exchange
//!              └─ TLS: server name, or what the address stands for     ─▶ judged like a CONNECT ─┬─ looked into
//!                                                                                               ├─ carried (`tls = "tunnel"`)
//!                                                                                               └─ refused
//! ```

use std::sync::Arc;

use http::HeaderMap;
use postern_policy::{Host, Method, Scheme};
use tokio::net::TcpStream;

use super::{
    Connect, DENIED, Hello, OPENING_MAX, Opening, Rewound, UNEXPECTED, Uninvited, WRONG_NAME, peek,
    say, too_many,
};
use crate::{
    accept::{self, Arrival, Tenure},
    audit::{Door, cut},
    body,
    call::{Call, Freight},
    decide::{Permit, Way, way},
    dial::Journey,
    dns::Meant,
    door::{self, Unclear},
    gate::Gate,
    greeting::Greeting,
    identify::Caller,
    record::Record,
    refuse::Refused,
    tunnel::{self, Terms},
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
    let opened = peek::opening(&mut stream, OPENING_MAX).await;
    let begin = || {
        let mut record = Record::begin((&gate.audit, &gate.ledger), &gate.clock);
        record.line.sandbox = Some(arrival.room.sandbox.clone());
        record.line.agent = Some(arrival.room.agent.clone());
        record.line.door = Some(Door::Captured);
        record.line.method = Some(Method::connect().to_string());
        record
    };
    let (hello, first) = match opened {
        Ok((Opening::Plain, first)) => {
            let (stream, arrival) = (Rewound::new(first, stream), arrival.captured(meant));
            return accept::serve(stream, tenure, Arc::clone(gate), arrival);
        }
        Ok((Opening::Tls(hello), first)) => (hello, first),
        Err(unopened) => {
            begin().abandon(Uninvited::from(unopened).into());
            return say(stream, UNEXPECTED).await;
        }
    };
    let mut record = begin();
    record.line.sni = hello.name.as_deref().map(cut);
    let greeted = Greeted {
        stream: Rewound::new(first, stream),
        hello,
        meant,
    };
    Box::pin(greeted.go_on((tenure, arrival), gate, record)).await;
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
        let call = match self.call(gate, &mut record) {
            Ok(call) => call,
            Err(refused) => {
                record.abandon(refused);
                return say(self.stream, WRONG_NAME).await;
            }
        };
        match judged(gate, &arrival, call, &mut record).await {
            Ok((Way::Out(permit), caller, call)) => {
                self.carry(gate, (permit, &caller, call), record).await;
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
            Err(refused) => {
                record.abandon(refused);
                say(self.stream, DENIED).await;
            }
        }
    }

    /// What the connection is for: as if it had begun with a CONNECT to that host and port.
    fn call(&self, gate: &Gate, record: &mut Record) -> Result<Call, Refused> {
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
        let (subject, target) = door::routed(&book, &url);
        record.destination(&subject, &url, 0);
        Ok(Call {
            method: Method::connect(),
            url,
            subject,
            target,
            headers: HeaderMap::new(),
            freight: Freight::Request(body::empty()),
        })
    }

    /// Carries it unread, where its tool says so.
    async fn carry(
        self,
        gate: &Gate,
        (permit, caller, call): (Permit, &Caller, Call),
        mut record: Box<Record>,
    ) {
        record.allowed(&permit);
        // Of the call only this: what else it is would not wait where the connection does.
        let (target, speaks) = (Arc::clone(&call.target), call.speaks());
        let freight = call.freight;
        let book = gate.book();
        let journey = Journey {
            permit: &permit,
            private: target.private,
            sandbox: &caller.sandbox,
            credential: None,
            generation: record.line.policy_generation,
            speaks,
            manner: &target.manner,
            proxy: book.proxy.as_ref(),
        };
        let turn = gate.turnstiles.admit(&caller.sandbox, &target.manner);
        let begun = turn.map_err(Refused::from).and_then(|turn| {
            record.turn(turn);
            Ok(record.begun(&freight)?)
        });
        let reached = match begun {
            Ok(()) => gate.dialer.pipe(&journey).await.map_err(Refused::from),
            Err(refused) => Err(refused),
        };
        match reached {
            Ok(pipe) => {
                record.reached(pipe.address, pipe.timings);
                let greeting = Greeting {
                    host: permit.url().authority().host().clone(),
                    is_tls: true,
                };
                let terms = Terms {
                    silence_max: book.patience.tunnel,
                    greeting: Some(greeting),
                };
                tunnel::carry((self.stream, pipe.stream), terms, record).await;
            }
            Err(refused) => {
                record.abandon(refused);
                say(self.stream, DENIED).await;
            }
        }
    }
}

/// Judges it by the book of now, as the story of a request does.
async fn judged(
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
    gate.may_record(room)?;
    let way = way(&book, &caller, &mut call, record).await?;
    record.enter(&gate.live);
    Ok((way, caller, call))
}
