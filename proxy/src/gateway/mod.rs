//! The model gateway: chats in OpenAI's dialect, sent on to the provider of the model or answered here. Never passes on a
//! field that would make a provider act, and never a header field that a provider does not need.

pub(crate) mod playground;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use postern_contract::{Code, ModelName, Refusal};
use postern_llm::{Chat, GatewayError, openai};
use postern_policy::Method;
use tokio::time::timeout;

use crate::{
    body::{self, Paced},
    book::{Book, Model},
    call::{Call, Freight, Subject},
    headers::{self, Managed},
    identify::{Caller, HELD_KIB_PER_SANDBOX_MAX},
    record::Record,
    refuse::Refused,
};

/// The largest question, in bytes.
const QUESTION_BYTES_MAX: usize = 4 << 20;

/// How long the body of a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(60);

/// What a provider is told of the agent's client.
const PASSED_ON: [HeaderName; 2] = [header::ACCEPT, header::USER_AGENT];

/// The call that a chat stands for.
pub(crate) async fn call(
    book: &Book,
    caller: &Caller,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Call, Refused> {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(bad(
            "the body must not be compressed",
            "Send the question as plain JSON.",
        ));
    }
    let question = timeout(QUESTION_MAX, read(body, caller, record))
        .await
        .map_err(|_| bad("the body came too slowly", "Send the question again."))??;
    let mut chat = openai::read_request(&question).map_err(|error| {
        bad(
            &error.to_string(),
            "The body must be a chat completion request that this gateway knows.",
        )
    })?;
    let model = find(book, caller, &chat)?;
    chat.model.clone_from(&model.upstream);
    let dropped = headers::clean_request(&mut headers, Managed::Yes(None));
    headers::keep_only(&mut headers, &PASSED_ON);
    let call = match &model.endpoint {
        Some((url, target)) => {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            let body = body::full(model.format.write_request(&chat));
            let freight = Freight::Request(body);
            let subject = Subject::Model(model.name.clone());
            let (url, target) = (url.clone(), Arc::clone(target));
            Call {
                method: post()?,
                url,
                subject,
                target,
                headers,
                freight,
            }
        }
        None => question_for_us(&model.name, chat)?,
    };
    record.destination(&call.subject, &call.url, dropped);
    Ok(call)
}

fn question_for_us(model: &ModelName, chat: Chat) -> Result<Call, Refused> {
    let url = playground::URL
        .parse()
        .map_err(crate::door::Unclear::from)?;
    Ok(Call {
        method: post()?,
        url,
        subject: Subject::Model(model.clone()),
        target: Arc::default(),
        headers: HeaderMap::new(),
        freight: Freight::Question(chat),
    })
}

fn post() -> Result<Method, crate::door::Unclear> {
    Ok("POST".parse()?)
}

/// The whole body; every KiB of it is taken out of the sandbox's share before it is kept.
async fn read(body: Incoming, caller: &Caller, record: &mut Record) -> Result<Vec<u8>, Refused> {
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

/// The model, if this agent may ask it. Whether it exists otherwise is not told.
fn find(book: &Book, caller: &Caller, chat: &Chat) -> Result<Arc<Model>, Refused> {
    let own = book
        .agents
        .get(&caller.agent)
        .map(|grants| grants.models.as_slice());
    let own = own.unwrap_or_default();
    let wanted = own.iter().find(|name| name.as_str() == chat.model);
    if let Some(model) = wanted.and_then(|name| book.models.get(name)) {
        return Ok(Arc::clone(model));
    }
    let shown: String = chat
        .model
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    let error = GatewayError::NoProvider(shown).to_string();
    let names: Vec<&str> = own.iter().map(ModelName::as_str).collect();
    let message = if names.is_empty() {
        "This agent may ask no model; the config lists an agent's models.".to_owned()
    } else {
        format!("This agent may ask: {}.", names.join(", "))
    };
    Err(Refusal::new(Code::ModelNotFound, error, message).into())
}

fn bad(error: &str, message: &str) -> Refused {
    Refusal::new(Code::BadRequest, error, message).into()
}
