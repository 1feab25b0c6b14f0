//! Runs that go on now and the last that ended, who listens to them, and how they are asked to stop. Never keeps more of what
//! has ended than a fixed number of runs and bytes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::{ActionId, AgentName, RunId};
use postern_invoke::{Event, RunFacts};
use tokio::sync::watch;

use super::{
    Answer, Asker, Updates,
    log::{Log, Since},
};

/// Runs whose events are kept after their end, for whoever comes back.
const ENDED_MAX: usize = 256;

/// What those events may weigh together, in bytes.
const ENDED_BYTES_MAX: usize = 32 << 20;

/// A run that is in here.
#[derive(Debug, Clone)]
struct Entry {
    agent: AgentName,
    /// The end user that the run is for.
    user: Option<String>,
    log: Arc<Log>,
    cancelled: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Book {
    runs: HashMap<RunId, Entry>,
    /// Oldest first.
    ended: VecDeque<(RunId, Entry)>,
    ended_bytes: usize,
    closed: bool,
}

/// All of them. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Active {
    book: Arc<Mutex<Book>>,
    closing: Arc<watch::Sender<bool>>,
    stopping: Arc<watch::Sender<bool>>,
    count: Arc<watch::Sender<usize>>,
}

/// What became of looking for a run's events.
#[derive(Debug)]
pub enum Found {
    /// They are here.
    Updates(Updates),
    /// The run is here, but not the events from there on.
    Gone,
    /// The run is not in here: it never was, or it is too long ago.
    Unknown,
}

/// One run's entry; leaving it drops the entry.
#[derive(Debug)]
pub(super) struct Ticket {
    run: RunId,
    entry: Entry,
    active: Active,
}

impl Active {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a run: `None` if no run may begin any more, `Some(None)` if this id is in here already.
    #[expect(
        clippy::option_option,
        reason = "two different ways to have no ticket, told apart at one place"
    )]
    pub(super) fn enter(&self, agent: &AgentName, facts: &RunFacts) -> Option<Option<Ticket>> {
        self.put(agent, facts, |_| Arc::default())
    }

    /// Enters a run again that was put aside: its events count on, and what is kept of them stays.
    #[expect(
        clippy::option_option,
        reason = "two different ways to have no ticket, told apart at one place"
    )]
    pub(super) fn enter_again(
        &self,
        agent: &AgentName,
        facts: &RunFacts,
    ) -> Option<Option<Ticket>> {
        self.put(agent, facts, |book| {
            let log = book.take_back(&facts.run).unwrap_or_default();
            log.reopen();
            log
        })
    }

    #[expect(
        clippy::option_option,
        reason = "two different ways to have no ticket, told apart at one place"
    )]
    fn put(
        &self,
        agent: &AgentName,
        facts: &RunFacts,
        log: impl FnOnce(&mut Book) -> Arc<Log>,
    ) -> Option<Option<Ticket>> {
        let (mut book, run) = (self.book(), &facts.run);
        if book.closed {
            return None;
        }
        if book.runs.contains_key(run) {
            return Some(None);
        }
        let log = log(&mut book);
        let entry = Entry {
            agent: agent.clone(),
            user: facts.user.clone(),
            log,
            cancelled: Arc::default(),
        };
        book.runs.insert(run.clone(), entry.clone());
        self.count_of(&book);
        Some(Some(Ticket {
            run: run.clone(),
            entry,
            active: self.clone(),
        }))
    }

    /// An ear on a run that goes on.
    pub(super) fn listen(&self, run: &RunId) -> Option<Updates> {
        let book = self.book();
        book.runs.get(run).map(|entry| entry.log.listen_to_all())
    }

    /// Tells the last of a run that is over without having gone on, to whoever picks its events up.
    pub(super) fn amend(&self, run: &RunId, last: &Event, answer: Answer) {
        let mut book = self.book();
        let Some((_, entry)) = book.ended.iter().find(|(ended, _)| ended == run) else {
            return;
        };
        let (log, before) = (Arc::clone(&entry.log), entry.log.bytes());
        log.tell(last);
        log.end(Arc::new(answer));
        book.ended_bytes = book.ended_bytes + log.bytes() - before;
    }

    /// The events of a run after one of them, whether it goes on or has ended, for whom it is to be seen by.
    pub(super) fn find(&self, asker: Asker<'_>, run: &RunId, after: u64) -> Found {
        let book = self.book();
        let ended = || book.ended.iter().find(|(ended, _)| ended == run);
        let entry = book
            .runs
            .get(run)
            .or_else(|| ended().map(|(_, entry)| entry));
        match entry.filter(|entry| entry.is_seen_by(asker)) {
            None => Found::Unknown,
            Some(entry) if entry.log.follows(after) => Found::Updates(entry.log.listen(after)),
            Some(_) => Found::Gone,
        }
    }

    /// A call of a run that goes on waits for a consent. Tells whether the run goes on.
    pub(super) fn hold(&self, action: &ActionId, answer: Answer, event: &Event) -> bool {
        let book = self.book();
        let entry = book.runs.get(&answer.run);
        if let Some(entry) = entry {
            entry.log.hold(action, Arc::new(answer), event);
        }
        entry.is_some()
    }

    /// No call of a run waits for this consent any more.
    pub(super) fn release(&self, run: &RunId, action: &ActionId) {
        if let Some(entry) = self.book().runs.get(run) {
            entry.log.release(Some(action));
        }
    }

    /// No call of any run waits for a consent.
    pub(super) fn release_all(&self) {
        for entry in self.book().runs.values() {
            entry.log.release(None);
        }
    }

    /// What is told to who asks for a run of which a call waits for a consent.
    pub(super) fn held(&self, run: &RunId) -> Option<Arc<Answer>> {
        self.book().runs.get(run)?.log.held()
    }

    /// The runs of which a call waits for a consent.
    pub(super) fn all_held(&self) -> Vec<RunId> {
        let book = self.book();
        let held = book.runs.iter().filter(|(_, run)| run.log.held().is_some());
        held.map(|(id, _)| id.clone()).collect()
    }

    /// How a run that the asker sees stands since it asked for this consent, if it did.
    pub(super) fn since(
        &self,
        asker: Option<Asker<'_>>,
        run: &RunId,
        action: &ActionId,
    ) -> Option<Since> {
        let book = self.book();
        let ended = || book.ended.iter().find(|(ended, _)| ended == run);
        let entry = book.runs.get(run);
        let entry = entry.or_else(|| ended().map(|(_, entry)| entry))?;
        asker
            .is_none_or(|asker| entry.is_seen_by(asker))
            .then(|| entry.log.since(action))?
    }

    /// Asks a run that the asker sees to end, and gives an ear on it; `None` if it does not go on.
    pub(super) fn cancel(&self, asker: Asker<'_>, run: &RunId) -> Option<Updates> {
        let book = self.book();
        let entry = book.runs.get(run).filter(|entry| entry.is_seen_by(asker))?;
        entry.cancelled.send_replace(true);
        Some(entry.log.listen(0))
    }

    /// Returns when all runs are asked to end.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.subscribe();
        async move { drop(stopping.wait_for(|stopping| *stopping).await) }
    }

    /// Lets no run begin any more.
    pub(super) fn close(&self) {
        self.book().closed = true;
        self.closing.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.book().closed
    }

    /// Returns when no run may begin any more.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut closing = self.closing.subscribe();
        async move { drop(closing.wait_for(|closing| *closing).await) }
    }

    /// Lets no run begin any more, asks all to end, and returns when they have.
    pub(super) async fn stop(&self) {
        self.close();
        self.stopping.send_replace(true);
        self.idle().await;
    }

    /// Returns when no run goes on.
    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting ends with an empty book.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }

    /// A run does not go on any more. What it told is kept where it came to an end.
    fn leave(&self, run: &RunId, own: &Entry, answer: Option<Answer>) {
        let mut book = self.book();
        // The same run may have been entered again since, after a pause.
        let is_own = |entry: &&Entry| Arc::ptr_eq(&entry.cancelled, &own.cancelled);
        if book.runs.get(run).filter(is_own).is_none() {
            return;
        }
        book.runs.remove(run);
        match answer {
            Some(answer) => {
                own.log.end(Arc::new(answer));
                book.keep(run.clone(), own.clone());
            }
            None => own.log.lose(),
        }
        self.count_of(&book);
    }

    /// Those who wait for the last run to end need not hear of any other.
    fn count_of(&self, book: &Book) {
        self.count.send_if_modified(|count| {
            *count = book.runs.len();
            *count == 0
        });
    }
}

impl Entry {
    fn is_seen_by(&self, asker: Asker<'_>) -> bool {
        asker.sees(&self.agent, self.user.as_deref())
    }
}

impl Book {
    /// The log of a run that is kept, for that run to go on.
    fn take_back(&mut self, run: &RunId) -> Option<Arc<Log>> {
        let position = self.ended.iter().position(|(ended, _)| ended == run)?;
        let (_, entry) = self.ended.remove(position)?;
        self.ended_bytes -= entry.log.bytes();
        Some(entry.log)
    }

    fn keep(&mut self, run: RunId, entry: Entry) {
        self.ended_bytes += entry.log.bytes();
        self.ended.push_back((run, entry));
        while self.ended.len() > ENDED_MAX || self.ended_bytes > ENDED_BYTES_MAX {
            let Some((_, oldest)) = self.ended.pop_front() else {
                return;
            };
            self.ended_bytes -= oldest.log.bytes();
            oldest.log.forget();
        }
    }
}

impl Ticket {
    pub(super) fn listen(&self) -> Updates {
        self.entry.log.listen(0)
    }

    /// Whose run it is.
    pub(super) fn agent(&self) -> &AgentName {
        &self.entry.agent
    }

    /// Returns when all runs are asked to end.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        self.active.stopping()
    }

    /// Returns when this run is asked to end.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        let mut cancelled = self.entry.cancelled.subscribe();
        async move { drop(cancelled.wait_for(|cancelled| *cancelled).await) }
    }

    /// Returns when nobody listens to this run any more.
    pub(super) fn unheard(&self) -> impl Future<Output = ()> + use<> {
        let log = Arc::clone(&self.entry.log);
        async move { log.unheard().await }
    }

    /// An ear on what comes from now on.
    pub(super) fn listen_on(&self) -> Updates {
        self.entry.log.listen(self.told())
    }

    /// The run has told so many events before.
    pub(super) fn has_told(&self, told: u64) {
        self.entry.log.has_told(told);
    }

    /// How many events the run has told so far.
    pub(super) fn told(&self) -> u64 {
        self.entry.log.told()
    }

    pub(super) fn tell(&self, event: &Event) {
        self.entry.log.tell(event);
    }

    /// Takes the run out of those that go on first: whoever has heard the end finds it stored.
    pub(super) fn end(self, answer: Answer) {
        self.active.leave(&self.run, &self.entry, Some(answer));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.active.leave(&self.run, &self.entry, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Update, *};

    fn facts(run: &str, user: Option<&str>) -> RunFacts {
        RunFacts {
            run: run.parse().unwrap(),
            request_id: "rid".parse().unwrap(),
            user: user.map(str::to_owned),
        }
    }

    fn end(active: &Active, agent: &AgentName, number: usize, bytes: usize) {
        let facts = facts(&format!("run-{number}"), None);
        let ticket = active.enter(agent, &facts).unwrap().unwrap();
        ticket.tell(&Event::Content {
            delta: Some("x".repeat(bytes)),
        });
        ticket.end(Answer::not_stored(facts.run).0);
    }

    #[test]
    fn what_has_ended_is_kept_within_bounds_and_for_its_agent_alone() {
        let active = Active::default();
        let (desk, other): (AgentName, AgentName) =
            ("desk".parse().unwrap(), "other".parse().unwrap());
        for number in 0..ENDED_MAX + 2 {
            end(&active, &desk, number, 1);
        }
        let find = |agent: &AgentName, run: &str, after| {
            active.find(Asker { agent, user: None }, &run.parse().unwrap(), after)
        };
        // A call that was no new run takes no place of one that was.
        for number in 0..ENDED_MAX {
            let facts = facts(&format!("again-{number}"), None);
            drop(active.enter(&desk, &facts).unwrap().unwrap());
            assert!(matches!(find(&desk, facts.run.as_str(), 0), Found::Unknown));
        }
        assert!(matches!(find(&desk, "run-1", 0), Found::Unknown));
        assert!(matches!(find(&desk, "run-2", 0), Found::Updates(_)));
        assert!(matches!(find(&desk, "run-2", 2), Found::Gone));
        assert!(matches!(find(&other, "run-2", 0), Found::Unknown));
        for number in 1000..1020 {
            end(&active, &desk, number, 3 << 20);
        }
        assert!(active.book().ended_bytes <= ENDED_BYTES_MAX);
        assert!(matches!(find(&desk, "run-2", 0), Found::Unknown));
        assert!(matches!(find(&desk, "run-1019", 0), Found::Updates(_)));
    }

    #[test]
    fn a_run_for_a_user_is_found_and_ended_for_that_user_alone() {
        let active = Active::default();
        let desk: AgentName = "desk".parse().unwrap();
        let adas = facts("run-1", Some("ada"));
        let ticket = active.enter(&desk, &adas).unwrap().unwrap();
        let asker = |user| Asker { agent: &desk, user };
        for other in [None, Some("eve"), Some("")] {
            assert!(active.cancel(asker(other), &adas.run).is_none());
            let found = active.find(asker(other), &adas.run, 0);
            assert!(matches!(found, Found::Unknown), "{other:?}");
        }
        assert!(active.cancel(asker(Some("ada")), &adas.run).is_some());
        ticket.end(Answer::not_stored(adas.run.clone()).0);
        let found = |user| active.find(asker(user), &adas.run, 0);
        assert!(matches!(found(Some("ada")), Found::Updates(_)));
        assert!(matches!(found(Some("eve")), Found::Unknown));
    }

    #[tokio::test]
    async fn a_run_that_is_entered_again_counts_its_events_on_and_its_first_ticket_is_nothing_to_it()
     {
        let active = Active::default();
        let desk: AgentName = "desk".parse().unwrap();
        let facts = facts("run-1", None);
        let asker = Asker {
            agent: &desk,
            user: None,
        };
        let says = |text: &str| Event::Content {
            delta: Some(text.to_owned()),
        };
        let first = active.enter(&desk, &facts).unwrap().unwrap();
        first.tell(&says("a"));
        assert!(active.enter_again(&desk, &facts).unwrap().is_none());
        let old = first.entry.clone();
        first.end(Answer::not_stored(facts.run.clone()).0);
        let second = active.enter_again(&desk, &facts).unwrap().unwrap();
        assert_eq!(second.told(), 1);
        active.leave(&facts.run, &old, None);
        let Some(mut heard) = active.cancel(asker, &facts.run) else {
            panic!("the run that goes on is gone")
        };
        second.tell(&says("b"));
        for wanted in [1, 2] {
            let Some(Update::Event { seq, .. }) = heard.next().await else {
                panic!()
            };
            assert_eq!(seq, wanted);
        }
        drop(second);
        // After a restart of the daemon nothing of it is kept but how far it had come.
        let fresh = Active::default();
        let third = fresh.enter_again(&desk, &facts).unwrap().unwrap();
        third.has_told(2);
        third.tell(&says("c"));
        assert_eq!(third.told(), 3);
        assert!(matches!(fresh.find(asker, &facts.run, 0), Found::Gone));
        // What ends without having gone on tells its end to whoever comes for it.
        third.end(Answer::not_stored(facts.run.clone()).0);
        fresh.amend(
            &facts.run,
            &says("d"),
            Answer::not_stored(facts.run.clone()).0,
        );
        let Found::Updates(mut late) = fresh.find(asker, &facts.run, 3) else {
            panic!()
        };
        assert!(matches!(
            late.next().await,
            Some(Update::Event { seq: 4, .. })
        ));
    }
}
