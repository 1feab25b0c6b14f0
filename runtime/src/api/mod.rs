//! The public API: the route table and what all routes share. One file a resource; never trusts a caller's word about who an
//! end user is, never answers anything but JSON and streams of it.

mod body;
mod caller;
mod health;
mod invoke;
mod refuse;
mod request_id;
mod resume;
mod runs;
mod sse;
mod stream;

use axum::{
    Router,
    extract::Request,
    http::Method,
    middleware,
    response::Response,
    routing::{delete, get, post},
};

use crate::app::App;
pub(crate) use refuse::Refused;

/// The routes. Those at the root serve the default agent.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(health::alive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/startupz", get(health::started))
        .route("/invoke", post(invoke::default))
        .route("/invoke/stream", post(stream::default))
        .route("/resume/{action}", post(resume::default))
        .route("/resume/{action}/stream", post(resume::stream))
        .route("/runs/{id}", delete(runs::cancel))
        .route("/runs/{id}/stream", get(stream::pick_up))
        .route("/agents/{name}", get(health::alive_named))
        .route("/agents/{name}/healthz", get(health::alive_named))
        .route("/agents/{name}/readyz", get(health::ready_named))
        .route("/agents/{name}/invoke", post(invoke::named))
        .route("/agents/{name}/invoke/stream", post(stream::named))
        .route("/agents/{name}/resume/{action}", post(resume::named))
        .route(
            "/agents/{name}/resume/{action}/stream",
            post(resume::stream_named),
        )
        .route("/agents/{name}/runs/{id}", delete(runs::cancel_named))
        .route(
            "/agents/{name}/runs/{id}/stream",
            get(stream::pick_up_named),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(request_id::carry))
        .with_state(app)
}

pub(crate) async fn not_found() -> Refused {
    Refused::NotFound
}

/// GET and POST of a path that only knows the other are a path that is not there, as callers of this API expect; other
/// methods are told.
async fn wrong_method(request: Request) -> Result<Response, Refused> {
    match *request.method() {
        Method::GET | Method::HEAD | Method::POST => Err(Refused::NotFound),
        _ => Err(Refused::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests;
