//! `GET /api/v1/agents`: every agent as the dialect shows it. Never shows an environment's values that are not the config's.

use axum::{Json, extract::State};
use postern_contract::config::Role;
use serde_json::{Value, json};

use super::{NAMESPACE, Office, installs::installed};
use crate::{agents::Readiness, app::Served};

pub(super) async fn list(State(office): State<Office>) -> Json<Vec<Value>> {
    let underway = office.around.installer.progress.shown();
    let with_installed = |served: &Served| {
        let mut shown = shown(served);
        shown["installed"] = installed(&office.around.installer, served);
        shown["installing"] = json!(underway.get(&served.agent.name));
        shown
    };
    Json(office.app.agents().values().map(with_installed).collect())
}

fn shown(served: &Served) -> Value {
    let agent = &served.agent;
    let model = agent.model_for(Role::Chat);
    let tools: Vec<_> = agent
        .tools
        .iter()
        .map(|tool| json!({ "name": tool.name }))
        .collect();
    let env: Vec<_> = agent
        .env
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let (phase, message) = match served.readiness() {
        Readiness::Ready { .. } => ("Running", String::new()),
        Readiness::Starting => ("Pending", "starting".to_owned()),
        Readiness::NotReady { why } => ("Failed", why),
    };
    json!({
        "name": agent.name,
        "namespace": NAMESPACE,
        "labels": {},
        "kind": agent.kind.word(),
        "description": agent.description,
        "spec": {
            "image": "",
            "systemPrompt": agent.system_prompt,
            "requiredTools": tools,
            "llmConfig": {
                "model": model.map_or("", |model| model.name.as_str()),
                "provider": model.map_or("", |model| model.format.as_str()),
            },
            "env": env,
        },
        "status": { "phase": phase, "message": message },
    })
}
