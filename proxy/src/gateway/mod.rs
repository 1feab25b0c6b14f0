//! The model gateway: a question goes to the provider of its model as it came, but for the model's name and the key; or it is
//! answered here. Never passes on what would make a provider act on its own unless the model's config names it.
//!
//! ```text
//! body ─▶ read strictly ─▶ model (the agent's own, by its name) ─▶ speaks the route's format? ─▶ acts allowed? ─▶ Call
//!                                                                                                   └ embedded: Question
//! ```

mod body;
pub(crate) mod error;
mod fields;
pub(crate) mod models;
pub(crate) mod playground;

use std::sync::Arc;

use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use postern_contract::{Code, Refusal};
use postern_llm::{Act, Family, Found, Question, openai};
use postern_policy::{CanonicalUrl, Method};

pub(crate) use self::fields::meter;
use crate::{
    body::full,
    book::{Book, Endpoint, Model},
    call::{Call, Freight, Subject},
    door::{Route, Unclear},
    headers::{self, Managed},
    identify::Caller,
    record::Record,
    refuse::Refused,
    sealed::Claim,
};

/// The one query that a provider is asked with: Anthropic's SDKs mark features in trial by it.
const BETA: &str = "beta=true";

/// The call that a question stands for.
pub(crate) async fn call(
    book: &Book,
    caller: &Caller,
    (route, request): (&Route, Request<Incoming>),
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
    let bytes = body::read(body, &book.patience, caller, record).await?;
    let question = Question::read(route.api, &bytes).map_err(|error| {
        let path = route.api.path();
        bad(
            &error.to_string(),
            &format!("The body must be a question for POST /v1{path}."),
        )
    })?;
    let model = models::find(book, caller.holder(), route, question.model())?;
    record.line.model = Some(model.name.clone());
    for (known, _) in caller.dummies.known() {
        let judged = known.judge_question(&headers, &bytes);
        record.dummies(judged.map(|()| 0))?;
    }
    may_act(&model, question.acts())?;
    let dropped = headers::clean_request(&mut headers, Managed::Yes(&[]));
    let family = route.api.family();
    let call = match &model.endpoint {
        Some(endpoint) => Call {
            method: post()?,
            url: url(endpoint, route, parts.uri.query())?,
            subject: Subject::Model(model.name.clone()),
            target: Arc::clone(&endpoint.target),
            headers: fields::towards_provider(&headers, family, &model.allow),
            freight: Freight::Request(full(question.addressed_to(&model.upstream, &model.allow))),
            claim: Claim::default(),
        },
        None => question_for_us(&model, &bytes)?,
    };
    record.destination(&call.subject, &call.url, dropped);
    Ok(call)
}

fn url(endpoint: &Endpoint, route: &Route, query: Option<&str>) -> Result<CanonicalUrl, Refused> {
    let Some(url) = endpoint.urls.get(&route.api) else {
        return Err(bad(
            "the model does not speak this format",
            "Ask another model.",
        ));
    };
    match query {
        None | Some("") => Ok(url.clone()),
        Some(BETA) if route.api.family() == Family::Anthropic => {
            let query = BETA
                .parse()
                .map_err(|_| bad("bad query", "Leave it out."))?;
            Ok(CanonicalUrl::new(
                url.authority().clone(),
                url.path().clone(),
                Some(query),
            ))
        }
        Some(_) => Err(bad(
            "no query is passed on",
            "Leave out what follows the `?`.",
        )),
    }
}

/// Whether a provider may do all that it is asked to do besides answering.
fn may_act(model: &Model, acts: &[Found]) -> Result<(), Refused> {
    let Some(Found { act, at }) = acts.iter().find(|found| !model.allow.contains(&found.act))
    else {
        return Ok(());
    };
    let (word, name) = (act.word(), &model.name);
    let message = match act {
        Act::StateIds => format!(
            "`{at}` names something that the provider keeps, and the gate does not know whose it is. Send what it stands for."
        ),
        Act::FileSearch => format!(
            "`{at}` would let the provider read what it keeps, and the gate does not know whose that is. Send the texts."
        ),
        _ => format!(
            "`{at}` would make the provider act on its own ({word}), which this model may not. Leave it out, or have \
             `allow = [\"{word}\"]` written into `[models.{name}]`."
        ),
    };
    let refusal = Refusal::new(Code::CapabilityDenied, "operation not permitted", message);
    Err(refusal
        .by_rule(format!("models: {name}"))
        .for_tool(name.as_str())
        .into())
}

fn question_for_us(model: &Model, bytes: &[u8]) -> Result<Call, Refused> {
    let mut chat = openai::read_request(bytes).map_err(|error| {
        bad(
            &error.to_string(),
            "The body must be a chat completion request that this gateway knows.",
        )
    })?;
    chat.model.clone_from(&model.upstream);
    Ok(Call {
        method: post()?,
        url: playground::URL.parse().map_err(Unclear::from)?,
        subject: Subject::Model(model.name.clone()),
        target: Arc::default(),
        headers: HeaderMap::new(),
        freight: Freight::Question(chat),
        claim: Claim::default(),
    })
}

fn post() -> Result<Method, Unclear> {
    Ok("POST".parse()?)
}

fn bad(error: &str, message: &str) -> Refused {
    Refusal::new(Code::BadRequest, error, message).into()
}
