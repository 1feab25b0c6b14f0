//! What is answered while agents are still installed and started: that the daemon lives, how far it is, and everything else with 503.
//! As soon as the whole API is there, it answers everything, also on connections that were made before.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use postern_contract::AgentName;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use super::{Refused, health};
use crate::{
    config::{Agent, Config},
    install::{Progress, Shown},
};

/// Where no install is under way, or who asks may not be told.
const AT_SOMETHING: &str = "agents are still installed or started";

/// An API that is not there yet. Clones share it.
#[derive(Clone)]
pub(crate) struct Arrival {
    whole: Arc<OnceLock<Router>>,
    agents: Arc<BTreeMap<AgentName, Arc<Agent>>>,
    default_agent: Option<AgentName>,
    progress: Progress,
    /// Whether probes are answered. Whoever has to show a key is told nothing without.
    probed: bool,
}

impl Arrival {
    /// Of these agents, whose installs are told here.
    pub(crate) fn of(config: &Config, progress: Progress) -> Self {
        Self {
            whole: Arc::default(),
            agents: Arc::new(config.agents.clone()),
            default_agent: config.default_agent.clone(),
            progress,
            probed: true,
        }
    }

    /// The same, but nothing is told.
    pub(crate) fn untold(self) -> Self {
        Self {
            probed: false,
            ..self
        }
    }

    /// What answers from now on.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// From here on this answers everything. There is one whole API: what comes after the first is none.
    pub(crate) fn is_whole(&self, router: Router) {
        let _first_stays = self.whole.set(router);
    }

    fn alive(&self) -> Json<Value> {
        let agent = self.default_agent.as_ref();
        let agent = agent.and_then(|name| self.agents.get(name));
        agent.map_or_else(health::alive_empty, |agent| health::alive_body(agent))
    }

    /// As `/readyz` says it when all is there, and how far each install is.
    fn ready(&self) -> Response {
        let underway = self.progress.shown();
        let part = |name: &AgentName| match underway.get(name) {
            Some(_) => json!({ "status": "installing" }),
            None => json!({ "status": "starting" }),
        };
        let agents = self.agents.keys();
        let parts: Map<_, _> = agents.map(|name| (name.to_string(), part(name))).collect();
        let later = json!({ "status": "not looked at yet" });
        let body = json!({
            "status": "not ready",
            "llm_gateway": "not looked at yet",
            "installing": underway,
            "parts": { "gate": later, "stores": later, "agents": parts },
        });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }

    /// What is waited for, in words.
    fn at(&self) -> String {
        let at = |(agent, shown): (&AgentName, &Shown)| {
            let percent = shown.percent.map(|percent| format!(", {percent} %"));
            format!(
                "{agent} is installed (at {}{})",
                shown.stage,
                percent.unwrap_or_default()
            )
        };
        let installs: Vec<_> = self.progress.shown().iter().map(at).collect();
        match installs.is_empty() {
            true => AT_SOMETHING.to_owned(),
            false => installs.join(", "),
        }
    }

    fn started(&self) -> Response {
        let agents: Vec<_> = self.agents.keys().collect();
        let body = json!({ "status": "starting", "agents": agents });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}

async fn answer(State(arrival): State<Arrival>, request: Request) -> Response {
    if let Some(whole) = arrival.whole.get() {
        return whole
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
    }
    match request.uri().path() {
        _ if !arrival.probed => Refused::Arriving(AT_SOMETHING.to_owned()).into_response(),
        "/" | "/healthz" => arrival.alive().into_response(),
        "/readyz" => arrival.ready(),
        "/startupz" => arrival.started(),
        _ => Refused::Arriving(arrival.at()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(router: &Router, path: &str) -> (StatusCode, Response) {
        let request = Request::builder().uri(path).body(axum::body::Body::empty());
        let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
        (answer.status(), answer)
    }

    #[tokio::test]
    async fn everything_but_probes_is_503_until_the_whole_api_is_there() {
        let arrival = Arrival {
            whole: Arc::default(),
            agents: Arc::default(),
            default_agent: None,
            progress: Progress::new(postern_daemon::Clock::system()),
            probed: true,
        };
        let untold = arrival.clone().untold().router();
        for path in ["/", "/healthz", "/readyz", "/api/v1/agents"] {
            assert_eq!(asked(&untold, path).await.0, 503, "{path}");
        }
        let router = arrival.router();
        for (path, status) in [
            ("/", 200),
            ("/healthz", 200),
            ("/readyz", 503),
            ("/startupz", 503),
        ] {
            assert_eq!(asked(&router, path).await.0, status, "{path}");
        }
        let (status, refused) = asked(&router, "/invoke").await;
        assert_eq!(status, 503);
        assert!(refused.headers().contains_key("retry-after"));
        arrival.is_whole(Router::new().fallback(|| async { "whole" }));
        for path in ["/", "/readyz", "/invoke"] {
            assert_eq!(asked(&router, path).await.0, 200, "{path}");
        }
    }
}
