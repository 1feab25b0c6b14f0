//! The gate's side of the link: learns from posternd, and from nobody else, which sandboxes there are and which runs are
//! active. Never believes a peer that is not the configured user, and closes every listener when the link ends.
//!
//! ```text
//! accept ─▶ uid as configured? ─▶ Hello with version and token ─▶ SandboxStarted … SandboxEnded ─▶ end: all closed
//!    ▲                                                                                              │
//!    └──────────────────────────────── one runtime at a time ◀───────────────────────────────────────┘
//! ```

use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use postern_contract::{
    ActionId, AgentName, SandboxId, Secret,
    approval::{Answer, Unanswered},
    link::{
        FromGate, LINK_VERSION, LISTENING_MAX, ListenerKind, News, Origin, Reply, ToGate, Welcome,
    },
    secret::Shown,
};
use postern_daemon::channel::{Channel, ChannelError, Listener as LinkListener};
use tokio::{sync::watch, time::timeout};

use crate::{
    accept::{Comes, Listener},
    dns::Desk,
    gate::Gate,
    identify::Room,
    scope::{Life, Scope},
};

/// The most sandboxes at once.
const SANDBOXES_MAX: usize = 4096;

/// How long a peer may take to say Hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// How long to wait after an accept that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Who may speak.
pub(crate) struct Credentials {
    /// The runtime's user.
    pub(crate) uid: u32,
    /// The token of this boot, where there is one.
    pub(crate) token: Option<Secret>,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the peer's user {0} is not the runtime's")]
    Stranger(u32),
    #[error("no Hello came in time")]
    NoHello,
    #[error("{0}")]
    BadHello(&'static str),
    #[error("message {0} is out of order")]
    OutOfOrder(u64),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the peer cannot be told: {0}")]
    Peer(#[from] io::Error),
}

/// Serves one runtime after the other. `connected` says whether there is one.
pub(crate) async fn serve(
    listener: LinkListener,
    gate: Arc<Gate>,
    credentials: Credentials,
    connected: watch::Sender<bool>,
) {
    loop {
        let channel = match listener.accept().await {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(%error, "the link could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let mut rooms = Rooms {
            gate: Arc::clone(&gate),
            open: BTreeMap::new(),
        };
        match rooms.converse(&channel, &credentials, &connected).await {
            Ok(()) => tracing::info!("the runtime is gone"),
            // It went while an answer was on its way, which is an end like any other.
            Err(Ended::Channel(ChannelError::Socket(error)))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                tracing::info!("the runtime is gone");
            }
            Err(ended) => tracing::warn!(%ended, "the link ended"),
        }
        rooms.close_all().await;
        connected.send_replace(false);
    }
}

/// The sandboxes of one conversation.
struct Rooms {
    gate: Arc<Gate>,
    open: BTreeMap<SandboxId, (Arc<Room>, Life)>,
}

impl Rooms {
    async fn converse(
        &mut self,
        channel: &Channel,
        credentials: &Credentials,
        connected: &watch::Sender<bool>,
    ) -> Result<(), Ended> {
        let uid = channel.peer()?.uid;
        if uid != credentials.uid {
            return Err(Ended::Stranger(uid));
        }
        let first = timeout(HELLO_MAX, channel.receive::<ToGate>()).await;
        let Some((first, _)) = first.map_err(|_| Ended::NoHello)?? else {
            return Ok(());
        };
        let mut last = first.seq;
        if let Err(why) = check_hello(&first.news, credentials) {
            reply(channel, last, refused(why)).await?;
            return Err(Ended::BadHello(why));
        }
        let welcome = Welcome {
            ca_certificate: self.gate.leaves.ca_certificate().to_owned(),
        };
        reply(channel, last, Reply::Welcome(welcome)).await?;
        connected.send_replace(true);
        tracing::info!("the runtime is here");
        while let Some((message, fds)) = channel.receive::<ToGate>().await? {
            if message.seq <= last {
                return Err(Ended::OutOfOrder(message.seq));
            }
            last = message.seq;
            let answer = self.take(message.news, fds).await.unwrap_or_else(refused);
            reply(channel, last, answer).await?;
        }
        Ok(())
    }

    /// Takes one piece of news in, or says why not.
    async fn take(&mut self, news: News, fds: Vec<OwnedFd>) -> Result<Reply, String> {
        match news {
            News::Hello { .. } => return Err("Hello comes once".to_owned()),
            News::SandboxStarted {
                sandbox,
                agent,
                origin,
                listeners,
            } => {
                self.open(sandbox, (agent, origin), &listeners, fds)?;
            }
            News::SandboxEnded { sandbox } => self.close(&sandbox).await?,
            News::RunStarted { sandbox, run, user } => {
                let started = self.room(&sandbox)?.run_started(run, user);
                started.map_err(|error| error.to_string())?;
            }
            News::RunEnded { sandbox, run } => self.room(&sandbox)?.run_ended(&run),
            News::Listening { addresses } => {
                if addresses.len() > LISTENING_MAX {
                    return Err(format!("a runtime has at most {LISTENING_MAX} listeners"));
                }
                self.gate.dialer.own(addresses);
            }
            News::Status => return Ok(Reply::Status(self.gate.condition().told(self.open.len()))),
            News::Approvals { key } => return Ok(self.approvals(key.as_ref()).await),
            News::Approval { action, key } => {
                return Ok(self.approval(&action, key.as_ref()).await);
            }
            News::Withdrawn { action } => {
                self.gate.approvals.expire(&action).await;
            }
            News::Answer {
                action,
                answer,
                key,
            } => return Ok(self.answer(&action, answer, &key).await),
        }
        Ok(Reply::Done)
    }

    /// Who asks is posternd's own operator, whom it verified, or an approver.
    fn may_see(&self, key: Option<&Shown>) -> Result<(), Unanswered> {
        let Some(key) = key else { return Ok(()) };
        let book = self.gate.book();
        let whose = book.approvers.whose(key);
        whose.map(drop).ok_or(Unanswered::NoApprover)
    }

    async fn approvals(&self, key: Option<&Shown>) -> Reply {
        if let Err(why) = self.may_see(key) {
            return Reply::Unanswered(why);
        }
        let listed = self.gate.approvals.list().await;
        listed.map_or_else(Reply::Unanswered, Reply::Approvals)
    }

    async fn approval(&self, action: &ActionId, key: Option<&Shown>) -> Reply {
        if let Err(why) = self.may_see(key) {
            return Reply::Unanswered(why);
        }
        match self.gate.approvals.one(action).await {
            Ok((approval, whole)) => Reply::Approval(Box::new(approval), whole.map(Box::new)),
            Err(why) => Reply::Unanswered(why),
        }
    }

    /// posternd hands the answer on; only the approver's own key makes it one.
    async fn answer(&self, action: &ActionId, answer: Answer, key: &Shown) -> Reply {
        let book = self.gate.book();
        let Some(by) = book.approvers.whose(key) else {
            tracing::warn!(%action, "an answer came with a key that is no approver's");
            return Reply::Unanswered(Unanswered::NoApprover);
        };
        match self.gate.approvals.answer(action, answer, by).await {
            Ok(approval) => Reply::Approval(Box::new(approval), None),
            Err(why) => Reply::Unanswered(why),
        }
    }

    fn open(
        &mut self,
        sandbox: SandboxId,
        (agent, origin): (AgentName, Origin),
        kinds: &[ListenerKind],
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if self.open.contains_key(&sandbox) {
            return Err(format!("there is a sandbox {sandbox} already"));
        }
        if self.open.len() >= SANDBOXES_MAX {
            return Err(format!("there are {SANDBOXES_MAX} sandboxes already"));
        }
        if !self.gate.book().agents.contains_key(&agent) {
            return Err(format!("the gate's config has no agent `{agent}`"));
        }
        if kinds.len() != fds.len() {
            return Err(format!(
                "{} listeners were named and {} came",
                kinds.len(),
                fds.len()
            ));
        }
        let listeners = fds.into_iter().zip(kinds);
        let listeners = listeners
            .map(|(fd, kind)| Ear::of(fd, *kind))
            .collect::<Result<Vec<_>, _>>();
        let listeners = listeners.map_err(|error| format!("a listener is of no use: {error}"))?;
        let room = Arc::new(Room::new(sandbox.clone(), agent, origin));
        let (life, scope): (Life, Scope) = Life::begin();
        for listener in listeners {
            listener.serve(&self.gate, (&room, &scope));
        }
        tracing::info!(%sandbox, agent = %room.agent, ?origin, "a sandbox opens");
        self.open.insert(sandbox, (room, life));
        Ok(())
    }

    async fn close(&mut self, sandbox: &SandboxId) -> Result<(), String> {
        let (_, life) = self.open.remove(sandbox).ok_or_else(|| unknown(sandbox))?;
        life.end().await;
        self.gate.forget(sandbox);
        tracing::info!(%sandbox, "a sandbox closed");
        Ok(())
    }

    async fn close_all(&mut self) {
        while let Some((sandbox, (_, life))) = self.open.pop_first() {
            life.end().await;
            self.gate.forget(&sandbox);
        }
    }

    fn room(&self, sandbox: &SandboxId) -> Result<&Room, String> {
        self.open
            .get(sandbox)
            .map(|(room, _)| &**room)
            .ok_or_else(|| unknown(sandbox))
    }
}

/// A socket of a sandbox, and what comes in there.
enum Ear {
    Calls(Listener, Comes),
    Names(Desk),
}

impl Ear {
    fn of(fd: OwnedFd, kind: ListenerKind) -> io::Result<Self> {
        match kind {
            ListenerKind::Gate => Ok(Self::Calls(Listener::from_fd(fd)?, Comes::ToTheGate)),
            ListenerKind::Captured => Ok(Self::Calls(Listener::from_fd(fd)?, Comes::ByAddress)),
            ListenerKind::Others => Ok(Self::Calls(Listener::from_fd(fd)?, Comes::ByAnyPort)),
            ListenerKind::Names => Desk::from_fd(fd).map(Self::Names),
        }
    }

    fn serve(self, gate: &Arc<Gate>, around: (&Arc<Room>, &Scope)) {
        match self {
            Self::Calls(listener, comes) => listener.serve(comes, gate, around),
            Self::Names(desk) => desk.serve(gate, around),
        }
    }
}

fn check_hello(news: &News, credentials: &Credentials) -> Result<(), &'static str> {
    let News::Hello { version, token } = news else {
        return Err("Hello comes first");
    };
    if *version != LINK_VERSION {
        return Err("the gate speaks another version of the link");
    }
    match (&credentials.token, token) {
        (None, _) => Ok(()),
        (Some(wanted), Some(shown)) if shown.is(wanted) => Ok(()),
        (Some(_), _) => Err("the token of this boot is missing or wrong"),
    }
}

fn unknown(sandbox: &SandboxId) -> String {
    format!("there is no sandbox {sandbox}")
}

fn refused(why: impl Into<String>) -> Reply {
    Reply::Refused { why: why.into() }
}

async fn reply(channel: &Channel, re: u64, reply: Reply) -> Result<(), ChannelError> {
    channel.send(&FromGate { re, reply }, &[]).await
}
