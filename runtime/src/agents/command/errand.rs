//! One run's program, from its start to its end: the message goes in, what it writes comes out. Its process group is gone when
//! this is, whatever came of it.

use std::{fs::File, io, os::fd::OwnedFd};

use postern_contract::config::Role;
use tokio::{io::AsyncWriteExt as _, net::unix::pipe, sync::oneshot, task::JoinSet};

use super::{
    Settings,
    output::{Output, TooMuch},
    preset::MODEL,
    words,
};
use crate::{
    agent_environment,
    agents::{
        room::{Craft, Job},
        running::{NotStarted, READ_BYTES_MAX, Running, Start},
    },
};

/// One run of a command agent.
type Errand = Job<Settings>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Start(#[from] NotStarted),
    #[error("{0}")]
    Words(#[from] words::Unfit),
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    #[error("{0}")]
    Said(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        NotStarted::from(error).into()
    }
}

impl Craft for Settings {
    async fn work(errand: Errand, mut unwanted: oneshot::Receiver<()>) {
        // Writes the program's standard input; ends with this value.
        let mut writing = JoinSet::new();
        let answer = match errand.start(&mut writing).await {
            Ok(mut running) => {
                let answer = tokio::select! {
                    biased;
                    _ = &mut unwanted => None,
                    answer = errand.converse(&mut running) => Some(answer),
                };
                running.kill(&errand.sandbox).await;
                answer
            }
            Err(failed) => Some(Err(failed)),
        };
        if let Some(answer) = answer {
            let answer = answer.map_err(|failed| failed.to_string());
            errand.finish(&errand.shop.craft.argv[0], answer).await;
        }
    }
}

impl Errand {
    async fn start(&self, writing: &mut JoinSet<()>) -> Result<Running, Failed> {
        let (agent, settings) = (&self.shop.ground.agent, &self.shop.craft);
        let model = agent.model_for(Role::Chat);
        let model = model.map_or("", |model| model.name.as_str());
        let session = self.sessions.of(&self.request);
        let words = words::of(settings, (model, session.as_deref()), &self.request)?;
        let mut env = agent_environment::of(agent);
        for (name, value) in &settings.env {
            // What the config says goes before.
            env.entry(name.clone())
                .or_insert_with(|| value.replace(MODEL, model));
        }
        env.extend(words.env);
        let stdin = match words.stdin {
            Some(message) => written(message, writing)?,
            None => File::open("/dev/null")?.into(),
        };
        let start = Start {
            argv: words.argv,
            env,
            stdin,
        };
        let (ground, run) = (&self.shop.ground, &self.request.run_id);
        Ok(Running::start(ground, &self.sandbox, run, start).await?)
    }

    /// Tells what it writes, until it has ended.
    async fn converse(&self, running: &mut Running) -> Result<serde_json::Value, Failed> {
        let settings = &self.shop.craft;
        let id_at = settings.session.as_ref().map(|session| session.id);
        let mut output = Output::read_as(&settings.output).of_a_session(id_at);
        let mut bytes = vec![0; READ_BYTES_MAX];
        while let Some(length) = running.read(&mut bytes).await {
            for heard in output.read(&bytes[..length])? {
                self.tell(heard).await;
            }
            // A program that writes without end has the daemon no longer than others.
            tokio::task::yield_now().await;
        }
        for heard in output.rest()? {
            self.tell(heard).await;
        }
        if running.ended_well().await {
            self.sessions.ended(&self.request, output.session());
            return output.answer().map_err(Failed::Said);
        }
        // One that cannot be gone on with is not tried again.
        self.sessions.ended(&self.request, None);
        // What it says itself, else how it ended and its last words.
        Err(Failed::Said(match output.error() {
            Some(said) => said.to_owned(),
            None => running.how().await,
        }))
    }
}

/// A descriptor to read a message from, which is written as it is read; who does not read it is let be.
fn written(message: Vec<u8>, writing: &mut JoinSet<()>) -> io::Result<OwnedFd> {
    let (theirs, writer) = io::pipe()?;
    let mut writer = pipe::Sender::from_owned_fd(writer.into())?;
    writing.spawn(async move { drop(writer.write_all(&message).await) });
    Ok(theirs.into())
}
