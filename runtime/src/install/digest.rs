//! What a shared tree is, byte for byte, compared with what it was when it was made, where the config asks for that. Never reads a tree
//! itself: a program does, in a sandbox without a way out, which is shown it as agents are.

use std::{io, os::fd::OwnedFd, path::Path};

use postern_contract::launch::{Access, ExitStatus, Mount};

use super::{
    InstallError, Installer,
    archive::{TREE_TARGET, read_line},
    discard, image,
};
use crate::{
    config::Agent,
    output,
    sandbox::{Descriptors, Program},
    source::Digest,
};

/// All names, modes, links and bytes in an order that does not change. What agents cannot read does not count.
const READ: &str = "cd /install && tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --create . 2>/dev/null | sha256sum";

/// What `sha256sum` says where `tar` said nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Installer {
    /// Takes a shared tree out of the cache that is not what it was. Whoever wants it then makes it anew. The caller has its turn.
    pub(super) async fn check(&self, agent: &Agent, key: Digest) -> Result<(), InstallError> {
        let Some((tree, mut note)) = self.cache.found(key).filter(|_| self.cache.is_checked())
        else {
            return Ok(());
        };
        let found = self.digest(agent, &tree).await?;
        match note.sha256.as_deref().map(|was| was == found) {
            Some(true) => {}
            Some(false) => {
                tracing::error!(agent = %agent.name, key = %key, "a shared tree is not what it was when it was made: it is deleted and made anew");
                self.drop_one(agent, key).await;
            }
            None => {
                note.sha256 = Some(found);
                self.cache
                    .shelf()?
                    .note(super::Version::first(key), &note)?;
            }
        }
        Ok(())
    }

    async fn drop_one(&self, agent: &Agent, key: Digest) {
        let Some(gone) = self.cache.drop_name(&key.to_string()) else {
            return;
        };
        if !gone.is_dir() {
            drop(std::fs::remove_file(&gone));
        } else if let Ok(sandbox) = self.sandbox(agent, Vec::new()).await {
            discard(&sandbox, &gone).await;
        }
    }

    async fn digest(&self, agent: &Agent, tree: &Path) -> Result<String, InstallError> {
        let place = |source: io::Error| InstallError::Place {
            path: tree.to_owned(),
            source,
        };
        if tree.is_file() {
            return image::digest(tree).await.map_err(place);
        }
        let mount = Mount {
            source: tree.to_owned(),
            target: TREE_TARGET.into(),
            access: Access::ReadOnly,
        };
        let sandbox = self.sandbox(agent, vec![mount]).await?;
        let (line, stdout) = io::pipe().map_err(place)?;
        let program = Program {
            argv: ["/bin/sh", "-c", READ].map(str::to_owned).into(),
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            cwd: "/".into(),
        };
        let open = Descriptors {
            stdin: OwnedFd::from(std::fs::File::open("/dev/null").map_err(place)?),
            stdout: stdout.into(),
            stderr: output::to_log(agent.name.as_str(), "check").map_err(place)?,
            channel: None,
        };
        let mut process = sandbox.exec(program, open).await?;
        let said = read_line(line.into()).await.map_err(place)?;
        let ended = process.exited().await.map(|exit| exit.status);
        let said = String::from_utf8_lossy(&said);
        match (said.split_whitespace().next(), ended) {
            (Some(digest), Some(ExitStatus::Code(0))) if digest != NOTHING => Ok(digest.to_owned()),
            _ => Err(place(io::Error::other("its digest could not be found out"))),
        }
    }
}
