//! Agents without code: model, prompt and tools. The loop runs in this daemon, but every call it makes goes through the
//! gate like any agent's, by a listener on which the gate believes whose run it is; nothing is dialled here.

mod model;
mod tool;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use postern_contract::{
    GATE_ADDRESS, GATE_PORT, SandboxId,
    config::Role,
    link::{ListenerKind, News, Origin},
};
use postern_invoke::{Builtin as BuiltinPlan, Input, Plan, RunFacts};
use tokio::sync::{mpsc, watch};

use super::{Call, Coming, Host, NoPlace, Place, Readiness, StartError, Surroundings};
use crate::{
    config::{Agent, AgentWritten, OnApproval, Wrong},
    egress::Egress,
    sandbox::Weakened,
};

/// A builtin agent has no settings beyond those of every agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings;

impl Settings {
    pub(super) fn mean(written: &AgentWritten) -> Result<Self, Wrong> {
        let set = [
            ("source", written.source.is_some()),
            ("mount", written.mount.is_some()),
            ("entry", written.entry.is_some()),
        ];
        if let Some((key, _)) = set.iter().find(|(_, is_set)| *is_set) {
            return Err(Wrong::at(
                &[key],
                format!("a `builtin` agent has no code: leave `{key}` out"),
            ));
        }
        if written.models.is_empty() {
            return Err(Wrong::at(
                &["kind"],
                "a `builtin` agent needs a model: add `models = [\"…\"]`",
            ));
        }
        Ok(Self)
    }
}

/// A started builtin agent.
#[derive(Debug)]
pub struct Builtin {
    plan: BuiltinPlan,
    way: Way,
    readiness: watch::Sender<Readiness>,
}

/// The way through the gate that all its runs share: there, posternd says whose call is whose.
#[derive(Debug, Clone)]
struct Way {
    sandbox: SandboxId,
    egress: Arc<Egress>,
    on_approval: OnApproval,
}

impl Builtin {
    /// Makes the agent's listener and hands it to the gate.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(agent: &Agent, around: &Surroundings) -> Result<Self, StartError> {
        let name = format!("{}.sock", agent.name);
        let (egress, listener) = Egress::bind(&around.sockets, &name)
            .map_err(|error| StartError::file(&around.sockets.join(&name), error))?;
        let sandbox = SandboxId::fresh();
        let news = News::SandboxStarted {
            sandbox: sandbox.clone(),
            agent: agent.name.clone(),
            origin: Origin::Runtime,
            listeners: vec![ListenerKind::Gate],
        };
        around.link.tell(news, vec![listener]).await?;
        tracing::info!(agent = %agent.name, "ready, without code");
        let readiness = watch::Sender::new(Readiness::Ready {
            sandbox: Some(sandbox.clone()),
        });
        let egress = Arc::new(egress);
        Ok(Self {
            plan: plan(agent),
            way: Way {
                sandbox,
                egress,
                on_approval: agent.on_approval,
            },
            readiness,
        })
    }
}

fn plan(agent: &Agent) -> BuiltinPlan {
    let model = agent
        .model_for(Role::Chat)
        .map(|model| model.name.to_string());
    BuiltinPlan {
        model: model.unwrap_or_default(),
        system_prompt: agent.system_prompt.clone(),
        tools: agent.functions().cloned().collect(),
        max_iterations: agent.max_tool_iterations,
    }
}

impl Host for Builtin {
    fn plan(&self) -> Plan {
        Plan::Builtin(self.plan.clone())
    }

    fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    fn weakened(&self) -> Vec<Weakened> {
        Vec::new()
    }

    fn place(&self, _: &RunFacts) -> Result<Coming, NoPlace> {
        let way = self.way.clone();
        Ok(Box::pin(async { Ok(Box::new(way) as Box<dyn Place>) }))
    }
}

impl Place for Way {
    fn sandbox(&self) -> &SandboxId {
        &self.sandbox
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let (egress, on_approval) = (Arc::clone(&self.egress), self.on_approval);
        let facts = facts.clone();
        Box::pin(async move {
            let input = match call {
                Call::Model(chat) => model::ask(&egress, &chat, &facts, &inputs).await,
                Call::Tool(request) => tool::call(&egress, *request, (&facts, on_approval)).await,
                Call::Worker(_) => {
                    return tracing::error!("an agent without code was asked for its code");
                }
            };
            // Nobody listens any more when the run is over.
            drop(inputs.send(input).await);
        })
    }
}

/// The head that every call of a run has: whose it is, believed by the gate on this listener alone.
fn request_of_run(method: &str, path: &str, facts: &RunFacts) -> http::request::Builder {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("{GATE_ADDRESS}:{GATE_PORT}"))
        .header("content-type", "application/json")
        .header("x-request-id", facts.request_id.as_str())
        .header("x-run-id", facts.run.as_str());
    if let Some(user) = facts
        .user
        .as_deref()
        .and_then(|user| HeaderValue::from_str(user).ok())
    {
        request = request.header("x-end-user-id", user);
    }
    request
}
