//! Turns everything that can go wrong with a request into a JSON answer: a text, a stable code, a status. Never tells a caller
//! what the inside of the daemon looks like.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use postern_contract::{AgentName, RunId, approval::Unanswered};
use postern_invoke::BadRequest;
use serde_json::json;

use super::caller::Stranger;
use crate::{
    agents::StartError,
    install::InstallError,
    runs::{Answer, BeginError, pauses::ResumeError},
};

/// How soon a caller may try again where there was no place, in seconds.
const RETRY_AFTER_S: &str = "1";

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("not found")]
    NotFound,
    #[error("method not allowed")]
    MethodNotAllowed,
    #[error("{0}")]
    Bad(#[from] BadRequest),
    #[error("{header} {why}")]
    Header {
        header: &'static str,
        why: &'static str,
    },
    #[error("{0}")]
    Query(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("history has more than {0} entries")]
    LongHistory(usize),
    #[error("the body did not arrive in time")]
    Stalled,
    #[error("the body broke off")]
    BrokeOff,
    #[error("{0}")]
    Begin(#[from] BeginError),
    #[error("{0}: `/readyz` says how far that is")]
    Arriving(String),
    #[error("the run ended without an answer")]
    NoAnswer,
    #[error("the store cannot be read")]
    Store,
    #[error("a valid operator key is required")]
    Unauthorized,
    #[error("{0}")]
    Stranger(#[from] Stranger),
    #[error("run {0} not found")]
    NoSuchRun(String),
    #[error("there is no such request for approval")]
    NoSuchRequest,
    #[error("{0}")]
    NotMutable(Unanswered),
    #[error("X-Run-ID header or run_id in body is required")]
    NoRunId,
    #[error("checkpoint for action {0} not found")]
    NoCheckpoint(String),
    #[error("nobody has answered yet: the run goes on by itself once somebody says yes")]
    ApprovalPending,
    #[error("the end user has not granted access yet: the run goes on by itself once they have")]
    ConsentPending,
    #[error("the run goes on already")]
    ResumeInProgress,
    #[error("the run has failed")]
    Resume(Answer),
    #[error("the gate cannot be asked")]
    Gate,
    #[error("too many follow what runs print")]
    ManyFollowers,
    #[error("run {0} has ended")]
    RunEnded(RunId),
    #[error("agent {0} has no files: there is nothing to install")]
    NoFiles(AgentName),
    #[error("{0}")]
    NotInstalled(Box<StartError>),
    #[error("the events of run {0} from there on are not kept any more")]
    EventsGone(RunId),
}

impl Refused {
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound | Self::NoSuchRun(_) | Self::NoSuchRequest | Self::NoCheckpoint(_) => {
                (StatusCode::NOT_FOUND, "NOT_FOUND")
            }
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::Bad(_)
            | Self::Header { .. }
            | Self::Query(_)
            | Self::BrokeOff
            | Self::NoRunId
            | Self::LongHistory(_) => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE"),
            Self::Stalled => (StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT"),
            Self::Begin(error) => begin_kind(error),
            Self::Arriving(_) => (StatusCode::SERVICE_UNAVAILABLE, "AGENT_NOT_READY"),
            Self::NotMutable(_) => (StatusCode::CONFLICT, "NOT_PENDING"),
            Self::ApprovalPending => (StatusCode::CONFLICT, "APPROVAL_PENDING"),
            Self::ConsentPending => (StatusCode::CONFLICT, "CONSENT_PENDING"),
            Self::ResumeInProgress => (StatusCode::CONFLICT, "RESUME_IN_PROGRESS"),
            Self::Resume(_) => (StatusCode::CONFLICT, "RUN_FAILED"),
            Self::Gate => (StatusCode::SERVICE_UNAVAILABLE, "GATE_UNAVAILABLE"),
            Self::NoAnswer => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            Self::Store => (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE"),
            Self::ManyFollowers => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_FOLLOWERS"),
            Self::NoFiles(_) => (StatusCode::CONFLICT, "NO_FILES"),
            Self::NotInstalled(error) => match **error {
                StartError::Install(InstallError::NoWayBack(_)) => {
                    (StatusCode::CONFLICT, "NO_WAY_BACK")
                }
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "NOT_INSTALLED"),
            },
            Self::RunEnded(_) => (StatusCode::CONFLICT, "RUN_ENDED"),
            Self::EventsGone(_) => (StatusCode::GONE, "EVENTS_GONE"),
            Self::Stranger(_) | Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        }
    }
}

fn begin_kind(error: &BeginError) -> (StatusCode, &'static str) {
    match error {
        BeginError::NotReady { .. } => (StatusCode::SERVICE_UNAVAILABLE, "AGENT_NOT_READY"),
        BeginError::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_RUNS"),
        BeginError::NoPlace { why, .. } if why.passes() => {
            (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_RUNS")
        }
        BeginError::NoPlace { .. } => (StatusCode::BAD_REQUEST, "NO_USER"),
        BeginError::Taken(_) => (StatusCode::CONFLICT, "RUN_EXISTS"),
        BeginError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "STOPPING"),
        BeginError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE"),
    }
}

impl From<ResumeError> for Refused {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::Begin(error) => Self::Begin(error),
            ResumeError::Gate(error) => {
                tracing::error!(%error, "the gate could not be asked about a run");
                Self::Gate
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = self.kind();
        let challenge = match &self {
            Self::Stranger(stranger) => stranger.challenge(),
            _ => "Bearer",
        };
        let body = match self {
            // As the run itself was answered.
            Self::Resume(answer) => return answer.into_response(),
            // The contract has these bodies to the letter.
            Self::NotFound | Self::NoRunId | Self::NoCheckpoint(_) => {
                Json(json!({ "error": self.to_string() }))
            }
            _ => Json(json!({ "error": self.to_string(), "code": code })),
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(challenge),
                );
            }
            // What is left of the body is not read: the connection cannot go on.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
