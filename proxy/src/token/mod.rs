//! Credentials that the gate asks somebody for: one file a kind of grant, and the broker that keeps what was given. A call
//! never waits while a token that still holds is there, and however many calls want one, it is asked for once. Never sends a
//! token that was minted from a secret which has changed since, and never asks by a way that an agent could see or use.
//!
//! ```text
//! Permit ─▶ mint ─▶ slot (per grant and values) ─┬─ holds ───────────────────────────────▶ Purse ─▶ inject
//!                                                └─ flight ─▶ dial::Errand ─▶ answer ─▶ (successor kept) ─▶ slot
//! new book ─▶ cut_over ─▶ slots of other values are gone, and what is under way for them comes to nothing
//! ```

mod answer;
mod authorization_code;
mod client_credentials;
mod flight;
mod github_app;
mod grant;
mod granted;
mod jwt;
mod jwt_bearer;
mod refresh_token;
mod seal;
mod slot;
mod token_exchange;
mod user;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use postern_contract::ActionId;
use postern_daemon::Clock;
use postern_store::gate::Gate as Store;
use tokio::sync::watch;

pub(crate) use self::{
    answer::Text,
    authorization_code::{AuthorizationCode, Coming, Going, Login},
    client_credentials::ClientCredentials,
    github_app::GithubApp,
    grant::Grant,
    jwt_bearer::JwtBearer,
    refresh_token::RefreshToken,
    seal::{NoSeal, Origin, Seal},
    slot::Token,
    token_exchange::TokenExchange,
    user::{Owner, Redeemed, claims},
};
use self::{
    flight::{Chains, Flight},
    slot::{Landed, Look, Slot},
};
use crate::{
    book::Book,
    dial::{Dialer, Unreached},
    mask::Scanner,
    metrics,
    relay::Relayed,
};

/// How long a token endpoint may take for its whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// With so many tokens those of end users that are not in use are looked up again when they are wanted.
const SLOTS_MAX: usize = 8192;

/// The largest answer of a token endpoint, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no token. None of these says a word that came from an endpoint.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("its token endpoint could not be reached")]
    Unreached(#[source] Arc<Unreached>),
    #[error("its token endpoint broke off")]
    Broken,
    #[error("its token endpoint did not answer within {} seconds", ANSWER_MAX.as_secs())]
    Late,
    #[error("its token endpoint answered {status}{}", .word.map(|word| format!(" ({word})")).unwrap_or_default())]
    Refused {
        status: u16,
        word: Option<&'static str>,
    },
    #[error("its token endpoint redirects, and secrets follow no redirect")]
    Redirected,
    #[error("its token endpoint's answer is larger than {} KiB", ANSWER_BYTES_MAX >> 10)]
    TooLarge,
    #[error("its token endpoint's answer is no JSON as the standard has it")]
    NotJson,
    #[error("its token endpoint gave a token that cannot stand in a request")]
    Unfit,
    #[error("its token endpoint gave a token of another kind than Bearer")]
    Kind,
    #[error("its token endpoint gave a token that has ended already")]
    Expired,
    #[error("a secret that it is asked for with is not there")]
    NoSecret,
    #[error("the secret that it is asked for with is of no use: {0}")]
    Key(&'static str),
    #[error("what its refresh token has become could not be read or kept")]
    Unkept,
    #[error("the secret that it is asked for with has changed meanwhile")]
    Withdrawn,
    #[error("the end user has not granted access to it")]
    NoConsent,
    #[error("it is each end user's own, and no end user is known for this call")]
    NoUser,
    #[error("the gate is going")]
    Going,
}

/// Why a call goes without a token, and when another try makes sense.
#[derive(Debug, thiserror::Error)]
#[error("the access token that this tool needs cannot be had: {why}")]
pub(crate) struct Penniless {
    why: NoToken,
    pub(crate) wait: Option<Duration>,
}

impl Penniless {
    /// Whether the end user is to be asked.
    pub(crate) fn wants_consent(&self) -> bool {
        matches!(self.why, NoToken::NoConsent)
    }
}

impl From<NoToken> for Penniless {
    fn from(why: NoToken) -> Self {
        Self { why, wait: None }
    }
}

/// What one credential wants.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) grant: Arc<dyn Grant>,
    /// What tells it from every other, as it is written.
    pub(crate) identity: [u8; 32],
}

impl Wanted {
    /// Whether each end user has one of their own.
    pub(crate) fn is_users(&self) -> bool {
        self.grant.consent().is_some()
    }
}

/// The tokens of one call, in the order of its credentials: none for one that is not minted.
#[derive(Default)]
pub(crate) struct Purse {
    tokens: Vec<Option<Arc<Token>>>,
    owner: Option<Owner>,
}

impl Purse {
    /// The token of the credential at this place.
    pub(crate) fn token(&self, place: usize) -> Option<&Token> {
        self.tokens.get(place)?.as_deref()
    }

    /// What answers are looked through for besides the secrets.
    pub(crate) fn scanners(&self) -> impl Iterator<Item = Arc<Scanner>> {
        let tokens = self.tokens.iter().flatten();
        tokens.filter_map(|token| token.scanner().cloned())
    }
}

/// A grant with the values that it was asked for with; the same grant with a secret's next value is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identity: [u8; 32],
    /// The generation that each of its secrets was first read for.
    since: Vec<u64>,
    /// Whose it is, where it is not the gate's own.
    owner: Option<Owner>,
}

impl Key {
    fn of(wanted: &Wanted, owner: Option<&Owner>, book: &Book) -> Result<Self, NoToken> {
        let owner = match (wanted.is_users(), owner) {
            (false, _) => None,
            (true, Some(owner)) => Some(owner.clone()),
            (true, None) => return Err(NoToken::NoUser),
        };
        Self::anybodys(wanted, book).map(|key| Self { owner, ..key })
    }

    /// The part that says nothing of whose it is.
    fn anybodys(wanted: &Wanted, book: &Book) -> Result<Self, NoToken> {
        let names = wanted.grant.secrets().into_iter();
        let since = names.map(|name| book.secrets.since(name));
        Ok(Self {
            identity: wanted.identity,
            since: since.collect::<Option<_>>().ok_or(NoToken::NoSecret)?,
            owner: None,
        })
    }
}

#[derive(Debug, Default)]
struct Slots {
    /// The newest book that was heard of.
    generation: u64,
    by_key: BTreeMap<Key, Slot>,
}

/// The broker.
pub(crate) struct Tokens {
    slots: Mutex<Slots>,
    chains: Chains,
    dialer: Arc<Dialer>,
    counted: metrics::Tokens,
    clock: Clock,
}

impl Tokens {
    /// A broker that asks by this dialer and keeps what it must in this store, sealed with a key in this directory.
    ///
    /// # Errors
    /// There is no key that could be used.
    pub(crate) fn open(
        dialer: &Arc<Dialer>,
        (store, directory): (&Store, &Path),
        (counted, clock): (metrics::Tokens, &Clock),
    ) -> Result<Arc<Self>, NoSeal> {
        let seal = Seal::open(directory)?;
        let chains = Chains::new(store.clone(), seal, clock.clone());
        Ok(Arc::new(Self {
            slots: Mutex::default(),
            chains,
            dialer: Arc::clone(dialer),
            counted,
            clock: clock.clone(),
        }))
    }

    /// The tokens that these credentials want, of which none waits where one that holds is there.
    pub(crate) async fn mint(
        self: &Arc<Self>,
        book: &Arc<Book>,
        wanted: impl Iterator<Item = Option<Wanted>> + Send,
        owner: Option<Owner>,
    ) -> Result<Purse, Penniless> {
        let mut purse = Purse {
            tokens: Vec::new(),
            owner,
        };
        for wanted in wanted {
            let token = match wanted {
                Some(wanted) => Some(self.one(book, wanted, purse.owner.as_ref()).await?),
                None => None,
            };
            purse.tokens.push(token);
        }
        Ok(purse)
    }

    async fn one(
        self: &Arc<Self>,
        book: &Arc<Book>,
        wanted: Wanted,
        owner: Option<&Owner>,
    ) -> Result<Arc<Token>, Penniless> {
        let key = Key::of(&wanted, owner, book)?;
        let look = self.look(&key, book.generation)?;
        let mut landing = match look {
            Look::Use(token) => return Ok(token),
            Look::Rest(why, wait) => {
                let wait = Some(wait);
                return Err(Penniless { why, wait });
            }
            Look::UseAndBegin(token, sender) => {
                self.begin(book, wanted, (key, sender));
                return Ok(token);
            }
            Look::Wait(landing) => landing,
            Look::Begin(sender, landing) => {
                self.begin(book, wanted, (key, sender));
                landing
            }
        };
        let landed = landing.wait_for(Option::is_some).await;
        let landed = landed.map_err(|_| NoToken::Going)?.clone();
        Ok(landed.ok_or(NoToken::Going)??)
    }

    /// An older book opens no slot any more: what it would ask with may have been withdrawn.
    fn look(&self, key: &Key, generation: u64) -> Result<Look, NoToken> {
        let mut slots = self.slots();
        if generation < slots.generation && !slots.by_key.contains_key(key) {
            return Err(NoToken::Withdrawn);
        }
        let now = self.clock.now();
        if slots.by_key.len() >= SLOTS_MAX && !slots.by_key.contains_key(key) {
            slots
                .by_key
                .retain(|key, slot| key.owner.is_none() || !slot.is_idle(now));
            // Nobody's hand is on what is only kept: users who come and go leave no refresh token behind in memory.
            self.chains.forget_what_is_kept();
        }
        let slot = match slots.by_key.get_mut(key) {
            Some(slot) => slot,
            None => slots.by_key.entry(key.clone()).or_default(),
        };
        Ok(slot.look(now))
    }

    /// Asks in a task of its own, which goes on when the call that wanted it is gone.
    fn begin(
        self: &Arc<Self>,
        book: &Arc<Book>,
        wanted: Wanted,
        (key, sender): (Key, watch::Sender<Landed>),
    ) {
        let (tokens, book) = (Arc::clone(self), Arc::clone(book));
        tokio::spawn(async move {
            let asked_at = tokens.clock.now();
            let stands = || tokens.slots().by_key.contains_key(&key);
            let flight = Flight {
                dialer: &tokens.dialer,
                chains: &tokens.chains,
                book: &book,
                grant: &*wanted.grant,
                clock: &tokens.clock,
                owner: key.owner.as_ref(),
                stands: &stands,
            };
            let minted = flight.fly().await;
            match &minted {
                Ok(_) => {
                    tokens.counted.given.inc();
                }
                // Nobody failed: nobody has been asked.
                Err(NoToken::NoConsent) => {}
                Err(_) => {
                    tokens.counted.failed.inc();
                }
            }
            if let Err(why) = &minted
                && !matches!(why, NoToken::NoConsent)
            {
                let error = std::error::Error::source(why).map(ToString::to_string);
                let host = wanted.grant.endpoint().url.authority().to_string();
                tracing::warn!(%why, error, host, "an access token could not be had");
            }
            let token = minted.map(|minted| Arc::new(Token::new(minted, asked_at)));
            sender.send_replace(Some(tokens.landed(&key, token)));
        });
    }

    /// Puts an answer in its slot. For values that are withdrawn there is none any more, and what was minted from them is gone.
    fn landed(&self, key: &Key, token: Result<Arc<Token>, NoToken>) -> Result<Arc<Token>, NoToken> {
        let now = self.clock.now();
        let mut slots = self.slots();
        let slot = slots.by_key.get_mut(key).ok_or(NoToken::Withdrawn)?;
        slot.landed(token.clone(), now);
        token
    }

    /// What a tool answered to a call with this purse, filled for these credentials. Where it did not take what was in it, that is
    /// asked for anew, and goes on being used meanwhile: an agent that can provoke such an answer takes nothing from others.
    pub(crate) fn heard(
        self: &Arc<Self>,
        (book, wanted): (&Arc<Book>, impl Iterator<Item = Option<Wanted>>),
        purse: &Purse,
        relayed: &Relayed,
    ) {
        let refused = matches!(relayed, Relayed::Answer(answer) if answer.status() == StatusCode::UNAUTHORIZED);
        if !refused {
            return;
        }
        let now = self.clock.now();
        for (wanted, token) in wanted.zip(&purse.tokens) {
            let (Some(wanted), Some(token)) = (wanted, token) else {
                continue;
            };
            let Ok(key) = Key::of(&wanted, purse.owner.as_ref(), book) else {
                continue;
            };
            let mut slots = self.slots();
            let slot = slots.by_key.get_mut(&key);
            let sender = slot.and_then(|slot| slot.suspect(token, now));
            drop(slots);
            if let Some(sender) = sender {
                tracing::info!("a tool did not take an access token, so it is asked for anew");
                self.begin(book, wanted, (key, sender));
            }
        }
    }

    /// From here on no token is given out that was minted from other values than this book's.
    pub(crate) fn cut_over(&self, book: &Book) {
        let wanted = book.wanted();
        let live: BTreeSet<Key> = wanted
            .filter_map(|wanted| Key::anybodys(&wanted, book).ok())
            .collect();
        let mut slots = self.slots();
        slots.generation = slots.generation.max(book.generation);
        slots.by_key.retain(|key, _| {
            let anybodys = Key {
                owner: None,
                ..key.clone()
            };
            live.contains(&anybodys)
        });
        drop(slots);
        self.chains.forget_what_is_kept();
    }

    /// The token that a code is worth, which a browser came back with. Nothing of it is kept or used yet.
    pub(crate) async fn redeem(
        &self,
        book: &Book,
        wanted: &Wanted,
        coming: &Coming<'_>,
    ) -> Result<Redeemed, NoToken> {
        let consent = wanted.grant.consent().ok_or(NoToken::NoConsent)?;
        self.errand((book, wanted)).redeem(consent, coming).await
    }

    /// Keeps what a user's consent gave. From here on their calls carry it.
    pub(crate) async fn consented(
        &self,
        book: &Book,
        (wanted, owner, action): (&Wanted, &Owner, &ActionId),
        redeemed: &Redeemed,
    ) -> Result<(), NoToken> {
        let consent = wanted.grant.consent().ok_or(NoToken::NoConsent)?;
        let errand = self.errand((book, wanted));
        errand.keep_for((consent, owner, action), redeemed).await?;
        let mut slots = self.slots();
        slots
            .by_key
            .retain(|key, _| key.identity != wanted.identity || key.owner.as_ref() != Some(owner));
        Ok(())
    }

    /// A question that no slot waits for.
    fn errand<'a>(&'a self, (book, wanted): (&'a Book, &'a Wanted)) -> Flight<'a> {
        Flight {
            dialer: &self.dialer,
            chains: &self.chains,
            book,
            grant: &*wanted.grant,
            clock: &self.clock,
            owner: None,
            stands: &|| true,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
