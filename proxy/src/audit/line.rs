//! What one line of the audit says about one call. Never a header's value, a query string or a body. `docs/audit.md` names
//! every key for readers; the order here is the order there.

use postern_contract::{
    ActionId, AgentName, ApproverName, Code, ModelName, RequestId, RunId, SandboxId, ToolName,
};
use postern_llm::Tokens;
use serde::Serialize;

use crate::inject::Label;

/// The longest text from an agent that a line repeats, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 2048;

/// What a line takes besides texts of the agent's or of the config's, in bytes.
const LINE_BYTES: u64 = 700;

/// One call.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(tag = "kind", rename = "call")]
pub(crate) struct Line {
    /// When it came, RFC 3339.
    pub(crate) time: String,
    /// The gate's own number for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<RequestId>,
    /// The trace that it belongs to, 32 hexadecimal digits, where the agent named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    /// Whose listener it came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<SandboxId>,
    /// Whose sandbox that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentName>,
    /// The stage of that agent's install; none for calls of the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<&'static str>,
    /// The run, if one was believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunId>,
    /// The end user, if the runtime named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// How it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) door: Option<Door>,
    /// The tool it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<ToolName>,
    /// The model it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<ModelName>,
    /// What came of it.
    pub(crate) decision: Decision,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// The refusal's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Code>,
    /// Whether enforcement would have refused what audit mode let pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) would_deny: Option<bool>,
    /// The request that a human was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<ActionId>,
    /// The consent that an end user was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consent: Option<ActionId>,
    /// Who answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approver: Option<ApproverName>,
    /// What is behind a tunnel that nobody looks into, as far as anybody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tunnel: Option<&'static str>,
    /// Scheme, host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
    /// The server name in the TLS handshake of an intercepted connection, as the client wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sni: Option<String>,
    /// The address that was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<std::net::SocketAddr>,
    /// Whether the request went out a second time, because the first connection was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent_again: Option<bool>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// The canonical path, without a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The status that the agent saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Body bytes from the agent.
    pub(crate) bytes_up: u64,
    /// Body bytes to the agent.
    pub(crate) bytes_down: u64,
    /// Tokens of a model call, as the provider counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Tokens>,
    /// Credentials of the agent's own that stayed behind.
    pub(crate) dropped_credentials: u32,
    /// Dummies that stood where the credential was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dummies_exchanged: Option<u32>,
    /// Which dummy was on its way to where its credential does not belong, and where in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dummy_misplaced: Option<String>,
    /// Tokens of the answer that stayed with the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_sealed: Option<u32>,
    /// The name of the credential that was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Label>,
    /// The policy generation that its value was first read for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential_generation: Option<u64>,
    /// How often it was found in the answer, and masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) masked: Option<u32>,
    /// Which policy was in force.
    pub(crate) policy_generation: u64,
    /// How long things took.
    pub(crate) timings: Timings,
    /// Why the answer ended before its end, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cut: Option<String>,
}

/// An intent: a call that may change something is about to leave. The call's own line follows under the same request; if
/// none does, the gate died in between and nobody knows what came of it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "begun")]
pub(crate) struct Begun<'a> {
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a SandboxId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a ToolName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a ModelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a ActionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<&'a ApproverName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    policy_generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<bool>,
}

/// Refusals that were counted instead of written, and what they had in common.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "repeated")]
pub(crate) struct Repeated<'a> {
    time: &'a str,
    until: &'a str,
    times: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a SandboxId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a ToolName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a ModelName>,
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    policy_generation: u64,
}

impl Line {
    /// What stands for refusals like this one: `whole` where they were the same in all, else only the code was.
    pub(super) fn repeated<'a>(
        &'a self,
        (times, until): (u64, &'a str),
        whole: bool,
    ) -> Repeated<'a> {
        let alike = if whole { Some(self) } else { None };
        Repeated {
            time: &self.time,
            until,
            times,
            request: alike.and_then(|line| line.request.as_ref()),
            sandbox: self.sandbox.as_ref(),
            agent: self.agent.as_ref(),
            stage: self.stage,
            run: alike.and_then(|line| line.run.as_ref()),
            user: alike.and_then(|line| line.user.as_deref()),
            tool: alike.and_then(|line| line.tool.as_ref()),
            model: alike.and_then(|line| line.model.as_ref()),
            decision: self.decision,
            rule: alike.and_then(|line| line.rule.as_deref()),
            reason: self.reason,
            authority: alike.and_then(|line| line.authority.as_deref()),
            method: alike.and_then(|line| line.method.as_deref()),
            path: alike.and_then(|line| line.path.as_deref()),
            policy_generation: self.policy_generation,
        }
    }

    /// What the line takes in the log, in bytes: nearly, and rather too much.
    pub(crate) fn bytes(&self) -> u64 {
        let texts = [
            &self.method,
            &self.path,
            &self.authority,
            &self.sni,
            &self.rule,
            &self.user,
            &self.cut,
            &self.dummy_misplaced,
        ];
        let texts = texts
            .iter()
            .filter_map(|text| text.as_ref().map(String::len));
        LINE_BYTES + texts.sum::<usize>() as u64
    }

    /// Whether the call may change something at its destination, as far as its method tells.
    pub(crate) fn is_effectful(&self) -> bool {
        !matches!(
            self.method.as_deref(),
            Some("GET" | "HEAD" | "OPTIONS") | None
        )
    }

    /// The intent of this call.
    pub(crate) fn begun(&self) -> Begun<'_> {
        Begun {
            time: &self.time,
            request: self.request.as_ref(),
            trace: self.trace.as_deref(),
            sandbox: self.sandbox.as_ref(),
            agent: self.agent.as_ref(),
            stage: self.stage,
            run: self.run.as_ref(),
            user: self.user.as_deref(),
            tool: self.tool.as_ref(),
            model: self.model.as_ref(),
            rule: self.rule.as_deref(),
            approval: self.approval.as_ref(),
            approver: self.approver.as_ref(),
            authority: self.authority.as_deref(),
            method: self.method.as_deref(),
            path: self.path.as_deref(),
            policy_generation: self.policy_generation,
            again: self.sent_again,
        }
    }
}

/// Spans in microseconds; absent where the step did not happen.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Timings {
    /// Finding addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns_us: Option<u64>,
    /// Connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect_us: Option<u64>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_us: Option<u64>,
    /// From the request's start to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte_us: Option<u64>,
    /// From the request's start to the end of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_us: Option<u64>,
}

/// How a call was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Door {
    /// `/tools/NAME/…`.
    Tool,
    /// A request line with a whole URL.
    Proxy,
    /// CONNECT, or inside one.
    Connect,
    /// A connection by address, or inside one.
    Captured,
    /// A question for a name.
    Names,
    /// The model gateway.
    Gateway,
}

/// What the gate did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// It let the call pass.
    Allowed,
    /// It looked into a CONNECT, and let nothing pass by that alone: each request inside has a line of its own.
    Intercepted,
    /// It refused, whether by a rule or because it could not do its work.
    #[default]
    Refused,
}

/// A text of the agent's as far as a line repeats it.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/audit.md");

    /// The keys of a section's table, in order.
    fn documented(section: &str) -> Vec<&'static str> {
        let (_, rest) = DOCUMENT.split_once(section).unwrap();
        let rows = rest.lines().skip_while(|line| !line.starts_with("| `"));
        let rows = rows.take_while(|line| line.starts_with("| `"));
        rows.map(|row| row.split('`').nth(1).unwrap()).collect()
    }

    /// The keys of a line as it is written.
    fn written(line: &impl Serialize) -> Vec<String> {
        let text = serde_json::to_string(line).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
        keys
    }

    fn with_everything() -> Line {
        let text = || Some("text".to_owned());
        Line {
            request: Some(RequestId::fresh()),
            trace: text(),
            sandbox: Some(SandboxId::fresh()),
            agent: Some("desk".parse().unwrap()),
            stage: Some("fetch"),
            run: Some(RunId::fresh()),
            user: text(),
            door: Some(Door::Tool),
            tool: Some("tool".parse().unwrap()),
            model: Some("model".parse().unwrap()),
            rule: text(),
            reason: Some(Code::PolicyDenied),
            would_deny: Some(true),
            approval: Some(ActionId::fresh()),
            consent: Some(ActionId::fresh()),
            approver: Some("ada".parse().unwrap()),
            tunnel: Some("text"),
            authority: text(),
            sni: text(),
            address: Some(([192, 0, 2, 1], 443).into()),
            sent_again: Some(true),
            method: text(),
            path: text(),
            status: Some(200),
            usage: Some(Tokens::default()),
            dummies_exchanged: Some(1),
            dummy_misplaced: text(),
            tokens_sealed: Some(1),
            credential: Some(Label::of("secret")),
            credential_generation: Some(1),
            masked: Some(1),
            cut: text(),
            ..Line::default()
        }
    }

    #[test]
    fn the_document_names_every_key_in_its_order() {
        let line = with_everything();
        let link = ["seq", "before"];
        let whole = |keys: Vec<String>| -> Vec<String> {
            link.map(str::to_owned).into_iter().chain(keys).collect()
        };
        assert_eq!(documented("## A call"), whole(written(&line)));
        assert_eq!(documented("## An intent"), whole(written(&line.begun())));
        let repeated = line.repeated((1, ""), true);
        assert_eq!(documented("## A count"), whole(written(&repeated)));
    }

    #[test]
    fn what_cannot_change_anything_leaves_no_intent() {
        for (method, effectful) in [
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("POST", true),
            ("CONNECT", true),
            ("get", true),
        ] {
            let line = Line {
                method: Some(method.to_owned()),
                ..Line::default()
            };
            assert_eq!(line.is_effectful(), effectful, "{method}");
        }
    }
}
