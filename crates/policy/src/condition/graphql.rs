//! The condition on GraphQL: `graphql` of a rule. Never judges a request that asks for nothing certain.

use std::borrow::Cow;

use postern_contract::config;

use super::{Call, Judge, Match, Why};
use crate::{
    body::Opaque,
    evidence::BodyShown,
    graphql::{self, Asked, Garbled},
    json::Json,
};

/// The members of a request and the parameters of a GET.
const MEMBERS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

/// Holds for requests of the kinds listed that ask for listed fields alone. Where only some are listed it cannot tell,
/// so that no rule is passed by hiding one field behind another.
#[derive(Debug)]
pub(crate) struct GraphQl(pub(crate) config::GraphQl);

impl Judge for GraphQl {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return Match::CannotTell(Why::InTunnel);
        }
        match call.asked() {
            Ok(asked) => self.judge_asked(asked),
            Err(why) => Match::CannotTell(why),
        }
    }

    fn needs_body(&self) -> bool {
        true
    }
}

impl GraphQl {
    fn judge_asked(&self, asked: &Asked) -> Match {
        let Self(wanted) = self;
        if !wanted.operations.is_empty() && !wanted.operations.contains(&asked.operation) {
            return Match::No;
        }
        if wanted.fields.is_empty() {
            return Match::Yes;
        }
        let is_listed = |field: &&String| wanted.fields.contains(field);
        match asked.fields.iter().filter(is_listed).count() {
            0 => Match::No,
            all if all == asked.fields.len() => Match::Yes,
            _some => Match::CannotTell(Why::PartOfFields),
        }
    }
}

/// What a request asks for.
pub(super) fn asked(call: &Call<'_>) -> Result<Asked, Why> {
    let (document, name) = match call.facts.method.as_str() {
        "GET" => by_query(call)?,
        "POST" => by_body(call)?,
        _ => return Err(Why::NoGraphQl),
    };
    let asked = graphql::read(&document).map_err(|garbled| match garbled {
        Garbled::Malformed => Why::NoGraphQl,
        Garbled::Several => Why::SeveralOperations,
    })?;
    match name {
        Some(name) if asked.name.as_deref() != Some(&*name) => Err(Why::NoGraphQl),
        _ => Ok(asked),
    }
}

/// The document and the name of the operation.
type Parts<'c> = (Cow<'c, str>, Option<Cow<'c, str>>);

fn by_query<'c>(call: &'c Call<'_>) -> Result<Parts<'c>, Why> {
    match call.evidence.body {
        BodyShown::Absent | BodyShown::Whole([]) => {}
        // What nobody looks at may ask for more: the messages of a WebSocket begin with such a request.
        BodyShown::Hidden => return Err(Why::Body(Opaque::Hidden)),
        BodyShown::TooLong | BodyShown::Whole(_) => return Err(Why::GraphQlTwice),
    }
    let text = |name| {
        let found = call.parameters().one(name).map_err(Why::Query)?;
        let text = found.map(std::str::from_utf8).transpose();
        text.map_err(|_| Why::NoGraphQl)
    };
    if text("extensions")?.is_some() {
        return Err(Why::Persisted);
    }
    let document = text("query")?.ok_or(Why::Persisted)?;
    let name = text("operationName")?.filter(|name| !name.is_empty());
    Ok((document.into(), name.map(Cow::from)))
}

fn by_body<'c>(call: &'c Call<'_>) -> Result<Parts<'c>, Why> {
    // Some servers let the query of the URL win over the body.
    for member in MEMBERS {
        if call.parameters().one(member) != Ok(None) {
            return Err(Why::GraphQlTwice);
        }
    }
    let body = call.body().map_err(Why::Body)?;
    if matches!(body, Json::List(_)) {
        return Err(Why::Batch);
    }
    if body.keys().any(|key| !MEMBERS.contains(&key)) {
        return Err(Why::Persisted);
    }
    match body.get("extensions") {
        None | Some(Json::Null) => {}
        Some(extensions @ Json::Object(_)) if extensions.get("persistedQuery").is_none() => {}
        Some(_) => return Err(Why::Persisted),
    }
    let name = match body.get("operationName") {
        None | Some(Json::Null) => None,
        Some(name) => Some(name.text().ok_or(Why::NoGraphQl)?).filter(|name| !name.is_empty()),
    };
    let document = body
        .get("query")
        .and_then(Json::text)
        .ok_or(Why::Persisted)?;
    Ok((document.into(), name.map(Cow::from)))
}
