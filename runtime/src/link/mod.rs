//! posternd's end of the link: what the gate is told about sandboxes and runs, and its answers. A gate that went away is
//! awaited, and told everything that stands again (`keeper.rs`): sandboxes and runs live on meanwhile, and what they send
//! waits in their sockets, which this daemon holds too.
//!
//! ```text
//! Link::connect ── Hello ─▶ accepted      tell(News) ─▶ one Reply each, in order
//!                                         the gate is away ─▶ ends count at once, starts wait, the rest is refused
//! ```

mod keeper;
mod standing;
mod way;

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use postern_contract::{
    ActionId,
    approval::{Answer, Approval, Question, Unanswered, Wanted, Whole},
    consent::{self, Consented},
    link::{CallersKeys, GateStatus, News, Reply},
    secret::Shown,
};
use postern_daemon::channel::{Channel, ChannelError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::sandbox::Ender;
use keeper::Keeper;
pub use way::Way;

/// How long the gate may take for one answer.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// How long a run or a sandbox that begins waits for a gate that is away.
const AWAY_MAX: Duration = Duration::from_secs(5);

/// Messages that wait to be sent; more wait at the sender.
const QUEUED_MAX: usize = 256;

/// Why the gate did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers there.
    #[error("the gate at {} cannot be reached: {source}", .path.display())]
    NoGate {
        /// Where it should listen.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else answers there.
    #[error("the gate at {} runs as uid {found}, not as {expected}", .path.display())]
    Stranger {
        /// Where it listens.
        path: PathBuf,
        /// As whom it runs.
        found: u32,
        /// As whom it should.
        expected: u32,
    },
    /// The gate says no.
    #[error("the gate refused: {0}")]
    Refused(String),
    /// The gate answered something that makes no sense here, or nothing in time.
    #[error("the gate {0}")]
    Odd(&'static str),
    /// Its authority is none, or cannot be shown to sandboxes.
    #[error("the gate's authority is of no use: {0}")]
    Untrusted(String),
    /// There is no link now.
    #[error("the link to the gate is broken, and the gate is awaited")]
    Broken,
    /// The connection failed.
    #[error("the link to the gate failed: {0}")]
    Channel(#[from] ChannelError),
}

/// What the gate tells of approvals, or why it does not.
pub type Told<T> = Result<T, Unanswered>;

/// A request for approval, and all of it while its call waits.
pub type OneApproval = (Box<Approval>, Option<Box<Whole>>);

/// One piece of news on its way, and what is kept for a sandbox of which it tells.
#[derive(Debug)]
struct Letter {
    news: News,
    fds: Vec<OwnedFd>,
    end: Option<Ender>,
    reply: oneshot::Sender<Reply>,
}

impl Letter {
    fn to_nobody(news: News) -> Self {
        let (reply, _) = oneshot::channel();
        Self {
            news,
            fds: Vec::new(),
            end: None,
            reply,
        }
    }
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The gate is there.
    Up,
    /// It is awaited.
    Away,
    /// There will be none any more, and why.
    Lost(String),
}

/// A handle to the link; clones share it.
#[derive(Debug, Clone)]
pub struct Link {
    letters: mpsc::Sender<Letter>,
    condition: watch::Receiver<Condition>,
}

impl Link {
    /// Connects, waiting for a gate that is still starting, and says hello. Whenever the gate goes away, the next one is awaited
    /// and told all that stands.
    ///
    /// # Errors
    /// Nobody is there in time, it is not the gate, or it does not want us.
    pub async fn connect(mut way: Way) -> Result<Self, LinkError> {
        let channel = way.first().await?;
        Ok(Self::kept(channel, Some(way)))
    }

    /// A link over a channel that is connected already; says nothing yet, and is lost when that ends.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self::kept(channel, None)
    }

    fn kept(channel: Channel, way: Option<Way>) -> Self {
        let (letters, queue) = mpsc::channel(QUEUED_MAX);
        let (telling, condition) = watch::channel(Condition::Up);
        tokio::spawn(Keeper::new(queue, telling, way).keep(channel));
        Self { letters, condition }
    }

    /// How the link is, as it changes.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    /// Returns when there will be no link any more, and says why.
    pub async fn lost(&self) -> String {
        let mut condition = self.condition.clone();
        let lost = condition.wait_for(|condition| matches!(condition, Condition::Lost(_)));
        match lost.await.as_deref() {
            Ok(Condition::Lost(why)) => why.clone(),
            _ => LinkError::Broken.to_string(),
        }
    }

    /// Tells of a sandbox that stands, and how to end it where no gate takes it any more.
    ///
    /// # Errors
    /// As [`Link::tell`].
    pub(crate) async fn announce(
        &self,
        news: News,
        listeners: Vec<OwnedFd>,
        end: Ender,
    ) -> Result<(), LinkError> {
        match self.post(news, listeners, Some(end)).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Tells the gate something and waits until it has done its part.
    ///
    /// # Errors
    /// The gate refused, or the link is broken.
    pub async fn tell(&self, news: News, fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        match self.ask(news, fds).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks how the gate is.
    ///
    /// # Errors
    /// As [`Link::tell`].
    pub async fn status(&self) -> Result<GateStatus, LinkError> {
        match self.ask(News::Status, Vec::new()).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    /// The public keys of callers' tokens, unless they are those that are here; `lacks` where a token named another.
    ///
    /// # Errors
    /// As [`Link::tell`].
    pub(crate) async fn callers_keys(
        &self,
        have: Option<String>,
        lacks: bool,
    ) -> Result<Option<CallersKeys>, LinkError> {
        let news = News::CallersKeys { have, lacks };
        match self.ask(news, Vec::new()).await? {
            Reply::CallersKeys(keys) => Ok(keys),
            other => Err(unexpected(other)),
        }
    }

    /// Which requests wait for a human or did. Without a key the asker is one whom this daemon has verified.
    ///
    /// # Errors
    /// The gate refused, or the link is broken.
    pub async fn approvals(
        &self,
        wanted: Wanted,
        key: Option<Shown>,
    ) -> Result<Told<Vec<Approval>>, LinkError> {
        let wanted = Box::new(wanted);
        let news = News::Approvals { wanted, key };
        match self.ask(news, Vec::new()).await? {
            Reply::Approvals(all) => Ok(Ok(all)),
            Reply::Unanswered(why) => Ok(Err(why)),
            other => Err(unexpected(other)),
        }
    }

    /// One request; whole while its call waits.
    ///
    /// # Errors
    /// As [`Link::approvals`].
    pub async fn approval(
        &self,
        action: ActionId,
        key: Option<Shown>,
    ) -> Result<Told<OneApproval>, LinkError> {
        let news = News::Approval { action, key };
        self.one(news).await
    }

    /// Hands somebody's answer on. The gate alone says whether it counts.
    ///
    /// # Errors
    /// As [`Link::approvals`].
    pub async fn answer(
        &self,
        action: ActionId,
        answer: Answer,
        key: Shown,
    ) -> Result<Told<OneApproval>, LinkError> {
        let news = News::Answer {
            action,
            answer,
            key,
        };
        self.one(news).await
    }

    /// Has the gate take a yes to more than one call back, if this is an approver's key.
    ///
    /// # Errors
    /// As [`Link::approvals`].
    pub async fn revoke(
        &self,
        action: ActionId,
        key: Shown,
    ) -> Result<Told<OneApproval>, LinkError> {
        self.one(News::Revoke { action, key }).await
    }

    /// What end users have consented to.
    ///
    /// # Errors
    /// As [`Link::approvals`].
    pub async fn consents(
        &self,
        wanted: consent::Wanted,
        key: Option<Shown>,
    ) -> Result<Told<Vec<consent::Granted>>, LinkError> {
        let wanted = Box::new(wanted);
        match self.ask(News::Consents { wanted, key }, Vec::new()).await? {
            Reply::Consents(all) => Ok(Ok(all)),
            Reply::Unanswered(why) => Ok(Err(why)),
            other => Err(unexpected(other)),
        }
    }

    /// Has the gate take one of these back.
    ///
    /// # Errors
    /// As [`Link::approvals`].
    pub async fn take_back(
        &self,
        consent: ActionId,
        key: Option<Shown>,
    ) -> Result<Told<()>, LinkError> {
        let news = News::TakeBack { consent, key };
        match self.ask(news, Vec::new()).await? {
            Reply::Done => Ok(Ok(())),
            Reply::Unanswered(why) => Ok(Err(why)),
            other => Err(unexpected(other)),
        }
    }

    async fn one(&self, news: News) -> Result<Told<OneApproval>, LinkError> {
        match self.ask(news, Vec::new()).await? {
            Reply::Approval(approval, whole) => Ok(Ok((approval, whole))),
            Reply::Unanswered(why) => Ok(Err(why)),
            other => Err(unexpected(other)),
        }
    }

    /// What became of a consent that a run waits for.
    ///
    /// # Errors
    /// As [`Link::tell`].
    pub async fn consent(&self, action: ActionId) -> Result<Consented, LinkError> {
        match self.ask(News::Consent { action }, Vec::new()).await? {
            Reply::Consent(consented) => Ok(consented),
            other => Err(unexpected(other)),
        }
    }

    /// Has the gate keep what an agent asks by itself. The same again changes nothing.
    ///
    /// # Errors
    /// As [`Link::tell`].
    pub async fn asked(&self, question: Question) -> Result<Approval, LinkError> {
        match self
            .ask(News::Asked(Box::new(question)), Vec::new())
            .await?
        {
            Reply::Approval(approval, _) => Ok(*approval),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, news: News, fds: Vec<OwnedFd>) -> Result<Reply, LinkError> {
        self.post(news, fds, None).await
    }

    async fn post(
        &self,
        news: News,
        fds: Vec<OwnedFd>,
        end: Option<Ender>,
    ) -> Result<Reply, LinkError> {
        let (reply, replied) = oneshot::channel();
        let letter = Letter {
            news,
            fds,
            end,
            reply,
        };
        let asked = async {
            // A gate that reads no more leaves no room for another letter.
            let sent = self.letters.send(letter).await;
            sent.map_err(|_| LinkError::Broken)?;
            replied.await.map_err(|_| LinkError::Broken)
        };
        let within = match *self.condition.borrow() {
            Condition::Up => REPLY_MAX,
            Condition::Away | Condition::Lost(_) => AWAY_MAX,
        };
        let asked = tokio::time::timeout(within, asked).await;
        asked.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> LinkError {
        match *self.condition.borrow() {
            Condition::Up => LinkError::Odd("did not answer in time"),
            Condition::Away | Condition::Lost(_) => LinkError::Broken,
        }
    }
}

/// An answer that is no answer to what was asked.
fn unexpected(reply: Reply) -> LinkError {
    match reply {
        Reply::Refused { why } => LinkError::Refused(why),
        _ => LinkError::Odd("answered another question"),
    }
}

#[cfg(test)]
mod tests;
