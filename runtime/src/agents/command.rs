//! Agents that are a program of any language: one process, and all that it starts, for each run, with a message in and an answer
//! out. Nothing of a run is believed but what it says for itself, and nothing of it outlives the run.
//!
//! ```text
//! place ─▶ room ── a run ─▶ errand: the program, message in ─ output ─▶ pieces of the answer ─▶ its end ─▶ answer or error
//!                             └ nobody wants it any more: the process group is killed
//! ```

mod errand;
mod map;
mod output;
mod preset;
mod room;
mod settings;
mod stderr;
mod text;
mod words;

use std::sync::Arc;

use super::{
    Host, StartError, Surroundings,
    ground::Ground,
    pool::{Homes, Housed},
};
use crate::config::Agent;
pub(super) use output::{Heard, OUTPUT_BYTES_MAX, Output};
use room::{Room, Shop};
pub use settings::Settings;

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
    let (ground, weakened) = Ground::with_files(agent, files, around).await?;
    let shop = Arc::new(Shop {
        ground,
        settings: settings.clone(),
    });
    let sandbox = shop.ground.build().await?;
    let first = std::future::ready(Ok(Room::of(Arc::clone(&shop), sandbox)));
    let homes = Homes::open(shop, agent, first);
    Ok(Arc::new(Housed::new(agent, weakened, homes)))
}
