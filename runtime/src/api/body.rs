//! Reads a request's body: bounded in size and time. Never parses it.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use postern_daemon::Clock;

use super::Refused;
use crate::config::ApiLimits;

/// The whole body, within these bounds by this clock.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    (limits, clock): (&ApiLimits, &Clock),
) -> Result<Bytes, Refused> {
    let bytes_max = limits.body_bytes_max;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(Refused::TooLarge(bytes_max));
    }
    let whole = tokio::select! {
        whole = Limited::new(body, bytes_max).collect() => whole,
        () = clock.after(limits.body) => return Err(Refused::Stalled),
    };
    match whole {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge(bytes_max)),
        Err(_) => Err(Refused::BrokeOff),
    }
}
