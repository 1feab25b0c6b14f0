//! The one task that owns the link: sends letters, hands replies out, and goes on with the next gate when this one is gone.
//! Never lets an answer of one gate count as another's.
//!
//! ```text
//! converse ── the connection ends ─▶ away: ends count, starts are held, the rest is refused ── knock, Hello ─▶ retell ─┐
//!    ▲                                                                                                                 │
//!    └─────────────────────── what was held goes out ◀── every listener, sandbox and run is told again ◀───────────────┘
//! ```

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use postern_contract::link::{FromGate, News, Reply, ToGate};
use postern_daemon::channel::{Channel, ChannelError};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Condition, Letter, LinkError, REPLY_MAX,
    standing::Standing,
    way::{HELLO, IsNew, Way},
};

/// Letters that wait for the next gate; more are refused.
const HELD_MAX: usize = 1024;

/// How long to wait before the next gate is asked for, where the last one took the connection and nothing more.
const AGAIN_FIRST: Duration = Duration::from_millis(20);

/// How long at most; the wait doubles up to that.
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// Owns the link.
pub(super) struct Keeper {
    queue: mpsc::Receiver<Letter>,
    condition: watch::Sender<Condition>,
    /// How the next gate is found, if at all.
    way: Option<Way>,
    standing: Standing,
    /// What the next gate is told after all that stands, in order.
    held: VecDeque<Letter>,
}

/// One connection.
struct Talk {
    channel: Channel,
    seq: u64,
    waiting: VecDeque<(u64, Letter)>,
}

impl Keeper {
    pub(super) fn new(
        queue: mpsc::Receiver<Letter>,
        condition: watch::Sender<Condition>,
        way: Option<Way>,
    ) -> Self {
        Self {
            queue,
            condition,
            way,
            standing: Standing::default(),
            held: VecDeque::new(),
        }
    }

    /// Until nobody writes any more, or there will be no gate again.
    pub(super) async fn keep(mut self, channel: Channel) {
        let mut talk = Talk::over(channel);
        loop {
            let Err(error) = self.converse(&mut talk).await else {
                return;
            };
            self.unanswered(talk.waiting);
            let Some(way) = self.way.take() else {
                self.condition
                    .send_replace(Condition::Lost(LinkError::Broken.to_string()));
                return;
            };
            tracing::error!(%error, "the gate is away; what needs it waits");
            self.condition.send_replace(Condition::Away);
            talk = match self.next(way).await {
                Some(Ok(talk)) => talk,
                Some(Err(error)) => {
                    tracing::error!(%error, "there is no gate any more");
                    self.condition
                        .send_replace(Condition::Lost(error.to_string()));
                    return;
                }
                None => return,
            };
            tracing::info!("the gate is back");
            self.condition.send_replace(Condition::Up);
        }
    }

    /// Sends letters and hands replies out, until nobody writes any more or the gate is gone.
    async fn converse(&mut self, talk: &mut Talk) -> Result<(), LinkError> {
        loop {
            while let Some(letter) = self.held.pop_front() {
                self.send(talk, letter).await?;
            }
            tokio::select! {
                letter = self.queue.recv() => {
                    let Some(letter) = letter else { return Ok(()) };
                    self.send(talk, letter).await?;
                }
                heard = talk.channel.receive::<FromGate>() => {
                    let (answer, fds) = heard?.ok_or(LinkError::Odd("closed it"))?;
                    match talk.waiting.pop_front() {
                        Some((expected, letter)) if expected == answer.re => {
                            self.answered(letter, answer.reply, fds);
                        }
                        _ => return Err(LinkError::Odd("answered out of order")),
                    }
                }
            }
        }
    }

    async fn send(&mut self, talk: &mut Talk, letter: Letter) -> Result<(), LinkError> {
        self.standing.over(&letter.news);
        if is_start(&letter.news) && letter.reply.is_closed() {
            // Whoever wanted it has given up.
            return Ok(());
        }
        talk.seq += 1;
        let message = ToGate {
            seq: talk.seq,
            news: letter.news.clone(),
        };
        let fds: Vec<_> = letter.fds.iter().map(AsFd::as_fd).collect();
        let sent = talk.channel.send(&message, &fds).await;
        drop(fds);
        match sent {
            // Nothing of it was sent; whoever wrote it is told, and nobody else.
            Err(ChannelError::TooLarge(bytes)) => {
                let why = format!("a message of {bytes} bytes is too large for the link");
                drop(letter.reply.send(Reply::Refused { why }));
                Ok(())
            }
            sent => {
                talk.waiting.push_back((talk.seq, letter));
                Ok(sent?)
            }
        }
    }

    fn answered(&mut self, mut letter: Letter, reply: Reply, given: Vec<OwnedFd>) {
        let done = reply == Reply::Done;
        let (nobody, _) = oneshot::channel();
        let asker = std::mem::replace(&mut letter.reply, nobody);
        let is_unheard = asker.send(reply).is_err();
        if !done {
            return;
        }
        if is_unheard && let Some(end) = end_of(&letter.news) {
            // The gate took what nobody waits for any more.
            self.held.push_back(Letter::to_nobody(end));
        }
        self.standing.took(letter, given.into_iter().next());
    }

    /// What the gate had not answered when it went. It cannot have done anything for what begins; what it made of the rest
    /// nobody knows, and whoever asked is told so.
    fn unanswered(&mut self, waiting: VecDeque<(u64, Letter)>) {
        for (_, letter) in waiting.into_iter().rev() {
            if is_end(&letter.news) {
                // What it ends may have been taken by that gate after this was sent.
                self.standing.over(&letter.news);
                drop(letter.reply.send(Reply::Done));
            } else if is_kept(&letter.news) {
                self.held.push_front(letter);
            }
        }
    }

    /// A letter while there is no gate.
    fn hold(&mut self, letter: Letter) {
        self.standing.over(&letter.news);
        if is_end(&letter.news) {
            drop(letter.reply.send(Reply::Done));
        } else if is_kept(&letter.news) && self.held.len() < HELD_MAX {
            self.held.push_back(letter);
        }
    }

    /// The next gate, which knows all that stands; nothing once nobody writes any more, an error if there will be none.
    async fn next(&mut self, mut way: Way) -> Option<Result<Talk, LinkError>> {
        let mut wait = AGAIN_FIRST;
        loop {
            let error = match self.meanwhile(way.knock()).await? {
                Ok(channel) => {
                    let mut talk = Talk::over(channel);
                    match self.meet(&mut way, &mut talk).await {
                        Ok(()) => {
                            self.way = Some(way);
                            return Some(Ok(talk));
                        }
                        // A gate of another version, or of another boot, will not want us later either.
                        Err(error @ LinkError::Refused(_)) => return Some(Err(error)),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "the gate is not back yet");
            self.meanwhile(tokio::time::sleep(wait)).await?;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// Waits for something while letters are put aside; nothing once nobody writes any more.
    async fn meanwhile<T>(&mut self, awaited: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                done = &mut awaited => return Some(done),
                letter = self.queue.recv() => self.hold(letter?),
            }
        }
    }

    async fn meet(&mut self, way: &mut Way, talk: &mut Talk) -> Result<(), LinkError> {
        if way.greet(&talk.channel).await? == IsNew(true) {
            tracing::warn!(
                "the gate has another authority than before, which no sandbox trusts: all are made anew"
            );
            self.standing.turn_over();
            // Nor do those that were about to be told of.
            self.held.retain(|letter| letter.end.is_none());
        }
        talk.seq = HELLO;
        self.retell(talk).await
    }

    /// Tells the gate all that stands. What it does not take ends here: nobody would answer its calls.
    async fn retell(&mut self, talk: &mut Talk) -> Result<(), LinkError> {
        if let Some(news) = self.standing.listening() {
            talk.ask(news, &[]).await?;
        }
        for sandbox in self.standing.sandboxes() {
            let Some((news, fds)) = self.standing.told(&sandbox) else {
                continue;
            };
            let mut taken = talk.ask(news, &fds).await?;
            if let (Reply::Done, Some(news)) = (&taken, self.standing.dummies(&sandbox)) {
                taken = talk.ask(news, &[]).await?;
            }
            if let Reply::Refused { why } = taken {
                tracing::error!(%sandbox, why, "the gate does not take a sandbox that stands; it ends");
                self.standing.give_up(&sandbox);
                continue;
            }
            for news in self.standing.runs(&sandbox) {
                if let Reply::Refused { why } = talk.ask(news, &[]).await? {
                    tracing::error!(%sandbox, why, "the gate does not take a run that is under way");
                }
            }
            talk.ask(News::SandboxGoesOn { sandbox }, &[]).await?;
        }
        Ok(())
    }
}

impl Talk {
    fn over(channel: Channel) -> Self {
        Self {
            channel,
            seq: HELLO,
            waiting: VecDeque::new(),
        }
    }

    /// One question and its answer, while nobody else speaks.
    async fn ask(&mut self, news: News, fds: &[BorrowedFd<'_>]) -> Result<Reply, LinkError> {
        self.seq += 1;
        let seq = self.seq;
        let asked = async {
            self.channel.send(&ToGate { seq, news }, fds).await?;
            self.channel.receive::<FromGate>().await
        };
        let asked = tokio::time::timeout(REPLY_MAX, asked).await;
        let answer = asked.map_err(|_| LinkError::Odd("did not answer in time"))??;
        match answer {
            Some((answer, _)) if answer.re == seq => Ok(answer.reply),
            Some(_) => Err(LinkError::Odd("answered out of order")),
            None => Err(LinkError::Odd("closed it")),
        }
    }
}

/// What is worth waiting for while the gate is away.
fn is_kept(news: &News) -> bool {
    is_start(news)
        || matches!(
            news,
            News::Listening { .. } | News::Asked(_) | News::Withdrawn { .. }
        )
}

fn is_start(news: &News) -> bool {
    matches!(news, News::SandboxStarted { .. } | News::RunStarted { .. })
}

/// What takes back something that began.
fn end_of(news: &News) -> Option<News> {
    match news {
        News::SandboxStarted { sandbox, .. } => Some(News::SandboxEnded {
            sandbox: sandbox.clone(),
        }),
        News::RunStarted { sandbox, run, .. } => Some(News::RunEnded {
            sandbox: sandbox.clone(),
            run: run.clone(),
        }),
        _ => None,
    }
}

fn is_end(news: &News) -> bool {
    matches!(news, News::SandboxEnded { .. } | News::RunEnded { .. })
}
