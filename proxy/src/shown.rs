//! What a call shows to the rulebook besides its method and URL. A body is read only where the decision hangs on it, at
//! most [`BODY_BYTES_MAX`] of it, and what was shown is what is sent. Never reads the body of a call that is refused
//! anyway, so that a client which asked to be told (`Expect: 100-continue`) keeps it.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::header;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use postern_contract::{Code, Refusal};
use postern_policy::{BODY_BYTES_MAX, BodyShown, Evidence};
use tokio::time::timeout;

use crate::{
    body::{self, Body},
    book::Book,
    call::{Call, Freight},
    decide::facts,
    identify::{Caller, HELD_KIB_PER_SANDBOX_MAX},
    record::Record,
    refuse::Refused,
};

/// What is seen of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nobody needed to look.
    Hidden,
    /// There is none.
    Absent,
    /// More than a rule looks into.
    TooLong,
    /// All of it.
    Whole(Bytes),
}

impl Shown {
    /// Everything that rules may know of a call.
    pub(crate) fn evidence<'a>(&'a self, caller: &'a Caller, call: &'a Call) -> Evidence<'a> {
        let fields = call.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut evidence = Evidence::none().with_headers(fields).with_body(self.body());
        if let Ok(run) = &caller.run {
            evidence = evidence.with_run(run.as_str());
        }
        if let Some(user) = caller.believed_user() {
            evidence = evidence.with_user(user);
        }
        evidence
    }

    fn body(&self) -> BodyShown<'_> {
        match self {
            Self::Hidden => BodyShown::Hidden,
            Self::Absent => BodyShown::Absent,
            Self::TooLong => BodyShown::TooLong,
            Self::Whole(bytes) => BodyShown::Whole(bytes),
        }
    }
}

/// Completes a call's header fields by what its tool is told, and looks into its body if the decision hangs on that. The
/// body of the call is whole again afterwards.
pub(crate) async fn look(
    book: &Book,
    caller: &Caller,
    call: &mut Call,
    record: &mut Record,
) -> Result<Shown, Refused> {
    if call.target.forward_identity {
        call.headers.extend(caller.told());
    }
    if book.rulebook.reads_headers(caller.holder()) {
        drop_trailers(call);
    }
    if !hangs_on_body(book, caller, call) {
        return Ok(Shown::Hidden);
    }
    let body = match &mut call.freight {
        Freight::Request(body) => body,
        // What a WebSocket will say is seen by nobody: a rule that must see it cannot tell.
        Freight::Socket(_) | Freight::Tunnel(_) | Freight::Question(_) => return Ok(Shown::Hidden),
    };
    open(body, (book.patience.body, BODY_BYTES_MAX), caller, record).await
}

/// Reads a body in time and as far as anybody looks, in bytes, and puts it back whole.
pub(crate) async fn open(
    body: &mut Body,
    (patience, bytes_max): (Duration, usize),
    caller: &Caller,
    record: &mut Record,
) -> Result<Shown, Refused> {
    if body.is_end_stream() {
        return Ok(Shown::Absent);
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Ok(Shown::TooLong);
    }
    let sent = std::mem::replace(body, body::empty());
    let (shown, whole) = timeout(patience, Box::pin(read((sent, bytes_max), caller, record)))
        .await
        .map_err(|_| {
            bad(
                "the body came too slowly",
                "A rule looks into it or the gate signs it, so all of it must come first.",
            )
        })??;
    *body = whole;
    Ok(shown)
}

/// Looks into all of a call that a human is to be shown, unless that was done before.
pub(crate) async fn all(
    shown: Shown,
    book: &Book,
    caller: &Caller,
    call: &mut Call,
    record: &mut Record,
) -> Result<Shown, Refused> {
    drop_trailers(call);
    match (shown, &mut call.freight) {
        (Shown::Hidden, Freight::Request(body)) => {
            open(body, (book.patience.body, BODY_BYTES_MAX), caller, record).await
        }
        (shown, _) => Ok(shown),
    }
}

/// Trailers come after the decision, and some servers take them for header fields.
fn drop_trailers(call: &mut Call) {
    call.headers.remove(header::TRAILER);
    if let Freight::Request(body) = &mut call.freight {
        let sent = std::mem::replace(body, body::empty());
        *body = body::without_trailers(sent);
    }
}

/// A model call is permitted by the agent's list of models, so a rule about its body counts even where no other speaks.
fn hangs_on_body(book: &Book, caller: &Caller, call: &Call) -> bool {
    let facts = facts(book, caller, call);
    if call.subject.model().is_some() {
        return book.rulebook.needs_body(&facts);
    }
    let evidence = Shown::Hidden.evidence(caller, call);
    book.rulebook.needs_body(&facts) && book.rulebook.hangs_on_body(&facts, &evidence)
}

/// A body up to the limit, and the same body to be sent. Every KiB is taken out of the sandbox's share before it is kept.
async fn read(
    (mut body, bytes_max): (Body, usize),
    caller: &Caller,
    record: &mut Record,
) -> Result<(Shown, Body), Refused> {
    let mut bytes = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad("the body broke off", "Send the request again."))?;
        match frame.into_data() {
            Ok(data) => {
                hold(bytes.len(), data.len(), caller, record)?;
                bytes.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if bytes.len() > bytes_max {
            let again = body::resumed(bytes.freeze(), body, None);
            return Ok((Shown::TooLong, again));
        }
    }
    let bytes = bytes.freeze();
    let again = match trailers {
        None => body::full(bytes.clone()),
        trailers => body::resumed(bytes.clone(), body::empty(), trailers),
    };
    Ok((Shown::Whole(bytes), again))
}

/// Takes every KiB of a body that the gate keeps out of the sandbox's share, before it is kept: `more` bytes behind those
/// that are kept already.
pub(crate) fn hold(
    before: usize,
    more: usize,
    caller: &Caller,
    record: &mut Record,
) -> Result<(), Refused> {
    let wanted = (before + more).div_ceil(1024) - before.div_ceil(1024);
    let share = u32::try_from(wanted).unwrap_or(u32::MAX);
    let share = Arc::clone(&caller.held).try_acquire_many_owned(share);
    record.hold(share.map_err(|_| too_much())?);
    Ok(())
}

fn too_much() -> Refused {
    let message = format!(
        "The bodies of a sandbox that the gate reads whole have at most {HELD_KIB_PER_SANDBOX_MAX} KiB at once: those that \
         rules look into or that the gate signs, and questions to models. Wait for an answer first."
    );
    Refusal::new(Code::RateLimited, "too many large bodies", message).into()
}

fn bad(error: &str, message: &str) -> Refused {
    Refusal::new(Code::BadRequest, error, message).into()
}
