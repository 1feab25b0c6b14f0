//! What stands for credentials in one sandbox: made with it, told to the gate, and found by programs under the names that
//! they read. Never a credential, and never the same in two sandboxes.

use std::{collections::BTreeMap, fs::File, io, os::fd::OwnedFd, time::Duration};

use postern_contract::{
    SandboxId,
    launch::{AGENT_HOME, ExitStatus},
    link::{Dummy, News},
};
use tokio::{io::AsyncWriteExt as _, net::unix::pipe};

use crate::{
    agent_environment::Environment,
    config::Agent,
    sandbox::{Descriptors, Program, Sandbox, SandboxError},
};

/// How long a file may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Writes what it reads into a file, where the agent itself could have.
const WRITE: &str = r#"umask 077 && mkdir -p -- "${1%/*}" && cat >"$1""#;

/// All of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Dummies {
    told: Vec<Dummy>,
    env: Environment,
    /// By their paths, what stands in them.
    files: BTreeMap<String, String>,
}

impl Dummies {
    /// Fresh ones for an agent's tools.
    pub(super) fn fresh(agent: &Agent) -> io::Result<Self> {
        let mut all = Self::default();
        for tool in &agent.tools {
            for wanted in &tool.dummies {
                let mut failed = Ok(());
                let random = || {
                    let number = number();
                    number.unwrap_or_else(|error| {
                        failed = Err(error);
                        0
                    })
                };
                let (text, fixed) = wanted.shape.make(random);
                failed?;
                if let Some(env) = &wanted.env {
                    all.env.insert(env.clone(), text.clone());
                }
                if let Some(file) = &wanted.file {
                    let path = format!("{AGENT_HOME}/{}", file.path);
                    all.files.insert(path, file.with(&text));
                }
                let tool = tool.name.clone();
                all.told.push(Dummy { tool, text, fixed });
            }
        }
        Ok(all)
    }

    /// What the gate is told, if there is anything.
    pub(super) fn news(&mut self, sandbox: &SandboxId) -> Option<News> {
        let dummies = std::mem::take(&mut self.told);
        (!dummies.is_empty()).then(|| News::Dummies {
            sandbox: sandbox.clone(),
            dummies,
        })
    }

    /// Puts them where programs of this sandbox will find them.
    pub(super) async fn furnish(self, sandbox: &mut Sandbox) -> Result<(), SandboxError> {
        sandbox.own = self.env;
        for (path, text) in self.files {
            let written = tokio::time::timeout(WRITE_MAX, write(sandbox, path, text)).await;
            written.map_err(|_| SandboxError::Odd("had a dummy's file written in no time"))??;
        }
        Ok(())
    }
}

/// An evenly spread number.
fn number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)?;
    Ok(u16::from_ne_bytes(bytes))
}

/// The agent's own uid writes, in its own sandbox: there is nothing that a daemon could be led to.
async fn write(sandbox: &Sandbox, path: String, text: String) -> Result<(), SandboxError> {
    let (theirs, ours) = io::pipe().map_err(SandboxError::Socket)?;
    let null = || File::open("/dev/null").map(OwnedFd::from);
    let sink = || {
        File::options()
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
    };
    let open = Descriptors {
        stdin: theirs.into(),
        stdout: sink().map_err(SandboxError::Socket)?,
        stderr: null().map_err(SandboxError::Socket)?,
        channel: None,
    };
    let argv = ["/bin/sh", "-c", WRITE, "sh"].map(str::to_owned);
    let program = Program {
        argv: argv.into_iter().chain([path]).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".into(),
    };
    let mut process = sandbox.exec(program, open).await?;
    let mut ours = pipe::Sender::from_owned_fd(ours.into()).map_err(SandboxError::Socket)?;
    ours.write_all(text.as_bytes())
        .await
        .map_err(SandboxError::Socket)?;
    drop(ours);
    match process.exited().await.map(|exit| exit.status) {
        Some(ExitStatus::Code(0)) => Ok(()),
        Some(_) => Err(SandboxError::Odd("could not have a dummy's file written")),
        None => Err(SandboxError::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::agent_of;

    const CONFIG: &str = r#"
        [tools.pay]
        url = "https://pay.example"
        credential = { kind = "bearer", secret = "pay" }
        dummy = { env = "PAY_KEY", like = "sk_live_", length = 32, file = "~/.pay/key", text = "key={dummy}" }
        [tools.free]
        url = "https://free.example"
        [agents.desk]
        kind = "python"
        source = { object = { path = "a.tar" } }
        entry = "a.py"
        tools = ["pay", "free"]
        "#;

    #[test]
    fn every_sandbox_has_its_own_and_the_gate_is_told_the_same() {
        let agent = agent_of(CONFIG);
        let (mut one, other) = (
            Dummies::fresh(&agent).unwrap(),
            Dummies::fresh(&agent).unwrap(),
        );
        assert_ne!(one.env["PAY_KEY"], other.env["PAY_KEY"]);
        let text = one.env["PAY_KEY"].clone();
        assert_eq!(one.files["/home/agent/.pay/key"], format!("key={text}"));
        let sandbox = SandboxId::fresh();
        let Some(News::Dummies { dummies, .. }) = one.news(&sandbox) else {
            panic!("nothing is told")
        };
        let tool = "pay".parse().unwrap();
        assert_eq!(
            dummies,
            [Dummy {
                tool,
                text,
                fixed: 8
            }]
        );
        assert_eq!(Dummies::default().news(&sandbox), None);
    }
}
