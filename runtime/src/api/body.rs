//! Reads a request's body: bounded in size and time. Never parses it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Refused;

/// The largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a body may take.
const BODY_MAX: Duration = Duration::from_secs(30);

/// The whole body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > BODY_BYTES_MAX) {
        return Err(Refused::TooLarge(BODY_BYTES_MAX));
    }
    match tokio::time::timeout(BODY_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge(BODY_BYTES_MAX)),
        Ok(Err(_)) => Err(Refused::BrokeOff),
        Err(_) => Err(Refused::Stalled),
    }
}
