//! Which models an agent may ask: found by name, listed for clients. Never tells whether other models exist.

use std::sync::Arc;

use http::{Response, StatusCode};
use postern_contract::{Code, Refusal};
use postern_llm::{Api, Family, GatewayError};
use postern_policy::Holder;
use serde_json::{Value, json};

use crate::{
    body::Body,
    book::{Book, Model},
    door::{Catalogue, Route},
    refuse::{self, Refused},
};

/// How much of a name that is none is repeated, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// When a model was made is nobody's affair here; clients insist on a time.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The models of an agent, or those of one provider among them, in the order of the config.
fn own(book: &Book, holder: Holder<'_>, provider: Option<&str>) -> Vec<Arc<Model>> {
    let names = book.grants(holder).map(|grants| grants.models.as_slice());
    let models = names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| book.models.get(name));
    let meant = models.filter(|model| provider.is_none_or(|name| model.provider.as_str() == name));
    meant.cloned().collect()
}

/// The model of a name, if this agent may ask it so.
pub(super) fn find(
    book: &Book,
    holder: Holder<'_>,
    route: &Route,
    wanted: &str,
) -> Result<Arc<Model>, Refused> {
    let own = own(book, holder, route.provider.as_deref());
    let Some(model) = own.iter().find(|model| model.name.as_str() == wanted) else {
        return Err(unknown(wanted, &own).into());
    };
    if model.format.path(route.api).is_some() {
        return Ok(Arc::clone(model));
    }
    let takes: Vec<_> = Api::ALL
        .into_iter()
        .filter(|api| model.format.path(*api).is_some())
        .collect();
    let takes: Vec<_> = takes
        .iter()
        .map(|api| format!("POST /v1{}", api.path()))
        .collect();
    let others = own
        .iter()
        .filter(|model| model.format.path(route.api).is_some());
    let others: Vec<_> = others.map(|model| model.name.as_str()).collect();
    let message = format!(
        "Model `{wanted}` is asked by {}. POST /v1{} is for: {}.",
        takes.join(", "),
        route.api.path(),
        if others.is_empty() {
            "no model of this agent".to_owned()
        } else {
            others.join(", ")
        },
    );
    let refusal = Refusal::new(
        Code::BadRequest,
        "the model does not speak this format",
        message,
    );
    Err(refusal.for_tool(wanted).into())
}

fn unknown(wanted: &str, own: &[Arc<Model>]) -> Refusal {
    let shown: String = wanted
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_default)
        .collect();
    let names: Vec<_> = own.iter().map(|model| model.name.as_str()).collect();
    let message = if names.is_empty() {
        "This agent may ask no model here; the config lists an agent's models.".to_owned()
    } else {
        format!("This agent may ask: {}.", names.join(", "))
    };
    Refusal::new(
        Code::ModelNotFound,
        GatewayError::NoProvider(shown).to_string(),
        message,
    )
}

/// The list of an agent's models, or one of them, in the words of whoever asks.
pub(crate) fn catalogue(book: &Book, holder: Holder<'_>, asked: &Catalogue) -> Response<Body> {
    let own = own(book, holder, asked.provider.as_deref());
    let Some(wanted) = &asked.model else {
        return refuse::json(StatusCode::OK, &list(&own, asked.family));
    };
    match own.iter().find(|model| model.name.as_str() == wanted) {
        Some(model) => refuse::json(StatusCode::OK, &entry(model, asked.family)),
        None => Refused::from(unknown(wanted, &own))
            .told_to(Some(asked.family))
            .answer(),
    }
}

fn list(own: &[Arc<Model>], family: Family) -> Value {
    let data: Vec<_> = own.iter().map(|model| entry(model, family)).collect();
    match family {
        Family::OpenAi => json!({ "object": "list", "data": data }),
        Family::Anthropic => json!({
            "data": data,
            "has_more": false,
            "first_id": own.first().map(|model| &model.name),
            "last_id": own.last().map(|model| &model.name),
        }),
    }
}

fn entry(model: &Model, family: Family) -> Value {
    match family {
        Family::OpenAi => {
            json!({ "id": model.name, "object": "model", "created": 0, "owned_by": model.provider })
        }
        Family::Anthropic => {
            json!({ "type": "model", "id": model.name, "display_name": model.name, "created_at": CREATED })
        }
    }
}
