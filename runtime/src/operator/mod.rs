//! The operator API in the RunAgents dialect: what runs, what ran, what happened. Every request shows the
//! operator's key; without it nothing is told, not even which paths there are.

mod agents;
mod approvals;
mod consents;
mod installs;
mod key;
mod runs;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use postern_contract::Secret;

use crate::{
    agents::Surroundings,
    api::{Refused, not_found},
    app::App,
    link::Link,
};
pub(crate) use key::{KEY_HEADER, read_or_make, shown};

/// What the dialect calls the place where all agents live.
const NAMESPACE: &str = "default";

/// The longest answer to a request for approval, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone)]
struct Office {
    app: App,
    link: Link,
    around: Surroundings,
    key: Arc<Secret>,
}

impl FromRef<Office> for App {
    fn from_ref(office: &Office) -> Self {
        office.app.clone()
    }
}

/// The routes, behind the key; requests for approval and consents also behind an approver's, which the gate verifies.
pub(crate) fn router(app: App, around: Surroundings, key: Secret) -> Router {
    let office = Office {
        app,
        link: around.link.clone(),
        around,
        key: Arc::new(key),
    };
    Router::new()
        .route("/api/v1/agents", get(agents::list))
        .route("/api/v1/agents/{name}/install", post(installs::install))
        .route("/api/v1/agents/{name}/rollback", post(installs::roll_back))
        .route("/api/v1/runs", get(runs::list))
        .route("/api/v1/runs/{id}", get(runs::one))
        .route("/api/v1/runs/{id}/events", get(runs::events))
        .route("/api/v1/runs/{id}/logs", get(runs::logs))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(office.clone(), with_key))
        .merge(approvals())
        .route("/api/v1/consents", get(consents::list))
        .route("/api/v1/consents/{id}", delete(consents::remove))
        .with_state(office)
}

fn approvals() -> Router<Office> {
    let requests = Router::new()
        .route("/", get(approvals::list))
        .route("/{id}", get(approvals::one))
        .route("/{id}/approve", post(approvals::approve))
        .route("/{id}/reject", post(approvals::reject))
        .route("/{id}/revoke", post(approvals::revoke))
        .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX));
    // The older name, too.
    Router::new()
        .nest("/api/v1/approvals/requests", requests.clone())
        .nest("/api/v1/governance/requests", requests)
}

async fn method_not_allowed() -> Refused {
    Refused::MethodNotAllowed
}

async fn with_key(
    State(office): State<Office>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    if shown(request.headers()).is_some_and(|shown| office.key.is(shown)) {
        return Ok(next.run(request).await);
    }
    Err(Refused::Unauthorized)
}

#[cfg(test)]
mod tests;
