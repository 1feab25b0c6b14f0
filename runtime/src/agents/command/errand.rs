//! One run's program, from its start to its end: the message goes in, what it writes comes out. Its process group is gone when
//! this is, whatever came of it.

use std::{fs::File, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use postern_contract::{config::Role, launch::ExitStatus};
use postern_invoke::{Input, WorkerRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    output::{Heard, Output, TooMuch},
    preset::MODEL,
    room::Shop,
    stderr::Stderr,
    words,
};
use crate::{
    agent_environment,
    agents::ground::{KILL, in_words},
    output::printable,
    sandbox::{Descriptors, Exit, Process, Program, Sandbox, SandboxError},
};

/// Read at once, in bytes.
const READ_BYTES_MAX: usize = 64 << 10;

/// How long its output is waited for when a program has ended, and its end when it was killed.
const SOON: Duration = Duration::from_secs(1);

/// The longest text of an error that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// What is to be done, and where.
pub(super) struct Errand {
    pub(super) shop: Arc<Shop>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) request: WorkerRequest,
    pub(super) inputs: mpsc::Sender<Input>,
}

/// A program that runs.
struct Running {
    process: Process,
    /// Its end is known.
    is_over: bool,
    stdout: pipe::Receiver,
    stderr: Stderr,
    /// Writes its standard input; ends with this value.
    _stdin: JoinSet<()>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it did not start: {0}")]
    Start(#[from] SandboxError),
    #[error("it did not start: {0}")]
    Pipe(#[from] io::Error),
    #[error("{0}")]
    Words(#[from] words::Unfit),
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    #[error("{0}")]
    Said(String),
}

impl Errand {
    /// Carries it out; nothing more is told once it is not wanted.
    pub(super) async fn run(self, mut unwanted: oneshot::Receiver<()>) {
        let answer = match self.start().await {
            Ok(mut running) => {
                let answer = tokio::select! {
                    biased;
                    _ = &mut unwanted => None,
                    answer = self.converse(&mut running) => Some(answer),
                };
                self.end(running).await;
                answer
            }
            Err(failed) => Some(Err(failed)),
        };
        let input = match answer {
            Some(Ok(value)) => Input::WorkerReturned(value),
            Some(Err(failed)) => Input::WorkerFailed {
                detail: self.told(&failed),
            },
            None => return,
        };
        // Nobody listens any more when the run is over.
        drop(self.inputs.send(input).await);
    }

    async fn start(&self) -> Result<Running, Failed> {
        let (agent, settings) = (&self.shop.ground.agent, &self.shop.settings);
        let model = agent.model_for(Role::Chat);
        let model = model.map_or("", |model| model.name.as_str());
        let words = words::of(settings, model, &self.request)?;
        let mut env = agent_environment::of(agent);
        for (name, value) in &settings.env {
            // What the config says goes before.
            env.entry(name.clone())
                .or_insert_with(|| value.replace(MODEL, model));
        }
        env.extend(words.env);
        let (stdout, theirs) = io::pipe()?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
        let (stderr, complaints) = Stderr::follow(agent.name.as_str(), &self.request.run_id)?;
        let mut writing = JoinSet::new();
        let stdin = match words.stdin {
            Some(message) => written(message, &mut writing)?,
            None => File::open("/dev/null")?.into(),
        };
        let program = Program {
            argv: words.argv,
            env,
            cwd: agent_environment::working_directory().into(),
        };
        let open = Descriptors {
            stdin,
            stdout: theirs.into(),
            stderr: complaints,
            channel: None,
        };
        let process = self.sandbox.exec(program, open).await?;
        Ok(Running {
            process,
            is_over: false,
            stdout,
            stderr,
            _stdin: writing,
        })
    }

    /// Tells what it writes, until it has ended.
    async fn converse(&self, running: &mut Running) -> Result<serde_json::Value, Failed> {
        let mut output = Output::read_as(&self.shop.settings.output);
        let mut bytes = vec![0; READ_BYTES_MAX];
        let mut exit = None;
        let soon = tokio::time::sleep(SOON);
        tokio::pin!(soon);
        loop {
            tokio::select! {
                read = running.stdout.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        self.tell(output.read(&bytes[..length])?).await;
                        // A program that writes without end has the daemon no longer than others.
                        tokio::task::yield_now().await;
                    }
                },
                gone = running.process.exited(), if !running.is_over => {
                    running.is_over = true;
                    exit = gone;
                    soon.as_mut().reset(tokio::time::Instant::now() + SOON);
                }
                () = &mut soon, if running.is_over => break,
            }
        }
        self.tell(output.rest()?).await;
        if !running.is_over {
            exit = running.process.exited().await;
            running.is_over = true;
        }
        let ended_well = exit
            .as_ref()
            .is_some_and(|exit| exit.status == ExitStatus::Code(0));
        if ended_well {
            return output.answer().map_err(Failed::Said);
        }
        Err(self.badly(exit, output.error(), &mut running.stderr).await)
    }

    /// Why it ended badly: what it says itself, else how it ended and its last words.
    async fn badly(&self, exit: Option<Exit>, said: Option<&str>, stderr: &mut Stderr) -> Failed {
        if let Some(said) = said {
            return Failed::Said(said.to_owned());
        }
        let (how, last) = (in_words(exit), stderr.last_words(SOON).await);
        if last.is_empty() {
            return Failed::Said(how);
        }
        Failed::Said(format!("{how}: {last}"))
    }

    async fn tell(&self, heard: Vec<Heard>) {
        for heard in heard {
            match heard {
                // A run takes its inputs whatever its callers do, so this waits for nobody outside.
                Heard::Said(event) => drop(self.inputs.send(Input::WorkerSaid(event)).await),
                Heard::Stray(line) => {
                    let (agent, run) = (&self.shop.ground.agent.name, &self.request.run_id);
                    tracing::debug!(target: "agent", %agent, %run, "not understood: {}", printable(&line));
                }
            }
        }
    }

    /// Kills what still runs of the program's group.
    async fn end(&self, mut running: Running) {
        if running.is_over {
            return;
        }
        let number = running.process.number;
        if let Err(error) = self.sandbox.signal(number, KILL).await {
            tracing::debug!(%error, "a program was over before it was killed");
        }
        drop(tokio::time::timeout(SOON, running.process.exited()).await);
    }

    fn told(&self, failed: &Failed) -> String {
        let program = &self.shop.settings.argv[0];
        let told: String = failed.to_string().chars().take(ERROR_CHARS_MAX).collect();
        format!("{program}: {told}")
    }
}

/// A descriptor to read a message from, which is written as it is read; who does not read it is let be.
fn written(message: Vec<u8>, writing: &mut JoinSet<()>) -> io::Result<OwnedFd> {
    let (theirs, writer) = io::pipe()?;
    let mut writer = pipe::Sender::from_owned_fd(writer.into())?;
    writing.spawn(async move { drop(writer.write_all(&message).await) });
    Ok(theirs.into())
}
