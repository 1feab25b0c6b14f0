//! Agents that serve HTTP themselves, in their sandbox: started, waited for, and asked over connections that the launcher makes
//! inside. Nothing of such a server is believed but what it says for itself, and no name or address of its choice is dialled.
//!
//! ```text
//! sandbox ─▶ server ─▶ its `ready` path answers ─▶ Ready ── a run: dial, POST, answer or stream ──▶ … ── its process ends ─▶ anew
//! ```

mod answer;
mod ask;
mod house;
mod settings;

use std::sync::Arc;

use postern_invoke::Resumes;

use super::{
    Host, StartError, Surroundings,
    ground::Ground,
    pool::{Homes, Housed},
};
use crate::config::Agent;
use house::{House, Yard};
pub use settings::Settings;

/// Installs the files, if there are any, and builds the first sandbox; the server in it follows.
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
    let yard = Arc::new(Yard::new(ground, settings.clone()));
    let sandbox = yard.ground.build().await?;
    let first = House::begin(Arc::clone(&yard), sandbox);
    let homes = Homes::open(yard, agent, first);
    let housed = Housed::new(agent, weakened, homes);
    Ok(Arc::new(housed.resuming(Resumes::WithState)))
}
