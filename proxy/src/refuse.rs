//! The one place where errors become answers. Never says more than an agent may know, and never says no without a code.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use postern_contract::{Code, Refusal};
use postern_llm::Family;

use crate::{
    audit::Unrecorded,
    body::{self, Body},
    dial::Unreached,
    door::Unclear,
    gateway,
    headers::DECISION,
    inject::{Misdirected, Unsignable},
    intercept::Uninvited,
    limit::Throttled,
    live::Cut,
    mask::Stopped,
    postgres::{BadStartup, NoLogin},
    redis::NoSession,
    relay::Broken,
    sealed::{self, Twice, Unknown, Unsealed},
    token::Penniless,
};

/// How long a client should wait when the gate has too much to do.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A call that will not be made, or not be answered.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    refusal: Box<Refusal>,
    wait: Option<Duration>,
    family: Option<Family>,
}

impl Refused {
    /// What the agent is told.
    pub(crate) fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Says when it may be worth another try.
    fn after(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Fills in what the error itself did not know.
    #[must_use]
    pub(crate) fn about(mut self, tool: Option<&str>) -> Self {
        self.refusal.tool = self.refusal.tool.or_else(|| tool.map(str::to_owned));
        self
    }

    /// In whose words it is told, besides our own; nobody's where it is about no model.
    #[must_use]
    pub(crate) fn told_to(self, family: Option<Family>) -> Self {
        Self { family, ..self }
    }

    /// The answer itself.
    pub(crate) fn answer(&self) -> Response<Body> {
        let code = self.refusal.code;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = match self.family {
            Some(family) => json(status, &gateway::error::told(&self.refusal, family)),
            None => json(status, &self.refusal),
        };
        response
            .headers_mut()
            .insert(DECISION, HeaderValue::from_static(code.word()));
        let too_much = matches!(code, Code::RateLimited | Code::GateUnavailable);
        if let Some(wait) = self.wait.or(too_much.then_some(RETRY_AFTER)) {
            // Whole seconds, and never too early.
            let seconds = wait.as_millis().div_ceil(1000).to_string();
            let fields = response.headers_mut();
            fields.extend(HeaderValue::try_from(seconds).map(|wait| (header::RETRY_AFTER, wait)));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal: Box::new(refusal),
            wait: None,
            family: None,
        }
    }
}

impl From<Unclear> for Refused {
    fn from(unclear: Unclear) -> Self {
        let (code, error) = match &unclear {
            Unclear::Misdirected { .. } => (Code::Misdirected, "misdirected request"),
            _ => (Code::BadRequest, "bad request"),
        };
        Refusal::new(code, error, sentence(&unclear)).into()
    }
}

impl From<Uninvited> for Refused {
    fn from(uninvited: Uninvited) -> Self {
        let (code, error) = match &uninvited {
            Uninvited::AnotherName { .. } | Uninvited::NoName { .. } | Uninvited::Hidden { .. } => {
                (Code::Misdirected, "misdirected connection")
            }
            Uninvited::NoHost { .. }
            | Uninvited::Unopened(_)
            | Uninvited::Late
            | Uninvited::Handshake(_) => (Code::BadRequest, "bad request"),
            Uninvited::Unsigned(no_ca) => {
                tracing::error!(error = %no_ca, "a host's certificate could not be made");
                return unavailable("TLS cannot be spoken for this host now.".to_owned());
            }
        };
        tracing::debug!(%uninvited, "a CONNECT came to nothing");
        Refusal::new(code, error, sentence(&uninvited)).into()
    }
}

impl From<Unreached> for Refused {
    fn from(unreached: Unreached) -> Self {
        let (code, error) = match &unreached {
            Unreached::Blocked { .. } | Unreached::Ourselves => {
                (Code::DestinationBlocked, "destination blocked")
            }
            Unreached::Resting { wait, .. } => {
                let refusal = Refusal::new(Code::CircuitOpen, "circuit open", sentence(&unreached));
                return Self::from(refusal).after(*wait);
            }
            Unreached::NoIdentity => {
                tracing::error!(
                    "a client certificate and its key make no pair that could be shown"
                );
                return unavailable(sentence(&unreached));
            }
            Unreached::Timeout { .. } => (Code::UpstreamTimeout, "upstream timeout"),
            Unreached::NoAddress { .. }
            | Unreached::NoAnswer { .. }
            | Unreached::NoResolver
            | Unreached::Connect { .. }
            | Unreached::Tls { .. }
            | Unreached::NoRoots
            | Unreached::Barred(_)
            | Unreached::Handshake { .. }
            | Unreached::Raw { .. }
            | Unreached::NoHttp2 { .. } => (Code::UpstreamUnreachable, "upstream unreachable"),
        };
        Refusal::new(code, error, sentence(&unreached)).into()
    }
}

impl From<BadStartup> for Refused {
    fn from(bad: BadStartup) -> Self {
        Refusal::new(Code::BadRequest, "bad request", sentence(&bad)).into()
    }
}

impl From<NoLogin> for Refused {
    fn from(no_login: NoLogin) -> Self {
        let (code, error) = match &no_login {
            NoLogin::Late => (Code::UpstreamTimeout, "upstream timeout"),
            NoLogin::Password => {
                tracing::error!(error = %no_login, "a login could not be made");
                return unavailable(sentence(&no_login));
            }
            _ => (Code::UpstreamUnreachable, "upstream unreachable"),
        };
        tracing::warn!(error = %no_login, "a database did not let the gate in");
        Refusal::new(code, error, sentence(&no_login)).into()
    }
}

impl From<NoSession> for Refused {
    fn from(no_session: NoSession) -> Self {
        let (code, error) = match &no_session {
            NoSession::Late => (Code::UpstreamTimeout, "upstream timeout"),
            _ => (Code::UpstreamUnreachable, "upstream unreachable"),
        };
        tracing::warn!(error = %no_session, "a Redis server did not let the gate in");
        Refusal::new(code, error, sentence(&no_session)).into()
    }
}

impl From<Throttled> for Refused {
    fn from(throttled: Throttled) -> Self {
        let refusal = Refusal::new(Code::RateLimited, "too many calls", sentence(&throttled));
        Self::from(refusal).after(throttled.wait())
    }
}

impl From<Cut> for Refused {
    fn from(cut: Cut) -> Self {
        cut.refused()
    }
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Self {
        Refusal::new(Code::PolicyDenied, "run stopped", sentence(&stopped)).into()
    }
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        let (code, error) = match &broken {
            Broken::Cut(cut) => return cut.refused(),
            Broken::Stopped(stopped) => return (*stopped).into(),
            Broken::Late(_) => (Code::UpstreamTimeout, "upstream timeout"),
            Broken::Http(_)
            | Broken::Coding
            | Broken::Encoded(_)
            | Broken::Switched
            | Broken::Socket(_) => (Code::UpstreamUnreachable, "upstream unreachable"),
        };
        Refusal::new(code, error, sentence(&broken)).into()
    }
}

impl From<Unsignable> for Refused {
    fn from(unsignable: Unsignable) -> Self {
        let (code, error) = match unsignable {
            Unsignable::Stream => (Code::BadRequest, "bad request"),
            Unsignable::TooLong(_) => (Code::TooLarge, "body too large"),
            Unsignable::Beyond(_) => (Code::PolicyDenied, "beyond what was decided"),
        };
        Refusal::new(code, error, sentence(&unsignable)).into()
    }
}

impl From<Unknown> for Refused {
    fn from(unknown: Unknown) -> Self {
        // In the words that clients of OAuth know (RFC 6750 section 3.1, RFC 6749 section 5.2).
        let error = match unknown {
            Unknown::Access => "invalid_token",
            Unknown::Refresh => "invalid_grant",
        };
        Refusal::new(Code::TokenUnknown, error, sentence(&unknown)).into()
    }
}

impl From<Unsealed> for Refused {
    fn from(unsealed: Unsealed) -> Self {
        tracing::warn!(error = %unsealed, "a token endpoint's answer was kept back");
        let code = Code::TokenUnsealed;
        Refusal::new(
            code,
            "token endpoint's answer kept back",
            sentence(&unsealed),
        )
        .into()
    }
}

impl From<Twice> for Refused {
    fn from(twice: Twice) -> Self {
        Refusal::new(Code::BadRequest, "bad request", sentence(&twice)).into()
    }
}

impl From<sealed::TooLong> for Refused {
    fn from(long: sealed::TooLong) -> Self {
        Refusal::new(Code::TooLarge, "body too large", sentence(&long)).into()
    }
}

impl From<Misdirected> for Refused {
    fn from(misdirected: Misdirected) -> Self {
        tracing::error!(error = %misdirected, "a call could not be made ready");
        unavailable(sentence(&misdirected))
    }
}

impl From<Penniless> for Refused {
    fn from(penniless: Penniless) -> Self {
        let code = Code::GateUnavailable;
        let refusal = Refusal::new(code, "credential unavailable", sentence(&penniless));
        Self::from(refusal).after(penniless.wait.unwrap_or(RETRY_AFTER))
    }
}

impl From<Unrecorded> for Refused {
    fn from(_: Unrecorded) -> Self {
        // Where the log lies and why it fails is for the operator, who reads it in the gate's own log and status.
        unavailable("Calls cannot be recorded now, so none is made.".to_owned())
    }
}

fn unavailable(message: String) -> Refused {
    Refusal::new(Code::GateUnavailable, "gate unavailable", message).into()
}

fn sentence(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}

/// A JSON answer of the gate's own.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_carries_its_code_and_the_gates_mark() {
        let blocked = Unreached::Blocked {
            host: "a.b".to_owned(),
            class: "loopback",
        };
        let answer = Refused::from(blocked).about(Some("crm")).answer();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.headers()[&DECISION], "DESTINATION_BLOCKED");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    }

    #[test]
    fn what_is_wrong_with_the_log_is_not_for_agents() {
        let error = std::io::Error::other("/var/lib/postern/gate/audit.jsonl: disk full");
        let refused = Refused::from(Unrecorded::from(error));
        assert_eq!(refused.refusal().code, Code::GateUnavailable);
        assert!(!refused.refusal().message.contains("/var"));
    }
}
