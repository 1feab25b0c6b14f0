//! What the gate answers by itself: health, the list of models, and what exists. Never a call, so never in the audit.

use http::{HeaderValue, Response, StatusCode, header};
use postern_policy::Holder;
use serde_json::json;

use super::Local;
use crate::{body::Body, book::Book, gateway, refuse};

/// What this address serves, for whoever asked for something else.
const SERVED: [&str; 12] = [
    "CONNECT host:port",
    "a request line with a whole URL (proxying)",
    "/tools/{name}/…",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /v1/messages",
    "GET /v1/models",
    "/v1/p/{provider}/… for the models of one provider",
    "/governance/runs/{run}/… for what an agent reports of a run",
    "GET /v1/healthz",
    "GET /healthz",
];

/// The answer to a request that does not want out.
pub(crate) fn answer(local: Local, book: &Book, holder: Holder<'_>) -> Response<Body> {
    match local {
        Local::Health => refuse::json(StatusCode::OK, &json!({ "status": "ok" })),
        Local::Models(catalogue) => gateway::models::catalogue(book, holder, &catalogue),
        // Taken before it comes here: it has a body.
        Local::Report(_) | Local::Nowhere => {
            let body = json!({ "error": "not found", "served": SERVED });
            refuse::json(StatusCode::NOT_FOUND, &body)
        }
        Local::WrongMethod { allow } => {
            let body = json!({ "error": "method not allowed", "allow": allow });
            let mut response = refuse::json(StatusCode::METHOD_NOT_ALLOWED, &body);
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allow));
            response
        }
    }
}
