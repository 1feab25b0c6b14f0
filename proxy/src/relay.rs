//! Sends a ready request over a verified leg and brings the answer back, streaming both ways. Never changes what was
//! decided on, and never buffers a body.

use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::timeout;

use crate::{
    body::{BODY_IDLE_MAX, Body, Paced},
    dial::VerifiedLeg,
    headers,
    inject::Ready,
    record::{Count, Record},
};

/// How long an upstream may take to begin its answer, counted from the start of the request. Models think for minutes.
const HEAD_MAX: Duration = Duration::from_secs(600);

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the upstream broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the upstream did not begin its answer within {} seconds", HEAD_MAX.as_secs())]
    Late,
    #[error("the upstream wanted to speak another protocol")]
    Switched,
}

/// The upstream's answer.
pub(crate) async fn relay(
    leg: VerifiedLeg,
    ready: Ready,
    record: &mut Record,
) -> Result<Response<Body>, Broken> {
    let (mut sender, home) = leg.into_parts();
    let answer = timeout(HEAD_MAX, sender.send_request(ready.into_request())).await;
    let (mut parts, body) = answer.map_err(|_| Broken::Late)??.into_parts();
    record.first_byte();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Broken::Switched);
    }
    home.welcome(sender);
    headers::clean_response(&mut parts.headers);
    // The sealed body counts what the agent gets.
    let mut response = Response::new(Paced::body(body, Count::default(), BODY_IDLE_MAX));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(response)
}
