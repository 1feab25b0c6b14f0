//! One run of an agent that speaks the protocol, from the start of its program to its end. Its process group is gone when this
//! is, whatever came of it.

use std::{io, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use postern_contract::{
    ActionId,
    approval::{Question, Status, Waits},
    config::Role,
};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    Talker,
    dialogue::{Dialogue, Move},
    permission::{Permission, Verdict, cancelled},
};
use crate::{
    agent_environment,
    agents::{
        command::{MODEL, TooMuch, text_of, variables},
        room::{Craft, Job},
        running::{NotStarted, READ_BYTES_MAX, Running, Start},
    },
    config::Permissions,
    output::printable,
};

/// How long an agent may take until it has a session.
const BEGIN_MAX: Duration = Duration::from_secs(60);

/// How long it may take to hear that nobody wants its answer, and to end when it has given one.
const END_MAX: Duration = Duration::from_secs(1);

/// Lines that an agent leaves unread.
const UNREAD_MAX: usize = 256;

/// What a human is asked at once in one run; to more the answer is no.
const ASKED_MAX: usize = 16;

/// Permissions of one run whose answers are logged.
const LOGGED_MAX: u32 = 100;

/// One run.
type Errand = Job<Talker>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Start(#[from] NotStarted),
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    #[error("it does not read what it is told")]
    Deaf,
    #[error("it had no session after {BEGIN_MAX:?}")]
    Slow,
    #[error("{0}")]
    Said(String),
}

/// A program with which we talk.
struct Talk {
    running: Running,
    dialogue: Dialogue,
    lines: mpsc::Sender<Vec<u8>>,
    /// Writes them; its end closes the program's standard input.
    writing: JoinSet<()>,
}

impl Craft for Talker {
    async fn work(errand: Errand, mut unwanted: oneshot::Receiver<()>) {
        let program = errand.shop.craft.settings.argv[0].clone();
        let mut talk = match errand.begin().await {
            Ok(talk) => talk,
            Err(failed) => return errand.finish(&program, Err(failed.to_string())).await,
        };
        let answer = tokio::select! {
            biased;
            _ = &mut unwanted => None,
            answer = errand.converse(&mut talk) => Some(answer),
        };
        match answer {
            Some(answer) => {
                // Before the run is over: what its program still did in a shared sandbox would be another run's.
                let session = talk.dialogue.session().filter(|_| answer.is_ok());
                errand.sessions.ended(&errand.request, session);
                talk.end(&errand).await;
                let answer = answer.map_err(|failed| failed.to_string());
                errand.finish(&program, answer).await;
            }
            None => {
                drop(timeout(END_MAX, talk.call_off()).await);
                talk.end(&errand).await;
            }
        }
    }
}

impl Errand {
    async fn begin(&self) -> Result<Talk, Failed> {
        let (ground, settings) = (&self.shop.ground, &self.shop.craft.settings);
        let model = ground.agent.model_for(Role::Chat);
        let model = model.map_or("", |model| model.name.as_str());
        let words = settings.argv.iter();
        let mut env = agent_environment::of(&ground.agent);
        env.extend(variables(&self.request));
        let (stdin, writer) = io::pipe().map_err(NotStarted::from)?;
        let writer = pipe::Sender::from_owned_fd(writer.into()).map_err(NotStarted::from)?;
        let start = Start {
            argv: words.map(|word| word.replace(MODEL, model)).collect(),
            env,
            stdin: stdin.into(),
        };
        let run = &self.request.run_id;
        let running = Running::start(ground, &self.sandbox, run, start).await?;
        let (lines, queue) = mpsc::channel(UNREAD_MAX);
        let mut writing = JoinSet::new();
        writing.spawn(write(writer, queue));
        let message = text_of(&self.request.message);
        Ok(Talk {
            running,
            dialogue: Dialogue::about(message, agent_environment::working_directory())
                .after(self.sessions.of(&self.request)),
            lines,
            writing,
        })
    }

    /// Talks with it until it has answered.
    async fn converse(&self, talk: &mut Talk) -> Result<Value, Failed> {
        let greeting = talk.dialogue.greeting();
        talk.say(greeting)?;
        let mut bytes = vec![0; READ_BYTES_MAX];
        let mut permissions = 0..;
        // What humans are asked; nobody is any more once this is dropped.
        let mut asked = FuturesUnordered::new();
        let late = tokio::time::sleep(BEGIN_MAX);
        tokio::pin!(late);
        loop {
            let length = tokio::select! {
                Some(line) = asked.next(), if !asked.is_empty() => {
                    talk.say(line)?;
                    continue;
                }
                length = talk.running.read(&mut bytes) => length,
                () = &mut late, if !talk.dialogue.has_begun() => return Err(Failed::Slow),
            };
            let Some(length) = length else {
                return Err(Failed::Said(talk.broke_off().await));
            };
            for next in talk.dialogue.read(&bytes[..length])? {
                match next {
                    Move::Send(line) => talk.say(line)?,
                    Move::Tell(heard) => self.tell(heard).await,
                    Move::Decide(permission) if asked.len() < ASKED_MAX => {
                        asked.push(self.decide(permission, permissions.next()));
                    }
                    Move::Decide(permission) => talk.say(told(&permission, Verdict::No))?,
                    Move::Over(answer) => return answer.map_err(Failed::Said),
                }
            }
            // A program that writes without end has the daemon no longer than others.
            tokio::task::yield_now().await;
        }
    }

    /// What the config, or the human whom it has asked, says to what the agent asks permission for. What it then does is judged
    /// by the gate all the same.
    async fn decide(&self, permission: Permission, number: Option<u32>) -> Vec<u8> {
        let verdict = match self.shop.craft.settings.permissions {
            Permissions::Allow => Verdict::Yes,
            Permissions::Reject => Verdict::No,
            Permissions::Ask => self.asked(&permission).await,
        };
        let (agent, run) = (&self.shop.ground.agent.name, &self.request.run_id);
        match number {
            Some(..LOGGED_MAX) => {
                let tool = printable(&permission.tool);
                tracing::info!(target: "agent", %agent, %run, ?verdict, "permission asked for: {tool}");
            }
            Some(LOGGED_MAX) => {
                tracing::warn!(target: "agent", %agent, %run, "more permissions are asked for than are logged");
            }
            _ => {}
        }
        told(&permission, verdict)
    }

    /// What a human says. Whoever cannot be asked has said no.
    async fn asked(&self, permission: &Permission) -> Verdict {
        let question = Question {
            action: ActionId::fresh(),
            agent: self.shop.ground.agent.name.clone(),
            run: self.request.run_id.clone(),
            user: self.request.user_id.clone(),
            words: permission.words(),
            detail: permission.detail.clone(),
            waits: Waits::Held,
        };
        match self.shop.craft.questions.ask(question).await {
            Ok(answered) if answered.status == Status::Approved => Verdict::Yes,
            Ok(_) => Verdict::No,
            Err(error) => {
                let run = &self.request.run_id;
                tracing::warn!(%run, %error, "nobody could be asked for a permission");
                Verdict::No
            }
        }
    }
}

fn told(permission: &Permission, verdict: Verdict) -> Vec<u8> {
    Dialogue::answer(&permission.id, &permission.result(verdict))
}

impl Talk {
    fn say(&self, line: Vec<u8>) -> Result<(), Failed> {
        self.lines.try_send(line).map_err(|_| Failed::Deaf)
    }

    /// It has ended, or closed its output: nothing more can come.
    async fn broke_off(&mut self) -> String {
        match timeout(END_MAX, self.running.ended_well()).await {
            Ok(_) => format!("it ended before it answered: {}", self.running.how().await),
            Err(_) => "it closed its standard output before it answered".to_owned(),
        }
    }

    /// Tells it that nobody wants its answer, and returns when it has heard.
    async fn call_off(&mut self) -> Result<(), Failed> {
        let Some(cancel) = self.dialogue.cancel() else {
            return Ok(());
        };
        self.say(cancel)?;
        let mut bytes = vec![0; READ_BYTES_MAX];
        while let Some(length) = self.running.read(&mut bytes).await {
            for next in self.dialogue.read(&bytes[..length])? {
                match next {
                    Move::Send(line) => self.say(line)?,
                    Move::Decide(permission) => {
                        self.say(Dialogue::answer(&permission.id, &cancelled()))?;
                    }
                    Move::Over(_) => return Ok(()),
                    Move::Tell(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Closes its standard input, by which it knows that it is over, and kills what does not end by that.
    async fn end(mut self, errand: &Errand) {
        self.writing.abort_all();
        drop(timeout(END_MAX, self.running.ended_well()).await);
        self.running.kill(&errand.sandbox).await;
    }
}

/// Writes lines as they are read, until no more come.
async fn write(mut writer: pipe::Sender, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if writer.write_all(&line).await.is_err() {
            return;
        }
    }
}
