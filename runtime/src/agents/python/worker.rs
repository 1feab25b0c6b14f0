//! One worker's life on its socket: it says that it is ready, then answers calls, several at once, until either side ends.
//! One task owns the calls. What a worker says about anything but a call that it was given is logged and dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use postern_contract::{AgentName, RunId};
use postern_invoke::{Event, Input, RunFacts, WorkerRequest};
use serde_json::Value;
use tokio::{
    io::BufReader,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::frames::{self, FrameError, FromWorker, ToWorker};
use crate::{
    agents::{Call, values},
    output::printable,
    printed::{Printed, Stream},
};

/// How long a module may take to be imported.
const IMPORT_MAX: Duration = Duration::from_secs(120);

/// How long a worker may leave a call unread.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// How long a worker may take to hear that a call is not wanted any more: one that is stuck in a call hears nothing, and
/// answers nobody else either.
const HEARD_MAX: Duration = Duration::from_secs(10);

/// Calls that a worker answers at once; as many threads has its pool.
const CALLS_MAX: usize = 64;

/// How long code may take to stop once its run has had all its time.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How soon the end of a process and the end of its socket follow each other.
const SOON: Duration = Duration::from_secs(1);

/// Frames read ahead.
const FRAMES_AHEAD_MAX: usize = 1;

/// The longest text of an error that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// One call, and where its answer goes.
#[derive(Debug)]
pub(super) struct WorkerCall {
    pub(super) run: RunId,
    pub(super) request: WorkerRequest,
    /// Where pieces of the answer go. Once it is closed nobody wants the call any more.
    pub(super) said: mpsc::Sender<Input>,
    pub(super) reply: oneshot::Sender<Result<Value, String>>,
}

/// Whom a call's answer goes to.
#[derive(Debug)]
struct Asker {
    run: RunId,
    said: mpsc::Sender<Input>,
    reply: oneshot::Sender<Result<Value, String>>,
    /// When it has had all the time that a run may take.
    ends: Instant,
    /// By when it must have stopped, once nobody wants it any more.
    late: Option<Instant>,
}

/// How a worker's life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The agent cannot be loaded.
    NotLoaded(String),
    /// It ended by itself, was killed, or spoke nonsense.
    Failed(String),
    /// Code of a run that is over does not stop.
    Overran(String),
    /// Nobody calls any more.
    Unwanted,
}

/// A worker's socket.
#[derive(Debug)]
pub(super) struct Worker {
    frames: mpsc::Receiver<Result<FromWorker, FrameError>>,
    writer: OwnedWriteHalf,
    reading: JoinHandle<()>,
    calls: BTreeMap<u64, Asker>,
    /// Each gives a call's number when nobody wants the call any more.
    left: FuturesUnordered<BoxFuture<'static, u64>>,
    /// Calls that were cancelled, and of which the worker has not heard it yet.
    unheard: BTreeSet<u64>,
    /// Each gives a cancelled call's number when the worker has had enough time.
    overdue: FuturesUnordered<BoxFuture<'static, u64>>,
    /// How long a run may take.
    wall_time: Duration,
    /// Where what calls print goes, and whose worker it is.
    printing: (AgentName, Printed),
    seq: u64,
    strays: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Worker {
    pub(super) fn over(
        socket: UnixStream,
        wall_time: Duration,
        printing: (AgentName, Printed),
    ) -> Self {
        let (reader, writer) = socket.into_split();
        let (heard, frames) = mpsc::channel(FRAMES_AHEAD_MAX);
        let reading = tokio::spawn(read_on(reader, heard));
        Self {
            frames,
            writer,
            reading,
            calls: BTreeMap::new(),
            left: FuturesUnordered::new(),
            unheard: BTreeSet::new(),
            overdue: FuturesUnordered::new(),
            wall_time,
            printing,
            seq: 0,
            strays: 0,
        }
    }

    /// Waits until the agent is loaded, and says by which name it is called.
    pub(super) async fn ready(&mut self) -> Result<String, Ended> {
        match tokio::time::timeout(IMPORT_MAX, self.frames.recv()).await {
            Ok(Some(Ok(FromWorker::Ready { found }))) => Ok(printable(&found)),
            Ok(Some(Ok(FromWorker::Failed { error }))) => Err(Ended::NotLoaded(last_line(&error))),
            Ok(Some(Ok(_))) => Err(Ended::Failed("it answered before it was asked".to_owned())),
            Ok(Some(Err(error))) => Err(Ended::Failed(error.to_string())),
            Ok(None) => Err(Ended::Failed("it ended while it started".to_owned())),
            Err(_) => Err(Ended::Failed(format!(
                "it was not loaded in {IMPORT_MAX:?}"
            ))),
        }
    }

    /// The process has ended before it was ready: what it still said says more than how it ended.
    pub(super) async fn ready_at_last(&mut self, how: String) -> Result<String, Ended> {
        match tokio::time::timeout(SOON, self.ready()).await {
            Ok(Err(Ended::NotLoaded(why))) => Err(Ended::NotLoaded(why)),
            _ => Err(Ended::Failed(how)),
        }
    }

    /// Answers calls until the worker or its callers are gone; every call it still had then fails with the reason.
    pub(super) async fn serve(
        &mut self,
        calls: &mut mpsc::Receiver<WorkerCall>,
        exited: impl Future<Output = String>,
    ) -> Ended {
        let ended = self.answer(calls, exited).await;
        let why = match &ended {
            Ended::NotLoaded(why) | Ended::Failed(why) | Ended::Overran(why) => why.as_str(),
            Ended::Unwanted => "the agent stops",
        };
        for (_, asker) in std::mem::take(&mut self.calls) {
            drop(
                asker
                    .reply
                    .send(Err(format!("the agent's worker ended: {why}"))),
            );
        }
        ended
    }

    async fn answer(
        &mut self,
        calls: &mut mpsc::Receiver<WorkerCall>,
        exited: impl Future<Output = String>,
    ) -> Ended {
        tokio::pin!(exited);
        loop {
            let late = self.calls.values().filter_map(|asker| asker.late).min();
            let going = tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.pass_on(call).await,
                    None => return Ended::Unwanted,
                },
                frame = self.frames.recv() => match frame {
                    Some(Ok(frame)) => {
                        self.heard(frame).await;
                        Ok(())
                    }
                    Some(Err(error)) => Err(error.to_string()),
                    // Its process is about to end, or must be: without a socket it is no worker.
                    None => Err(ended_soon(&mut exited).await),
                },
                Some(id) = self.left.next() => self.cancel(id).await,
                () = until(late) => return Ended::Overran(self.overran()),
                Some(id) = self.overdue.next() => self.require_heard(id),
                how = &mut exited => Err(how),
            };
            if let Err(why) = going {
                return Ended::Failed(why);
            }
        }
    }

    async fn pass_on(&mut self, call: WorkerCall) -> Result<(), String> {
        let abandoned = self
            .calls
            .values()
            .filter(|asker| asker.reply.is_closed())
            .count();
        if abandoned >= CALLS_MAX {
            return Err(format!("{abandoned} calls never came back"));
        }
        self.seq += 1;
        let frame = ToWorker::Call {
            id: self.seq,
            run: &call.run,
            request: &call.request,
        };
        let bytes = match frames::encode(&frame) {
            Ok(bytes) => bytes,
            Err(error) => {
                drop(call.reply.send(Err(error.to_string())));
                return Ok(());
            }
        };
        let (id, said) = (self.seq, call.said.clone());
        self.left.push(said_to_nobody(said, id).boxed());
        let asker = Asker {
            run: call.run,
            said: call.said,
            reply: call.reply,
            ends: after(self.wall_time),
            late: None,
        };
        self.calls.insert(id, asker);
        self.write(&bytes).await
    }

    /// Tells the worker that a call is not wanted any more, unless it has answered.
    async fn cancel(&mut self, id: u64) -> Result<(), String> {
        let Some(asker) = self.calls.get_mut(&id) else {
            return Ok(());
        };
        asker.late = Some(asker.ends.max(after(Duration::ZERO)) + STOP_MAX);
        let bytes = frames::encode(&ToWorker::Cancel { id }).map_err(|error| error.to_string())?;
        self.unheard.insert(id);
        self.overdue.push(Box::pin(async move {
            tokio::time::sleep(HEARD_MAX).await;
            id
        }));
        self.write(&bytes).await
    }

    fn require_heard(&self, id: u64) -> Result<(), String> {
        if self.unheard.contains(&id) {
            return Err("it is stuck in a call that nobody wants any more".to_owned());
        }
        Ok(())
    }

    fn overran(&self) -> String {
        let (time, stop) = (self.wall_time, STOP_MAX);
        format!("code of a run did not stop, {stop:?} after the {time:?} that a run may take")
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match tokio::time::timeout(WRITE_MAX, frames::write(&mut self.writer, bytes)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("it does not read its calls".to_owned()),
        }
    }

    async fn heard(&mut self, frame: FromWorker) {
        let (id, answer) = match frame {
            FromWorker::Said { id, text } => return self.said(id, text).await,
            FromWorker::Printed { id, stream, text } => return self.printed(id, stream, &text),
            FromWorker::Heard { id } if self.unheard.remove(&id) => return,
            FromWorker::Returned {
                id,
                json: Some(json),
                text: None,
            } => (id, understood(&json)),
            FromWorker::Returned {
                id,
                json: None,
                text: Some(text),
            } => (id, Ok(Value::String(text))),
            FromWorker::Raised { id, error } => (id, Err(cut(&error))),
            other => return self.stray(&other),
        };
        match self.calls.remove(&id) {
            // Whoever asked may have stopped waiting.
            Some(asker) => drop(asker.reply.send(answer)),
            None => self.stray(&id),
        }
    }

    /// Passes a piece on. A run takes its inputs whatever its callers do, so this waits for nobody outside.
    async fn said(&mut self, id: u64, text: String) {
        let delta = Some(text);
        match self.calls.get(&id) {
            Some(asker) => drop(
                asker
                    .said
                    .send(Input::WorkerSaid(Event::Content { delta }))
                    .await,
            ),
            None => self.stray(&id),
        }
    }

    /// Keeps what a call printed, for its run alone.
    fn printed(&mut self, id: u64, stream: Stream, text: &str) {
        let Some(asker) = self.calls.get(&id) else {
            return self.stray(&id);
        };
        let (run, (agent, printed)) = (&asker.run, &self.printing);
        let text = printable(text);
        if printed.keep(run, stream, &text) {
            tracing::info!(target: "agent", %agent, %run, ?stream, "{text}");
        }
    }

    /// Something that answers nothing; a flood of it must not become a flood in the log.
    fn stray(&mut self, what: &dyn std::fmt::Debug) {
        self.strays += 1;
        if self.strays.is_power_of_two() {
            let shown: String = format!("{what:?}").chars().take(100).collect();
            tracing::warn!(
                count = self.strays,
                frame = printable(&shown),
                "a worker answered what nobody asked"
            );
        }
    }
}

/// Asks the worker behind a queue, and hands on what comes of it.
pub(super) fn ask(
    calls: mpsc::Sender<WorkerCall>,
    call: Call,
    facts: &RunFacts,
    inputs: mpsc::Sender<Input>,
) -> BoxFuture<'static, ()> {
    let run = facts.run.clone();
    Box::pin(async move {
        let Call::Worker(request) = call else {
            return tracing::error!(
                "an agent with code was asked for what only one without code does"
            );
        };
        let (reply, replied) = oneshot::channel();
        let sent = calls
            .send(WorkerCall {
                run,
                request: *request,
                said: inputs.clone(),
                reply,
            })
            .await;
        let answer = match sent {
            Ok(()) => replied
                .await
                .unwrap_or_else(|_| Err("the agent has stopped".to_owned())),
            Err(_) => Err("the agent has stopped".to_owned()),
        };
        let input = answer.map_or_else(
            |detail| Input::WorkerFailed { detail },
            Input::WorkerReturned,
        );
        // Nobody listens any more when the run is over.
        drop(inputs.send(input).await);
    })
}

/// The time that it will be then, by the clock of timeouts.
fn after(time: Duration) -> Instant {
    tokio::time::sleep(time).deadline()
}

/// Returns at that time; never where there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn said_to_nobody(said: mpsc::Sender<Input>, id: u64) -> u64 {
    said.closed().await;
    id
}

async fn read_on(reader: OwnedReadHalf, heard: mpsc::Sender<Result<FromWorker, FrameError>>) {
    // Small frames, and several of them, come with one read.
    let mut reader = BufReader::new(reader);
    while let Some(frame) = frames::read(&mut reader).await.transpose() {
        let failed = frame.is_err();
        if heard.send(frame).await.is_err() || failed {
            return;
        }
    }
}

/// How the process ended, if it does right after its socket closed.
async fn ended_soon(exited: impl Future<Output = String>) -> String {
    tokio::time::timeout(SOON, exited)
        .await
        .unwrap_or_else(|_| "it closed its socket".to_owned())
}

/// What a call came back with. Nothing that a handler returns ends more than its own call.
fn understood(text: &str) -> Result<Value, String> {
    values::read(text.as_bytes())
        .map_err(|error| format!("its result is no JSON that can be passed on: {error}"))
}

fn last_line(text: &str) -> String {
    let line = text.trim().lines().last();
    printable(&cut(line.unwrap_or("it gave no reason")))
}

fn cut(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
