//! posternd's end of the link: what the gate is told about sandboxes and runs, and its answers. One task owns the
//! connection. A link that broke stays broken: the gate has closed every listener by then.
//!
//! ```text
//! Link::connect ── Hello ─▶ accepted      tell(News) ─▶ one Reply each, in order      broken() returns once, for good
//! ```

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use postern_contract::{
    ActionId, Secret,
    approval::{Answer, Approval, Unanswered, Whole},
    link::{FromGate, GateStatus, LINK_VERSION, News, Reply, ToGate, Welcome},
    secret::Shown,
};
use postern_daemon::channel::{Channel, ChannelError};
use tokio::sync::{mpsc, oneshot, watch};

/// How long the gate may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How long to wait before knocking again.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// How often the socket may be closed to us: the gate opens it to us a moment after it binds it.
const DENIED_MAX: u32 = 100;

/// How long the gate may take for one answer.
const REPLY_MAX: Duration = Duration::from_secs(10);

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
    /// The link is gone.
    #[error("the link to the gate is broken")]
    Broken,
    /// The connection failed.
    #[error("the link to the gate failed: {0}")]
    Channel(#[from] ChannelError),
}

/// What the gate tells of approvals, or why it does not.
pub type Told<T> = Result<T, Unanswered>;

/// A request for approval, and all of it while its call waits.
pub type OneApproval = (Box<Approval>, Option<Box<Whole>>);

struct Letter {
    news: News,
    fds: Vec<OwnedFd>,
    reply: oneshot::Sender<Reply>,
}

/// A handle to the link; clones share it.
#[derive(Debug, Clone)]
pub struct Link {
    letters: mpsc::Sender<Letter>,
    broken: watch::Receiver<bool>,
}

impl Link {
    /// Connects, waiting for a gate that is still starting, and says hello. The gate's welcome comes with the link.
    ///
    /// # Errors
    /// Nobody is there in time, it is not the gate, or it does not want us.
    pub async fn connect(
        path: &Path,
        gate_uid: Option<u32>,
        token: Option<&Secret>,
    ) -> Result<(Self, Welcome), LinkError> {
        let channel = knock(path).await?;
        check_peer(&channel, path, gate_uid)?;
        let link = Self::over(channel);
        // The token crosses to the gate's socket, whose peer was just checked, and to nowhere else.
        let token =
            token.map(|token| Shown::new(String::from_utf8_lossy(token.expose()).into_owned()));
        let hello = News::Hello {
            version: LINK_VERSION,
            token,
        };
        match link.ask(hello, Vec::new()).await? {
            Reply::Welcome(welcome) => Ok((link, welcome)),
            Reply::Refused { why } => Err(LinkError::Refused(why)),
            _ => Err(LinkError::Odd("did not bid us welcome")),
        }
    }

    /// A link over a channel that is connected already; says nothing yet.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        let (letters, queue) = mpsc::channel(QUEUED_MAX);
        let (breaking, broken) = watch::channel(false);
        tokio::spawn(async move {
            if let Err(error) = carry(&channel, queue).await {
                tracing::error!(%error, "the link is broken");
            }
            breaking.send_replace(true);
        });
        Self { letters, broken }
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

    /// Which requests wait for a human or did. Without a key the asker is one whom this daemon has verified.
    ///
    /// # Errors
    /// The gate refused, or the link is broken.
    pub async fn approvals(&self, key: Option<Shown>) -> Result<Told<Vec<Approval>>, LinkError> {
        match self.ask(News::Approvals { key }, Vec::new()).await? {
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

    async fn one(&self, news: News) -> Result<Told<OneApproval>, LinkError> {
        match self.ask(news, Vec::new()).await? {
            Reply::Approval(approval, whole) => Ok(Ok((approval, whole))),
            Reply::Unanswered(why) => Ok(Err(why)),
            other => Err(unexpected(other)),
        }
    }

    /// Returns when the link is broken.
    pub async fn broken(&self) {
        drop(self.broken.clone().wait_for(|broken| *broken).await);
    }

    async fn ask(&self, news: News, fds: Vec<OwnedFd>) -> Result<Reply, LinkError> {
        let (reply, replied) = oneshot::channel();
        let asked = async {
            // A gate that reads no more leaves no room for another letter.
            let sent = self.letters.send(Letter { news, fds, reply }).await;
            sent.map_err(|_| LinkError::Broken)?;
            replied.await.map_err(|_| LinkError::Broken)
        };
        tokio::time::timeout(REPLY_MAX, asked)
            .await
            .unwrap_or(Err(LinkError::Odd("did not answer in time")))
    }
}

/// An answer that is no answer to what was asked.
fn unexpected(reply: Reply) -> LinkError {
    match reply {
        Reply::Refused { why } => LinkError::Refused(why),
        _ => LinkError::Odd("answered another question"),
    }
}

async fn knock(path: &Path) -> Result<Channel, LinkError> {
    let no_gate = |source| LinkError::NoGate {
        path: path.to_owned(),
        source,
    };
    let knocking = async {
        let mut denied = 0;
        loop {
            let error = match Channel::connect(path) {
                Ok(channel) => return Ok(channel),
                Err(error) => error,
            };
            denied += u32::from(error.kind() == io::ErrorKind::PermissionDenied);
            if !is_starting(&error) || denied > DENIED_MAX {
                return Err(no_gate(error));
            }
            tokio::time::sleep(CONNECT_RETRY).await;
        }
    };
    tokio::time::timeout(CONNECT_MAX, knocking)
        .await
        .unwrap_or_else(|_| Err(no_gate(io::ErrorKind::TimedOut.into())))
}

fn is_starting(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | PermissionDenied
    )
}

fn check_peer(channel: &Channel, path: &Path, expected: Option<u32>) -> Result<(), LinkError> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let found = channel.peer().map_err(ChannelError::from)?.uid;
    if found == expected {
        return Ok(());
    }
    Err(LinkError::Stranger {
        path: path.to_owned(),
        found,
        expected,
    })
}

/// Sends letters and hands replies out, until nobody writes any more or the gate is gone.
async fn carry(channel: &Channel, mut queue: mpsc::Receiver<Letter>) -> Result<(), LinkError> {
    let mut seq = 0;
    let mut waiting: VecDeque<(u64, oneshot::Sender<Reply>)> = VecDeque::new();
    loop {
        tokio::select! {
            letter = queue.recv() => {
                let Some(letter) = letter else { return Ok(()) };
                seq += 1;
                let fds: Vec<_> = letter.fds.iter().map(AsFd::as_fd).collect();
                match channel.send(&ToGate { seq, news: letter.news }, &fds).await {
                    Ok(()) => waiting.push_back((seq, letter.reply)),
                    // Nothing of it was sent; whoever wrote it is told, and nobody else.
                    Err(ChannelError::TooLarge(bytes)) => {
                        let why = format!("a message of {bytes} bytes is too large for the link");
                        drop(letter.reply.send(Reply::Refused { why }));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            heard = channel.receive::<FromGate>() => {
                let (answer, _) = heard?.ok_or(LinkError::Odd("closed it"))?;
                match waiting.pop_front() {
                    Some((expected, reply)) if expected == answer.re => drop(reply.send(answer.reply)),
                    _ => return Err(LinkError::Odd("answered out of order")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_daemon::channel::Listener;

    use super::*;

    async fn gate(listener: Listener, replies: Vec<Reply>) -> Vec<News> {
        let channel = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        for reply in replies {
            let (message, _) = channel.receive::<ToGate>().await.unwrap().unwrap();
            heard.push(message.news);
            channel
                .send(
                    &FromGate {
                        re: message.seq,
                        reply,
                    },
                    &[],
                )
                .await
                .unwrap();
        }
        heard
    }

    #[tokio::test]
    async fn hello_carries_the_token_and_a_gate_that_goes_away_breaks_the_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let status = GateStatus {
            policy_generation: 1,
            ..GateStatus::default()
        };
        let welcome = Welcome {
            ca_certificate: "ours".to_owned(),
        };
        let listener = Listener::bind(&path).unwrap();
        let gate = tokio::spawn(gate(
            listener,
            vec![
                Reply::Welcome(welcome.clone()),
                Reply::Status(status.clone()),
            ],
        ));
        let token = Secret::new(b"t".to_vec());
        let (link, told) = Link::connect(&path, None, Some(&token)).await.unwrap();
        assert_eq!(told, welcome);
        assert_eq!(link.status().await.unwrap(), status);
        let heard = gate.await.unwrap();
        assert_eq!(
            heard[0],
            News::Hello {
                version: LINK_VERSION,
                token: Some(Shown::new("t".to_owned()))
            }
        );
        link.broken().await;
        assert!(matches!(link.status().await, Err(LinkError::Broken)));
    }

    #[tokio::test]
    async fn a_refused_hello_is_told_and_a_strangers_uid_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let refusal = Reply::Refused {
            why: "wrong token".to_owned(),
        };
        let listener = Listener::bind(&path).unwrap();
        tokio::spawn(gate(listener, vec![refusal]));
        let error = Link::connect(&path, None, None).await.err().unwrap();
        assert!(error.to_string().contains("wrong token"), "{error}");
        let _listener = Listener::bind(&path).unwrap();
        let error = Link::connect(&path, Some(4_000_000), None)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, LinkError::Stranger { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_is_too_large_for_the_link_is_told_to_its_writer_and_harms_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let listener = Listener::bind(&path).unwrap();
        let status = GateStatus::default();
        let gate = tokio::spawn(gate(listener, vec![Reply::Status(status.clone())]));
        let link = Link::over(Channel::connect(&path).unwrap());
        let key = Shown::new("k".repeat(postern_contract::MESSAGE_BYTES_MAX));
        let refused = link.approvals(Some(key)).await;
        assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
        assert_eq!(link.status().await.unwrap(), status);
        assert_eq!(gate.await.unwrap(), [News::Status]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_answers_nothing_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let listener = Listener::bind(&path).unwrap();
        let link = Link::over(Channel::connect(&path).unwrap());
        let _silent = listener.accept().await.unwrap();
        // More than its socket and our queue hold.
        let asking = (0..QUEUED_MAX * 8).map(|_| link.status());
        for told in futures_util::future::join_all(asking).await {
            assert!(matches!(told, Err(LinkError::Odd(_))), "{told:?}");
        }
    }
}
