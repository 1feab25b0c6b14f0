//! How the gate is found, known for what it is, and greeted; also again, when it went away. Never says a word to anybody else.

use std::{fmt, io, path::PathBuf, time::Duration};

use postern_contract::{
    Secret,
    link::{FromGate, LINK_VERSION, News, Reply, ToGate, Welcome},
    secret::Shown,
};
use postern_daemon::channel::{Channel, ChannelError};

use super::{LinkError, REPLY_MAX};

/// How long the gate may take to be there at the start.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How long to wait before knocking again, at first.
const KNOCK_FIRST: Duration = Duration::from_millis(5);

/// How long at most; the wait doubles up to that.
const KNOCK_MAX: Duration = Duration::from_millis(200);

/// How often the socket may be closed to us: the gate opens it to us a moment after it binds it.
const DENIED_MAX: u32 = 100;

/// What becomes of the certificate of the gate's authority: whether it is another one than before.
type Trusting = dyn FnMut(&str) -> Result<bool, String> + Send + Sync;

/// The way to the gate.
pub struct Way {
    /// Where it listens.
    pub path: PathBuf,
    /// As whom it runs, where that is known.
    pub gate_uid: Option<u32>,
    /// The token of this boot.
    pub token: Option<Secret>,
    /// Takes the authority that the gate tells of, and says whether the one before was another; sandboxes do not trust it
    /// then.
    pub trusting: Box<Trusting>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Way {
    /// The first connection: a gate that is not there in time is an error.
    pub(super) async fn first(&mut self) -> Result<Channel, LinkError> {
        let knocking = tokio::time::timeout(CONNECT_MAX, self.knock());
        let channel = knocking
            .await
            .unwrap_or_else(|_| Err(self.no_gate(io::ErrorKind::TimedOut.into())))?;
        self.greet(&channel).await?;
        Ok(channel)
    }

    /// Connects as soon as somebody is there; what cannot become better by waiting is an error.
    pub(super) async fn knock(&self) -> Result<Channel, LinkError> {
        let (mut denied, mut wait) = (0, KNOCK_FIRST);
        let channel = loop {
            let error = match Channel::connect(&self.path) {
                Ok(channel) => break channel,
                Err(error) => error,
            };
            denied += u32::from(error.kind() == io::ErrorKind::PermissionDenied);
            if !is_starting(&error) || denied > DENIED_MAX {
                return Err(self.no_gate(error));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(KNOCK_MAX);
        };
        self.check_peer(&channel)?;
        Ok(channel)
    }

    /// Says hello, which is the first message of a connection, and takes the authority that the gate tells of.
    pub(super) async fn greet(&mut self, channel: &Channel) -> Result<IsNew, LinkError> {
        // The token crosses to the gate's socket, whose peer was just checked, and to nowhere else.
        let token = self.token.as_ref();
        let token =
            token.map(|token| Shown::new(String::from_utf8_lossy(token.expose()).into_owned()));
        let news = News::Hello {
            version: LINK_VERSION,
            token,
        };
        channel.send(&ToGate { seq: HELLO, news }, &[]).await?;
        let answer = tokio::time::timeout(REPLY_MAX, channel.receive::<FromGate>()).await;
        let answer = answer.map_err(|_| LinkError::Odd("did not answer in time"))??;
        let (answer, _) = answer.ok_or(LinkError::Odd("closed it"))?;
        match answer.reply {
            Reply::Welcome(Welcome { ca_certificate }) if answer.re == HELLO => {
                let is_new = (self.trusting)(&ca_certificate);
                Ok(IsNew(is_new.map_err(LinkError::Untrusted)?))
            }
            Reply::Refused { why } => Err(LinkError::Refused(why)),
            _ => Err(LinkError::Odd("did not bid us welcome")),
        }
    }

    fn check_peer(&self, channel: &Channel) -> Result<(), LinkError> {
        let Some(expected) = self.gate_uid else {
            return Ok(());
        };
        let found = channel.peer().map_err(ChannelError::from)?.uid;
        if found == expected {
            return Ok(());
        }
        Err(LinkError::Stranger {
            path: self.path.clone(),
            found,
            expected,
        })
    }

    fn no_gate(&self, source: io::Error) -> LinkError {
        LinkError::NoGate {
            path: self.path.clone(),
            source,
        }
    }
}

/// The number of the first message.
pub(super) const HELLO: u64 = 1;

/// Whether the gate's authority is another one than sandboxes trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IsNew(pub(super) bool);

fn is_starting(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | PermissionDenied
    )
}
