//! How far the clocks of upstreams that check signatures are from the gate's own. Learnt from the `Date` of a refusal, never
//! believed beyond a day, and never by what another agent was answered: an upstream may say what it is told to.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, StatusCode, header};
use postern_contract::AgentName;
use postern_daemon::Clock;
use postern_policy::Authority;
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{dial::Journey, relay::Relayed};

/// What is no difference: answers travel, and services allow for minutes.
const SKEW_MS_MIN: u64 = 60_000;

/// The largest difference that is believed.
const SKEW_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The most upstreams of one agent whose difference is remembered; who finds more learns them anew.
const UPSTREAMS_MAX: usize = 64;

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What one agent's calls taught.
type OfAgent = HashMap<Authority, i64>;

/// What was learnt.
pub(crate) struct Skews {
    known: Mutex<HashMap<AgentName, OfAgent>>,
    clock: Clock,
}

impl Skews {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            known: Mutex::default(),
            clock,
        }
    }

    /// What time it is for an upstream that this agent calls, in milliseconds of Unix.
    pub(crate) fn now_ms(&self, agent: &AgentName, authority: &Authority) -> i64 {
        let known = self.known();
        let skew = known.get(agent).and_then(|known| known.get(authority));
        let skew = skew.copied();
        drop(known);
        self.clock.unix_ms().saturating_add(skew.unwrap_or(0))
    }

    /// A call that was signed has its answer: one that was not believed may say what time it is there. An answer out of a cache
    /// says what time it was, and one to a call without a signature is nobody's word on signatures.
    pub(crate) fn heard(&self, agent: &AgentName, journey: &Journey<'_>, relayed: &Relayed) {
        let Relayed::Answer(answer) = relayed else {
            return;
        };
        let refused = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
        ];
        let is_fresh = !answer.headers().contains_key(header::AGE);
        if journey.is_signed && is_fresh && refused.contains(&answer.status()) {
            let authority = journey.permit.url().authority();
            self.learn((agent, authority), answer.headers());
        }
    }

    fn learn(&self, (agent, authority): (&AgentName, &Authority), headers: &HeaderMap) {
        let Some(theirs) = date(headers) else { return };
        let skew = theirs.saturating_sub(self.clock.unix_ms());
        let before = self.now_ms(agent, authority);
        if theirs.abs_diff(before) < SKEW_MS_MIN || skew.unsigned_abs() > SKEW_MS_MAX {
            return;
        }
        tracing::warn!(%agent, %authority, skew_ms = skew, "a service's clock is not the gate's; signatures follow it");
        let mut known = self.known();
        let known = known.entry(agent.clone()).or_default();
        if known.len() >= UPSTREAMS_MAX && !known.contains_key(authority) {
            known.clear();
        }
        known.insert(authority.clone(), skew);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<AgentName, OfAgent>> {
        // A map that a panic interrupted is still a map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let time = PrimitiveDateTime::parse(text, DATE).ok()?;
    time.assume_utc().unix_timestamp().checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use postern_policy::CanonicalUrl;

    use super::*;

    /// 24 May 2013.
    const NOW: i64 = 1_369_353_600_000;

    #[test]
    fn a_clock_that_is_wrong_is_put_right_by_the_refusals_date() {
        let skews = Skews::new(Clock::manual(NOW));
        let url: CanonicalUrl = "https://s3.example".parse().unwrap();
        let other: CanonicalUrl = "https://sts.example".parse().unwrap();
        let (desk, spy): (AgentName, AgentName) = ("desk".parse().unwrap(), "spy".parse().unwrap());
        let heard = |date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static(date));
            skews.learn((&desk, url.authority()), &headers);
            skews.now_ms(&desk, url.authority()) - NOW
        };
        assert_eq!(heard("Fri, 24 May 2013 00:00:30 GMT"), 0);
        assert_eq!(heard("Fri, 24 May 2013 00:20:00 GMT"), 1_200_000);
        assert_eq!(heard("Fri, 24 May 2013 00:20:59 GMT"), 1_200_000);
        assert_eq!(heard("Thu, 23 May 2013 23:00:00 GMT"), -3_600_000);
        for nonsense in ["yesterday", "", "Thu, 24 May 2085 23:00:00 GMT"] {
            assert_eq!(heard(nonsense), -3_600_000, "{nonsense}");
        }
        assert_eq!(skews.now_ms(&desk, other.authority()), NOW);
        assert_eq!(skews.now_ms(&spy, url.authority()), NOW);
        assert_eq!(heard("Fri, 24 May 2013 00:00:00 GMT"), 0);
    }

    #[test]
    fn an_agent_that_finds_many_wrong_clocks_fills_no_more_than_its_own_room() {
        let skews = Skews::new(Clock::manual(NOW));
        let (desk, spy): (AgentName, AgentName) = ("desk".parse().unwrap(), "spy".parse().unwrap());
        let mut wrong = HeaderMap::new();
        let date = HeaderValue::from_static("Fri, 24 May 2013 00:20:00 GMT");
        wrong.insert(header::DATE, date);
        let at = |number: usize| -> CanonicalUrl {
            format!("https://b{number}.s3.example").parse().unwrap()
        };
        for number in 0..1025 {
            skews.learn((&spy, at(number).authority()), &wrong);
        }
        assert!(skews.known()[&spy].len() <= UPSTREAMS_MAX);
        skews.learn((&desk, at(5000).authority()), &wrong);
        assert_eq!(skews.now_ms(&desk, at(5000).authority()) - NOW, 1_200_000);
    }
}
