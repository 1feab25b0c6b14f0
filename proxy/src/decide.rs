//! From a call to the proof that it may go out. The only maker of a [`Permit`]; never changes what is decided on and never
//! knows a credential.

use std::sync::Arc;

use postern_contract::{
    Code, Refusal,
    config::{OnRotation, Stage},
};
use postern_policy::{
    Allowed, CanonicalUrl, Denied, Evidence, Facts, INSTALL_RULE, Method, Pending, Route, Verdict,
    WouldDeny,
};

use crate::{
    approve::Yes,
    book::{Book, Target},
    call::{Call, Freight},
    identify::Caller,
    inject::Credentials,
    live::Standing,
    record::Record,
    refuse::Refused,
    shown,
};

/// Proof that one call may go out. It comes from an [`Allowed`] or a [`WouldDeny`], which only the rulebook makes, or, for
/// a model call, from the agent's own list of models, or from a human's yes to what a rule asks about; nothing else makes
/// one. A credential goes along with none that comes from a [`WouldDeny`].
///
/// ```compile_fail
/// use postern_proxy::Permit;
/// let forged = Permit { proof: todo!() };
/// ```
#[derive(Debug)]
pub struct Permit {
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Rule(Allowed),
    Model(ModelGrant),
    /// No rule allows it and none speaks against it, and the agent's policies only watch.
    Watched(WouldDeny),
    /// A rule asks a human, who said yes.
    Approved(Pending),
}

/// A model call that the agent's list of models permits.
#[derive(Debug)]
struct ModelGrant {
    method: Method,
    url: CanonicalUrl,
    rule: String,
}

impl Permit {
    /// The one URL that may be sent.
    #[must_use]
    pub fn url(&self) -> &CanonicalUrl {
        match &self.proof {
            Proof::Rule(allowed) => allowed.url(),
            Proof::Model(grant) => &grant.url,
            Proof::Watched(watched) => watched.url(),
            Proof::Approved(pending) => pending.url(),
        }
    }

    /// The one method that may be sent.
    #[must_use]
    pub fn method(&self) -> &Method {
        match &self.proof {
            Proof::Rule(allowed) => allowed.method(),
            Proof::Model(grant) => &grant.method,
            Proof::Watched(watched) => watched.method(),
            Proof::Approved(pending) => pending.method(),
        }
    }

    /// What the audit calls the reason.
    #[must_use]
    pub fn rule(&self) -> &str {
        match &self.proof {
            Proof::Rule(allowed) => allowed.rule(),
            Proof::Model(grant) => &grant.rule,
            Proof::Watched(watched) => watched.denied().rule(),
            Proof::Approved(pending) => pending.rule(),
        }
    }

    /// What enforcement would have said to a call that audit mode lets pass.
    #[must_use]
    pub fn would_deny(&self) -> Option<&Denied> {
        match &self.proof {
            Proof::Watched(watched) => Some(watched.denied()),
            Proof::Rule(_) | Proof::Model(_) | Proof::Approved(_) => None,
        }
    }

    /// What a call to this target carries: never one where enforcement would have denied the call.
    pub(crate) fn credential<'t>(&self, target: &'t Target) -> Option<&'t Credentials> {
        match &self.proof {
            Proof::Rule(_) | Proof::Model(_) | Proof::Approved(_) => target.credential.as_ref(),
            Proof::Watched(_) => None,
        }
    }

    /// Whether it is for going out once and never again: a human said yes to one call.
    pub(crate) fn is_for_once(&self) -> bool {
        matches!(self.proof, Proof::Approved(_))
    }

    /// A call that a human said yes to.
    pub(crate) fn approved(pending: Pending, _yes: &Yes) -> Self {
        Self {
            proof: Proof::Approved(pending),
        }
    }
}

impl From<Allowed> for Permit {
    fn from(allowed: Allowed) -> Self {
        Self {
            proof: Proof::Rule(allowed),
        }
    }
}

impl From<WouldDeny> for Permit {
    fn from(watched: WouldDeny) -> Self {
        Self {
            proof: Proof::Watched(watched),
        }
    }
}

/// How a call goes on.
pub(crate) enum Way {
    /// Out.
    Out(Permit),
    /// Nowhere yet: it is a CONNECT, and each request inside will be judged by itself.
    In,
    /// Nowhere yet: a human is to be asked, and all of it is there to be shown.
    Ask(Pending),
}

/// What rules and lists say to one call.
enum Judgement {
    Yes(Permit),
    Ask(Pending),
    No(Refused),
}

/// Judges one call; of a CONNECT, whether it may be opaque. It may to a tool whose config says so, and nowhere else,
/// whatever rules allow. Where requests inside may be allowed, it is looked into; elsewhere it is refused. What was judged
/// is in the record, to be judged again.
pub(crate) async fn way(
    book: &Book,
    caller: &Arc<Caller>,
    call: &mut Call,
    record: &mut Record,
) -> Result<Way, Refused> {
    let belongs = check_run(caller, call);
    if !call.method.is_connect() {
        belongs.as_ref().map_err(Refused::clone)?;
    }
    let mut shown = shown::look(book, caller, call, record).await?;
    let judged = match belongs {
        Ok(()) => decide(book, (caller, call), &shown.evidence(caller, call)),
        Err(refused) => Judgement::No(refused),
    };
    let way = sort_out(book, caller, call, judged)?;
    if let Way::Ask(_) = &way {
        shown = shown::all(shown, book, caller, call, record).await?;
    }
    let standing = Standing::of(book, caller, call, shown);
    record.standing = Some(match &way {
        Way::Out(_) => standing,
        Way::In => standing.inside(),
        Way::Ask(pending) => standing.asking(pending),
    });
    Ok(way)
}

/// How a call that was judged goes on.
fn sort_out(book: &Book, caller: &Caller, call: &Call, judged: Judgement) -> Result<Way, Refused> {
    let judged = match judged {
        // Nobody can be shown what a WebSocket or a tunnel will carry.
        Judgement::Ask(pending) if can_be_shown(call) => return Ok(Way::Ask(pending)),
        Judgement::Ask(pending) => Err(pending.refusal().into()),
        Judgement::Yes(permit) => Ok(permit),
        Judgement::No(refused) => Err(refused),
    };
    if !call.method.is_connect() {
        return judged.map(Way::Out);
    }
    let authority = call.url.authority();
    match judged {
        // Only its config's own word makes a tool's tunnel opaque; the rulebook lets no other tool have one.
        Ok(permit) if permit.would_deny().is_none() && call.subject.tool().is_some() => {
            Ok(Way::Out(permit))
        }
        Err(refused) if !book.may_call(caller.holder(), authority) => Err(refused),
        // What no rule allows as a whole is never opaque, in audit mode neither.
        Ok(_) | Err(_) => Ok(Way::In),
    }
}

/// Whether all of it can be shown to a human before any of it is sent.
fn can_be_shown(call: &Call) -> bool {
    !call.method.is_connect() && matches!(call.freight, Freight::Request(_))
}

/// Judges what is under way by a newer book: the same call, for the same tool or model, with the same credential.
pub(crate) fn again(book: &Book, standing: &Standing) -> Result<(), Refused> {
    let Standing {
        caller,
        call,
        shown,
        ..
    } = standing;
    let mut evidence = shown.evidence(caller, call);
    if !standing.has_fields {
        evidence = evidence.without_headers();
    }
    let judged = decide(book, (caller, call), &evidence);
    match sort_out(book, caller, call, judged)? {
        // A human was asked because of this rule, and has said yes or is about to.
        Way::Ask(pending) if standing.asks.as_deref() == Some(pending.rule()) => {}
        Way::Ask(pending) => return Err(pending.refusal().into()),
        // Each request inside is judged by itself.
        Way::In | Way::Out(_) if standing.is_inside => return Ok(()),
        Way::In => return Err(changed("is looked into now")),
        Way::Out(permit) if permit.would_deny().is_some() && call.target.credential.is_some() => {
            return Err(changed(
                "is allowed by no rule now, and may have a credential",
            ));
        }
        Way::Out(_) => {}
    }
    let target = book
        .target_of(caller.holder(), call)
        .ok_or_else(|| changed("leads elsewhere now"))?;
    if call.target.private && !target.private {
        return Err(changed("may not lead to a private address any more"));
    }
    let is_same = match (&call.target.credential, &target.credential) {
        (Some(before), Some(now)) => before.are(now),
        (before, now) => before.is_none() && now.is_none(),
    };
    if !is_same {
        return Err(changed("has another credential now"));
    }
    if call.target.manner.roots != target.manner.roots {
        return Err(changed("is for a server whom others vouch for now"));
    }
    if call.target.tokens != target.tokens {
        return Err(changed("has other tokens of the agent's own now"));
    }
    match (
        &target.credential,
        book.credential_generation(target.credential.as_ref()),
    ) {
        (None, _) => Ok(()),
        (Some(_), Some(since)) if since <= standing.generation => Ok(()),
        // The value is another now, and the old one was sent before that.
        (Some(_), Some(_)) if standing.flows && target.on_rotation == OnRotation::Finish => Ok(()),
        (Some(_), _) => Err(changed("has a credential that is no longer good")),
    }
}

fn changed(how: &str) -> Refused {
    let message =
        format!("The policy changed while the call was under way: it {how}. Send it again.");
    Refusal::new(Code::PolicyDenied, "cut by a new policy", message).into()
}

/// Judges the call by its facts and what it shows. For a call to a model the agent's list of models is the permission: it
/// needs no rule, but a rule that denies or asks holds for it too, and an agent without a policy may call none.
fn decide(book: &Book, (caller, call): (&Caller, &Call), evidence: &Evidence<'_>) -> Judgement {
    let facts = facts(book, caller, call);
    let verdict = book.rulebook.decide_with(&facts, evidence);
    let Some(model) = call.subject.model() else {
        return match verdict {
            Verdict::Allowed(allowed) => Judgement::Yes(allowed.into()),
            Verdict::ApprovalRequired(pending) => Judgement::Ask(pending),
            Verdict::Denied(denied) => match book.rulebook.watched(&facts, evidence) {
                Some(watched) => Judgement::Yes(watched.into()),
                None => Judgement::No(denied.refusal().into()),
            },
        };
    };
    match verdict {
        Verdict::Denied(denied) if !denied.is_for_want_of_a_rule() => {
            Judgement::No(denied.refusal().into())
        }
        Verdict::ApprovalRequired(pending) => Judgement::Ask(pending),
        Verdict::Allowed(_) | Verdict::Denied(_) => {
            let (method, url) = (call.method.clone(), call.url.clone());
            Judgement::Yes(Permit {
                proof: Proof::Model(ModelGrant {
                    method,
                    url,
                    rule: format!("models: {model}"),
                }),
            })
        }
    }
}

/// What a decision is taken on, besides what the call shows.
pub(crate) fn facts<'a>(book: &'a Book, caller: &'a Caller, call: &'a Call) -> Facts<'a> {
    Facts {
        agent: &caller.agent,
        stage: caller.origin.stage(),
        method: &call.method,
        url: &call.url,
        tool: book.rulebook.route(&call.url).map(Route::tool),
    }
}

/// Nobody looks into what a WebSocket carries, and a setup has nothing that nobody looks into.
fn no_socket(caller: &Caller) -> Refusal {
    let message = format!(
        "What {} asks for is GET or HEAD, looked into by the gate; a WebSocket is neither.",
        caller.holder(),
    );
    Refusal::new(Code::PolicyDenied, "operation denied", message).by_rule(INSTALL_RULE)
}

/// Calls to tools and models, tunnels, WebSockets, and everything that changes something belong to a run; an install has
/// none.
fn check_run(caller: &Caller, call: &Call) -> Result<(), Refused> {
    match caller.origin.stage() {
        Some(Stage::Setup) if matches!(call.freight, Freight::Socket(_)) => {
            return Err(no_socket(caller).into());
        }
        Some(Stage::Fetch | Stage::Setup) => return Ok(()),
        None => {}
    }
    let harmless = matches!(call.method.as_str(), "GET" | "HEAD" | "OPTIONS")
        && !matches!(call.freight, Freight::Socket(_));
    if harmless && call.subject.is_plain_host() {
        return Ok(());
    }
    match &caller.run {
        Ok(_run) => Ok(()),
        Err(doubt) => Err(Refusal::new(
            Code::NoActiveRun,
            "no active run",
            format!("This call belongs to no run: {doubt}."),
        )
        .into()),
    }
}
