//! Sends a ready request over a verified leg and brings the answer back, streaming both ways. Never changes what was
//! decided on and never buffers a body. A request goes out again only where nothing of it was written, or where it may be
//! done twice (`again.rs`), and then once.

use std::{pin::pin, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::{
    again::Spare,
    body::{Body, Paced},
    deadline,
    dial::{Dialer, Journey, Stay, Unsent, VerifiedLeg},
    headers,
    inject::Ready,
    live::Cut,
    mask::{Encoded, Mask, Stopped, Unmasked},
    record::Record,
    refuse::Refused,
    websocket::{Handshake, NotAccepted, Socket},
};

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the upstream broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the upstream did not begin its answer within {0:?}")]
    Late(Duration),
    #[error("the upstream's answer is framed in two ways, or in a transfer coding besides chunked")]
    Coding,
    #[error(transparent)]
    Cut(#[from] Cut),
    #[error(transparent)]
    Encoded(#[from] Encoded),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("the upstream wanted to speak another protocol")]
    Switched,
    #[error("the upstream did not take up the WebSocket: {0}")]
    Socket(#[from] NotAccepted),
}

/// What came back.
pub(crate) enum Relayed {
    /// An answer.
    Answer(Response<Body>),
    /// The WebSocket that was asked for.
    Socket(Socket),
}

/// Who asks, on which way and for what besides an answer.
pub(crate) struct Sending<'a> {
    dialer: &'a Dialer,
    journey: &'a Journey<'a>,
    handshake: Option<Handshake>,
    mask: Option<Mask>,
}

impl From<Unmasked> for Broken {
    fn from(unmasked: Unmasked) -> Self {
        match unmasked {
            Unmasked::Encoded(encoded) => encoded.into(),
            Unmasked::Stopped(stopped) => stopped.into(),
        }
    }
}

impl<'a> Sending<'a> {
    /// For an answer, or for the WebSocket of a handshake, which goes through a mask if there is one.
    pub(crate) fn new(
        (dialer, journey): (&'a Dialer, &'a Journey<'a>),
        handshake: Option<Handshake>,
        mask: Option<Mask>,
    ) -> Self {
        Self {
            dialer,
            journey,
            handshake,
            mask,
        }
    }

    /// The upstream's answer, or its end of the WebSocket.
    pub(crate) async fn relay(
        self,
        leg: VerifiedLeg,
        ready: Ready,
        record: &mut Record,
    ) -> Result<Relayed, Refused> {
        let (idle, overdue) = (self.journey.manner.timeouts.idle, leg.overdue());
        let (response, stay) = self.send(leg, ready.into_request(), record).await?;
        record.first_byte();
        if !headers::is_framed_plainly(response.headers()) {
            return Err(Broken::Coding.into());
        }
        if let Some(mask) = &self.mask {
            record.masks(mask.hits());
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = answer(response, stay, (idle, overdue));
            let answer = match self.mask {
                Some(mask) => mask.answer(answer).map_err(Broken::from)?,
                None => answer,
            };
            return Ok(Relayed::Answer(answer));
        }
        let handshake = self.handshake.ok_or(Broken::Switched)?;
        let socket = handshake.agree(response, self.mask)?;
        Ok(Relayed::Socket(socket))
    }

    /// Sends over the leg; if that was lost before the answer began, over a fresh one where that is safe.
    async fn send(
        &self,
        leg: VerifiedLeg,
        request: Request<Body>,
        record: &mut Record,
    ) -> Result<Answered, Refused> {
        let kept = leg.is_kept();
        let late = self.dialer.in_time(self.journey.manner.timeouts.head());
        let for_once = self.journey.permit.is_for_once();
        let spare = Spare::of(&request, self.journey.manner).filter(|_| !for_once);
        let sent = record.unless_cut(pin!(once(leg, request, late))).await;
        let unsent = match sent.map_err(Broken::from)?? {
            Ok(answered) => return Ok(answered),
            Err(unsent) => unsent,
        };
        let request = match (unsent.request.filter(|_| kept), spare) {
            (Some(request), _) => *request,
            (None, Some(spare)) => {
                let lost = spare.after(&unsent.error);
                let request = lost.ok_or(Broken::Http(unsent.error))?;
                record.again()?;
                request
            }
            (None, None) => return Err(Broken::Http(unsent.error).into()),
        };
        // In a box, so that other calls do not carry the room that a second try takes.
        Box::pin(self.again(request, late, record)).await
    }

    async fn again(
        &self,
        request: Request<Body>,
        late: (Instant, Duration),
        record: &mut Record,
    ) -> Result<Answered, Refused> {
        let reaching = self.dialer.reach_afresh(self.journey);
        let leg = record.unless_cut(pin!(reaching)).await??;
        record.reached(leg.address(), leg.timings());
        let sent = record.unless_cut(pin!(once(leg, request, late))).await;
        let answered = sent.map_err(Broken::from)??;
        answered.map_err(|unsent| Broken::Http(unsent.error).into())
    }
}

type Answered = (Response<Incoming>, Option<Stay>);

async fn once(
    leg: VerifiedLeg,
    request: Request<Body>,
    (deadline, late): (Instant, Duration),
) -> Result<Result<Answered, Unsent>, Broken> {
    let (mut sender, home) = leg.into_parts();
    let sent = timeout_at(deadline, sender.send(request)).await;
    Ok(match sent.map_err(|_| Broken::Late(late))? {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok((response, None))
        }
        Ok(response) => Ok((response, Some(home.stay(sender)))),
        Err(unsent) => Err(unsent),
    })
}

fn answer(
    response: Response<Incoming>,
    stay: Option<Stay>,
    (idle, overdue): (Duration, Option<Instant>),
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    headers::clean_response(&mut parts.headers);
    // The sealed body counts what the agent gets.
    let paced = Paced::answer(body, stay, idle);
    let mut response = Response::new(deadline::until(paced, overdue));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}
