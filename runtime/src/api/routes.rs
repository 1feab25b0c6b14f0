//! The route table: every route of the public API, how it is served, at the root and for the agent that its path names, and how it
//! is described. Both the router and `/openapi.json` are made from it alone, so that neither knows a route that the other does not.

use axum::routing::{MethodRouter, delete, get, post};

use super::{
    health, invoke, logs,
    openapi::{Operation, operations},
    resume, runs, stream,
};
use crate::app::App;

/// One route.
pub(super) struct Route {
    /// Below the root, or below `/agents/{name}`.
    pub(super) path: &'static str,
    /// How it is served at the root: for the default agent, or for all.
    pub(super) served: MethodRouter<App>,
    /// How it is served for the agent that the path names, if it is about one agent.
    pub(super) of_agent: Option<MethodRouter<App>>,
    /// What it does.
    pub(super) operation: Operation,
}

impl Route {
    fn of_agents(
        path: &'static str,
        (served, of_agent): (MethodRouter<App>, MethodRouter<App>),
        operation: Operation,
    ) -> Self {
        Self {
            path,
            served,
            of_agent: Some(of_agent),
            operation,
        }
    }

    /// Served alike, whichever agent is addressed.
    fn of_either(path: &'static str, served: MethodRouter<App>, operation: Operation) -> Self {
        Self::of_agents(path, (served.clone(), served), operation)
    }

    fn of_all(path: &'static str, served: MethodRouter<App>, operation: Operation) -> Self {
        Self {
            path,
            served,
            of_agent: None,
            operation,
        }
    }

    /// Where it is for the agent that the path names.
    pub(super) fn path_of_agent(&self) -> String {
        format!("/agents/{{name}}{}", self.path.trim_end_matches('/'))
    }
}

/// All routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::of_agents(
            "/",
            (get(health::alive), get(health::alive_named)),
            operations::alive("root"),
        ),
        Route::of_agents(
            "/healthz",
            (get(health::alive), get(health::alive_named)),
            operations::alive("healthz"),
        ),
        Route::of_agents(
            "/readyz",
            (get(health::ready), get(health::ready_named)),
            operations::ready(),
        ),
        Route::of_all("/startupz", get(health::started), operations::started()),
        Route::of_either("/invoke", post(invoke::invoke), operations::invoke()),
        Route::of_either(
            "/invoke/stream",
            post(stream::invoke),
            operations::invoke_stream(),
        ),
        Route::of_either(
            "/resume/{action}",
            post(resume::plain),
            operations::resume(),
        ),
        Route::of_either(
            "/resume/{action}/stream",
            post(resume::streamed),
            operations::resume_stream(),
        ),
        Route::of_either("/runs/{id}", delete(runs::cancel), operations::cancel()),
        Route::of_either(
            "/runs/{id}/stream",
            get(stream::pick_up),
            operations::pick_up(),
        ),
        Route::of_either("/runs/{id}/logs", get(logs::of_run), operations::logs()),
    ]
}
