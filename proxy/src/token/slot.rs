//! One minted token as it lives: asked for once however many wait, replaced ahead of its end, not asked for again at once
//! after a failure. Pure: time comes as an argument, and whoever holds a slot does what it says.
//!
//! ```text
//! (nothing) ─ Begin ─▶ (flight) ─┬─ landed ─▶ (token) ── near its end ─ UseAndBegin ─▶ (token, flight) ─▶ …
//!                                └─ failed ─▶ (rests) ── the rest is over ─ Begin ─▶ …
//! (token) ── a tool said 401 ─▶ (token, flight): whoever provoked that takes nothing from anybody else
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use postern_contract::Secret;
use tokio::sync::watch;

use super::{NoToken, answer::Minted};
use crate::mask::{self, Scanner};

/// How far ahead of its end a token is replaced: a fourth of its life, but at most this.
const AHEAD_MAX: Duration = Duration::from_secs(120);

/// How far ahead of its end a token is not used any more, since a call takes a while: a tenth of its life, but at most this.
const MARGIN_MAX: Duration = Duration::from_secs(5);

/// How long the endpoint is left alone after a failure; doubled by each further one.
const REST: Duration = Duration::from_secs(1);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

/// How often a token is asked for anew by a tool's 401: whoever can provoke one must not make the gate ask its endpoint each time.
const SUSPECTED_EVERY: Duration = Duration::from_secs(10);

/// A token and when it ends.
#[derive(Debug)]
pub(crate) struct Token {
    value: Secret,
    /// What finds it in an answer; `None` where it is too short for that.
    scanner: Option<Arc<Scanner>>,
    replace_at: Instant,
    ends_at: Instant,
}

impl Token {
    /// One that was asked for at this time.
    pub(super) fn new(minted: Minted, asked_at: Instant) -> Self {
        let life = minted.life;
        Self {
            scanner: mask::scanner([&minted.token]),
            value: minted.token,
            replace_at: asked_at + life.saturating_sub(AHEAD_MAX.min(life / 4)),
            ends_at: asked_at + life.saturating_sub(MARGIN_MAX.min(life / 10)),
        }
    }

    /// One that is known already.
    #[cfg(test)]
    pub(crate) fn known(text: &str) -> Self {
        let now = postern_daemon::Clock::manual(0).now();
        let minted = Minted {
            token: Secret::new(text.as_bytes().to_vec()),
            life: Duration::from_secs(60),
            successor: None,
        };
        Self::new(minted, now)
    }

    /// What finds it in an answer.
    pub(crate) fn scanner(&self) -> Option<&Arc<Scanner>> {
        self.scanner.as_ref()
    }

    /// What stands in a request.
    pub(crate) fn value(&self) -> &Secret {
        &self.value
    }
}

/// What a question to an endpoint came to, for all who wait for it.
pub(super) type Landed = Option<Result<Arc<Token>, NoToken>>;

/// What a call is to do.
pub(super) enum Look {
    /// Use this.
    Use(Arc<Token>),
    /// Use this, and ask for the next one besides.
    UseAndBegin(Arc<Token>, watch::Sender<Landed>),
    /// Wait for an answer that is under way.
    Wait(watch::Receiver<Landed>),
    /// Ask, and wait for the answer.
    Begin(watch::Sender<Landed>, watch::Receiver<Landed>),
    /// Go without: it failed a moment ago, and is asked for again after this long.
    Rest(NoToken, Duration),
}

/// One token's place.
#[derive(Debug, Default)]
pub(super) struct Slot {
    token: Option<Arc<Token>>,
    flight: Option<watch::Receiver<Landed>>,
    failure: Option<Failure>,
    suspected_at: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    why: NoToken,
    until: Instant,
    rest: Duration,
}

impl Slot {
    /// What a call is to do at this time.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        self.is_asked_for();
        let token = self.token.take_if(|token| now >= token.ends_at);
        drop(token);
        let rests = self.failure.as_ref().filter(|failure| now < failure.until);
        match (&self.token, &self.flight, rests) {
            (Some(token), None, None) if now >= token.replace_at => {
                let token = Arc::clone(token);
                Look::UseAndBegin(token, self.begin())
            }
            (Some(token), _, _) => Look::Use(Arc::clone(token)),
            (None, Some(flight), _) => Look::Wait(flight.clone()),
            (None, None, Some(failure)) => Look::Rest(failure.why.clone(), failure.until - now),
            (None, None, None) => {
                let sender = self.begin();
                let receiver = sender.subscribe();
                Look::Begin(sender, receiver)
            }
        }
    }

    /// Whether nothing would be lost with it but a look-up.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let holds = self.token.as_ref().is_some_and(|token| now < token.ends_at);
        !holds && !self.is_asked_for()
    }

    fn begin(&mut self) -> watch::Sender<Landed> {
        let (sender, receiver) = watch::channel(None);
        self.flight = Some(receiver);
        sender
    }

    /// An answer has come.
    pub(super) fn landed(&mut self, landed: Result<Arc<Token>, NoToken>, now: Instant) {
        self.flight = None;
        match landed {
            Ok(token) => {
                self.token = Some(token);
                self.failure = None;
            }
            Err(why) => {
                let before = self.failure.take().map(|failure| failure.rest * 2);
                let rest = before.unwrap_or(REST).min(REST_MAX);
                self.failure = Some(Failure {
                    why,
                    until: now + rest,
                    rest,
                });
            }
        }
    }

    /// A tool did not take this token, which is used until there is another. Whether that one is to be asked for now.
    pub(super) fn suspect(
        &mut self,
        suspect: &Arc<Token>,
        now: Instant,
    ) -> Option<watch::Sender<Landed>> {
        let own = self.token.as_ref();
        let is_this = own.is_some_and(|own| Arc::ptr_eq(own, suspect));
        let lately = self.suspected_at.map(|at| at + SUSPECTED_EVERY);
        let rests = self.failure.as_ref().map(|failure| failure.until);
        let waits = [lately, rests].into_iter().flatten().any(|end| now < end);
        if !is_this || waits || self.is_asked_for() {
            return None;
        }
        self.suspected_at = Some(now);
        Some(self.begin())
    }

    /// A flight whose sender is gone without a word was lost with its task.
    fn is_asked_for(&mut self) -> bool {
        self.flight.take_if(|flight| flight.has_changed().is_err());
        self.flight.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(now: Instant, life: u64) -> Arc<Token> {
        let minted = Minted {
            token: Secret::new(b"t".to_vec()),
            life: Duration::from_secs(life),
            successor: None,
        };
        Arc::new(Token::new(minted, now))
    }

    fn now() -> Instant {
        postern_daemon::Clock::manual(0).now()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_asks_and_all_others_wait() {
        let (mut slot, now) = (Slot::default(), now());
        let Look::Begin(sender, _) = slot.look(now) else {
            panic!("nothing is there")
        };
        assert!(matches!(slot.look(now), Look::Wait(_)));
        slot.landed(Ok(token(now, 3600)), now);
        drop(sender);
        assert!(matches!(slot.look(now), Look::Use(_)));
    }

    #[test]
    fn a_token_is_replaced_ahead_of_its_end_while_it_is_used() {
        let (mut slot, now) = (Slot::default(), now());
        slot.landed(Ok(token(now, 3600)), now);
        assert!(matches!(slot.look(now + seconds(3479)), Look::Use(_)));
        let Look::UseAndBegin(..) = slot.look(now + seconds(3480)) else {
            panic!("it is time")
        };
        // Its task was lost with its sender, so the next one asks again.
        let Look::UseAndBegin(_, sender) = slot.look(now + seconds(3481)) else {
            panic!("asked again")
        };
        assert!(matches!(slot.look(now + seconds(3482)), Look::Use(_)));
        slot.landed(Err(NoToken::Late), now + seconds(3482));
        drop(sender);
        assert!(matches!(slot.look(now + seconds(3482)), Look::Use(_)));
        let Look::UseAndBegin(_, _sender) = slot.look(now + seconds(3484)) else {
            panic!("the rest is over")
        };
        assert!(matches!(slot.look(now + seconds(3594)), Look::Use(_)));
        assert!(matches!(slot.look(now + seconds(3595)), Look::Wait(_)));
    }

    #[test]
    fn a_failure_rests_longer_each_time_and_a_token_ends_that() {
        let (mut slot, mut now) = (Slot::default(), now());
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(matches!(slot.look(now), Look::Begin(..)));
            slot.landed(Err(NoToken::Late), now);
            let Look::Rest(_, wait) = slot.look(now) else {
                panic!("it rests")
            };
            assert_eq!(wait, seconds(rest));
            now += wait;
        }
        slot.landed(Ok(token(now, 60)), now);
        slot.landed(Err(NoToken::Late), now);
        now += seconds(1);
        assert!(matches!(slot.look(now + seconds(60)), Look::Begin(..)));
    }

    #[test]
    fn a_tools_401_has_a_token_asked_for_once_in_a_while_and_takes_it_from_nobody() {
        let (mut slot, now) = (Slot::default(), now());
        let (first, second) = (token(now, 3600), token(now, 3600));
        slot.landed(Ok(Arc::clone(&first)), now);
        assert!(slot.suspect(&second, now).is_none());
        let asking = slot.suspect(&first, now);
        assert!(asking.is_some() && slot.suspect(&first, now + seconds(10)).is_none());
        assert!(matches!(slot.look(now), Look::Use(own) if Arc::ptr_eq(&own, &first)));
        slot.landed(Err(NoToken::Late), now + seconds(10));
        assert!(matches!(slot.look(now + seconds(10)), Look::Use(_)));
        assert!(slot.suspect(&first, now + seconds(10)).is_none());
        slot.landed(Ok(Arc::clone(&second)), now + seconds(11));
        assert!(slot.suspect(&second, now + seconds(9)).is_none());
        assert!(slot.suspect(&second, now + seconds(11)).is_some());
    }
}
