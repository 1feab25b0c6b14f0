//! `X-Request-Id`: the caller's if it is one, else a fresh UUID; on every answer. Never echoes anything that is no id.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use postern_contract::RequestId;
use uuid::Uuid;

/// The header's name.
const HEADER: &str = "x-request-id";

/// Gives every request an id to work with and every answer the same.
pub(crate) async fn carry(mut request: Request, next: Next) -> Response {
    let id = of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

fn of(headers: &HeaderMap) -> RequestId {
    let named = headers
        .get(HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    named.unwrap_or_else(fresh)
}

/// Callers of the dialect expect a plain UUID where they gave none.
fn fresh() -> RequestId {
    Uuid::new_v4()
        .to_string()
        .parse()
        .unwrap_or_else(|_| RequestId::fresh())
}
