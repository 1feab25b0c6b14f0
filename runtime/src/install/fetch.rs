//! What a source's script fetches, into a new tree: in a sandbox of its own that runs no package's code. Never the agent's own
//! way out: what it may call stands in `[agents.NAME.install] fetch`.

use std::path::Path;

use postern_contract::{
    config::Stage,
    launch::{Access, Mount},
};

use super::{
    Failed, InstallError, Installer,
    stage::{StageRoom, Step},
};
use crate::{
    agents::files::Files,
    config::Agent,
    source::{Resolved, Script},
};

impl Installer {
    /// Runs the script in a new directory that stands where the agent will have it, and gives what it led to and how many bytes
    /// that takes; nothing is left of one that fails.
    pub(super) async fn fetch(
        &self,
        agent: &Agent,
        files: &Files,
        (script, staging): (&Script, &Path),
    ) -> Result<(Resolved, Option<u64>), InstallError> {
        let tree = Mount {
            source: staging.to_owned(),
            target: files.mount.clone(),
            access: Access::Fresh,
        };
        let stage = self.stage(agent, Stage::Fetch, vec![tree]).await?;
        let fetched = run(&stage, files, script).await;
        if fetched.is_err() {
            stage.discard(staging).await;
        }
        stage.end().await;
        fetched
    }
}

async fn run(
    stage: &StageRoom<'_>,
    files: &Files,
    script: &Script,
) -> Result<(Resolved, Option<u64>), InstallError> {
    let shell = ["/bin/sh", "-euc", script.text, script.program].map(str::to_owned);
    let step = Step {
        what: script.program.to_owned(),
        argv: shell.into_iter().chain(script.arguments.clone()).collect(),
        env: script.env.clone(),
        input: script.input.clone(),
        cwd: files.mount.clone(),
    };
    let shown = files.source.shown();
    let printed = stage.run(&shown, step).await?;
    let resolved = Resolved::read(&printed).ok_or_else(|| InstallError::Failed {
        shown: shown.clone(),
        failed: Box::new(Failed {
            what: script.program.to_owned(),
            how: "it does not say which version it has fetched".to_owned(),
            last: Vec::new(),
            hint: None,
        }),
    })?;
    Ok((resolved, stage.measure(&shown, &files.mount).await?))
}
