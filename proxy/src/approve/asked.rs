//! What a human is asked about: everything that would be sent, and one digest over it and whose it is. Never asks about
//! what cannot be shown whole.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use postern_contract::{
    ActionId, Code, Refusal,
    approval::{APPROVABLE_BYTES_MAX, Approval, Origin, Scope, Status, Whole},
    link::Origin as From,
};
use postern_policy::{CanonicalUrl, Pending};
use postern_store::gate::Bounds;
use sha2::{Digest as _, Sha256};

use crate::{call::Call, identify::Caller, record::Record, refuse::Refused, shown::Shown};

/// The longest URL with all header fields that can be shown, in bytes.
const HEAD_BYTES_MAX: usize = 24 * 1024;

/// How much of a path stands in the list, in characters.
const PATH_LISTED_MAX: usize = 256;

/// What the digest begins with; another one where something else is digested.
const DIGEST_VERSION: &str = "postern approval 1";

/// Fields that differ from one try of the same call to the next.
const VOLATILE: [&str; 5] = [
    "baggage",
    "traceparent",
    "tracestate",
    "x-action-id",
    "x-request-id",
];

/// A call to be asked about.
pub(crate) struct Asked {
    pub(crate) approval: Approval,
    pub(crate) whole: Whole,
    /// What a wider yes to it would be bound to.
    pub(crate) bounds: Bounds,
    /// Whose calls are counted together: those of a run, or else of a sandbox.
    pub(crate) of: String,
}

impl Asked {
    /// What a call would send.
    pub(crate) fn of(
        pending: &Pending,
        call: &Call,
        record: &Record,
        (until_ms, terms): (i64, &str),
    ) -> Result<Self, Refused> {
        let standing = record.entered().ok_or_else(|| too_long(pending))?;
        let body = match &standing.shown {
            Shown::Absent => Bytes::new(),
            Shown::Whole(bytes) if bytes.len() <= APPROVABLE_BYTES_MAX => bytes.clone(),
            Shown::Whole(_) | Shown::TooLong | Shown::Hidden => return Err(too_long(pending)),
        };
        let whole = Whole {
            url: call.url.to_string(),
            headers: fields(call).ok_or_else(|| no_text(pending))?,
            body_base64: STANDARD.encode(&body),
        };
        let fields = whole.headers.iter();
        let head = fields
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
        if whole.url.len() + head > HEAD_BYTES_MAX {
            return Err(too_long(pending));
        }
        let caller = &standing.caller;
        let authority = call.url.authority();
        let bounds = Bounds {
            pattern: pattern(caller, call),
            terms: terms.to_owned(),
        };
        let mut approval = Approval {
            action: ActionId::fresh(),
            agent: caller.agent.clone(),
            run: caller.run.clone().ok(),
            user: caller.believed_user().map(str::to_owned),
            tool: call.subject.tool().cloned(),
            origin: Origin::Gate,
            words: None,
            wider: bounds.pattern.is_some(),
            scope: Scope::Once,
            granted_until_ms: None,
            rule: pending.rule().to_owned(),
            method: call.method.to_string(),
            authority: format!("{}://{authority}", authority.scheme()),
            path: listed(&call.url),
            digest: String::new(),
            status: Status::Pending,
            approver: None,
            reason: None,
            created_ms: until_ms,
            answered_ms: None,
            expires_ms: until_ms,
        };
        approval.digest = digest(&approval, call, &body);
        let run = approval.run.as_ref().map(ToString::to_string);
        let of = run.unwrap_or_else(|| caller.sandbox.to_string());
        Ok(Self {
            approval,
            whole,
            bounds,
            of,
        })
    }
}

/// The path that a yes to more than this call is bound to: of a tool, shown whole, where the run is known to be what it is.
fn pattern(caller: &Caller, call: &Call) -> Option<String> {
    let path = call.url.path().as_str();
    let is_known = caller.origin != From::Sandbox && caller.run.is_ok();
    let is_shown = path.chars().count() <= PATH_LISTED_MAX;
    let is_tools = call.subject.tool().is_some();
    (is_known && is_shown && is_tools).then(|| path.to_owned())
}

/// Header fields as they are sent; none where one of them is no text.
fn fields(call: &Call) -> Option<Vec<(String, String)>> {
    let fields = call.headers.iter().map(|(name, value)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    fields.collect()
}

/// A path for the list, with a mark where something is left out.
fn listed(url: &CanonicalUrl) -> String {
    let whole = url.path().as_str();
    let mut path: String = whole.chars().take(PATH_LISTED_MAX).collect();
    if path.len() < whole.len() {
        path.push('…');
    }
    if url.query().is_some() {
        path.push_str("?…");
    }
    path
}

/// SHA-256 over whose call it is, what asks, and everything that is sent but for fields that differ with each try; each part
/// behind its length, so that no two calls read the same.
fn digest(approval: &Approval, call: &Call, body: &Bytes) -> String {
    let url = call.url.to_string();
    let credential = call.target.credential.as_ref();
    let whose = [
        DIGEST_VERSION,
        credential.map_or("", |all| all.label().as_str()),
        approval.agent.as_str(),
        approval.run.as_ref().map_or("", |run| run.as_str()),
        approval.user.as_deref().unwrap_or(""),
        approval.tool.as_ref().map_or("", |tool| tool.as_str()),
        &approval.rule,
        &approval.method,
        &url,
    ];
    let mut sorted: Vec<_> = call.headers.iter().collect();
    sorted.retain(|(name, _)| !VOLATILE.contains(&name.as_str()));
    // Stable, so that the order of several values of one name counts.
    sorted.sort_by_key(|(name, _)| name.as_str());
    let mut parts: Vec<&[u8]> = whose.into_iter().map(str::as_bytes).collect();
    for (name, value) in sorted {
        parts.extend([name.as_str().as_bytes(), value.as_bytes()]);
    }
    parts.push(body);
    hashed(parts)
}

/// SHA-256 over parts, each behind its length.
pub(super) fn hashed<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

fn no_text(pending: &Pending) -> Refused {
    let message = format!(
        "Rule `{}` asks a human before this call, who must be shown all of it: a header field of it is no text.",
        pending.rule()
    );
    let code = Code::ApprovalRequired;
    let refusal = Refusal::new(code, code.word(), message);
    refusal.by_rule(pending.rule()).into()
}

fn too_long(pending: &Pending) -> Refused {
    let message = format!(
        "Rule `{}` asks a human before this call, who must be shown all of it: a body of at most {} KiB, and of {} KiB for \
         the URL and the header fields. Send less at once.",
        pending.rule(),
        APPROVABLE_BYTES_MAX >> 10,
        HEAD_BYTES_MAX >> 10,
    );
    let code = Code::ApprovalRequired;
    let refusal = Refusal::new(code, code.word(), message);
    refusal.by_rule(pending.rule()).into()
}
