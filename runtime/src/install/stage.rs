//! A stage of an install that has a way through the gate: a sandbox that the gate knows as this agent's install, and one program
//! after the other in it. Never says what they do.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::{
    ByteSize,
    config::Stage,
    launch::{AGENT_HOME, ExitStatus, Limits, Mount, Purpose},
    link::{News, Origin},
};
use tokio::{io::BufReader, net::unix::pipe, task::JoinHandle};

use super::{
    Failed, InstallError, Installer, STAGE_MAX, archive::read_line, discard, hint, hostname, room,
    weaker,
};
use crate::{
    agent_environment,
    agents::ground::{in_words, ways_out},
    config::Agent,
    link::LinkError,
    output::next_line,
    sandbox::{Descriptors, Exit, Program, Sandbox, Wanted},
};

/// Room in each of the directories that a stage may write beside the tree: caches of package managers.
const SCRATCH: ByteSize = ByteSize(1 << 30);

/// How many of a program's last lines are told when it fails, and how many of all are logged.
const LAST_LINES: usize = 20;
const LOGGED_LINES_MAX: usize = 2_000;

/// A stage's sandbox; it is ended whole when this is dropped.
pub(super) struct StageRoom<'install> {
    installer: &'install Installer,
    agent: &'install Agent,
    sandbox: Sandbox,
    word: &'static str,
}

/// One program of a stage.
pub(super) struct Step {
    /// What people call it.
    pub(super) what: String,
    pub(super) argv: Vec<String>,
    /// Beside what every install has.
    pub(super) env: BTreeMap<String, String>,
    /// What it reads; nothing otherwise.
    pub(super) input: Option<Arc<str>>,
    pub(super) cwd: PathBuf,
}

impl Installer {
    /// Builds the sandbox of a stage and tells the gate what it is.
    pub(super) async fn stage<'install>(
        &'install self,
        agent: &'install Agent,
        stage: Stage,
        mounts: Vec<Mount>,
    ) -> Result<StageRoom<'install>, InstallError> {
        let wanted = Wanted::of(stage, (self, agent), mounts);
        let kinds = wanted.listeners.iter().map(|made| (*made).into()).collect();
        let (sandbox, listeners) = self.launcher.start(wanted).await?;
        let news = News::SandboxStarted {
            sandbox: sandbox.id.clone(),
            agent: agent.name.clone(),
            origin: match stage {
                Stage::Fetch => Origin::Fetch,
                Stage::Setup => Origin::Setup,
            },
            listeners: kinds,
        };
        self.link.announce(news, listeners, sandbox.ender()).await?;
        let word = stage.as_str();
        tracing::info!(agent = %agent.name, sandbox = %sandbox.id, stage = word, "installing");
        Ok(StageRoom {
            installer: self,
            agent,
            sandbox,
            word,
        })
    }
}

impl Wanted {
    /// What a stage's sandbox is: an agent's, but for its own limits and ways out.
    fn of(stage: Stage, (installer, agent): (&Installer, &Agent), mounts: Vec<Mount>) -> Self {
        Self {
            purpose: Purpose::Agent,
            hostname: hostname(agent),
            mounts,
            trusted: Some(installer.trusted.clone()),
            listeners: ways_out(&agent.installing.captured(stage)),
            limits: Limits {
                scratch_bytes: Some(SCRATCH.0),
                ..Limits::default()
            },
            require: agent.sandbox.require.clone(),
            allow_weaker: weaker(agent),
        }
    }
}

impl StageRoom<'_> {
    /// Runs a program to its end, with all that it started, and gives back what it printed on its standard output.
    pub(super) async fn run(&self, shown: &str, step: Step) -> Result<Vec<u8>, InstallError> {
        let what = step.what.clone();
        let failed = |how: String, last: Vec<String>| InstallError::Failed {
            shown: shown.to_owned(),
            failed: Box::new(Failed {
                hint: hint::about(&last),
                what: what.clone(),
                how,
                last,
            }),
        };
        let stopped = tokio::select! {
            ran = self.ran(step) => Ok(ran?),
            () = tokio::time::sleep(STAGE_MAX) => {
                Err(format!("it was not done in {} s", STAGE_MAX.as_secs()))
            }
            () = room::used_up(&self.installer.agents) => {
                Err("it took almost all that was free on the disk".to_owned())
            }
        };
        let ran = match stopped {
            Ok(ran) => ran,
            Err(how) => {
                // It would write on while its tree is deleted.
                self.sandbox.clear().await?;
                return Err(failed(how, Vec::new()));
            }
        };
        let Ran {
            printed,
            exit,
            last,
        } = ran;
        match exit.as_ref().map(|exit| &exit.status) {
            Some(ExitStatus::Code(0)) => Ok(printed),
            _ => Err(failed(in_words(exit), last)),
        }
    }

    /// How many bytes a directory takes with all that is in it, if that can be found out.
    pub(super) async fn measure(
        &self,
        shown: &str,
        directory: &Path,
    ) -> Result<Option<u64>, InstallError> {
        // What nobody may look into counts nothing.
        let line = "du --summarize --block-size=1 . 2>/dev/null || :";
        let step = Step {
            what: "du".to_owned(),
            argv: ["/bin/sh", "-c", line].map(str::to_owned).into(),
            env: BTreeMap::new(),
            input: None,
            cwd: directory.to_owned(),
        };
        let printed = String::from_utf8(self.run(shown, step).await?).unwrap_or_default();
        let first = printed.split_whitespace().next();
        Ok(first.and_then(|bytes| bytes.parse().ok()))
    }

    async fn ran(&self, step: Step) -> Result<Ran, InstallError> {
        let place = |source: io::Error| InstallError::Place {
            path: step.cwd.clone(),
            source,
        };
        let (answer, stdout) = io::pipe().map_err(place)?;
        let (tail, stderr) = Tail::open(self.agent.name.as_str(), self.word).map_err(place)?;
        let mut env = agent_environment::of_an_install();
        env.extend(step.env);
        let program = Program {
            argv: step.argv,
            env,
            cwd: step.cwd.clone(),
        };
        let open = Descriptors {
            stdin: stdin(step.input).map_err(place)?,
            stdout: stdout.into(),
            stderr,
            channel: None,
        };
        let mut process = self.sandbox.exec(program, open).await?;
        let reading = tokio::spawn(read_line(answer.into()));
        let exit = process.exited().await;
        // What it left running holds the pipes, and has no business in a tree that is done.
        self.sandbox.clear().await?;
        let printed = reading
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok(Ran {
            printed: printed.map_err(place)?,
            exit,
            last: tail.last().await,
        })
    }

    pub(super) async fn discard(&self, tree: &Path) {
        discard(&self.sandbox, tree).await;
    }

    /// Ends the sandbox and tells the gate.
    pub(super) async fn end(self) {
        let news = News::SandboxEnded {
            sandbox: self.sandbox.id.clone(),
        };
        drop(self.sandbox);
        match self.installer.link.tell(news, Vec::new()).await {
            Ok(()) | Err(LinkError::Broken) => {}
            Err(error) => tracing::warn!(%error, "the gate was not told that an install ended"),
        }
    }
}

/// What a program reads: this text, or nothing.
fn stdin(text: Option<Arc<str>>) -> io::Result<OwnedFd> {
    let Some(text) = text else {
        return Ok(File::open("/dev/null")?.into());
    };
    let (reader, mut writer) = io::pipe()?;
    // Who does not read it to its end has no use for it.
    tokio::task::spawn_blocking(move || drop(writer.write_all(text.as_bytes())));
    Ok(reader.into())
}

/// How a program ended, and what it said.
struct Ran {
    printed: Vec<u8>,
    exit: Option<Exit>,
    last: Vec<String>,
}

/// The last lines of what a program says, which is logged as well.
struct Tail(JoinHandle<VecDeque<String>>);

impl Tail {
    fn open(agent: &str, stage: &'static str) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let agent = agent.to_owned();
        let following = tokio::spawn(async move {
            let mut reader = BufReader::new(reader);
            let (mut last, mut count) = (VecDeque::new(), 0);
            while let Ok(Some(line)) = next_line(&mut reader).await {
                count += 1;
                if count <= LOGGED_LINES_MAX {
                    tracing::info!(target: "agent", agent, stream = stage, "{line}");
                }
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            last
        });
        Ok((Self(following), writer.into()))
    }

    async fn last(self) -> Vec<String> {
        self.0.await.unwrap_or_default().into()
    }
}

/// The agent's home, where setup of packages begins.
pub(super) fn home() -> PathBuf {
    AGENT_HOME.into()
}
