//! The body of a question, read whole within bounds of size, time and the sandbox's share. Never keeps more of one than
//! was taken out of that share first.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use postern_contract::{Code, Refusal};
use tokio::time::timeout;

use super::bad;
use crate::{
    body::{Body, Paced},
    book::Patience,
    identify::Caller,
    record::Record,
    refuse::Refused,
    shown,
};

/// The largest question, in bytes: pictures and documents travel inside.
const QUESTION_BYTES_MAX: usize = 16 << 20;

/// The whole body, within the time that one has which must be read before a decision.
pub(super) async fn read(
    body: Incoming,
    patience: &Patience,
    caller: &Caller,
    record: &mut Record,
) -> Result<Vec<u8>, Refused> {
    let body = Paced::body(body, record.up.clone(), patience.silence);
    timeout(patience.body, held(body, caller, record))
        .await
        .map_err(|_| bad("the body came too slowly", "Send the question again."))?
}

async fn held(mut body: Body, caller: &Caller, record: &mut Record) -> Result<Vec<u8>, Refused> {
    let mut question = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad("the body broke off", "Send the question again."))?;
        let data = frame.into_data().unwrap_or_default();
        if question.len() + data.len() > QUESTION_BYTES_MAX {
            let message = format!("A question has at most {QUESTION_BYTES_MAX} bytes.");
            return Err(Refusal::new(Code::TooLarge, "body too large", message).into());
        }
        shown::hold(question.len(), data.len(), caller, record)?;
        question.extend_from_slice(&data);
    }
    Ok(question)
}
