//! `POST /invoke`: asks an agent and waits for its answer. The answer is the run's stream of updates, folded.

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRequest, FromRequestParts, State, rejection::ExtensionRejection},
    http::{self, HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use postern_contract::{RequestId, RunId};
use postern_invoke::{Request, RunFacts};

use super::{Refused, addressed::Addressed, body, caller};
use crate::{
    app::App,
    runs::{Answer, Ask, Begun, IDEMPOTENCY_KEY_BYTES_MAX},
};

pub(super) const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) async fn invoke(
    State(app): State<App>,
    Addressed(served): Addressed,
    incoming: Incoming,
) -> Result<Response, Refused> {
    let ask = ask(&app, incoming).await?;
    let answer = match app.desk.begin(&served.callee, ask).await? {
        Begun::Before(answer) => answer,
        Begun::Running(_, updates) => {
            let answer = updates.answered().await.ok_or(Refused::NoAnswer)?;
            Answer::clone(&answer)
        }
    };
    Ok(respond(answer))
}

/// A call of an agent whose body nobody has read yet.
pub(super) struct Incoming {
    id: RequestId,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = ExtensionRejection;

    async fn from_request(
        request: http::Request<Body>,
        state: &S,
    ) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let Extension(id) = Extension::from_request_parts(&mut parts, state).await?;
        Ok(Self {
            id,
            headers: parts.headers,
            body,
        })
    }
}

pub(super) async fn ask(app: &App, incoming: Incoming) -> Result<Ask, Refused> {
    let Incoming { id, headers, body } = incoming;
    let named = run_id(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    let user = caller::end_user(app, &headers)?;
    let limits = app.limits();
    let body = body::read(&headers, body, (limits, app.desk.clock())).await?;
    let request = Request::parse(&body)?;
    if request.history.len() > limits.history_max {
        return Err(Refused::LongHistory(limits.history_max));
    }
    let named = named.or_else(|| request.run_id.clone());
    let names_run = named.is_some();
    let run = named.unwrap_or_else(RunId::fresh);
    let facts = RunFacts {
        run,
        request_id: id,
        user,
    };
    Ok(Ask {
        request,
        facts,
        idempotency_key,
        names_run,
    })
}

pub(super) fn run_id(headers: &HeaderMap) -> Result<Option<RunId>, Refused> {
    let Some(value) = headers.get(RUN_ID) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|_| no_id()),
        Err(_) => Err(no_id()),
    }
}

fn no_id() -> Refused {
    Refused::Header {
        header: "X-Run-ID",
        why: "is 1 to 128 letters, digits, `-`, `_`, `.` or `:`, and begins with a letter or digit",
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let fits = 1..=IDEMPOTENCY_KEY_BYTES_MAX;
    match value.to_str() {
        Ok(key) if fits.contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Refused::Header {
            header: "Idempotency-Key",
            why: "is 1 to 255 visible ASCII characters",
        }),
    }
}

pub(super) fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(answer.body)).into_response();
    if let Ok(run) = HeaderValue::from_str(answer.run.as_str()) {
        response.headers_mut().insert(RUN_ID, run);
    }
    response
}
