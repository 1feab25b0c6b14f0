//! The body of a question, read whole within bounds of size, time and the sandbox's share. Never keeps more of one than
//! was taken out of that share first.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use postern_contract::{Code, Refusal};
use tokio::time::timeout;

use super::bad;
use crate::{
    body::Paced,
    identify::{Caller, HELD_KIB_PER_SANDBOX_MAX},
    record::Record,
    refuse::Refused,
};

/// The largest question, in bytes: pictures and documents travel inside.
const QUESTION_BYTES_MAX: usize = 16 << 20;

/// How long the body of a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(60);

/// The whole body.
pub(super) async fn read(
    body: Incoming,
    caller: &Caller,
    record: &mut Record,
) -> Result<Vec<u8>, Refused> {
    timeout(QUESTION_MAX, held(body, caller, record))
        .await
        .map_err(|_| bad("the body came too slowly", "Send the question again."))?
}

/// Every KiB is taken out of the sandbox's share before it is kept.
async fn held(body: Incoming, caller: &Caller, record: &mut Record) -> Result<Vec<u8>, Refused> {
    let mut body = Paced::body(body, record.up.clone(), QUESTION_MAX);
    let mut question = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad("the body broke off", "Send the question again."))?;
        let data = frame.into_data().unwrap_or_default();
        if question.len() + data.len() > QUESTION_BYTES_MAX {
            let message = format!("A question has at most {QUESTION_BYTES_MAX} bytes.");
            return Err(Refusal::new(Code::TooLarge, "body too large", message).into());
        }
        let wanted = (question.len() + data.len()).div_ceil(1024) - question.len().div_ceil(1024);
        let share = u32::try_from(wanted).unwrap_or(u32::MAX);
        let share = Arc::clone(&caller.held).try_acquire_many_owned(share);
        record.hold(share.map_err(|_| too_much())?);
        question.extend_from_slice(&data);
    }
    Ok(question)
}

fn too_much() -> Refused {
    let message = format!(
        "The questions of a sandbox have at most {HELD_KIB_PER_SANDBOX_MAX} KiB at once. Wait for an answer first."
    );
    Refusal::new(Code::RateLimited, "too many large questions", message).into()
}
