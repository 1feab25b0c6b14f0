//! What is learnt about one call while it happens, and its one line in the audit at the end, however it ends. Never
//! decides anything.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response, StatusCode};
use postern_contract::{Code, RequestId, config::Stage};
use postern_daemon::Clock;
use postern_llm::{Family, Meter};
use postern_policy::CanonicalUrl;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    allowance::Allowance,
    audit::{Audit, Decision, Kept, Line, Timings, Unrecorded},
    body::Body,
    call::{Freight, Subject},
    count::Count,
    decide::Permit,
    door::Form,
    dummy::{Alarm, Misplaced},
    gateway,
    identify::{Caller, Room},
    inject::Label,
    ledger::Ledger,
    limit::Turn,
    live::{Cut, Entry, Live, Standing},
    mask::Hits,
    metrics::UnderWay,
    refuse::Refused,
    telemetry,
    trace::{self, Context},
};

/// The record of one call. Dropped before it is closed, it writes that the agent went away.
pub(crate) struct Record {
    /// The line so far.
    pub(crate) line: Line,
    /// Body bytes from the agent.
    pub(crate) up: Count,
    /// Body bytes to the agent.
    pub(crate) down: Count,
    /// Rings where a body on its way out carries a dummy.
    pub(crate) alarm: Alarm,
    request: RequestId,
    at_ms: i64,
    started: Instant,
    audit: Audit,
    written: Option<Arc<Allowance>>,
    clock: Clock,
    ledger: Ledger,
    /// What was judged, until it is under way.
    pub(crate) standing: Option<Standing>,
    live: Option<Entry>,
    share: Option<OwnedSemaphorePermit>,
    held: Option<OwnedSemaphorePermit>,
    turn: Option<Turn>,
    context: Option<Context>,
    _under_way: UnderWay,
    begun: bool,
    masked: Option<Hits>,
    family: Option<Family>,
    meter: Option<Meter>,
    closed: bool,
}

impl Record {
    /// A call has come. In a box: it goes from hand to hand until the last byte.
    pub(crate) fn begin((audit, ledger): (&Audit, &Ledger), clock: &Clock) -> Box<Self> {
        let (request, at_ms) = (RequestId::fresh(), clock.unix_ms());
        let line = Line {
            time: postern_daemon::clock::rfc3339(at_ms),
            request: Some(request.clone()),
            ..Line::default()
        };
        Box::new(Self {
            line,
            up: Count::default(),
            down: Count::default(),
            alarm: Alarm::default(),
            request,
            at_ms,
            started: clock.now(),
            audit: audit.clone(),
            written: None,
            clock: clock.clone(),
            ledger: ledger.clone(),
            standing: None,
            live: None,
            share: None,
            held: None,
            turn: None,
            context: None,
            _under_way: audit.metrics().call(),
            begun: false,
            masked: None,
            family: None,
            meter: None,
            closed: false,
        })
    }

    /// The gate's own number for the call.
    pub(crate) fn number(&self) -> &RequestId {
        &self.request
    }

    /// What was asked for, in the agent's own words until the canonical ones are known.
    pub(crate) fn asked<B>(&mut self, form: Option<&Form>, request: &Request<B>) {
        self.family = form.and_then(Form::family);
        self.line.method = Some(crate::audit::cut(request.method().as_str()));
        self.line.path = Some(crate::audit::cut(request.uri().path()));
        self.context = trace::context(request.headers());
        self.line.trace = self.context.as_ref().map(|context| context.trace.clone());
    }

    /// Where spans are wanted and the agent's trace is sampled, the call goes on under the gate's own span.
    pub(crate) fn traced(&self, headers: &mut HeaderMap) {
        let span = telemetry::span_of(self.request.as_str());
        let sampled = self.context.as_ref().filter(|trace| trace.is_sampled());
        if let (true, Some(context), Some(span)) = (self.audit.spans().are_wanted(), sampled, span)
        {
            context.continued(span, headers);
        }
    }

    /// Whose sandbox it came out of, where no more is known yet.
    pub(crate) fn room(&mut self, room: &Room) {
        self.line.sandbox = Some(room.sandbox.clone());
        self.line.agent = Some(room.agent.clone());
        self.line.stage = room.origin.stage().map(Stage::as_str);
    }

    /// Whose call it is, and the policy it meets.
    pub(crate) fn caller(&mut self, caller: &Caller, generation: u64) {
        self.written = Some(Arc::clone(&caller.written));
        self.line.sandbox = Some(caller.sandbox.clone());
        self.line.agent = Some(caller.agent.clone());
        self.line.stage = caller.origin.stage().map(Stage::as_str);
        self.line.run = caller.run.clone().ok();
        self.line.user.clone_from(&caller.user);
        self.line.policy_generation = generation;
    }

    /// Holds the call's place among those of its sandbox until the record is closed.
    pub(crate) fn share(&mut self, share: OwnedSemaphorePermit) {
        self.share = Some(share);
    }

    /// Holds the call's place among those of its sandbox to the same tool until the record is closed.
    pub(crate) fn turn(&mut self, turn: Option<Turn>) {
        self.turn = turn;
    }

    /// Holds more of its sandbox's memory until the record is closed.
    pub(crate) fn hold(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }

    /// Where it goes, and how many credentials of the agent's own stayed behind.
    pub(crate) fn destination(&mut self, subject: &Subject, url: &CanonicalUrl, dropped: u32) {
        let authority = url.authority();
        self.line.authority = Some(format!("{}://{authority}", authority.scheme()));
        self.line.path = Some(crate::audit::cut(url.path().as_str()));
        self.line.tool = subject.tool().cloned();
        self.line.model = subject.model().cloned();
        self.line.dropped_credentials = dropped;
    }

    /// What came of looking for dummies: how many stand where the credential goes, or the one that does not.
    pub(crate) fn dummies(&mut self, judged: Result<u32, Misplaced>) -> Result<(), Refused> {
        match judged {
            Ok(0) => Ok(()),
            Ok(exchanged) => {
                self.line.dummies_exchanged = Some(exchanged);
                // They are nothing that the agent tried to show of its own.
                let dropped = &mut self.line.dropped_credentials;
                *dropped = dropped.saturating_sub(exchanged);
                Ok(())
            }
            Err(misplaced) => {
                self.line.dummy_misplaced = Some(misplaced.told());
                Err(Refused::from(&misplaced))
            }
        }
    }

    /// A rule, the agent's own list of models, or audit mode let it pass.
    pub(crate) fn allowed(&mut self, permit: &Permit) {
        self.line.decision = Decision::Allowed;
        self.line.rule = Some(permit.rule().to_owned());
        if let Some(denied) = permit.would_deny() {
            self.line.would_deny = Some(true);
            self.line.reason = Some(denied.code());
        }
    }

    /// What was judged is under way from here on: a new policy that does not allow it ends it.
    pub(crate) fn enter(&mut self, live: &Live) {
        self.live = self.standing.take().map(|standing| live.enter(standing));
    }

    /// What was judged, once it is under way.
    pub(crate) fn entered(&self) -> Option<&Standing> {
        self.live.as_ref().map(Entry::standing)
    }

    /// Gives up the place among what is under way to whoever goes on with it.
    pub(crate) fn hand_over(&mut self) -> Option<Entry> {
        self.live.take()
    }

    /// Returns once a new policy does not allow the call any more.
    pub(crate) async fn cut(&mut self) -> Cut {
        match &mut self.live {
            Some(live) => live.cut().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for something, unless a new policy ends the call first. Where both are there, the policy counts: nothing
    /// begins here under an old one.
    pub(crate) async fn unless_cut<T>(
        &mut self,
        what: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Cut> {
        tokio::select! {
            biased;
            cut = self.cut() => Err(cut),
            done = what => Ok(done),
        }
    }

    /// Whether a new policy that is here already ends the call.
    pub(crate) fn cut_now(&mut self) -> Option<Cut> {
        self.live.as_mut().and_then(Entry::cut_now)
    }

    /// As [`Record::cut`], for a body that is polled.
    pub(crate) fn poll_cut(&mut self, context: &mut task::Context<'_>) -> Poll<Cut> {
        match &mut self.live {
            Some(live) => live.poll_cut(context),
            None => Poll::Pending,
        }
    }

    /// The call is about to leave: one that may change something leaves its intent first, so that a gate that dies
    /// half-way leaves a trace of it.
    pub(crate) fn begun(&mut self, freight: &Freight) -> Result<(), Unrecorded> {
        let effectful = match freight {
            Freight::Request(_) => self.line.is_effectful(),
            Freight::Socket(_) | Freight::Tunnel(_) => true,
            Freight::Question(_) => false,
        };
        if effectful && !self.begun {
            self.audit.begun(&self.line)?;
            self.spend();
            self.begun = true;
        }
        Ok(())
    }

    /// The request is about to leave a second time: one that left its intent leaves it again.
    pub(crate) fn again(&mut self) -> Result<(), Unrecorded> {
        self.line.sent_again = Some(true);
        if self.begun {
            self.audit.begun(&self.line)?;
            self.spend();
        }
        Ok(())
    }

    /// A connection to the destination stands.
    pub(crate) fn reached(&mut self, address: SocketAddr, timings: Timings) {
        self.line.address = Some(address);
        self.line.timings = timings;
    }

    /// These credentials go along, with values of which the newest was first read for this generation.
    pub(crate) fn credential(&mut self, name: Option<&Label>, generation: Option<u64>) {
        self.line.credential = name.cloned();
        self.line.credential_generation = generation;
    }

    /// The answer is looked through, and this is the count.
    pub(crate) fn masks(&mut self, hits: Hits) {
        self.masked = Some(hits);
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The first byte of the upstream's answer is here.
    pub(crate) fn first_byte(&mut self) {
        self.line.timings.first_byte_us = Some(self.elapsed_us());
        self.flows();
    }

    /// What was asked for has begun to come.
    pub(crate) fn flows(&mut self) {
        if let Some(live) = &mut self.live {
            live.flows();
        }
    }

    /// The agent sees this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.line.status = Some(status.as_u16());
    }

    /// This is the head of the answer. A model's says how its usage is read.
    pub(crate) fn headed(&mut self, response: &Response<Body>) {
        self.answered(response.status());
        if self.family.is_some() {
            self.meter = gateway::meter(response.headers());
        }
    }

    /// Bytes are on their way to the agent.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.down.add(bytes.len());
        if let Some(meter) = &mut self.meter {
            meter.push(bytes);
        }
    }

    /// The gate looks into what came: from here on each request has a line of its own.
    pub(crate) fn intercepted(&mut self, sni: Option<&str>) -> Result<(), Unrecorded> {
        self.line.decision = Decision::Intercepted;
        self.line.sni = sni.map(crate::audit::cut);
        self.close(None)
    }

    /// Writes that nothing came of it, where the agent was answered already and no longer speaks HTTP.
    pub(crate) fn abandon(mut self: Box<Self>, refused: Refused) {
        self.refused(refused);
        // Nobody is left to tell; the log's own trouble refuses the calls to come.
        drop(self.close(None));
    }

    /// Writes that the call was refused, and gives the answer that says so; if that cannot be written, another.
    pub(crate) fn refuse(mut self: Box<Self>, refused: Refused) -> Response<Body> {
        let answer = self.refused(refused).answer();
        self.answered(answer.status());
        match self.close(None) {
            Ok(()) => answer,
            Err(unrecorded) => Refused::from(unrecorded).told_to(self.family).answer(),
        }
    }

    fn refused(&mut self, refused: Refused) -> Refused {
        // What looked like a broken body was one that must not end.
        let refused = self.carried().unwrap_or(refused);
        let named = self.line.tool.as_ref().map(ToString::to_string);
        let named = named.or_else(|| self.line.model.as_ref().map(ToString::to_string));
        let refused = refused.about(named.as_deref()).told_to(self.family);
        let refusal = refused.refusal();
        self.line.decision = Decision::Refused;
        self.line.reason = Some(refusal.code);
        self.line.rule = refusal.rule.clone().or_else(|| self.line.rule.take());
        refused
    }

    /// Why a body that carried a dummy was broken off, if it was.
    fn carried(&mut self) -> Option<Refused> {
        let misplaced = self.alarm.rang()?;
        self.line.dummy_misplaced = Some(misplaced.told());
        Some(Refused::from(misplaced))
    }

    /// Writes the line; the second time does nothing.
    pub(crate) fn close(&mut self, cut: Option<&str>) -> Result<(), Unrecorded> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        if let Some(refused) = self.carried() {
            self.line.decision = Decision::Refused;
            self.line.reason = Some(refused.refusal().code);
        }
        self.up.end();
        self.line.bytes_up = self.up.get();
        self.line.bytes_down = self.down.get();
        self.line.timings.total_us = Some(self.elapsed_us());
        let masked = self.masked.as_ref().map(Hits::get);
        self.line.masked = masked.filter(|hits| *hits > 0);
        self.line.cut = cut.map(str::to_owned);
        self.line.usage = self.meter.as_ref().and_then(Meter::tokens);
        self.share = None;
        self.turn = None;
        let kept = if self.begun {
            self.audit.append(&self.line)
        } else {
            self.audit.append_or_count(&self.line)
        };
        let written = kept.as_ref().copied().unwrap_or(Kept::Written);
        if written == Kept::Written {
            self.spend();
        }
        let now_ms = self.clock.unix_ms();
        self.audit.metrics().ended(&self.line, written, now_ms);
        let spans = self.audit.spans();
        spans.ended(&self.line, self.context.as_ref(), self.at_ms);
        // What is only counted fills no database either.
        let counted = matches!(kept, Ok(Kept::Counted));
        if let Some(refusal) = self.refusal().filter(|_| !counted) {
            self.ledger.keep(refusal);
        }
        kept.map(drop)
    }

    /// A line was written out of the sandbox's share.
    fn spend(&self) {
        if let Some(written) = &self.written {
            written.spend(self.line.bytes(), self.audit.per_sandbox(), self.at_ms);
        }
    }

    fn elapsed_us(&self) -> u64 {
        micros(self.clock.now().saturating_duration_since(self.started))
    }

    /// The line as the store keeps it, if it is a refusal.
    fn refusal(&self) -> Option<postern_store::gate::Decision> {
        let line = &self.line;
        let ruling = ruling(line)?;
        let tool = line.tool.as_ref().map(ToString::to_string);
        Some(postern_store::gate::Decision {
            id: self.request.clone(),
            at_ms: self.at_ms,
            sandbox: line.sandbox.clone()?,
            agent: line.agent.clone()?,
            run: line.run.clone(),
            tool: tool.or_else(|| line.model.as_ref().map(ToString::to_string)),
            ruling,
            rule: line.rule.clone(),
            code: line.reason,
            method: line.method.clone().unwrap_or_default(),
            authority: line.authority.clone().unwrap_or_default(),
            path: line.path.clone().unwrap_or_default(),
            status: line.status,
            credential: line.credential.as_ref().map(ToString::to_string),
        })
    }
}

fn ruling(line: &Line) -> Option<postern_store::gate::Ruling> {
    use postern_store::gate::Ruling;
    match (line.decision, line.reason) {
        (Decision::Allowed | Decision::Intercepted, _) => None,
        (Decision::Refused, Some(Code::ApprovalRequired)) => Some(Ruling::ApprovalRequired),
        (Decision::Refused, _) => Some(Ruling::Denied),
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Nobody is left to tell; the log's own trouble refuses the calls to come.
        drop(self.close(Some("the agent or its sandbox went away")));
    }
}

/// A span in whole microseconds.
pub(crate) fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
