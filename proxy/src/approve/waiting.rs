//! The calls that wait, and the one place where an answer is taken. An answer counts once it is in the database, once, and
//! from nobody but an approver. Never keeps what a call would send any longer than the call, or its run,
//! waits.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use postern_contract::{
    ActionId, AgentName, ApproverName, Code, MESSAGE_BYTES_MAX, Refusal,
    approval::{
        Answer, Approval, LISTED_MAX, REASON_BYTES_MAX, Scope, Status, Unanswered, Verdict, Wanted,
        Whole,
    },
};
use postern_daemon::Clock;
use postern_store::gate::{Answered, Bounds, Gate as Store, GateError};
use tokio::sync::oneshot;

use super::{asked::Asked, granted::scope_of};
use crate::refuse::Refused;

/// The most calls that wait at once.
const WAITING_MAX: usize = 256;

/// The most calls of one run that wait at once; of a sandbox where no run is believed.
const WAITING_OF_ONE_MAX: usize = 8;

/// The most calls of one agent that wait at once, over all its sandboxes.
const WAITING_OF_AN_AGENT_MAX: usize = 64;

/// The most runs that are paused at once.
const PAUSED_MAX: i64 = 1024;

/// The most runs of one agent that are paused at once.
const PAUSED_OF_AN_AGENT_MAX: i64 = 128;

/// The most runs of one agent for one end user that are paused at once.
const PAUSED_OF_A_USER_MAX: i64 = 32;

/// The most questions of one run that wait at once.
const PAUSED_OF_A_RUN_MAX: i64 = 8;

/// The most bytes of a list: with what is around it, it is one message on the link.
const LIST_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// After so many requests those that are too old are forgotten.
const FORGET_EVERY: u32 = 256;

/// The most answered requests that the database keeps.
const KEPT_MAX: u32 = 10_000;

/// Calls that wait for a human.
pub(crate) struct Approvals {
    pub(super) store: Store,
    waiting: Mutex<BTreeMap<ActionId, Waiting>>,
    asked: AtomicU32,
    pub(super) clock: Clock,
}

struct Waiting {
    of: String,
    agent: AgentName,
    digest: String,
    whole: Whole,
    word: Option<oneshot::Sender<Word>>,
}

/// What an approver said.
pub(crate) enum Word {
    Yes(Yes),
    No {
        by: ApproverName,
        reason: Option<String>,
    },
}

/// Proof that an approver said yes to a call, and that it is kept. Nothing but [`Approvals::answer`], [`Approvals::redeem`] and
/// [`Approvals::granted`] makes one.
pub(crate) struct Yes {
    by: ApproverName,
    is_wide: bool,
}

impl Yes {
    /// To more than one call, of somebody who was verified when it was kept.
    pub(super) fn wide(by: ApproverName) -> Self {
        Self { by, is_wide: true }
    }

    /// Whether it is for more than one call.
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Who said it.
    pub(crate) fn by(&self) -> &ApproverName {
        &self.by
    }
}

/// A call that waits; dropping it is the end of its wait.
pub(crate) struct Held<'a> {
    approval: Approval,
    bounds: Bounds,
    all: &'a Approvals,
    word: oneshot::Receiver<Word>,
}

impl Held<'_> {
    pub(super) fn approval(&self) -> &Approval {
        &self.approval
    }

    /// What an approver says; nothing if there is nobody left to say it.
    pub(super) async fn word(&mut self) -> Option<Word> {
        (&mut self.word).await.ok()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.waiting().remove(&self.approval.action);
    }
}

impl Approvals {
    /// Nothing waits yet. What an earlier gate left waiting has lost its call.
    pub(crate) async fn open(store: Store, clock: Clock) -> Result<Self, GateError> {
        store.expire_all_but(&[], clock.unix_ms()).await?;
        store.forget_approvals(KEPT_MAX).await?;
        Ok(Self {
            store,
            waiting: Mutex::default(),
            asked: AtomicU32::default(),
            clock,
        })
    }

    /// Lets one more call wait.
    pub(super) fn wait(&self, asked: Asked) -> Result<Held<'_>, Refused> {
        let Asked {
            mut approval,
            whole,
            bounds,
            of,
        } = asked;
        let (word, hears) = oneshot::channel();
        let mut waiting = self.waiting();
        let of_one = waiting.values().filter(|other| other.of == of).count();
        let of_agent = waiting
            .values()
            .filter(|other| other.agent == approval.agent);
        if waiting.len() >= WAITING_MAX
            || of_one >= WAITING_OF_ONE_MAX
            || of_agent.count() >= WAITING_OF_AN_AGENT_MAX
        {
            return Err(too_many());
        }
        // Under the lock, so that whoever looks at all that wait knows which are younger than that look.
        approval.created_ms = self.clock.unix_ms();
        let one = Waiting {
            of,
            agent: approval.agent.clone(),
            digest: approval.digest.clone(),
            whole,
            word: Some(word),
        };
        waiting.insert(approval.action.clone(), one);
        drop(waiting);
        Ok(Held {
            approval,
            bounds,
            all: self,
            word: hears,
        })
    }

    /// Writes a request down before anybody can see it.
    pub(super) async fn keep(&self, held: &Held<'_>) -> Result<(), Refused> {
        let kept = self.store.ask(&held.approval, &held.bounds).await;
        self.tidied(kept).await
    }

    /// Writes a request down whose call comes again after the answer. Nothing of it waits here.
    pub(super) async fn pause(&self, asked: Asked) -> Result<Approval, Refused> {
        let Asked {
            mut approval,
            whole,
            bounds,
            ..
        } = asked;
        self.require_room(&approval).await?;
        approval.created_ms = self.clock.unix_ms();
        let kept = self.store.ask_and_pause(&approval, &bounds, &whole).await;
        self.tidied(kept).await?;
        tracing::info!(
            action = %approval.action, agent = %approval.agent, rule = approval.rule,
            call = %format_args!("{} {}{}", approval.method, approval.authority, approval.path),
            "a run waits for a human"
        );
        Ok(approval)
    }

    /// Whether one more like this may wait that no call waits for.
    pub(super) async fn require_room(&self, approval: &Approval) -> Result<(), Refused> {
        let now = self.clock.unix_ms();
        let pending = self.store.pending_like(approval, now).await;
        let pending = pending.map_err(unkept)?;
        if pending.all < PAUSED_MAX
            && pending.of_agent < PAUSED_OF_AN_AGENT_MAX
            && pending.of_user < PAUSED_OF_A_USER_MAX
            && pending.of_run < PAUSED_OF_A_RUN_MAX
        {
            return Ok(());
        }
        let message = format!(
            "At most {PAUSED_OF_A_USER_MAX} runs of an agent wait for a human at once for one end user, {PAUSED_OF_AN_AGENT_MAX} of an \
             agent and {PAUSED_MAX} of all, and a run asks at most {PAUSED_OF_A_RUN_MAX} things at once."
        );
        let error = "too many runs wait for a human";
        Err(Refusal::new(Code::RateLimited, error, message).into())
    }

    /// A yes that was said to this very call before, which is used up by that.
    pub(super) async fn redeem(
        &self,
        action: &ActionId,
        asked: &Asked,
    ) -> Result<Option<Yes>, Refused> {
        let (digest, now) = (&asked.approval.digest, self.clock.unix_ms());
        let by = self.store.redeem(action, digest, now).await;
        Ok(by.map_err(unkept)?.map(|by| Yes { by, is_wide: false }))
    }

    /// Forgets what is old now and then, when something new has come.
    pub(super) async fn tidied(&self, mut kept: Result<(), GateError>) -> Result<(), Refused> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            kept = match kept {
                Ok(()) => self.store.forget_approvals(KEPT_MAX).await,
                Err(error) => Err(error),
            };
        }
        kept.map_err(unkept)
    }

    /// Writes down that a call waits no longer. Tells whether somebody has answered it at the last moment.
    pub(crate) async fn expire(&self, action: &ActionId) -> bool {
        let expired = Answered {
            action,
            by: None,
            scope: (Scope::Once, None),
            reason: None,
            at_ms: self.clock.unix_ms(),
        };
        match self.store.answer(&expired).await {
            Ok(was_pending) => !was_pending,
            Err(error) => {
                tracing::warn!(%error, "the end of a request for approval could not be written down");
                false
            }
        }
    }

    /// Takes an answer of somebody who was verified. The call goes on once it is kept.
    pub(crate) async fn answer(
        &self,
        action: &ActionId,
        answer: Answer,
        by: &ApproverName,
    ) -> Result<Approval, Unanswered> {
        let now = self.clock.unix_ms();
        let scope = scope_of(&answer, &self.kept(action).await?, now)?;
        let word = self.take(action, answer.digest.as_deref()).await?;
        let (verdict, reason) = (answer.verdict, answer.reason.as_deref().map(cut));
        let answered = Answered {
            action,
            by: Some((by, verdict)),
            scope,
            reason: reason.as_deref(),
            at_ms: now,
        };
        match self.store.answer(&answered).await {
            Ok(true) => {}
            Ok(false) => return Err(Unanswered::NotPending),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be kept, so it does not count");
                if let Some(word) = word {
                    self.give_back(action, word);
                }
                return Err(Unanswered::NotKept);
            }
        }
        let by = by.clone();
        tracing::info!(%action, approver = %by, ?verdict, scope = ?scope.0, "a human answered");
        let said = match verdict {
            Verdict::Approve => Word::Yes(Yes { by, is_wide: false }),
            Verdict::Reject => Word::No { by, reason },
        };
        // Whoever left meanwhile hears nothing, and nothing is sent. A paused run finds it in the database.
        if let Some(word) = word {
            drop(word.send(said));
        }
        self.kept(action).await
    }

    /// The way to say something to a call that waits; nobody else can say anything to it from now on. None where a run is paused.
    async fn take(
        &self,
        action: &ActionId,
        read: Option<&str>,
    ) -> Result<Option<oneshot::Sender<Word>>, Unanswered> {
        let taken = match self.waiting().get_mut(action) {
            Some(one) if read.is_some_and(|read| read != one.digest) => {
                return Err(Unanswered::OtherPayload);
            }
            Some(one) => one.word.take(),
            None => None,
        };
        if taken.is_some() {
            return Ok(taken);
        }
        // Whether there is no request or none that waits is told apart here.
        let kept = self.kept(action).await?;
        if self.store.whole(action).await.map_err(not_kept)?.is_none() {
            return Err(Unanswered::NotPending);
        }
        if read.is_some_and(|read| read != kept.digest) {
            return Err(Unanswered::OtherPayload);
        }
        Ok(None)
    }

    fn give_back(&self, action: &ActionId, word: oneshot::Sender<Word>) {
        if let Some(one) = self.waiting().get_mut(action) {
            one.word = Some(word);
        }
    }

    /// Requests, newest first.
    pub(crate) async fn list(&self, wanted: &Wanted) -> Result<Vec<Approval>, Unanswered> {
        self.sweep().await?;
        let limit = wanted.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
        let all = self.store.approvals(wanted, limit).await;
        let mut all = all.map_err(not_kept)?;
        let mut bytes = 0;
        all.retain(|one| {
            bytes += serde_json::to_string(one).map_or(LIST_BYTES_MAX, |text| text.len());
            bytes <= LIST_BYTES_MAX
        });
        Ok(all)
    }

    /// One request; whole while its call waits.
    pub(crate) async fn one(
        &self,
        action: &ActionId,
    ) -> Result<(Approval, Option<Whole>), Unanswered> {
        self.sweep().await?;
        let approval = self.kept(action).await?;
        if approval.status != Status::Pending {
            return Ok((approval, None));
        }
        let held = self.waiting().get(action).map(|one| one.whole.clone());
        let whole = match held {
            Some(whole) => Some(whole),
            None => self.store.whole(action).await.map_err(not_kept)?,
        };
        Ok((approval, whole))
    }

    /// Whose agents have left in the meantime wait no longer.
    async fn sweep(&self) -> Result<(), Unanswered> {
        let (waiting, now) = {
            let waiting = self.waiting();
            let all: Vec<ActionId> = waiting.keys().cloned().collect();
            (all, self.clock.unix_ms())
        };
        let swept = self.store.expire_all_but(&waiting, now).await;
        swept.map_err(not_kept)
    }

    pub(super) async fn kept(&self, action: &ActionId) -> Result<Approval, Unanswered> {
        let kept = self.store.approval(action).await.map_err(not_kept)?;
        kept.ok_or(Unanswered::Unknown)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ActionId, Waiting>> {
        // A map that a panic interrupted is still a map.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "handed to `map_err` as it is"
)]
pub(super) fn unkept(error: GateError) -> Refused {
    tracing::error!(%error, "a request for approval cannot be kept");
    let message =
        "A human must be asked, and the gate cannot write that down now. Try again later.";
    Refusal::new(Code::GateUnavailable, "the gate cannot ask", message).into()
}

/// A reason as long as it is kept, on a border of characters.
fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

// By value, to be handed over as it is.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it stands where an error is mapped"
)]
pub(super) fn not_kept(error: GateError) -> Unanswered {
    tracing::error!(%error, "requests for approval cannot be read");
    Unanswered::NotKept
}

fn too_many() -> Refused {
    let message = format!(
        "At most {WAITING_OF_ONE_MAX} calls of a run wait for a human at once, {WAITING_OF_AN_AGENT_MAX} of an agent and \
         {WAITING_MAX} of all. Wait for an answer first."
    );
    Refusal::new(
        Code::RateLimited,
        "too many calls wait for a human",
        message,
    )
    .into()
}
