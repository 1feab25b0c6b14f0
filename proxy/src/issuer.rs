//! The public keys of whoever gives callers' tokens out. posternd, which checks tokens, calls out nowhere, so the gate asks and
//! hands on what it was told. Never looks into the keys, and never drops the last ones because the issuer is down.
//!
//! ```text
//! asked ─┬─ an answer ─▶ handed on; asked again after `EVERY`
//!        └─ none ──────▶ asked again, ever later
//! posternd lacks a key ─▶ asked again, at most once in `LACKS_EVERY`
//! ```

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use postern_contract::link::{CALLERS_KEYS_BYTES_MAX, CallersKeys};
use postern_daemon::Clock;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::{
    config::Issuer,
    dial::Proxy,
    secret::{Errands, NoSecret, Question, Unanswered, roots},
};

/// How long an answer counts before the issuer is asked again.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// How often somebody's token with an unknown key may make the gate ask.
const LACKS_EVERY: Duration = Duration::from_secs(30);

/// How long one question may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long to wait after the first failure; twice as long after each further one, up to `BACKOFF_MAX`.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer is no text, or has control characters in it")]
    NoText,
    #[error("it did not answer within {} s", ANSWER_MAX.as_secs())]
    Late,
    #[error(transparent)]
    Authorities(#[from] NoSecret),
}

/// What is known of the issuer. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<Known>);

#[derive(Default)]
struct Known {
    keys: ArcSwapOption<CallersKeys>,
    /// Why the last question had no answer.
    trouble: ArcSwapOption<String>,
    lacks: Notify,
}

impl Keys {
    /// The keys, unless they are those with this digest. `lacks`: a token named one that is not among them.
    pub(crate) fn other_than(&self, have: Option<&str>, lacks: bool) -> Option<CallersKeys> {
        if lacks {
            self.0.lacks.notify_one();
        }
        let keys = self.0.keys.load_full()?;
        (have != Some(&keys.digest)).then(|| CallersKeys::clone(&keys))
    }

    /// What is wrong, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        let why = self.0.trouble.load_full()?;
        let then = if self.0.keys.load().is_some() {
            "the last ones still count"
        } else {
            "no token counts"
        };
        Some(format!(
            "the public keys of callers' tokens (`jwks_url`): {why}; {then}"
        ))
    }

    /// Asks for as long as it is polled, each time by way of the proxy that is in force then.
    pub(crate) async fn tend(
        self,
        issuer: Issuer,
        errands: Errands,
        proxy: impl Fn() -> Option<Proxy>,
    ) {
        let clock = errands.clock().clone();
        let mut failures = 0;
        loop {
            errands.go_by(proxy());
            let asked = tokio::select! {
                asked = ask(&issuer, &errands) => asked,
                () = clock.after(ANSWER_MAX) => Err(NoKeys::Late),
            };
            match asked {
                Ok(set) => {
                    failures = 0;
                    self.take(set);
                    self.rest(&clock).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the public keys of callers' tokens could not be read");
                    self.0.trouble.store(Some(Arc::new(error.to_string())));
                    clock.after(backoff(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn take(&self, set: String) {
        let mut digest = String::new();
        for byte in Sha256::digest(&set) {
            let _never_fails = write!(digest, "{byte:02x}");
        }
        let before = self.0.keys.load();
        if before.as_ref().is_none_or(|keys| keys.digest != digest) {
            tracing::info!(digest, "the public keys of callers' tokens are other ones");
            self.0
                .keys
                .store(Some(Arc::new(CallersKeys { digest, set })));
        }
        self.0.trouble.store(None);
    }

    /// Waits until it is time to ask again.
    async fn rest(&self, clock: &Clock) {
        clock.after(LACKS_EVERY).await;
        tokio::select! {
            () = self.0.lacks.notified() => {}
            () = clock.after(EVERY.saturating_sub(LACKS_EVERY)) => {}
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(BACKOFF_MAX)
}

async fn ask(issuer: &Issuer, errands: &Errands) -> Result<String, NoKeys> {
    let roots = roots(Path::new(""), issuer.ca.as_deref()).await?;
    let mut fields = HeaderMap::new();
    fields.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/jwk-set+json, application/json"),
    );
    let question = Question {
        authority: issuer.url.authority(),
        roots: roots.as_ref(),
        method: Method::GET,
        target: &issuer.url.target(),
        fields,
        body: &[],
        answer_bytes_max: CALLERS_KEYS_BYTES_MAX,
    };
    let (status, body) = errands.ask(question).await?;
    if status != StatusCode::OK {
        return Err(NoKeys::Status(status));
    }
    text(body.into())
}

/// A text that is at most twice as long within a message of the link: what would be longer could not be sent, and the link would end.
fn text(body: Vec<u8>) -> Result<String, NoKeys> {
    let text = String::from_utf8(body).map_err(|_| NoKeys::NoText)?;
    let is_odd = |one: char| one.is_ascii_control() && !matches!(one, '\t' | '\n' | '\r');
    match text.contains(is_odd) {
        true => Err(NoKeys::NoText),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_is_down_is_asked_ever_later() {
        let waits = [0, 1, 5, 6, 4_000_000_000].map(|failures| backoff(failures).as_secs());
        assert_eq!(waits, [1, 2, 32, 60, 60]);
    }

    #[test]
    fn the_longest_answer_fits_a_message_of_the_link_whatever_is_in_it() {
        for filler in ["\"", "\\", "\n", "\t", "x", "\u{2028}", "\u{1f600}"] {
            let body = filler.repeat(CALLERS_KEYS_BYTES_MAX / filler.len());
            let set = text(body.into_bytes()).unwrap();
            let digest = "0".repeat(64);
            let keys = serde_json::to_vec(&CallersKeys { digest, set }).unwrap();
            assert!(keys.len() + 1024 < postern_contract::MESSAGE_BYTES_MAX);
        }
        for odd in ["\u{0}", "\u{1}{}", "{\u{1b}}"] {
            assert!(text(odd.into()).is_err(), "{odd:?}");
        }
        assert!(text(vec![0xff]).is_err());
    }

    #[test]
    fn keys_are_handed_on_once_and_outlive_a_failure() {
        let keys = Keys::default();
        assert_eq!(keys.other_than(None, false), None);
        keys.take("one".to_owned());
        let one = keys.other_than(None, false).unwrap();
        assert_eq!(one.set, "one");
        assert_eq!(keys.other_than(Some(&one.digest), false), None);
        keys.0.trouble.store(Some(Arc::new("down".to_owned())));
        assert!(keys.trouble().unwrap().contains("still count"));
        assert_eq!(keys.other_than(None, false).unwrap().set, "one");
        keys.take("two".to_owned());
        assert_eq!(keys.trouble(), None);
        assert_eq!(
            keys.other_than(Some(&one.digest), false).unwrap().set,
            "two"
        );
    }
}
