//! `/openapi.json`: the public API of this devbox, as OpenAPI 3.1. Put together once, from the route table; never says anything of an
//! agent but its name.

mod operation;
pub(super) mod operations;
mod schemas;

use axum::{
    http::header,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use postern_contract::AgentName;
use serde_json::{Map, Value, json};

pub(super) use operation::Operation;

use super::routes::Route;
use crate::app::App;

/// Where the document is.
pub(super) const PATH: &str = "/openapi.json";

/// The document about these routes and agents.
pub(super) fn document<'a>(routes: &[Route], agents: impl Iterator<Item = &'a AgentName>) -> Value {
    let agents: Vec<_> = agents.collect();
    let mut paths = Map::new();
    paths.insert(PATH.to_owned(), operations::document().at_the_root());
    for route in routes {
        paths.insert(route.path.to_owned(), route.operation.at_the_root());
    }
    for route in routes
        .iter()
        .filter(|route| route.of_agent.is_some() && !agents.is_empty())
    {
        paths.insert(route.path_of_agent(), route.operation.of_agent(&agents));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postern",
            "description": "Asks agents, and follows their runs. Paths at the root are about the default agent.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas::all(), "securitySchemes": {
            "callers": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token that names its end user, or the callers' key, which lets name one.",
            },
        } },
        // Who must show it, the config says.
        "security": [{}, { "callers": [] }],
    })
}

/// Serves the document as it is now.
pub(super) fn served(document: &Value) -> MethodRouter<App> {
    let text = Bytes::from(document.to_string());
    get(move || async move { told(text) })
}

fn told(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
