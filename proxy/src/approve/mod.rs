//! A human's yes in the middle of a call. The call waits with all that it would send; an approver sees exactly that and
//! answers through posternd, with a key that is verified here and nowhere else. Never lets a call go on by itself: not
//! answered, not kept, not shown whole, cut or left all mean no.
//!
//! ```text
//! Pending ─▶ Asked (all of it, and its digest) ─┬▶ in the database ─▶ waits ─┬─ yes ─▶ Permit
//!                                               │     approver ─▶ answer ────┴─ no, or nobody in time ─▶ 403
//!   the run is paused (builtin agents):         └▶ in the database, with all of it ─▶ 403 with its action id
//!                                                     approver ─▶ answer … the same call again, with that id ─▶ Permit, once
//! ```

mod approvers;
mod asked;
mod granted;
mod question;
mod waiting;

use std::{pin::pin, sync::Arc};

use http::HeaderValue;
use postern_contract::{ActionId, Code, Refusal, approval::Approval};
use postern_policy::Pending;
use tokio::time::timeout;

pub(crate) use self::{
    approvers::Approvers,
    waiting::{Approvals, Yes},
};
use self::{asked::Asked, waiting::Word};
use crate::{
    book::Book,
    call::Call,
    decide::Permit,
    gate::Gate,
    identify::{ACTION, Room},
    record::Record,
    refuse::Refused,
};

/// Has a human asked about a call, and waits for the answer. The call stays as it is; what travels with it can be lent to
/// one held alone.
pub(crate) async fn ask(
    gate: &Gate,
    (pending, room): (Pending, &Room),
    (book, call): (&mut Arc<Book>, &mut Call),
    record: &mut Record,
) -> Result<Permit, Refused> {
    let caller = record
        .entered()
        .map(|standing| Arc::clone(&standing.caller));
    let pauses = caller.as_ref().is_some_and(|caller| caller.pauses);
    let Some(wait) = book.approvers.wait(pauses) else {
        return Err(pending.refusal().into());
    };
    let until_ms = gate.clock.unix_ms() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
    let asked = Asked::of(&pending, call, record, (until_ms, &book.terms))?;
    let action = caller.and_then(|caller| caller.action.clone());
    if let Some((action, yes)) = said_before(gate, action, &asked).await? {
        by_the_book_of_now(gate, (book, call), record)?;
        // Whoever may not answer any more has not answered, and what was said of calls under other rules is not said of this one.
        let holds = !yes.is_wide() || book.terms == asked.bounds.terms;
        if book.approvers.has(yes.by()) && holds {
            if call.target.forward_identity {
                let id = HeaderValue::from_str(action.as_str()).ok();
                call.headers.extend(id.map(|id| (ACTION, id)));
            }
            record.line.approval = Some(action);
            record.line.approver = Some(yes.by().clone());
            return Ok(Permit::approved(pending, &yes));
        }
    }
    record.line.approval = Some(asked.approval.action.clone());
    if pauses {
        let approval = gate.approvals.pause(asked).await?;
        return Err(paused(&pending, approval));
    }
    let mut held = gate.approvals.wait(asked)?;
    gate.approvals.keep(&held).await?;
    tracing::info!(
        action = %held.approval().action, agent = %held.approval().agent, rule = pending.rule(),
        call = %format_args!("{} {}{}", pending.method(), held.approval().authority, held.approval().path),
        "a call waits for a human"
    );
    let waited = record.unless_cut(pin!(timeout(wait, held.word()))).await?;
    let word = match waited {
        Ok(word) => word,
        // Whoever answered at the last moment was told that it counts.
        Err(_late) if gate.approvals.expire(&held.approval().action).await => held.word().await,
        Err(_late) => None,
    };
    match word {
        Some(Word::Yes(yes)) => {
            record.line.approver = Some(yes.by().clone());
            still_runs(room, record)?;
            by_the_book_of_now(gate, (book, call), record)?;
            Ok(Permit::approved(pending, &yes))
        }
        Some(Word::No { by, reason }) => {
            record.line.approver = Some(by);
            Err(rejected(&pending, reason.as_deref()))
        }
        None => Err(late(&pending)),
    }
}

/// A yes that was said before: to this very call, which is used up by that, or to more than one call.
async fn said_before(
    gate: &Gate,
    action: Option<ActionId>,
    asked: &Asked,
) -> Result<Option<(ActionId, Yes)>, Refused> {
    if let Some(action) = action
        && let Some(yes) = gate.approvals.redeem(&action, asked).await?
    {
        return Ok(Some((action, yes)));
    }
    gate.approvals.granted(asked).await
}

/// Whatever changed while somebody thought about it counts: the call goes on by the policy that is in force now, to where
/// that leads.
pub(crate) fn by_the_book_of_now(
    gate: &Gate,
    (book, call): (&mut Arc<Book>, &mut Call),
    record: &mut Record,
) -> Result<(), Refused> {
    if let Some(cut) = record.cut_now() {
        return Err(cut.into());
    }
    *book = gate.book();
    let standing = record.entered();
    let holder = standing.map(|standing| standing.caller.holder());
    let target = holder.and_then(|holder| book.target_of(holder, call));
    call.target = target.ok_or_else(|| {
        let message =
            "The config changed while the call waited, and it leads elsewhere now. Send it again.";
        Refusal::new(Code::PolicyDenied, "the policy changed", message)
    })?;
    Ok(())
}

/// The run must still be there: an answer that comes after its end is for nobody.
fn still_runs(room: &Room, record: &Record) -> Result<(), Refused> {
    match &record.line.run {
        Some(run) if !room.has(run) => {
            let message = "The run ended while its call waited for a human.";
            Err(Refusal::new(Code::NoActiveRun, "no active run", message).into())
        }
        _ => Ok(()),
    }
}

fn rejected(pending: &Pending, reason: Option<&str>) -> Refused {
    let why = reason.map_or_else(String::new, |reason| format!(" They say: {reason}"));
    let message = format!(
        "Rule `{}` asks a human before this call, and they said no.{why} Do not ask for the same again.",
        pending.rule()
    );
    let code = Code::ApprovalRejected;
    let refusal = Refusal::new(code, code.word(), message);
    refusal.by_rule(pending.rule()).into()
}

/// The call is not made now: it comes again, as it is, once somebody has said yes.
fn paused(pending: &Pending, approval: Approval) -> Refused {
    let message = format!(
        "Rule `{}` asks a human before this call. The run waits for the answer.",
        pending.rule()
    );
    let code = Code::ApprovalRequired;
    let refusal = Refusal::new(code, code.word(), message).by_rule(pending.rule());
    refusal.waits_for(approval.action, approval.run).into()
}

fn late(pending: &Pending) -> Refused {
    let message = format!(
        "Rule `{}` asks a human before this call, and nobody answered in time. It was not made.",
        pending.rule()
    );
    let code = Code::ApprovalTimeout;
    let refusal = Refusal::new(code, code.word(), message);
    refusal.by_rule(pending.rule()).into()
}
