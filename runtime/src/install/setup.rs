//! What makes a fetched tree ready: the lines of `agent_setup`, one after the other, on a copy of it, in a sandbox that has no
//! credential. The first that fails ends it. Never touches the tree that was fetched.

use std::{collections::BTreeMap, path::Path};

use postern_contract::{
    config::Stage,
    launch::{Access, Mount},
};

use super::{
    InstallError, Installer,
    stage::{StageRoom, Step, home},
};
use crate::{agent_environment, agents::files::Files, config::Agent};

/// Where the fetched tree is shown.
const FETCHED_TARGET: &str = "/run/postern/fetched";

impl Installer {
    /// Makes `ready` of `fetched`, which is thrown away, and gives how many bytes it takes; nothing is left of either where it fails.
    pub(super) async fn set_up(
        &self,
        agent: &Agent,
        files: &Files,
        (fetched, ready): (&Path, &Path),
    ) -> Result<Option<u64>, InstallError> {
        let mounts = vec![
            Mount {
                source: fetched.to_owned(),
                target: FETCHED_TARGET.into(),
                access: Access::ReadOnly,
            },
            Mount {
                source: ready.to_owned(),
                target: files.mount.clone(),
                access: Access::Fresh,
            },
        ];
        let stage = self.stage(agent, Stage::Setup, mounts).await?;
        let made = run(&stage, files).await;
        stage.discard(fetched).await;
        if made.is_err() {
            stage.discard(ready).await;
        }
        stage.end().await;
        made
    }
}

async fn run(stage: &StageRoom<'_>, files: &Files) -> Result<Option<u64>, InstallError> {
    let (source, mount) = (&files.source, files.mount.to_string_lossy());
    let shown = source.shown();
    let copy = ["cp", "--archive", &format!("{FETCHED_TARGET}/."), &mount];
    let copy = Step {
        what: "copy".to_owned(),
        argv: copy.map(str::to_owned).into(),
        env: BTreeMap::new(),
        input: None,
        cwd: "/".into(),
    };
    stage.run(&shown, copy).await?;
    let path = agent_environment::path_with(&files.commands());
    let cwd = match source.is_a_package() {
        true => home(),
        false => files.mount.clone(),
    };
    for line in source.setup() {
        let step = Step {
            what: line.clone(),
            // What it prints is for people, all of it.
            argv: ["/bin/sh", "-c", &format!("exec 1>&2\n{line}")]
                .map(str::to_owned)
                .into(),
            env: [("PATH".to_owned(), path.clone())].into(),
            input: None,
            cwd: cwd.clone(),
        };
        stage.run(&shown, step).await?;
    }
    stage.measure(&shown, &files.mount).await
}
