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
mod settings;
mod text;
mod words;

use std::sync::Arc;

use super::{
    Host, StartError, Surroundings,
    ground::Ground,
    pool::Housed,
    room::{Room, Shop},
};
use crate::config::Agent;
pub(super) use map::Meaning;
pub(super) use output::{Heard, OUTPUT_BYTES_MAX, Output, TooMuch, value};
pub(super) use preset::MODEL;
pub use settings::Settings;
pub(super) use settings::check_words;
pub(super) use words::{text_of, variables};

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
    let craft = settings.clone();
    let homes = Room::homes(Shop { ground, craft }, agent).await?;
    Ok(Arc::new(Housed::new(agent, weakened, homes)))
}
