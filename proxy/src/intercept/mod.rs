//! CONNECT, looked into: the gate answers as the host that was named, and every request that comes inside is told through
//! the same story as any other. Never resolves a name and never dials; whatever is asked inside must be for the one
//! authority of the CONNECT.
//!
//! ```text
//! 200 ─▶ first bytes ─┬─ TLS: server name is the CONNECT's? ─▶ certificate (leaf.rs, signed by ca.rs) ─▶ h2 or h1 ─┐
//!                     ├─ HTTP in the clear ────────────────────────────────────────────────────────────────────────┤
//!                     └─ anything else: refused                                     each request ─▶ exchange ◀─────┘
//! ```

mod ca;
pub(crate) mod captured;
mod carry;
pub(crate) mod elsewhere;
mod hello;
mod leaf;
mod peek;
mod raw;

use std::{io, sync::Arc, time::Duration};

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use postern_contract::{Code, Refusal};
use postern_policy::{Authority, Host, Scheme};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(crate) use self::{
    ca::{Ca, NoCa},
    carry::reach,
    hello::{BadHello, Opening, Reader},
    leaf::Leaves,
    peek::Unopened,
};
use self::{hello::Hello, peek::Rewound};
use crate::{
    accept::{self, Arrival, Tenure},
    audit::Door,
    body::{self, Body},
    call::{Call, Freight},
    door::Unclear,
    gate::Gate,
    identify::{Caller, INTERCEPTED_PER_SANDBOX_MAX, Room},
    record::Record,
    refuse::Refused,
};

/// How long a client may take to say what it wants to speak, and then for the handshake.
const OPENING_MAX: Duration = Duration::from_secs(10);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The fatal alerts `unrecognized_name`, `unexpected_message` and `access_denied`, as TLS says them before anything is
/// agreed on.
const WRONG_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const UNEXPECTED: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];
const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A connection that the gate has looked into: the one authority that is spoken to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Scheme as spoken, host and port as the CONNECT said.
    pub(crate) authority: Authority,
    /// The server name of the handshake.
    pub(crate) sni: Option<String>,
    /// What the CONNECT said about its run.
    pub(crate) hint: Option<String>,
    /// How the connection came.
    pub(crate) door: Door,
}

/// Why a connection was not looked into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Uninvited {
    #[error(transparent)]
    Unopened(#[from] Unopened),
    #[error("the TLS greeting names `{sni}`, and the CONNECT was for {host}")]
    AnotherName { sni: String, host: String },
    #[error("the TLS greeting names nobody, and the CONNECT was for {host}: send the server name")]
    NoName { host: String },
    #[error(
        "the TLS greeting hides its server name behind `{sni}`, and the CONNECT was for {host}: switch encrypted \
         ClientHello off"
    )]
    Hidden { sni: String, host: String },
    #[error("the TLS greeting names `{sni}`, which is no host")]
    NoHost { sni: String },
    #[error("the TLS handshake did not end in time")]
    Late,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error(transparent)]
    Unsigned(#[from] NoCa),
}

/// A CONNECT that will be looked into.
pub(crate) struct Interception {
    agent: OnUpgrade,
    authority: Authority,
    hint: Option<String>,
    place: OwnedSemaphorePermit,
}

impl Interception {
    /// Takes a CONNECT's place among those of its sandbox.
    pub(crate) fn new(call: Call, caller: &Caller, room: &Room) -> Result<Self, Refused> {
        let Freight::Tunnel(agent) = call.freight else {
            return Err(Unclear::TunnelInTunnel.into());
        };
        Ok(Self {
            agent,
            authority: call.url.authority().clone(),
            hint: caller.hint.clone(),
            place: room.interception().ok_or_else(too_many)?,
        })
    }

    /// Tells the agent to go on, and serves what comes.
    pub(crate) fn open(
        self,
        gate: &Arc<Gate>,
        arrival: &Arrival,
        mut record: Box<Record>,
    ) -> Response<Body> {
        let response = Response::new(body::empty());
        record.answered(response.status());
        let (gate, arrival) = (Arc::clone(gate), arrival.clone());
        arrival.scope.clone().spawn(async move {
            let Self {
                agent,
                authority,
                hint,
                place,
            } = self;
            let stream = match agent.await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => return tracing::debug!(%error, "a CONNECT was not taken up"),
            };
            let door = Door::Connect;
            let connect = Connect {
                authority,
                hint,
                door,
            };
            let place = (place, arrival);
            connect.attend(stream, &gate, place, record).await;
        });
        response
    }
}

/// What a CONNECT said, or a captured connection in its place.
struct Connect {
    authority: Authority,
    hint: Option<String>,
    door: Door,
}

type Stream = TokioIo<Upgraded>;

impl Connect {
    async fn attend(
        self,
        mut stream: Stream,
        gate: &Arc<Gate>,
        (place, arrival): (OwnedSemaphorePermit, Arrival),
        mut record: Box<Record>,
    ) {
        let opened = peek::opening(&mut stream, OPENING_MAX).await;
        let (hello, first) = match opened {
            Ok((Opening::Plain, first)) => {
                let arrival = arrival.inside(self.inside(Scheme::Http, None));
                if record.intercepted(None).is_ok() {
                    let tenure = Tenure::new(place, record.hand_over());
                    let stream = Rewound::new(first, stream);
                    accept::serve(stream, tenure, Arc::clone(gate), arrival);
                }
                return;
            }
            Ok((Opening::Tls(hello), first)) => (hello, first),
            Err(unopened) => return refuse(record, unopened.into(), stream).await,
        };
        record.line.sni = hello.name.as_deref().map(crate::audit::cut);
        if let Err(uninvited) = agree(&hello, self.authority.host()) {
            return refuse(record, uninvited, stream).await;
        }
        let stream = Rewound::new(first, stream);
        self.serve_tls(stream, hello, gate, ((place, arrival), record))
            .await;
    }

    /// Ends the TLS of a client that named the right host, and serves what comes inside.
    async fn serve_tls<S>(
        self,
        stream: Rewound<S>,
        hello: Hello,
        gate: &Arc<Gate>,
        ((place, arrival), mut record): ((OwnedSemaphorePermit, Arrival), Box<Record>),
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match self.secure(stream, gate, &arrival.room).await {
            Ok(secured) => {
                let arrival = arrival.inside(self.inside(Scheme::Https, hello.name));
                if record.intercepted(arrival.sni()).is_ok() {
                    let tenure = Tenure::new(place, record.hand_over());
                    accept::serve(secured, tenure, Arc::clone(gate), arrival);
                }
            }
            // rustls has told the client what it did not like.
            Err(uninvited) => record.abandon(uninvited.into()),
        }
    }

    /// Speaks TLS as the host that was named.
    async fn secure<S>(
        &self,
        stream: Rewound<S>,
        gate: &Gate,
        room: &Room,
    ) -> Result<TlsStream<Rewound<S>>, Uninvited>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = gate.leaves.for_host(&room.sandbox, self.authority.host())?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        match timeout(HANDSHAKE_MAX, handshake).await {
            Ok(secured) => secured.map_err(Uninvited::Handshake),
            Err(_) => Err(Uninvited::Late),
        }
    }

    fn inside(self, scheme: Scheme, sni: Option<String>) -> Inside {
        Inside {
            // Host and port made an authority before, so they do again.
            authority: Authority::new(scheme, self.authority.host().clone(), self.authority.port())
                .unwrap_or(self.authority),
            sni,
            hint: self.hint,
            door: self.door,
        }
    }
}

/// The server name is the CONNECT's host. A hello inside the hello is for a server that has its key, and the gate has
/// none: what counts is the outer one, and it must name the host like any other.
fn agree(hello: &Hello, host: &Host) -> Result<(), Uninvited> {
    let wanted = || host.to_string();
    let Some(name) = &hello.name else {
        return match host {
            Host::Ip(_) => Ok(()),
            Host::Name(_) => Err(Uninvited::NoName { host: wanted() }),
        };
    };
    if name.parse::<Host>().as_ref() == Ok(host) {
        return Ok(());
    }
    let sni: String = name
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    let host = wanted();
    Err(if hello.hides_another {
        Uninvited::Hidden { sni, host }
    } else {
        Uninvited::AnotherName { sni, host }
    })
}

/// The same where nobody will end the TLS: a hello inside the hello is for whoever stands behind the outer name, so it
/// must not be there at all, not even in pretence.
pub(crate) fn agree_unread(hello: &Hello, host: &Host) -> Result<(), Uninvited> {
    agree(hello, host)?;
    match &hello.name {
        Some(sni) if hello.hides_another => Err(Uninvited::Hidden {
            sni: sni.clone(),
            host: host.to_string(),
        }),
        None if hello.hides_another => Err(Uninvited::Hidden {
            sni: String::new(),
            host: host.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Writes down why, then tells the client in the one way that every TLS stack understands, and closes.
async fn refuse<S>(record: Box<Record>, uninvited: Uninvited, stream: S)
where
    S: AsyncWrite + Unpin,
{
    let alert = match &uninvited {
        Uninvited::Unopened(_) => UNEXPECTED,
        _ => WRONG_NAME,
    };
    record.abandon(uninvited.into());
    say(stream, alert).await;
}

/// The last word on a connection.
async fn say<S: AsyncWrite + Unpin>(mut stream: S, alert: [u8; 7]) {
    let said = async {
        stream.write_all(&alert).await?;
        stream.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client did not wait to hear why");
    }
}

fn too_many() -> Refused {
    let message = format!(
        "A sandbox has at most {INTERCEPTED_PER_SANDBOX_MAX} connections by CONNECT at once: close some, or keep them \
         alive."
    );
    Refusal::new(Code::RateLimited, "too many connections", message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: Option<&str>, hides_another: bool) -> Hello {
        Hello {
            name: name.map(str::to_owned),
            hides_another,
        }
    }

    fn agrees(name: Option<&str>, host: &str) -> bool {
        agree(&hello(name, false), &host.parse().unwrap()).is_ok()
    }

    #[test]
    fn the_server_name_is_the_connects_host() {
        assert!(agrees(Some("a.example"), "a.example"));
        assert!(agrees(Some("A.Example"), "a.example"));
        assert!(agrees(None, "192.0.2.1"));
        assert!(agrees(None, "[2001:db8::1]"));
        assert!(!agrees(None, "a.example"));
        assert!(!agrees(Some("b.example"), "a.example"));
        assert!(!agrees(Some("a.example"), "192.0.2.1"));
        assert!(!agrees(Some(""), "a.example"));
        assert!(!agrees(Some("a.example\0.evil.example"), "a.example"));
    }

    #[test]
    fn a_hidden_name_counts_for_nothing() {
        let host: Host = "a.example".parse().unwrap();
        assert!(agree(&hello(Some("a.example"), true), &host).is_ok());
        assert!(matches!(
            agree(&hello(Some("front.example"), true), &host),
            Err(Uninvited::Hidden { .. })
        ));
    }
}
