//! What an agent reports of its runs (`/governance/…`, in the dialect's words): taken for runs that are active in its own sandbox
//! and for no others, and passed to posternd over the sandbox's own socket. Never decides anything by it, and never lets a call
//! wait for it.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, time::Duration};

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use postern_contract::{
    ActionId, RunId,
    report::{About, Outcome, REPORT_BYTES_MAX, Report, Reported},
};
use postern_daemon::channel::{Channel, ChannelError};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use crate::{
    body::Body,
    door::{Told, ToldAbout},
    gate::Gate,
    identify::Room,
    refuse,
    scope::Scope,
};

/// Reports of one sandbox that are on their way to posternd at once.
const UNDER_WAY_MAX: usize = 16;

/// How long posternd may take to keep one.
const KEEP_MAX: Duration = Duration::from_secs(5);

/// How long an agent waits at most for a report of a call that it has made: it is taken all the same.
const TOLD_MAX: Duration = Duration::from_millis(500);

/// The way of one sandbox's reports. It ends with the sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Wire(mpsc::Sender<Asked>);

#[derive(Debug)]
struct Asked {
    run: RunId,
    about: About,
    answer: oneshot::Sender<Outcome>,
}

/// Why a report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NotTaken {
    #[error("this run is not active in this sandbox")]
    NoRun,
    #[error("there is no such checkpoint")]
    Absent,
    #[error("a report is a JSON object")]
    NoObject,
    #[error("a checkpoint names the action that it waits for: `action_id`")]
    NoAction,
    #[error("a report has at most {REPORT_BYTES_MAX} bytes, and comes in time")]
    TooLarge,
    #[error("too much is reported at once, or of this run")]
    TooMuch,
    #[error("the report was not kept")]
    Failed,
}

impl NotTaken {
    fn status(self) -> StatusCode {
        match self {
            Self::NoRun | Self::Absent => StatusCode::NOT_FOUND,
            Self::NoObject | Self::NoAction => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMuch => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The answer to a report out of this sandbox.
pub(crate) async fn answer(gate: &Gate, room: &Room, told: Told, body: Incoming) -> Response<Body> {
    let within = gate.book().patience.body;
    match taken(room, told, body, within).await {
        Ok((status, value)) => refuse::json(status, &value),
        Err(why) => refuse::json(why.status(), &json!({ "error": why.to_string() })),
    }
}

async fn taken(
    room: &Room,
    told: Told,
    body: Incoming,
    within: Duration,
) -> Result<(StatusCode, Value), NotTaken> {
    let _share = room.share().ok_or(NotTaken::TooMuch)?;
    let wire = room.reports.as_ref().ok_or(NotTaken::NoRun)?;
    let run = told.run.parse().ok().filter(|run| room.has(run));
    let run: RunId = run.ok_or(NotTaken::NoRun)?;
    match told.about {
        ToldAbout::ToolResult => {
            let about = About::ToolResult(read(body, within).await?);
            let answer = wire.ask(run, about)?;
            match timeout(TOLD_MAX, answer).await {
                Ok(Ok(Outcome::Kept)) | Err(_) => Ok((StatusCode::OK, json!({ "status": "ok" }))),
                Ok(Ok(Outcome::Enough)) => Err(NotTaken::TooMuch),
                Ok(_) => Err(NotTaken::Failed),
            }
        }
        ToldAbout::Checkpoint => {
            let state = read(body, within).await?;
            let action = state["action_id"].as_str().and_then(|id| id.parse().ok());
            let action: ActionId = action.ok_or(NotTaken::NoAction)?;
            let kept = json!({ "id": action, "run_id": run, "action_id": action });
            match wire.put(run, About::Checkpoint { action, state }).await? {
                Outcome::Kept => Ok((StatusCode::CREATED, kept)),
                Outcome::Enough => Err(NotTaken::TooMuch),
                _ => Err(NotTaken::Failed),
            }
        }
        ToldAbout::Wanted(action) => {
            let action: ActionId = action.parse().map_err(|_| NotTaken::Absent)?;
            match wire.put(run, About::Wanted { action }).await? {
                Outcome::Found(state) => Ok((StatusCode::OK, state)),
                Outcome::Absent => Err(NotTaken::Absent),
                _ => Err(NotTaken::Failed),
            }
        }
    }
}

/// A body that is an object, within bounds of size and time.
async fn read(body: Incoming, within: Duration) -> Result<Value, NotTaken> {
    let whole = timeout(within, Limited::new(body, REPORT_BYTES_MAX).collect()).await;
    let whole = whole.map_err(|_| NotTaken::TooLarge)?;
    let whole = whole.map_err(|_| NotTaken::TooLarge)?.to_bytes();
    let value: Value = serde_json::from_slice(&whole).map_err(|_| NotTaken::NoObject)?;
    value.is_object().then_some(value).ok_or(NotTaken::NoObject)
}

impl Wire {
    /// Over the socket that came with the sandbox.
    pub(crate) fn over(fd: OwnedFd, scope: &Scope) -> io::Result<Self> {
        let channel = Channel::new(fd)?;
        let (asking, asked) = mpsc::channel(UNDER_WAY_MAX);
        scope.spawn(async move {
            if let Err(error) = carry(&channel, asked).await {
                tracing::warn!(%error, "what an agent reports cannot be passed on any more");
            }
        });
        Ok(Self(asking))
    }

    /// Puts a report on its way; its answer may be waited for.
    fn ask(&self, run: RunId, about: About) -> Result<oneshot::Receiver<Outcome>, NotTaken> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { run, about, answer };
        self.0.try_send(asked).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::TooMuch,
            TrySendError::Closed(_) => NotTaken::Failed,
        })?;
        Ok(answered)
    }

    async fn put(&self, run: RunId, about: About) -> Result<Outcome, NotTaken> {
        let answered = timeout(KEEP_MAX, self.ask(run, about)?).await;
        answered
            .map_err(|_| NotTaken::Failed)?
            .map_err(|_| NotTaken::Failed)
    }
}

impl Wire {
    /// Says something of a run that the gate knows by itself. Tells whether posternd has kept it.
    pub(crate) async fn tell(&self, run: RunId, about: About) -> bool {
        let (answer, answered) = oneshot::channel();
        let kept = async {
            self.0.send(Asked { run, about, answer }).await.ok()?;
            answered.await.ok()
        };
        matches!(timeout(KEEP_MAX, kept).await, Ok(Some(Outcome::Kept)))
    }
}

/// Sends reports and hands answers out, until the sandbox is gone.
async fn carry(channel: &Channel, mut asked: mpsc::Receiver<Asked>) -> Result<(), ChannelError> {
    // Answers to the gate that had this socket before are none of ours: nobody begins where another did.
    let mut seq = getrandom::u64().map_err(io::Error::from)? >> 1;
    let mut waiting: BTreeMap<u64, oneshot::Sender<Outcome>> = BTreeMap::new();
    loop {
        tokio::select! {
            next = asked.recv(), if waiting.len() < UNDER_WAY_MAX => {
                let Some(Asked { run, about, answer }) = next else { return Ok(()) };
                seq += 1;
                match channel.send(&Report { seq, run, about }, &[]).await {
                    Ok(()) => drop(waiting.insert(seq, answer)),
                    // Numbers may be longer than they were written; nobody hears of this one.
                    Err(ChannelError::TooLarge(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            heard = channel.receive::<Reported>() => {
                let Some((reported, _)) = heard? else { return Ok(()) };
                // Of a gate before this one, or of nobody who still waits.
                if let Some(answer) = waiting.remove(&reported.re) {
                    drop(answer.send(reported.outcome));
                }
            }
        }
    }
}
