//! Why a call was denied, in words an agent can act on. Never names a secret, and never repeats a query, which may
//! hold one.

use postern_contract::{Code, GATE_ADDRESS, GATE_PORT};

use crate::{
    condition::{Call, Why},
    holder::Holder,
    rule::Rule,
    tools::Tool,
    verdict::{DEFAULT_RULE, Denied, INSTALL_RULE},
};

/// The longest URL in a message, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// The most operations of a tool in a message.
const SHOWN_OPERATIONS_MAX: usize = 8;

pub(crate) fn misrouted(call: &Call<'_>) -> Denied {
    let message = "The URL does not belong to the tool that the call was made for. Call the tool that owns the URL.";
    denied(call, Code::PolicyDenied, message.to_owned())
}

pub(crate) fn no_policy(call: &Call<'_>) -> Denied {
    let holder = call.facts.holder();
    let message = format!(
        "{} has no policy, so nothing is allowed to it. Ask for one in {}.",
        began(holder),
        holder.policies(),
    );
    denied(call, Code::PolicyDenied, message)
}

pub(crate) fn tunnel_to_a_tool(call: &Call<'_>) -> Denied {
    let message = format!(
        "A tool lives at {}, and nobody can judge what a tunnel to it carries. Call the tool without CONNECT, at \
         http://{GATE_ADDRESS}:{GATE_PORT}/tools/NAME/.",
        call.facts.url.authority().host_and_port(),
    );
    denied(call, Code::PolicyDenied, message)
}

pub(crate) fn no_http(call: &Call<'_>, tool: &Tool) -> Denied {
    let message = format!(
        "Tool `{}` speaks no HTTP. Connect to {} with a program that speaks what it does.",
        tool.name,
        tool.url.authority().host_and_port(),
    );
    denied(call, Code::PolicyDenied, message)
}

pub(crate) fn by_rule(call: &Call<'_>, rule: &Rule) -> Denied {
    let message = format!(
        "{} denies {}. Sending it again will not help; if it is needed, ask whoever keeps the policy to change that \
         rule.",
        named(rule),
        shown(call),
    );
    Denied {
        rule: Some(rule.name.clone()),
        ..denied(call, Code::PolicyDenied, message)
    }
}

pub(crate) fn in_doubt(call: &Call<'_>, rule: &Rule, why: Why) -> Denied {
    let message = format!("{} may restrict {}, but {why}.", named(rule), shown(call));
    Denied {
        rule: Some(rule.name.clone()),
        ..denied(call, Code::PolicyDenied, message)
    }
}

pub(crate) fn by_default(call: &Call<'_>, nearly: Option<(&Rule, Why)>) -> Denied {
    let holder = call.facts.holder();
    let next = match nearly {
        Some((rule, why)) => format!("{} would, but {why}.", named(rule)),
        None => "Sending it again will not help; if it is needed, ask for a rule that allows it."
            .to_owned(),
    };
    let (code, place) = match call.tool {
        Some(_) => (Code::PolicyDenied, ""),
        None => (Code::UnknownDestination, ", and no tool lives there"),
    };
    let message = format!("No rule of {holder} allows {}{place}. {next}", shown(call));
    Denied {
        want_of_a_rule: true,
        ..denied(call, code, message)
    }
}

pub(crate) fn tool_not_given(call: &Call<'_>, tool: &Tool) -> Denied {
    let holder = call.facts.holder();
    let message = format!(
        "{} has not been given the tool `{}`. Ask for it in {}.",
        began(holder),
        tool.name,
        holder.tools(),
    );
    denied(call, Code::PolicyDenied, message)
}

/// What no setup does, whatever rules say.
pub(crate) fn beyond_setup(call: &Call<'_>) -> Denied {
    let message = format!(
        "What {} asks for is GET or HEAD, looked into by the gate; {} is neither. What needs more belongs into the agent's \
         files, or into its runs.",
        call.facts.holder(),
        shown(call),
    );
    Denied {
        otherwise: INSTALL_RULE,
        ..denied(call, Code::PolicyDenied, message)
    }
}

pub(crate) fn nobody_to_ask(call: &Call<'_>, rule: &Rule) -> Denied {
    let message = format!(
        "{} asks a human before {}, and nobody is asked during an install, so it is denied to {}. It takes a rule that \
         allows it.",
        named(rule),
        shown(call),
        call.facts.holder(),
    );
    Denied {
        rule: Some(rule.name.clone()),
        ..denied(call, Code::PolicyDenied, message)
    }
}

pub(crate) fn no_capability(call: &Call<'_>, tool: &Tool) -> Denied {
    let mut operations: Vec<_> = tool
        .capabilities
        .iter()
        .take(SHOWN_OPERATIONS_MAX)
        .map(|can| format!("{} ({} {})", can.name, can.method, can.path))
        .collect();
    if tool.capabilities.len() > SHOWN_OPERATIONS_MAX {
        operations.push("and more".to_owned());
    }
    let message = format!(
        "Tool `{}` does not offer {}. It offers: {}. Use one of these, or ask for a capability.",
        tool.name,
        shown(call),
        operations.join(", "),
    );
    denied(call, Code::CapabilityDenied, message)
}

fn denied(call: &Call<'_>, code: Code, message: String) -> Denied {
    Denied {
        code,
        rule: None,
        tool: call.tool.map(|tool| tool.name.clone()),
        message,
        want_of_a_rule: false,
        otherwise: DEFAULT_RULE,
    }
}

/// Whose call it is, at the beginning of a sentence.
fn began(holder: Holder<'_>) -> String {
    let text = holder.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn named(rule: &Rule) -> String {
    format!("Rule `{}` of policy `{}`", rule.name.name, rule.name.policy)
}

/// Method and URL without the query, cut where it is long. A canonical URL is ASCII.
fn shown(call: &Call<'_>) -> String {
    let (method, url) = (call.facts.method, call.facts.url);
    let authority = url.authority();
    if method.is_connect() {
        return format!("a tunnel to {}", authority.host_and_port());
    }
    let mut text = format!(
        "{method} {}://{authority}{}",
        authority.scheme(),
        url.path()
    );
    if text.len() > SHOWN_BYTES_MAX {
        text.truncate(SHOWN_BYTES_MAX);
        text.push_str("...");
    }
    text
}
