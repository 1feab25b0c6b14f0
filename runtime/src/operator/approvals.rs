//! `/api/v1/approvals/requests…`: calls that wait for a human, and their answers. The gate keeps them and verifies whoever
//! answers: the operator's key shows them, and an approver's key alone answers. Never decides anything itself.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use postern_contract::{
    ActionId, AgentName, Period,
    approval::{Answer, Approval, Scope, Status, Unanswered, Verdict, Wanted, Whole},
    secret::Shown,
};
use postern_daemon::clock::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{NAMESPACE, Office, key};
use crate::{
    api::Refused,
    link::{LinkError, Told},
    runs::pauses,
};

/// The longest key that anybody shows, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// What may come along with an answer; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
struct Said {
    scope: Option<String>,
    duration: Option<String>,
    reason: Option<String>,
    payload_hash: Option<String>,
}

/// Which requests are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    agent_id: Option<AgentName>,
    status: Option<Status>,
    user_id: Option<String>,
    after: Option<ActionId>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(office): State<Office>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refused> {
    let key = office.asker(&headers)?;
    let Query(query) = query.map_err(|rejection| Refused::Query(rejection.body_text()))?;
    let wanted = Wanted {
        agent: query.agent_id,
        user: query.user_id,
        status: query.status,
        after: query.after,
        limit: query.limit,
    };
    let all = told(office.link.approvals(wanted, key).await)?;
    Ok(Json(all.iter().map(shown).collect()))
}

pub(super) async fn one(
    State(office): State<Office>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let key = office.asker(&headers)?;
    let (approval, whole) = told(office.link.approval(action(&id)?, key).await)?;
    Ok(Json(shown_whole(&approval, whole.as_deref())))
}

pub(super) async fn approve(
    state: State<Office>,
    path: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    answer(state, path, (&headers, &body), Verdict::Approve).await
}

pub(super) async fn reject(
    state: State<Office>,
    path: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    answer(state, path, (&headers, &body), Verdict::Reject).await
}

async fn answer(
    State(office): State<Office>,
    Path(id): Path<String>,
    (headers, body): (&HeaderMap, &[u8]),
    verdict: Verdict,
) -> Result<Json<Value>, Refused> {
    let key = approver(headers)?;
    let said = read(body)?;
    let (scope, holds_ms) = said.scope()?;
    let answer = Answer {
        verdict,
        scope,
        holds_ms,
        reason: said.reason,
        digest: said.payload_hash,
    };
    let (approval, _) = told(office.link.answer(action(&id)?, answer, key).await)?;
    pauses::answered(&office.app, &approval);
    Ok(Json(shown(&approval)))
}

/// Takes a yes to more than one call back.
pub(super) async fn revoke(
    State(office): State<Office>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let key = approver(&headers)?;
    let (approval, _) = told(office.link.revoke(action(&id)?, key).await)?;
    Ok(Json(shown(&approval)))
}

impl Said {
    /// What a yes is for, and for how many milliseconds. A duration alone is for the agent and its user, as the dialect has it.
    fn scope(&self) -> Result<(Scope, Option<u64>), Refused> {
        let scope = match self.scope.as_deref().filter(|scope| !scope.is_empty()) {
            None if self.duration().is_none() => Scope::Once,
            Some("once") => Scope::Once,
            Some("run") => Scope::Run,
            None | Some("agent_user_ttl" | "window" | "ttl") => Scope::AgentUserTtl,
            Some(_) => {
                let why = "`scope` is `once`, `run` or `agent_user_ttl`";
                return Err(Refused::Query(why.to_owned()));
            }
        };
        let Some(duration) = self.duration() else {
            return Ok((scope, None));
        };
        if scope != Scope::AgentUserTtl {
            let why = "`duration` belongs to the scope `agent_user_ttl`";
            return Err(Refused::Query(why.to_owned()));
        }
        let period: Period = duration
            .parse()
            .map_err(|error| Refused::Query(format!("`duration`: {error}")))?;
        Ok((scope, u64::try_from(period.0.as_millis()).ok()))
    }

    fn duration(&self) -> Option<&str> {
        self.duration.as_deref().filter(|text| !text.is_empty())
    }
}

/// A body, which may be absent or `null`.
fn read(body: &[u8]) -> Result<Said, Refused> {
    if body.trim_ascii().is_empty() {
        return Ok(Said::default());
    }
    let said: Option<Said> = serde_json::from_slice(body)
        .map_err(|error| Refused::Query(format!("the body is no answer: {error}")))?;
    Ok(said.unwrap_or_default())
}

fn action(id: &str) -> Result<ActionId, Refused> {
    id.parse().map_err(|_| Refused::NoSuchRequest)
}

fn approver(headers: &HeaderMap) -> Result<Shown, Refused> {
    let shown = key::shown(headers).ok_or(Refused::Unauthorized)?;
    // What no key is so long as does not go over the link either.
    let shown = Some(shown).filter(|shown| shown.len() <= KEY_BYTES_MAX);
    let text = shown.and_then(|shown| std::str::from_utf8(shown).ok());
    let text = text.ok_or(Refused::Unauthorized)?;
    Ok(Shown::new(text.to_owned()))
}

impl Office {
    /// The key that the gate is to verify; none of the operator's own, which was verified here.
    pub(super) fn asker(&self, headers: &HeaderMap) -> Result<Option<Shown>, Refused> {
        if key::shown(headers).is_some_and(|shown| self.key.is(shown)) {
            return Ok(None);
        }
        approver(headers).map(Some)
    }
}

pub(super) fn told<T>(answered: Result<Told<T>, LinkError>) -> Result<T, Refused> {
    match answered {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(why)) => Err(match why {
            Unanswered::NoApprover => Refused::Unauthorized,
            Unanswered::Unknown => Refused::NoSuchRequest,
            Unanswered::TooWide => Refused::Query(why.to_string()),
            Unanswered::NotPending | Unanswered::OtherPayload | Unanswered::NotGranted => {
                Refused::NotMutable(why)
            }
            Unanswered::NotKept => Refused::Store,
        }),
        Err(error) => {
            tracing::error!(%error, "the gate could not be asked about approvals or consents");
            Err(Refused::Store)
        }
    }
}

/// A request as the dialect shows it, and what of it is kept besides.
fn shown(approval: &Approval) -> Value {
    let updated = approval.answered_ms.unwrap_or(approval.created_ms);
    json!({
        "id": approval.action,
        "namespace": NAMESPACE,
        "subject": approval.user.as_deref().unwrap_or_default(),
        "agent_id": approval.agent,
        "tool_id": approval.tool.as_ref().map_or("", |tool| tool.as_str()),
        "capability": "",
        "status": approval.status,
        "duration": "",
        "scope": approval.scope,
        "wider": approval.wider,
        "granted_until": approval.granted_until_ms.map(rfc3339),
        "approver_id": approval.approver.as_ref().map_or("", |by| by.as_str()),
        "reason": approval.reason.as_deref().unwrap_or_default(),
        "action_id": approval.action,
        "run_id": approval.run.as_ref().map_or("", |run| run.as_str()),
        "payload_hash": approval.digest,
        "origin": approval.origin,
        "message": approval.words.as_deref().unwrap_or_default(),
        "rule": approval.rule,
        "tool_method": approval.method,
        "tool_url": format!("{}{}", approval.authority, approval.path),
        "created_at": rfc3339(approval.created_ms),
        "updated_at": rfc3339(updated),
        "expires_at": rfc3339(approval.expires_ms),
    })
}

/// The same with all that would be sent, while the call waits.
fn shown_whole(approval: &Approval, whole: Option<&Whole>) -> Value {
    let mut body = shown(approval);
    if let (Some(whole), Status::Pending) = (whole, approval.status) {
        body["tool_url"] = json!(whole.url);
        body["headers"] = json!(whole.headers);
        body["body_base64"] = json!(whole.body_base64);
    }
    body
}
