//! Calls that wait for their end user's consent, each with all that it would send, until the token is there. Never holds one whose
//! run is over, nor one of which nobody could tell the user.
//!
//! ```text
//! no token ─▶ a place ─▶ posternd told where the user is asked ─┬─ given ─▶ the call goes on, by the config of that moment
//!                                                              └─ no · too late · run over · gate going ─▶ refused
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_contract::{
    ActionId, AgentName, Code, Refusal, RunId, consent::Consented, report::About,
};
use tokio::{sync::watch, time::timeout};

use super::{Consents, unkept};
use crate::{identify::Room, record::Record, refuse::Refused, report::Wire};

/// The most calls that wait at once.
const HELD_MAX: usize = 256;

/// The most of them of one agent, over all its sandboxes.
const HELD_OF_AN_AGENT_MAX: usize = 64;

/// The most of them of one run.
const HELD_OF_A_RUN_MAX: usize = 8;

/// Runs of which it is known what their users were asked.
const RUNS_MAX: usize = 4096;

/// How long calls may take to be refused when the gate goes, and their answers to be written.
const GOING_MAX: Duration = Duration::from_secs(1);
const LAST_WORDS: Duration = Duration::from_millis(100);

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Holding {
    book: Mutex<Book>,
    /// Changes whenever one of them may have something to hear.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    waiting: BTreeMap<ActionId, Waiting>,
    /// What the users of runs that go on were asked.
    runs: BTreeMap<RunId, BTreeSet<ActionId>>,
    is_going: bool,
}

/// The calls that wait for one consent.
#[derive(Debug)]
struct Waiting {
    agent: AgentName,
    run: RunId,
    calls: usize,
    is_declined: bool,
}

/// A call's place among those that wait; dropping it is the end of its wait.
struct Place<'a> {
    holding: &'a Holding,
    action: ActionId,
    run: RunId,
    wire: Wire,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let is_last = self.holding.book().leave(&self.action);
        self.holding.touch();
        if is_last {
            let (wire, run) = (self.wire.clone(), self.run.clone());
            let action = self.action.clone();
            tokio::spawn(async move { wire.tell(run, About::ConsentOver { action }).await });
        }
    }
}

impl Book {
    /// Takes one more call in, if there is room for it.
    fn enter(&mut self, agent: &AgentName, run: &RunId, action: &ActionId) -> bool {
        let calls = |counts: &dyn Fn(&Waiting) -> bool| -> usize {
            let counted = self.waiting.values().filter(|waiting| counts(waiting));
            counted.map(|waiting| waiting.calls).sum()
        };
        if self.is_going
            || calls(&|_| true) >= HELD_MAX
            || calls(&|waiting| waiting.agent == *agent) >= HELD_OF_AN_AGENT_MAX
            || calls(&|waiting| waiting.run == *run) >= HELD_OF_A_RUN_MAX
        {
            return false;
        }
        let waiting = self.waiting.entry(action.clone()).or_insert(Waiting {
            agent: agent.clone(),
            run: run.clone(),
            calls: 0,
            is_declined: false,
        });
        waiting.calls += 1;
        if self.runs.len() >= RUNS_MAX {
            self.runs.clear();
        }
        let asked = self.runs.entry(run.clone()).or_default();
        asked.insert(action.clone());
        true
    }

    /// Tells whether it was the last one for this consent.
    fn leave(&mut self, action: &ActionId) -> bool {
        let Some(waiting) = self.waiting.get_mut(action) else {
            return false;
        };
        waiting.calls -= 1;
        let is_last = waiting.calls == 0;
        if is_last {
            self.waiting.remove(action);
        }
        is_last
    }
}

impl Holding {
    fn book(&self) -> MutexGuard<'_, Book> {
        // A map that a panic interrupted is still a map.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call that waits looks for itself.
    pub(super) fn touch(&self) {
        self.changed.send_replace(());
    }

    /// Why this call waits no longer, as far as nobody else knows.
    fn ends(&self, action: &ActionId) -> Option<Refused> {
        let book = self.book();
        let is_declined = book
            .waiting
            .get(action)
            .is_some_and(|waiting| waiting.is_declined);
        match (is_declined, book.is_going) {
            (true, _) => Some(declined()),
            (false, true) => Some(going()),
            (false, false) => None,
        }
    }
}

impl Consents {
    /// Lets a call wait until its end user has consented, if posternd can tell them where. `asks` is what they are told, `now` what the
    /// call is answered where it cannot wait.
    pub(super) async fn hold(
        &self,
        (room, run): (&Room, &RunId),
        (asks, now): (Refusal, Refusal),
        record: &mut Record,
    ) -> Result<(), Refused> {
        let (Some(wire), Some(action)) = (&room.reports, asks.resume_id.clone()) else {
            return Err(now.into());
        };
        let entered = self.held.book().enter(&room.agent, run, &action);
        if !entered {
            return Err(now.into());
        }
        let place = Place {
            holding: &self.held,
            action,
            run: run.clone(),
            wire: wire.clone(),
        };
        let asking = wire.tell(run.clone(), About::ConsentAsked(Box::new(asks)));
        if !record.unless_cut(pin!(asking)).await? {
            return Err(now.into());
        }
        tracing::info!(action = %place.action, agent = %room.agent, %run, "a call waits for its end user's consent");
        let waiting = self.comes(&place, room);
        record.unless_cut(pin!(waiting)).await?
    }

    /// Returns once the consent is there, or will not be.
    async fn comes(&self, place: &Place<'_>, room: &Room) -> Result<(), Refused> {
        let mut changed = self.held.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(refused) = self.held.ends(&place.action) {
                return Err(refused);
            }
            if !room.has(&place.run) {
                return Err(run_over());
            }
            let consent = self.store.consent(&place.action).await.map_err(unkept)?;
            let now = self.clock.unix_ms();
            let left = match consent.map(|consent| (consent.stands(now), consent.expires_ms)) {
                Some((Consented::Given, _)) => return Ok(()),
                Some((Consented::Pending, expires_ms)) => expires_ms.saturating_sub(now),
                _ => return Err(late()),
            };
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            tokio::select! {
                _ = changed.changed() => {}
                () = self.clock.after(left) => {}
            }
        }
    }

    /// The end user said no at the provider: calls that wait for it are refused, and whoever needs it next asks anew.
    pub(super) async fn declined(&self, action: &ActionId) {
        let is_held = match self.held.book().waiting.get_mut(action) {
            Some(waiting) => {
                waiting.is_declined = true;
                true
            }
            None => false,
        };
        if is_held {
            self.withdraw(action).await;
        }
    }

    /// A run is over: nobody needs what its calls waited for.
    pub(crate) async fn run_over(&self, run: &RunId) {
        let asked = self.held.book().runs.remove(run);
        for action in asked.into_iter().flatten() {
            self.withdraw(&action).await;
        }
    }

    /// The gate goes: no call waits any more, and those that do are told so first.
    pub(crate) async fn go(&self) {
        let is_waited_for = {
            let mut book = self.held.book();
            book.is_going = true;
            !book.waiting.is_empty()
        };
        self.held.touch();
        if !is_waited_for {
            return;
        }
        let mut changed = self.held.changed.subscribe();
        let left = changed.wait_for(|()| self.held.book().waiting.is_empty());
        if timeout(GOING_MAX, left).await.is_err() {
            tracing::warn!("some calls that wait for a consent are cut");
        }
        self.clock.after(LAST_WORDS).await;
    }
}

fn declined() -> Refused {
    let message = "The end user was asked for their consent to this call, and did not give it. Do not ask for the same again.";
    let code = Code::ConsentRejected;
    Refusal::new(code, code.word(), message).into()
}

fn late() -> Refused {
    let message = "The end user was asked for their consent to this call, and did not give it in time. It was not made.";
    let code = Code::ConsentTimeout;
    Refusal::new(code, code.word(), message).into()
}

fn run_over() -> Refused {
    let message = "The run ended while its call waited for the end user's consent.";
    Refusal::new(Code::NoActiveRun, "no active run", message).into()
}

fn going() -> Refused {
    let message = "The gate goes while the call waits for the end user's consent. It was not made; make it again in a moment.";
    Refusal::new(Code::GateUnavailable, "the gate goes", message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_wait_and_no_more_and_none_while_the_gate_goes() {
        let holding = Holding::default();
        let (agent, run): (AgentName, RunId) = ("desk".parse().unwrap(), "run-1".parse().unwrap());
        let action = ActionId::fresh();
        let enters = |run: &RunId| holding.book().enter(&agent, run, &action);
        let entered = (0..2 * HELD_OF_A_RUN_MAX).filter(|_| enters(&run));
        assert_eq!(entered.count(), HELD_OF_A_RUN_MAX);
        let other = |number: usize| format!("other-{number}").parse().unwrap();
        let fresh = |number| {
            let (run, action) = (other(number), ActionId::fresh());
            holding.book().enter(&agent, &run, &action)
        };
        let entered = (0..2 * HELD_OF_AN_AGENT_MAX).filter(|number| fresh(*number));
        assert_eq!(entered.count(), HELD_OF_AN_AGENT_MAX - HELD_OF_A_RUN_MAX);
        for left in (0..HELD_OF_A_RUN_MAX).rev() {
            assert_eq!(holding.book().leave(&action), left == 0);
        }
        assert!(enters(&run));
        holding.book().is_going = true;
        assert!(!enters(&run));
        assert!(holding.ends(&action).is_some());
    }
}
