//! The gate put together: everything that a call needs, owned in one place. Never does a call's work itself.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Response;
use postern_contract::{
    AgentName, Code, PolicyName, Refusal, SandboxId,
    link::{GateStatus, Sighting},
};
use postern_daemon::Clock;
use postern_llm::Chat;

use crate::{
    approve::Approvals,
    audit::Audit,
    body::Body,
    book::Book,
    consent::Consents,
    decide::Permit,
    dial::{Dialer, Journey},
    gateway::playground,
    identify::{Caller, Room},
    inject::{Credentials, Outbound, Skews},
    intercept::Leaves,
    issuer,
    ledger::Ledger,
    limit::Turnstiles,
    live::Live,
    refuse::Refused,
    relay::Relayed,
    reload::Standing,
    sealed::Vaults,
    secret::{Fetched, Health},
    token::{Purse, Tokens},
};

/// Everything that a call needs.
pub(crate) struct Gate {
    book: ArcSwap<Book>,
    /// What is under way.
    pub(crate) live: Live,
    /// How the files stand that the book is made from.
    pub(crate) config: Standing,
    /// Values of secrets that are asked for.
    pub(crate) fetched: Arc<Fetched>,
    pub(crate) dialer: Arc<Dialer>,
    /// Credentials that somebody is asked for.
    pub(crate) tokens: Arc<Tokens>,
    /// Tokens that agents asked for themselves.
    pub(crate) vaults: Vaults,
    pub(crate) leaves: Leaves,
    pub(crate) audit: Audit,
    pub(crate) ledger: Ledger,
    pub(crate) turnstiles: Turnstiles,
    /// What time it is for those who check signatures.
    pub(crate) skews: Skews,
    /// Calls that wait for a human.
    pub(crate) approvals: Approvals,
    /// Consents that end users are asked for.
    pub(crate) consents: Consents,
    /// What callers' tokens are checked with.
    pub(crate) callers_keys: issuer::Keys,
    pub(crate) clock: Clock,
}

/// How the gate is, whoever asks.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) policy_generation: u64,
    /// What it cannot do now.
    pub(crate) troubles: Vec<String>,
    /// Why the config as it stands is not wholly in force.
    pub(crate) config_troubles: Vec<String>,
    pub(crate) config_failures: u64,
    pub(crate) weakened: Vec<String>,
    /// Policies that only watch.
    pub(crate) audit_mode: Vec<PolicyName>,
    pub(crate) models: Vec<Sighting>,
    pub(crate) consents_given: u64,
}

impl Condition {
    /// The same for posternd, with the number of its sandboxes.
    pub(crate) fn told(self, sandboxes: usize) -> GateStatus {
        GateStatus {
            policy_generation: self.policy_generation,
            troubles: self.troubles,
            config_troubles: self.config_troubles,
            config_failures: self.config_failures,
            weakened: self.weakened,
            audit_mode: self.audit_mode,
            sandboxes: u32::try_from(sandboxes).unwrap_or(u32::MAX),
            models: self.models,
            consents_given: self.consents_given,
        }
    }
}

impl Gate {
    pub(crate) fn new(
        (book, fetched): (Book, Arc<Fetched>),
        (dialer, tokens, leaves): (Arc<Dialer>, Arc<Tokens>, Leaves),
        (audit, ledger): (Audit, Ledger),
        (approvals, consents): (Approvals, Consents),
        clock: Clock,
    ) -> Self {
        let book = Arc::new(book);
        Self {
            live: Live::new(Arc::clone(&book)),
            book: ArcSwap::new(book),
            config: Standing::default(),
            fetched,
            dialer,
            tokens,
            vaults: Vaults::default(),
            leaves,
            audit,
            ledger,
            turnstiles: Turnstiles::new(clock.clone()),
            skews: Skews::new(clock.clone()),
            approvals,
            consents,
            callers_keys: issuer::Keys::default(),
            clock,
        }
    }

    /// What is in force now. A call keeps what it began with.
    pub(crate) fn book(&self) -> Arc<Book> {
        self.book.load_full()
    }

    /// From here on every call is judged by this book, what is under way is judged again by it, and no connection that was
    /// kept under an older one is used again.
    pub(crate) fn put_in_force(&self, book: Book) {
        let (generation, book) = (book.generation, Arc::new(book));
        // In this order: whoever was judged by the old book and enters now hears of the new one.
        self.book.store(Arc::clone(&book));
        self.fetched.go_by(book.proxy.clone());
        self.tokens.cut_over(&book);
        self.sweep();
        self.live.cut_over(book);
        self.dialer.cut_over(generation);
    }

    /// Wipes tokens of agents' own that are over.
    pub(crate) fn sweep(&self) {
        let book = self.book.load();
        let is_there = |agent: &AgentName| book.agents.contains_key(agent);
        self.vaults.sweep(self.clock.now(), is_there);
    }

    /// Whether one more call of a sandbox may be made, as far as its line in the audit goes, and what came back to it before.
    pub(crate) fn may_call(&self, room: &Room, caller: &Caller) -> Result<(), Refused> {
        caller.echoes.check(&caller.whose_echoes())?;
        if !room.may_be_written(self.clock.unix_ms()) {
            let message = "This sandbox has filled its share of the audit log (`per_sandbox` in `[audit]`), which comes \
                           back over a day.";
            return Err(Refusal::new(Code::RateLimited, "too many calls", message).into());
        }
        Ok(self.audit.ready()?)
    }

    /// The embedded model's answer.
    pub(crate) fn answer(&self, chat: &Chat) -> Response<Body> {
        playground::answer(chat, self.clock.unix_ms())
    }

    /// A request at the time that it is now where it goes, for this agent.
    pub(crate) fn timely(
        &self,
        agent: &AgentName,
        permit: &Permit,
        outbound: Outbound,
    ) -> Outbound {
        outbound.at(self.skews.now_ms(agent, permit.url().authority()))
    }

    /// Learns from an answer: about the tokens that the call carried, and about the time at its other end.
    pub(crate) fn heard(
        &self,
        (agent, journey): (&AgentName, &Journey<'_>),
        (book, credential, purse): (&Arc<Book>, Option<&Credentials>, &Purse),
        relayed: &Relayed,
    ) {
        let wanted = credential.into_iter().flat_map(Credentials::wanted);
        self.tokens.heard((book, wanted), purse, relayed);
        self.skews.heard(agent, journey, relayed);
    }

    /// Forgets what was kept for a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.dialer.forget(sandbox);
        self.leaves.forget(sandbox);
        self.turnstiles.forget(sandbox);
    }

    /// How the gate is.
    pub(crate) fn condition(&self) -> Condition {
        let book = self.book.load();
        let troubles = self.audit.trouble().into_iter();
        let secrets = self.fetched.health();
        let mut config_troubles = self.config.troubles();
        config_troubles.extend(secrets.iter().filter_map(Health::in_words));
        config_troubles.extend(self.callers_keys.trouble());
        Condition {
            policy_generation: book.generation,
            troubles: troubles.chain(self.ledger.trouble()).collect(),
            config_troubles,
            config_failures: self.config.failures(),
            weakened: book.weakened.clone(),
            audit_mode: book.rulebook.in_audit_mode(),
            models: self.audit.metrics().models(),
            consents_given: self.consents.given(),
        }
    }
}
