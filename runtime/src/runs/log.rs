//! What one run has told so far, kept for whoever listens, at whatever pace, and for whoever comes back. Never waits for a
//! listener: the oldest events go when there are too many, and who wanted them is told so.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::ActionId;
use postern_invoke::Event;
use tokio::sync::watch;

use super::Answer;

/// Events of one run that are kept.
pub(super) const EVENTS_MAX: usize = 16_384;

/// Consents of one run that are known to have been asked for.
const ASKED_MAX: usize = 64;

/// What the kept events of one run may weigh, in bytes of JSON.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// What a listener of a run hears.
#[derive(Debug, Clone)]
pub enum Update {
    /// Something happened.
    Event {
        /// Which of the run's events it is, from 1, without gaps.
        seq: u64,
        /// The event, a JSON text.
        json: Arc<str>,
    },
    /// The listener was too slow, or came too late: the events before this one are not kept any more. The last update.
    Missed {
        /// The oldest event that is kept.
        oldest: u64,
    },
    /// The run is over and stored; the last update.
    Ended(Arc<Answer>),
}

/// How a run stands, as far as its log knows.
#[derive(Debug, Clone)]
enum State {
    GoesOn,
    Ended(Arc<Answer>),
    /// Its task died without a word.
    Lost,
}

#[derive(Debug)]
struct Kept {
    /// The number of the first event in `events`.
    oldest: u64,
    events: VecDeque<Arc<str>>,
    bytes: usize,
    /// What the answer weighs, in bytes, once there is one.
    answer_bytes: usize,
    state: State,
    /// The consents that calls of the run wait for or did: the answer to who waits for the run, while one does.
    asked: VecDeque<(ActionId, Option<Arc<Answer>>)>,
}

/// How a run stands that has asked for a consent.
#[derive(Debug)]
pub(super) enum Since {
    /// A call waits for it.
    Waits,
    /// It goes on.
    GoesOn,
    /// It is over.
    Ended(Arc<Answer>),
}

/// One run's events.
#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// Changes with every event and with the end. Its receivers are the listeners.
    changed: watch::Sender<()>,
}

impl Default for Log {
    fn default() -> Self {
        let kept = Kept {
            oldest: 1,
            events: VecDeque::new(),
            bytes: 0,
            answer_bytes: 0,
            state: State::GoesOn,
            asked: VecDeque::new(),
        };
        Self {
            kept: Mutex::new(kept),
            changed: watch::Sender::new(()),
        }
    }
}

impl Log {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: &Event) {
        self.kept().push(event.to_json().into());
        self.changed.send_replace(());
    }

    pub(super) fn end(&self, answer: Arc<Answer>) {
        let mut kept = self.kept();
        kept.answer_bytes = answer.weight();
        kept.state = State::Ended(answer);
        drop(kept);
        self.changed.send_replace(());
    }

    /// A call of the run waits for a consent from here on: whoever waits for the run is told this, and it goes on.
    pub(super) fn hold(&self, action: &ActionId, answer: Arc<Answer>, event: &Event) {
        let mut kept = self.kept();
        kept.asked.retain(|(asked, _)| asked != action);
        if kept.asked.len() >= ASKED_MAX {
            kept.asked.pop_front();
        }
        kept.asked.push_back((action.clone(), Some(answer)));
        kept.push(event.to_json().into());
        drop(kept);
        self.changed.send_replace(());
    }

    /// No call waits for this consent any more; without one, for none.
    pub(super) fn release(&self, action: Option<&ActionId>) {
        for (asked, answer) in &mut self.kept().asked {
            if action.is_none_or(|action| action == asked) {
                *answer = None;
            }
        }
    }

    /// What is told to who asks while a call waits for a consent.
    pub(super) fn held(&self) -> Option<Arc<Answer>> {
        self.kept().held()
    }

    /// How the run stands that asked for this consent; nothing if it did not.
    pub(super) fn since(&self, action: &ActionId) -> Option<Since> {
        let kept = self.kept();
        let (_, answer) = kept.asked.iter().find(|(asked, _)| asked == action)?;
        Some(match (&kept.state, answer) {
            (State::Ended(answer), _) => Since::Ended(Arc::clone(answer)),
            (_, Some(_)) => Since::Waits,
            (_, None) => Since::GoesOn,
        })
    }

    /// Says that nothing comes any more, unless the end was told.
    pub(super) fn lose(&self) {
        let mut kept = self.kept();
        if matches!(kept.state, State::GoesOn) {
            kept.state = State::Lost;
        }
        drop(kept);
        self.changed.send_replace(());
    }

    /// The run has told so many events before, of which none are kept if there are none here.
    pub(super) fn has_told(&self, told: u64) {
        let mut kept = self.kept();
        if kept.events.is_empty() {
            kept.oldest = kept.oldest.max(told.saturating_add(1));
        }
    }

    /// The run goes on after a pause.
    pub(super) fn reopen(&self) {
        let mut kept = self.kept();
        kept.answer_bytes = 0;
        kept.state = State::GoesOn;
    }

    /// How many events were told so far.
    pub(super) fn told(&self) -> u64 {
        self.kept().next().saturating_sub(1)
    }

    /// Forgets the events: who still listens holds nothing of them then.
    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.oldest = kept.next();
        kept.events = VecDeque::new();
        kept.bytes = 0;
    }

    /// What the kept events and the answer weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.kept();
        kept.bytes + kept.answer_bytes
    }

    /// Whether the event after this one is kept, or is the next to come.
    pub(super) fn follows(&self, seq: u64) -> bool {
        let kept = self.kept();
        seq >= kept.oldest.saturating_sub(1) && seq < kept.next()
    }

    /// Returns when nobody listens any more; whoever comes later is not known here. Who was told to come back has not left.
    pub(super) async fn unheard(&self) {
        self.changed.closed().await;
        if !self.kept().asked.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// An ear on everything that is kept, and what comes.
    pub(super) fn listen_to_all(self: &Arc<Self>) -> Updates {
        let oldest = self.kept().oldest;
        self.listen(oldest.saturating_sub(1))
    }

    /// An ear on everything after an event; 0 means from the beginning.
    pub(super) fn listen(self: &Arc<Self>, after: u64) -> Updates {
        Updates {
            changed: self.changed.subscribe(),
            log: Arc::clone(self),
            next: after.saturating_add(1),
        }
    }
}

impl Kept {
    fn held(&self) -> Option<Arc<Answer>> {
        let mut answers = self.asked.iter().rev();
        answers.find_map(|(_, answer)| answer.clone())
    }

    /// The number of the event that comes next.
    fn next(&self) -> u64 {
        self.oldest + self.events.len() as u64
    }

    fn push(&mut self, json: Arc<str>) {
        self.bytes += json.len();
        self.events.push_back(json);
        // The last one stays, whatever it weighs: a result alone can be as large as a worker's frame.
        while self.events.len() > 1 && (self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX) {
            let Some(first) = self.events.pop_front() else {
                return;
            };
            self.bytes -= first.len();
            self.oldest += 1;
        }
    }

    /// What comes at this place, if it is there: `Some(None)` where nothing will ever come.
    #[expect(
        clippy::option_option,
        reason = "not yet and never are told apart at one place"
    )]
    fn at(&self, seq: u64) -> Option<Option<Update>> {
        let Some(position) = seq.checked_sub(self.oldest) else {
            return Some(Some(Update::Missed {
                oldest: self.oldest,
            }));
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        if let Some(json) = self.events.get(position) {
            let json = Arc::clone(json);
            return Some(Some(Update::Event { seq, json }));
        }
        match &self.state {
            State::GoesOn => None,
            State::Ended(answer) => Some(Some(Update::Ended(Arc::clone(answer)))),
            State::Lost => Some(None),
        }
    }
}

/// Somebody's ear on a run, at a place of its own.
#[derive(Debug)]
pub struct Updates {
    log: Arc<Log>,
    changed: watch::Receiver<()>,
    next: u64,
}

impl Updates {
    /// The next update; `None` only if the run's task died.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            self.changed.mark_unchanged();
            let found = self.log.kept().at(self.next);
            if let Some(found) = found {
                self.next += 1;
                return found;
            }
            // The log holds the sender.
            self.changed.changed().await.ok()?;
        }
    }

    /// The plain answer: the stream, folded to its end. It looks at nothing on the way, so it misses nothing.
    pub async fn folded(self) -> Option<Arc<Answer>> {
        self.fold(|_| None).await
    }

    /// The same, or where the end user is asked for a consent, if a call of the run waits for that.
    pub async fn answered(self) -> Option<Arc<Answer>> {
        self.fold(Kept::held).await
    }

    async fn fold(
        mut self,
        meanwhile: impl Fn(&Kept) -> Option<Arc<Answer>> + Send,
    ) -> Option<Arc<Answer>> {
        loop {
            self.changed.mark_unchanged();
            let (state, meanwhile) = {
                let kept = self.log.kept();
                (kept.state.clone(), meanwhile(&kept))
            };
            match (state, meanwhile) {
                (State::Ended(answer), _) | (State::GoesOn, Some(answer)) => return Some(answer),
                (State::Lost, _) => return None,
                (State::GoesOn, None) => self.changed.changed().await.ok()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;

    fn says(text: &str) -> Event {
        Event::Content {
            delta: Some(text.to_owned()),
        }
    }

    fn answer() -> Arc<Answer> {
        Arc::new(Answer {
            run: "run-1".parse().unwrap(),
            status: 200,
            body: json!({}),
        })
    }

    async fn seq(updates: &mut Updates) -> u64 {
        match updates.next().await {
            Some(Update::Event { seq, .. }) => seq,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn everybody_hears_everything_from_where_they_begin() {
        let log = Arc::new(Log::default());
        let mut first = log.listen(0);
        log.tell(&says("a"));
        assert_eq!(seq(&mut first).await, 1);
        log.tell(&says("b"));
        let mut late = log.listen(1);
        assert_eq!((seq(&mut first).await, seq(&mut late).await), (2, 2));
        assert!(log.follows(0) && log.follows(2) && !log.follows(3));
        log.end(answer());
        assert!(matches!(first.next().await, Some(Update::Ended(_))));
        assert_eq!(log.listen(0).folded().await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_what_is_gone_and_memory_stays_bounded() {
        let log = Arc::new(Log::default());
        let mut slow = log.listen(0);
        let long = says(&"x".repeat(1 << 20));
        for _piece in 0..6 {
            log.tell(&long);
        }
        assert!(log.bytes() <= BYTES_MAX);
        assert!(matches!(
            slow.next().await,
            Some(Update::Missed { oldest: 4 })
        ));
        for _piece in 0..EVENTS_MAX {
            log.tell(&says("y"));
        }
        assert_eq!(log.kept().events.len(), EVENTS_MAX);
        log.forget();
        assert_eq!(log.bytes(), 0);
    }

    #[tokio::test]
    async fn an_event_that_is_larger_than_all_that_is_kept_is_heard_all_the_same() {
        let log = Arc::new(Log::default());
        let mut listens = log.listen(0);
        log.tell(&says(&"x".repeat(BYTES_MAX + 1)));
        assert_eq!(seq(&mut listens).await, 1);
        log.tell(&says("y"));
        assert_eq!(seq(&mut listens).await, 2);
        assert!(log.bytes() < BYTES_MAX);
    }

    #[tokio::test]
    async fn who_waits_for_a_run_that_waits_for_a_consent_is_told_so_and_the_run_goes_on() {
        let log = Arc::new(Log::default());
        let action = ActionId::fresh();
        let asks = Arc::new(Answer {
            status: 299,
            ..Answer::clone(&answer())
        });
        assert!(log.since(&action).is_none());
        log.hold(&action, asks, &says("asks"));
        assert_eq!(log.listen(0).answered().await.unwrap().status, 299);
        assert!(matches!(log.since(&action), Some(Since::Waits)));
        // Nobody listens, and nobody has left.
        assert!(log.unheard().now_or_never().is_none());
        log.release(Some(&ActionId::fresh()));
        assert!(log.held().is_some());
        log.release(Some(&action));
        assert!(matches!(log.since(&action), Some(Since::GoesOn)));
        assert!(log.listen(0).answered().now_or_never().is_none());
        log.end(answer());
        assert_eq!(log.listen(0).answered().await.unwrap().status, 200);
        assert!(matches!(log.since(&action), Some(Since::Ended(_))));
    }

    #[tokio::test]
    async fn a_run_that_dies_without_a_word_ends_its_listeners() {
        let log = Arc::new(Log::default());
        let mut updates = log.listen(0);
        log.lose();
        assert!(updates.next().await.is_none());
        assert!(log.listen(0).folded().await.is_none());
    }
}
