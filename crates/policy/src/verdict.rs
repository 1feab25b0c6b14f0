//! What a decision is: a value with its reason, and a yes that carries its proof. Never decides; only
//! [`Rulebook::decide`](crate::Rulebook::decide) makes these.

use std::sync::Arc;

use postern_contract::{Code, PolicyName, Refusal, ToolName};

use crate::{method::Method, url::CanonicalUrl};

/// What refusals name where no rule spoke.
pub const DEFAULT_RULE: &str = "default";

/// What refusals name where a setup asks for what no setup does.
pub const INSTALL_RULE: &str = "install";

/// The answer to one call.
#[derive(Debug)]
pub enum Verdict {
    /// It may go out.
    Allowed(Allowed),
    /// It may go out once a human said yes.
    ApprovalRequired(Pending),
    /// It may not.
    Denied(Denied),
}

/// Proof that a rule allows exactly this call. It is not `Clone`: one decision, one call.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// fn forge(stolen: postern_policy::Pending) -> postern_policy::Allowed {
///     postern_policy::Allowed { call: stolen.call }
/// }
/// ```
#[derive(Debug)]
pub struct Allowed {
    pub(crate) call: Judged,
}

/// A call that a rule wants a human to see first.
#[derive(Debug)]
pub struct Pending {
    pub(crate) call: Judged,
}

/// Proof that a call is denied for want of a rule and nothing else, to an agent whose policies only watch. It may pass, if
/// nothing is added to it. Nobody but [`Rulebook::watched`](crate::Rulebook::watched) makes one.
#[derive(Debug)]
pub struct WouldDeny {
    pub(crate) denied: Denied,
    pub(crate) method: Method,
    pub(crate) url: CanonicalUrl,
}

impl WouldDeny {
    /// What enforcement would have said.
    #[must_use]
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    /// The method that was decided on.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The URL that was decided on, and the only one that may be sent.
    #[must_use]
    pub fn url(&self) -> &CanonicalUrl {
        &self.url
    }
}

/// A rule and the call it was applied to.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) rule: Arc<RuleName>,
    pub(crate) tool: Option<ToolName>,
    pub(crate) method: Method,
    pub(crate) url: CanonicalUrl,
}

/// A rule's name and the policy it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleName {
    pub(crate) policy: PolicyName,
    pub(crate) name: Arc<str>,
}

/// A call that may not go out, with the words for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    pub(crate) code: Code,
    pub(crate) rule: Option<Arc<RuleName>>,
    pub(crate) tool: Option<ToolName>,
    pub(crate) message: String,
    /// See [`Denied::is_for_want_of_a_rule`].
    pub(crate) want_of_a_rule: bool,
    /// What is named where no rule spoke.
    pub(crate) otherwise: &'static str,
}

macro_rules! judged {
    ($($verdict:ident)*) => {$(
        impl $verdict {
            /// The rule that decided.
            #[must_use]
            pub fn rule(&self) -> &str {
                &self.call.rule.name
            }

            /// The policy that the rule stands in.
            #[must_use]
            pub fn policy(&self) -> &PolicyName {
                &self.call.rule.policy
            }

            /// The tool the call is for; none for a plain host.
            #[must_use]
            pub fn tool(&self) -> Option<&ToolName> {
                self.call.tool.as_ref()
            }

            /// The method that was decided on.
            #[must_use]
            pub fn method(&self) -> &Method {
                &self.call.method
            }

            /// The URL that was decided on, and the only one that may be sent.
            #[must_use]
            pub fn url(&self) -> &CanonicalUrl {
                &self.call.url
            }
        }
    )*};
}

judged!(Allowed Pending);

impl Pending {
    /// The refusal that an agent reads where nobody can be asked: the config names no approver, or this is nothing that
    /// anybody could be shown whole.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let what = self.tool().map_or_else(
            || format!("{}", self.url().authority().host()),
            |tool| format!("tool `{tool}`"),
        );
        let message = format!(
            "Rule `{}` asks a human before {} on {what}, and nobody can be asked about this call, so it cannot be made. It \
             takes an approver in the config and a request that can be shown whole, or a rule that allows it.",
            self.rule(),
            self.method(),
        );
        let refusal = Refusal::new(
            Code::ApprovalRequired,
            Code::ApprovalRequired.word(),
            message,
        );
        named(refusal.by_rule(self.rule()), self.tool())
    }
}

impl Denied {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The rule that decided; [`DEFAULT_RULE`] or [`INSTALL_RULE`] where none did.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rule.as_ref().map_or(self.otherwise, |rule| &rule.name)
    }

    /// The policy that the rule stands in; none where no rule spoke.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyName> {
        self.rule.as_ref().map(|rule| &rule.policy)
    }

    /// The tool the call was for, where one was found.
    #[must_use]
    pub fn tool(&self) -> Option<&ToolName> {
        self.tool.as_ref()
    }

    /// Whether the only reason is that the agent's policies do not mention the call. Not so where the agent has no
    /// policy, where a rule spoke, or where a guard of a tool did.
    #[must_use]
    pub fn is_for_want_of_a_rule(&self) -> bool {
        self.want_of_a_rule
    }

    /// Why, and what to do next.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The refusal that an agent reads.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let error = match self.code {
            Code::CapabilityDenied => "operation not permitted",
            Code::UnknownDestination => "unknown destination",
            _ => "operation denied",
        };
        named(
            Refusal::new(self.code, error, &self.message).by_rule(self.rule()),
            self.tool(),
        )
    }
}

fn named(refusal: Refusal, tool: Option<&ToolName>) -> Refusal {
    match tool {
        Some(tool) => refusal.for_tool(tool.as_str()),
        None => refusal,
    }
}
