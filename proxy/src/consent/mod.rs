//! An end user's consent in the middle of a call: where a tool's token is each end user's own and there is none, they are asked, on
//! a page of the gate's own; the call waits for that, or is refused and comes again. Never asks for a user who is not known to be that user, and never believes a
//! browser about anything that it was not given here.
//!
//! ```text
//! call without a token ─▶ kept, a link for the user ─▶ page: who, what, for whom ── POST ─▶ provider ─▶ /callback
//!                                                     (a link only opens it)                             │ state, browser, PKCE, iss, login
//!   agents with code: the call waits, and goes on ◀── held.rs ─────────┬── token sealed and kept ◀───────┘
//!   builtin ones: 403; the run goes on, and the call comes again ◀── posternd hears
//! ```

mod door;
mod held;
mod login;
mod page;
mod signed;

use std::{
    net::SocketAddr,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postern_contract::{ActionId, Code, Refusal, RunId, config, consent::Consented, link::Origin};
use postern_daemon::Clock;
use postern_policy::{Authority, CanonicalUrl};
use postern_store::gate::{Consent, Gate as Store, GateError};

pub(crate) use self::door::Door;
use self::{held::Holding, signed::Signer};
use crate::{
    approve::by_the_book_of_now,
    book::Book,
    call::{Call, Subject},
    decide::Way,
    dial::Unreached,
    gate::Gate,
    identify::{Caller, Room},
    inject::Credentials,
    record::Record,
    refuse::Refused,
    token::{NoSeal, Owner, Penniless, Purse, Seal, Wanted},
};

/// The most consents that are asked for at once.
const ASKED_MAX: i64 = 4096;

/// The most of them of one agent for one end user.
const ASKED_OF_A_USER_MAX: i64 = 32;

/// Consents that end users are asked for.
pub(crate) struct Consents {
    store: Store,
    signer: Signer,
    /// Where browsers find the gate; nothing where it listens for none.
    at: Option<At>,
    /// The same as a destination.
    own: Option<Authority>,
    /// How many were given since the start.
    given: AtomicU64,
    held: Holding,
    /// One is asked for at a time: two calls that need the same find the same.
    asking: tokio::sync::Mutex<()>,
    clock: Clock,
}

/// Where browsers find the gate.
#[derive(Debug, Clone)]
pub(crate) struct At {
    /// What stands before the paths of its pages, without a slash at its end.
    pub(crate) url: String,
    /// How long an end user is waited for.
    pub(crate) wait: Duration,
}

impl At {
    /// Where they find a gate that listens at this address.
    pub(crate) fn of(written: config::Consent, bound: SocketAddr) -> Self {
        Self {
            url: written.url.unwrap_or_else(|| format!("http://{bound}")),
            wait: written.wait.0,
        }
    }
}

impl Consents {
    /// The consents in this store, with links and states made with the key in this directory.
    ///
    /// # Errors
    /// There is no key that could be used.
    pub(crate) fn open(
        (store, directory): (Store, &Path),
        at: Option<At>,
        clock: Clock,
    ) -> Result<Self, NoSeal> {
        let own = at.as_ref().and_then(|at| CanonicalUrl::parse(&at.url).ok());
        Ok(Self {
            store,
            own: own.map(|own| own.authority().clone()),
            signer: Signer::new(Seal::open(directory)?),
            at,
            given: AtomicU64::default(),
            held: Holding::default(),
            asking: tokio::sync::Mutex::default(),
            clock,
        })
    }

    /// What became of a consent, for posternd.
    pub(crate) async fn stands(&self, action: &ActionId) -> Result<Consented, GateError> {
        let consent = self.store.consent(action).await?;
        let now = self.clock.unix_ms();
        Ok(consent.map_or(Consented::Unknown, |consent| consent.stands(now)))
    }

    /// How many were given since the start: where that changes, runs go on.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Acquire)
    }

    /// Nobody needs it any more.
    pub(crate) async fn withdraw(&self, action: &ActionId) {
        let withdrawn = self.store.expire_consent(action, self.clock.unix_ms());
        if let Err(error) = withdrawn.await {
            tracing::warn!(%error, "the end of a consent could not be written down");
        }
        self.held.touch();
    }

    /// Whether a URL leads to the gate's own pages, which are for browsers of end users alone.
    fn are_at(&self, url: &CanonicalUrl) -> bool {
        self.own.as_ref().is_some_and(|own| own == url.authority())
    }

    /// Asks for one, unless the run does already: its id, and where the end user says yes.
    async fn ask(&self, owner: &Owner, run: &RunId) -> Result<(ActionId, String), Refused> {
        let at = self.at.as_ref().ok_or_else(nowhere)?;
        let now = self.clock.unix_ms();
        let wait = i64::try_from(at.wait.as_millis()).unwrap_or(i64::MAX / 2);
        let fresh = Consent {
            action: ActionId::fresh(),
            agent: owner.agent.clone(),
            run: run.clone(),
            user: owner.user.clone(),
            tool: owner.tool.clone(),
            given: false,
            attempt: None,
            created_ms: now,
            expires_ms: now.saturating_add(wait),
        };
        let _turn = self.asking.lock().await;
        let before = self.store.consent_like(&fresh, now).await;
        let action = match before.map_err(unkept)? {
            Some(before) => before.action,
            None => {
                let asked = self
                    .store
                    .consents_like(&fresh, now)
                    .await
                    .map_err(unkept)?;
                if asked.all >= ASKED_MAX || asked.of_user >= ASKED_OF_A_USER_MAX {
                    return Err(too_many());
                }
                self.store.ask_consent(&fresh).await.map_err(unkept)?;
                tracing::info!(
                    action = %fresh.action, agent = %fresh.agent, tool = %fresh.tool, run = %fresh.run,
                    "an end user's consent is needed"
                );
                fresh.action
            }
        };
        let link = format!("{}/consent/{}", at.url, self.signer.page(&action));
        Ok((action, link))
    }
}

/// Sees to it that the end user's token is there for a call that would carry one. Where it is not, they are asked: a call of an
/// agent with code waits for that, and goes on by the book of then; any other is refused with where they are asked. The gate's own
/// pages are no tool's, whatever a rule says.
pub(crate) async fn ready(
    gate: &Gate,
    // Lent alone, since what travels with it cannot be looked at by two.
    (book, call): (&mut Arc<Book>, &mut Call),
    (way, caller, room): (&Way, &Caller, &Room),
    record: &mut Record,
) -> Result<(), Refused> {
    if gate.consents.are_at(&call.url) {
        return Err(Unreached::Ourselves.into());
    }
    loop {
        let credential = match way {
            Way::Out(permit) => permit.credential(&call.target),
            Way::Ask(_) => call.target.credential.as_ref(),
            Way::In => None,
        };
        let users: Vec<Wanted> = credential.map_or_else(Vec::new, |all| all.users().collect());
        if users.is_empty() {
            return Ok(());
        }
        let owner = owner(caller, (&call.subject, credential)).ok_or_else(no_user)?;
        let run = caller.run.as_ref().map_err(|_| no_user())?;
        let users = users.into_iter().map(Some);
        let minting = gate.tokens.mint(book, users, Some(owner.clone()));
        match record.unless_cut(pin!(minting)).await? {
            Ok(_) => return Ok(()),
            Err(penniless) if penniless.wants_consent() => {}
            Err(penniless) => return Err(penniless.into()),
        }
        let (action, link) = gate.consents.ask(&owner, run).await?;
        record.line.consent = Some(action.clone());
        let needed = |after| needed((&owner, after), (action.clone(), run, link.clone()));
        if caller.origin == Origin::Runtime {
            return Err(needed(GOES_ON).into());
        }
        let words = (needed(GOES_ON), needed(COMES_AGAIN));
        gate.consents.hold((room, run), words, record).await?;
        by_the_book_of_now(gate, (book, call), record)?;
    }
}

/// The tokens that a call carries, of whomever they are.
pub(crate) async fn purse(
    gate: &Gate,
    (book, credential): (&Arc<Book>, Option<&Credentials>),
    (caller, subject): (&Caller, &Subject),
) -> Result<Purse, Penniless> {
    let wanted = credential.into_iter().flat_map(Credentials::wanted);
    let owner = owner(caller, (subject, credential));
    gate.tokens.mint(book, wanted, owner).await
}

/// Whose token a call to a tool carries, where it carries one of a user's own: of one who is known to be that user.
fn owner(
    caller: &Caller,
    (subject, credential): (&Subject, Option<&Credentials>),
) -> Option<Owner> {
    credential?.users().next()?;
    Some(Owner {
        tool: subject.tool()?.clone(),
        agent: caller.agent.clone(),
        user: caller.believed_user()?.to_owned(),
    })
}

/// What becomes of the call after the consent.
const GOES_ON: &str = "and goes on by itself after that";
const COMES_AGAIN: &str = "and can make the call again after that";

fn needed(
    (owner, after): (&Owner, &str),
    (action, run, link): (ActionId, &RunId, String),
) -> Refusal {
    let message = format!(
        "The agent `{}` needs your consent to use `{}` for you, {after}:",
        owner.agent, owner.tool
    );
    let code = Code::ConsentRequired;
    let refusal = Refusal::new(code, code.word(), message);
    let refusal = refusal.for_tool(owner.tool.as_str());
    refusal.needs_consent(link, (action, run.clone()))
}

fn no_user() -> Refused {
    let message = "This tool is used with a token of the end user's own, and no end user is known for this call: \
                   `X-End-User-Id` of an authenticated caller names one, where a run or a user has a sandbox of its own.";
    Refusal::new(Code::PolicyDenied, "no end user is known", message).into()
}

fn nowhere() -> Refused {
    let message = "This tool needs the end user's consent, and the gate listens for no browsers until it is started again with \
                   `[consent]` in its config.";
    Refusal::new(Code::GateUnavailable, "nobody can be asked", message).into()
}

fn too_many() -> Refused {
    let message = format!(
        "At most {ASKED_OF_A_USER_MAX} consents of one end user are asked for at once, and {ASKED_MAX} of all."
    );
    Refusal::new(
        Code::RateLimited,
        "too many consents are asked for",
        message,
    )
    .into()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "handed to `map_err` as it is"
)]
fn unkept(error: GateError) -> Refused {
    tracing::error!(%error, "a consent cannot be kept");
    let message =
        "The end user must be asked, and the gate cannot write that down now. Try again later.";
    Refusal::new(Code::GateUnavailable, "the gate cannot ask", message).into()
}
