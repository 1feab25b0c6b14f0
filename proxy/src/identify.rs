//! Who is calling: the sandbox by its listener, the agent by its sandbox, the run by a hint that must be true. Never
//! believes what agent code says about a user, an action or a tool call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_contract::{
    ActionId, AgentName, RequestId, RunId, SandboxId,
    approval::{ON_APPROVAL_FIELD, PAUSE},
    link::Origin,
};
use postern_policy::Holder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    allowance::Allowance,
    dns::{Pace, Synthetic},
    dummy::Dummies,
    mask::{Echoes, Whose},
    report::Wire,
    sealed::Vault,
};

/// The most runs at once in one sandbox.
pub(crate) const RUNS_PER_SANDBOX_MAX: usize = 1024;

/// The most calls of one sandbox that are under way at once, tunnels and streams included.
pub(crate) const CALLS_PER_SANDBOX_MAX: usize = 1024;

/// The most body bytes of one sandbox that the gate holds at once, in KiB; streams are not held.
pub(crate) const HELD_KIB_PER_SANDBOX_MAX: usize = 64 << 10;
/// The most connections by CONNECT of one sandbox that the gate looks into at once.
pub(crate) const INTERCEPTED_PER_SANDBOX_MAX: usize = 512;

/// The most identity fields of one call that are passed on.
const TOLD_MAX: usize = 16;

const RUN: HeaderName = HeaderName::from_static("x-run-id");
const USER: HeaderName = HeaderName::from_static("x-end-user-id");
const REQUEST: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const ACTION: HeaderName = HeaderName::from_static("x-action-id");
const ON_APPROVAL: HeaderName = HeaderName::from_static(ON_APPROVAL_FIELD);

/// A sandbox as the gate knows it.
pub(crate) struct Room {
    pub(crate) sandbox: SandboxId,
    pub(crate) agent: AgentName,
    pub(crate) origin: Origin,
    runs: Mutex<Runs>,
    shares: Arc<Semaphore>,
    held: Arc<Semaphore>,
    interceptions: Arc<Semaphore>,
    written: Arc<Allowance>,
    echoes: Arc<Echoes>,
    /// Where what its agent reports goes to.
    pub(crate) reports: Option<Wire>,
    /// Addresses that stand for names here.
    pub(crate) names: Synthetic,
    /// How often names were asked for.
    pub(crate) questions: Pace,
    /// What stands for credentials here.
    pub(crate) dummies: Arc<Dummies>,
}

/// The runs that are active in a sandbox, each with its user.
#[derive(Debug, Default)]
struct Runs {
    active: BTreeMap<RunId, Option<String>>,
    /// Whose sandbox it is, where it is one user's or one run's: the run that came first, and its user.
    first: Option<(RunId, Option<String>)>,
}

/// Whose call it is.
pub(crate) struct Caller {
    pub(crate) sandbox: SandboxId,
    pub(crate) agent: AgentName,
    /// The run, or why none is believed.
    pub(crate) run: Result<RunId, Doubt>,
    /// The end user of that run, if the runtime named one.
    pub(crate) user: Option<String>,
    /// Who speaks here.
    pub(crate) origin: Origin,
    /// Whether the run is paused where a human is asked, so that the call comes again after the answer.
    pub(crate) pauses: bool,
    /// What a human was asked about this call before.
    pub(crate) action: Option<ActionId>,
    /// What the request said about its run, true or not.
    pub(crate) hint: Option<String>,
    /// What the request is called towards a tool that asks for identity.
    number: RequestId,
    /// What such a tool may be told besides.
    told: Vec<(HeaderName, HeaderValue)>,
    /// The sandbox's share of the gate's memory, in KiB.
    pub(crate) held: Arc<Semaphore>,
    /// The sandbox's share of the audit log.
    pub(crate) written: Arc<Allowance>,
    /// What was counted for the sandbox's runs.
    pub(crate) echoes: Arc<Echoes>,
    /// What stands for credentials in the sandbox.
    pub(crate) dummies: Arc<Dummies>,
}

impl Caller {
    /// Whose policies, tools and models count.
    pub(crate) fn holder(&self) -> Holder<'_> {
        Holder {
            agent: &self.agent,
            stage: self.origin.stage(),
        }
    }

    /// What a tool that asks for identity may be told.
    pub(crate) fn told(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let number = HeaderValue::from_str(self.number.as_str()).ok();
        let number = number.map(|value| (REQUEST, value));
        self.told.iter().cloned().chain(number)
    }

    /// Whose echoes are counted together: a run's own only where nobody else can say that it is theirs.
    pub(crate) fn whose_echoes(&self) -> Whose {
        match self.origin {
            Origin::Runtime => self.run.clone().ok(),
            Origin::Sandbox | Origin::User | Origin::Run | Origin::Fetch | Origin::Setup => None,
        }
    }

    /// The end user as far as rules may rely on it: in a sandbox that runs share the run is a hint, and so is whom it is for.
    pub(crate) fn believed_user(&self) -> Option<&str> {
        match self.origin {
            Origin::Runtime | Origin::User | Origin::Run => self.user.as_deref(),
            Origin::Sandbox | Origin::Fetch | Origin::Setup => None,
        }
    }
}

/// Why no run is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    #[error("no run is active in this sandbox")]
    NoneActive,
    #[error("this sandbox installs an agent, and no run is ever active in it")]
    Installs,
    #[error("several runs are active here, so `X-Run-ID` must say which one it is")]
    Several,
    #[error("the run that `X-Run-ID` names is not active in this sandbox")]
    NotActive,
}

/// Why a run cannot be active in a sandbox.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHere {
    #[error("a sandbox has at most {RUNS_PER_SANDBOX_MAX} runs at once")]
    TooMany,
    #[error("this sandbox has one run at a time")]
    Another,
    #[error("this sandbox installs an agent and has no runs")]
    Installs,
    #[error("this sandbox was another run's")]
    AnotherRuns,
    #[error("this sandbox is another user's")]
    AnotherUsers,
}

impl Room {
    /// Whose policies, tools and models count here.
    pub(crate) fn holder(&self) -> Holder<'_> {
        Holder {
            agent: &self.agent,
            stage: self.origin.stage(),
        }
    }

    pub(crate) fn new(sandbox: SandboxId, agent: AgentName, origin: Origin) -> Self {
        let shares = Arc::new(Semaphore::new(CALLS_PER_SANDBOX_MAX));
        Self {
            sandbox,
            agent,
            origin,
            runs: Mutex::default(),
            shares,
            held: Arc::new(Semaphore::new(HELD_KIB_PER_SANDBOX_MAX)),
            interceptions: Arc::new(Semaphore::new(INTERCEPTED_PER_SANDBOX_MAX)),
            written: Arc::default(),
            echoes: Arc::default(),
            reports: None,
            names: Synthetic::default(),
            questions: Pace::default(),
            dummies: Arc::default(),
        }
    }

    /// The same, with a way for what its agent reports.
    pub(crate) fn with_reports(self, reports: Option<Wire>) -> Self {
        Self { reports, ..self }
    }

    /// The same, with the tokens that its agent asked for.
    pub(crate) fn with_tokens(self, vault: Arc<Vault>) -> Self {
        let dummies = Arc::new(Dummies::beside(vault));
        Self { dummies, ..self }
    }

    /// The same, with names that outlive this gate.
    pub(crate) fn with_names(self, names: Synthetic) -> Self {
        Self { names, ..self }
    }

    /// A place for one more connection that is looked into; `None` when they are used up.
    pub(crate) fn interception(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.interceptions).try_acquire_owned().ok()
    }

    /// Whether the sandbox has any of its share of the audit log left.
    pub(crate) fn may_be_written(&self, now_ms: i64) -> bool {
        self.written.is_left(now_ms)
    }

    /// A place for one more call; `None` when they are used up.
    pub(crate) fn share(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shares).try_acquire_owned().ok()
    }

    /// A run is active here from now on.
    pub(crate) fn run_started(&self, run: RunId, user: Option<String>) -> Result<(), NotHere> {
        if self.origin.stage().is_some() {
            return Err(NotHere::Installs);
        }
        let mut runs = self.runs();
        if runs.active.len() >= RUNS_PER_SANDBOX_MAX && !runs.active.contains_key(&run) {
            return Err(NotHere::TooMany);
        }
        if matches!(self.origin, Origin::User | Origin::Run) {
            runs.have_alone(self.origin, &run, user.as_ref())?;
        }
        runs.active.insert(run, user);
        Ok(())
    }

    /// Whether a run is active here. posternd's own listener is told of none, and is believed.
    pub(crate) fn has(&self, run: &RunId) -> bool {
        self.origin == Origin::Runtime || self.runs().active.contains_key(run)
    }

    /// A run is over.
    pub(crate) fn run_ended(&self, run: &RunId) {
        let mut runs = self.runs();
        runs.active.remove(run);
        if runs.active.is_empty() {
            // Whatever was counted for them together is over with the last.
            self.echoes.forget();
        }
    }

    /// Who makes a request with these header fields; `around` is what a CONNECT around it said about its run.
    pub(crate) fn caller(
        self: &Arc<Self>,
        headers: &HeaderMap,
        around: Option<&str>,
        request: &RequestId,
    ) -> Caller {
        let hint = run_hint(headers).or_else(|| around.map(str::to_owned));
        let (run, user) = match (self.origin, hint.as_deref()) {
            (Origin::Runtime, Some(hint)) => (
                hint.parse().map_err(|_| Doubt::NotActive),
                text(headers, &USER),
            ),
            (Origin::Runtime, None) => {
                let (run, user) = self.active(None);
                (run, text(headers, &USER).or(user))
            }
            (Origin::Sandbox | Origin::User | Origin::Run, hint) => self.active(hint),
            (Origin::Fetch | Origin::Setup, _) => (Err(Doubt::Installs), None),
        };
        let (number, told) = match self.origin {
            // In a sandbox that runs share the run is a hint, so neither it nor its user is anything that a tool should rely on.
            Origin::Sandbox | Origin::Fetch | Origin::Setup => (request.clone(), Vec::new()),
            // Here it is none: the runtime said whose the sandbox is. Of what the request says itself nothing counts.
            Origin::User | Origin::Run => {
                let told = known(run.as_ref().ok(), user.as_deref());
                (request.clone(), told)
            }
            Origin::Runtime => {
                let number = text(headers, &REQUEST).and_then(|text| text.parse().ok());
                let told = told_by_runtime(headers, run.as_ref().ok(), user.as_deref());
                (number.unwrap_or_else(|| request.clone()), told)
            }
        };
        let is_ours = self.origin == Origin::Runtime;
        let ours = |name: &HeaderName| text(headers, name).filter(|_| is_ours);
        let pauses = ours(&ON_APPROVAL).is_some_and(|said| said == PAUSE) && run.is_ok();
        Caller {
            pauses,
            action: ours(&ACTION).and_then(|text| text.parse().ok()),
            sandbox: self.sandbox.clone(),
            agent: self.agent.clone(),
            run,
            user,
            origin: self.origin,
            hint,
            number,
            told,
            held: Arc::clone(&self.held),
            written: Arc::clone(&self.written),
            echoes: Arc::clone(&self.echoes),
            dummies: Arc::clone(&self.dummies),
        }
    }

    /// The active run that a hint names; without a hint the only one.
    fn active(&self, hint: Option<&str>) -> (Result<RunId, Doubt>, Option<String>) {
        let runs = self.runs();
        let mut all = runs.active.iter();
        let found = match hint {
            Some(hint) => all
                .find(|(run, _)| run.as_str() == hint)
                .ok_or(Doubt::NotActive),
            None => match (all.next(), all.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err(Doubt::NoneActive),
                (Some(_), Some(_)) => Err(Doubt::Several),
            },
        };
        match found {
            Ok((run, user)) => (Ok(run.clone()), user.clone()),
            Err(doubt) => (Err(doubt), None),
        }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        // A map that a panic interrupted is still a map.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    /// One run at a time, of one user or of nobody else at all.
    fn have_alone(
        &mut self,
        origin: Origin,
        run: &RunId,
        user: Option<&String>,
    ) -> Result<(), NotHere> {
        if self.active.keys().any(|active| active != run) {
            return Err(NotHere::Another);
        }
        let (first, of) = self
            .first
            .get_or_insert_with(|| (run.clone(), user.cloned()));
        if origin == Origin::Run && first != run {
            return Err(NotHere::AnotherRuns);
        }
        if of.as_ref() != user {
            return Err(NotHere::AnotherUsers);
        }
        Ok(())
    }
}

/// A run and its user, as a tool is told of them.
fn known(run: Option<&RunId>, user: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let run = run.and_then(|run| Some((RUN, value(run.as_str())?)));
    let user = user.and_then(|user| Some((USER, value(user)?)));
    run.into_iter().chain(user).collect()
}

/// What the runtime says of a call, which is known to be true. What a human said yes to is told by who has verified it.
fn told_by_runtime(
    headers: &HeaderMap,
    run: Option<&RunId>,
    user: Option<&str>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut told = known(run, user);
    let named = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-tool-"));
    told.extend(
        named
            .take(TOLD_MAX)
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    told
}

/// What a request says about its run: `X-Run-ID`, or the user of the proxy's URL (`http://RUN@127.127.0.1:4180`), since
/// clients that speak through a proxy cannot add a field to CONNECT.
fn run_hint(headers: &HeaderMap) -> Option<String> {
    if headers.contains_key(&RUN) {
        return Some(text(headers, &RUN).unwrap_or_default());
    }
    let basic = text(headers, &header::PROXY_AUTHORIZATION)?;
    let (scheme, encoded) = basic.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, _password) = decoded.split_once(':')?;
    (!user.is_empty()).then(|| user.to_owned())
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
