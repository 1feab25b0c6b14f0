//! Agents that speak the Agent Client Protocol (version 1) on their standard input and output: a program for each run, which is
//! greeted, given a session in /workspace and the message, and ended. It is offered nothing of ours, neither files nor terminals,
//! and what it asks permission for is answered as the config says. Nothing of what it says is believed.
//!
//! ```text
//! room ── a run ─▶ program ─ initialize ─▶ session/new ─▶ session/prompt ─ session/update … ─▶ stopReason ─▶ answer
//!                                                            └ nobody wants it any more: session/cancel, then its group is killed
//! ```

mod calls;
mod dialogue;
mod errand;
mod permission;
mod settings;
mod update;

use std::sync::Arc;

use super::{
    Host, StartError, Surroundings,
    ground::Ground,
    pool::Housed,
    room::{Room, Shop},
};
use crate::{config::Agent, questions::Questions};
pub use settings::Settings;

/// Whoever talks with such agents.
#[derive(Debug)]
struct Talker {
    settings: Settings,
    /// Where humans are asked what they ask.
    questions: Questions,
}

/// Installs the files, if there are any, and builds the first sandbox.
///
/// # Errors
/// See [`StartError`].
pub(super) async fn start(
    agent: &Arc<Agent>,
    settings: &Settings,
    around: &Surroundings,
) -> Result<Arc<dyn Host>, StartError> {
    let files = settings.files.as_ref();
    let (ground, weakened) = Ground::with_files(agent, files, Vec::new(), around).await?;
    let craft = Talker {
        settings: settings.clone(),
        questions: around.questions.clone(),
    };
    let homes = Room::homes(Shop { ground, craft }, agent).await?;
    Ok(Arc::new(Housed::new(agent, weakened, homes)))
}
