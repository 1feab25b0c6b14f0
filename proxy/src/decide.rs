//! From a call to the proof that it may go out. The only maker of a [`Permit`]; never changes what is decided on and never
//! knows a credential.

use postern_contract::{Code, Refusal};
use postern_policy::{Allowed, CanonicalUrl, Facts, Method, Route, Verdict};

use crate::{
    book::Book,
    call::Call,
    identify::Caller,
    record::Record,
    refuse::Refused,
    shown::{self, Shown},
};

/// Proof that one call may go out. It comes from an [`Allowed`], which only the rulebook makes, or, for a model call,
/// from the agent's own list of models; nothing else makes one.
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
        }
    }

    /// The one method that may be sent.
    #[must_use]
    pub fn method(&self) -> &Method {
        match &self.proof {
            Proof::Rule(allowed) => allowed.method(),
            Proof::Model(grant) => &grant.method,
        }
    }

    /// What the audit calls the reason.
    #[must_use]
    pub fn rule(&self) -> &str {
        match &self.proof {
            Proof::Rule(allowed) => allowed.rule(),
            Proof::Model(grant) => &grant.rule,
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

/// How a call goes on.
pub(crate) enum Way {
    /// Out.
    Out(Permit),
    /// Nowhere yet: it is a CONNECT, and each request inside will be judged by itself.
    In,
}

/// Judges one call; of a CONNECT, whether it may be opaque. It may where a rule allows it as a whole and neither tool nor
/// provider lives there. Where requests inside may be allowed, it is looked into; elsewhere it is refused.
pub(crate) async fn way(
    book: &Book,
    caller: &Caller,
    call: &mut Call,
    record: &mut Record,
) -> Result<Way, Refused> {
    let judged = judge(book, caller, call, record).await;
    if !call.method.is_connect() {
        return judged.map(Way::Out);
    }
    let authority = call.url.authority();
    match judged {
        Ok(permit) if !book.is_home(authority) => Ok(Way::Out(permit)),
        Err(refused) if !book.may_call(&caller.agent, authority) => Err(refused),
        Ok(_) | Err(_) => Ok(Way::In),
    }
}

/// Judges one call, once what it must show was looked at.
async fn judge(
    book: &Book,
    caller: &Caller,
    call: &mut Call,
    record: &mut Record,
) -> Result<Permit, Refused> {
    check_run(caller, call)?;
    let shown = shown::look(book, caller, call, record).await?;
    decide(book, caller, call, &shown)
}

/// A rule that denies or wants a human asked holds for model calls too, and an agent without a policy
/// asks nothing; that no rule mentions the provider does not matter, since the list of models is the permission there.
fn decide(book: &Book, caller: &Caller, call: &Call, shown: &Shown) -> Result<Permit, Refused> {
    let evidence = shown.evidence(caller, call);
    let verdict = book
        .rulebook
        .decide_with(&facts(book, caller, call), &evidence);
    let Some(model) = call.subject.model() else {
        return match verdict {
            Verdict::Allowed(allowed) => Ok(allowed.into()),
            Verdict::ApprovalRequired(pending) => Err(Refused::pending(&pending)),
            Verdict::Denied(denied) => Err(denied.refusal().into()),
        };
    };
    match verdict {
        Verdict::Denied(denied) if !denied.is_for_want_of_a_rule() => Err(denied.refusal().into()),
        Verdict::ApprovalRequired(pending) => Err(Refused::pending(&pending)),
        Verdict::Allowed(_) | Verdict::Denied(_) => {
            let (method, url) = (call.method.clone(), call.url.clone());
            Ok(Permit {
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
        method: &call.method,
        url: &call.url,
        tool: book.rulebook.route(&call.url).map(Route::tool),
    }
}

/// Calls to tools and models, tunnels, and everything that changes something belong to a run.
fn check_run(caller: &Caller, call: &Call) -> Result<(), Refused> {
    let harmless = matches!(call.method.as_str(), "GET" | "HEAD" | "OPTIONS");
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
