//! The gate's side of the link: learns from posternd, and from nobody else, which sandboxes there are and which runs are
//! active. Never believes a peer that is not the configured user, and closes every listener when the link ends.
//!
//! ```text
//! accept ─▶ uid as configured? ─▶ Hello with version and token ─▶ SandboxStarted … SandboxEnded ─▶ end: all closed
//!    ▲                                                                                              │
//!    └──────────────────────────────── one runtime at a time ◀───────────────────────────────────────┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use postern_contract::{
    ActionId, AgentName, SandboxId, Secret,
    approval::{Answer, Question, Unanswered, Waits, Wanted},
    consent,
    link::{
        FromGate, LINK_VERSION, LISTENING_MAX, ListenerKind, News, Origin, Reply, ToGate, Welcome,
    },
    secret::Shown,
};
use postern_daemon::channel::{Channel, ChannelError, Listener as LinkListener};
use tokio::{sync::watch, time::timeout};

use crate::{
    accept::{Comes, Listener},
    dns::{Desk, Kept, Synthetic},
    gate::Gate,
    identify::Room,
    report::Wire,
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
            quiet: BTreeMap::new(),
            given: None,
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
    /// What is not accepted on before all of its sandbox is told.
    quiet: BTreeMap<SandboxId, (Vec<Ear>, Scope)>,
    /// What the runtime is to keep, and goes with the next answer.
    given: Option<OwnedFd>,
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
            let given = self.given.take();
            let given: Vec<_> = given.iter().map(AsFd::as_fd).collect();
            let answer = FromGate {
                re: last,
                reply: answer,
            };
            channel.send(&answer, &given).await?;
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
            News::Dummies { sandbox, dummies } => self.room(&sandbox)?.dummies.learn(dummies)?,
            News::SandboxGoesOn { sandbox } => self.go_on(&sandbox)?,
            News::SandboxEnded { sandbox } => self.close(&sandbox).await?,
            News::RunStarted { sandbox, run, user } => {
                let started = self.room(&sandbox)?.run_started(run, user);
                started.map_err(|error| error.to_string())?;
            }
            News::RunEnded { sandbox, run } => {
                self.room(&sandbox)?.run_ended(&run);
                self.gate.consents.run_over(&run).await;
            }
            News::Listening { addresses } => self.listening(addresses)?,
            News::Status => return Ok(Reply::Status(self.gate.condition().told(self.open.len()))),
            News::CallersKeys { have, lacks } => {
                let keys = self.gate.callers_keys.other_than(have.as_deref(), lacks);
                return Ok(Reply::CallersKeys(keys));
            }
            News::Approvals { wanted, key } => {
                return Ok(self.approvals(&wanted, key.as_ref()).await);
            }
            News::Approval { action, key } => {
                return Ok(self.approval(&action, key.as_ref()).await);
            }
            News::Asked(question) => return self.asked(*question).await,
            News::Consent { action } => return self.consent(&action).await,
            News::Withdrawn { action } => {
                self.gate.approvals.expire(&action).await;
                self.gate.consents.withdraw(&action).await;
            }
            News::Consents { wanted, key } => {
                return Ok(self.consents(&wanted, key.as_ref()).await);
            }
            News::TakeBack { consent, key } => {
                return Ok(self.take_back(&consent, key.as_ref()).await);
            }
            News::Revoke { action, key } => return Ok(self.revoke(&action, &key).await),
            News::Answer {
                action,
                answer,
                key,
            } => return Ok(self.answer(&action, answer, &key).await),
        }
        Ok(Reply::Done)
    }

    fn listening(&self, addresses: Vec<SocketAddr>) -> Result<(), String> {
        if addresses.len() > LISTENING_MAX {
            return Err(format!("a runtime has at most {LISTENING_MAX} listeners"));
        }
        self.gate.dialer.own(addresses);
        Ok(())
    }

    async fn consent(&self, action: &ActionId) -> Result<Reply, String> {
        let stands = self.gate.consents.stands(action).await;
        stands
            .map(Reply::Consent)
            .map_err(|error| error.to_string())
    }

    /// Who asks is posternd's own operator, whom it verified, or an approver.
    fn may_see(&self, key: Option<&Shown>) -> Result<(), Unanswered> {
        let Some(key) = key else { return Ok(()) };
        let book = self.gate.book();
        let whose = book.approvers.whose(key);
        whose.map(drop).ok_or(Unanswered::NoApprover)
    }

    async fn approvals(&self, wanted: &Wanted, key: Option<&Shown>) -> Reply {
        if let Err(why) = self.may_see(key) {
            return Reply::Unanswered(why);
        }
        let listed = self.gate.approvals.list(wanted).await;
        listed.map_or_else(Reply::Unanswered, Reply::Approvals)
    }

    async fn consents(&self, wanted: &consent::Wanted, key: Option<&Shown>) -> Reply {
        if let Err(why) = self.may_see(key) {
            return Reply::Unanswered(why);
        }
        let granted = self.gate.tokens.granted(wanted).await;
        granted.map_or_else(Reply::Unanswered, Reply::Consents)
    }

    /// It only takes something from agents, so whoever may see it may.
    async fn take_back(&self, id: &ActionId, key: Option<&Shown>) -> Reply {
        if let Err(why) = self.may_see(key) {
            return Reply::Unanswered(why);
        }
        let taken = self.gate.tokens.take_back(id).await;
        taken.map_or_else(Reply::Unanswered, |()| Reply::Done)
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

    /// An agent asks by itself: whose run it is posternd knows.
    async fn asked(&self, question: Question) -> Result<Reply, String> {
        let book = self.gate.book();
        if !book.agents.contains_key(&question.agent) {
            return Err(no_agent(&question.agent));
        }
        let pauses = question.waits == Waits::Paused;
        let wait = book.approvers.wait(pauses);
        let wait = wait.ok_or("the gate's config names nobody who could answer")?;
        let approval = self.gate.approvals.question(question, wait).await?;
        Ok(Reply::Approval(Box::new(approval), None))
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

    /// Only an approver takes a yes back, whoever's it was.
    async fn revoke(&self, action: &ActionId, key: &Shown) -> Reply {
        let book = self.gate.book();
        let Some(by) = book.approvers.whose(key) else {
            return Reply::Unanswered(Unanswered::NoApprover);
        };
        match self.gate.approvals.revoke(action, by).await {
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
            return Err(no_agent(&agent));
        }
        if kinds.len() != fds.len() {
            return Err(format!(
                "{} listeners were named and {} came",
                kinds.len(),
                fds.len()
            ));
        }
        let useless = |error| format!("a listener is of no use: {error}");
        let heard = Heard::of(kinds, fds).map_err(useless)?;
        let (life, scope): (Life, Scope) = Life::begin();
        let reports = heard.reports.map(|fd| Wire::over(fd, &scope));
        let reports = reports.transpose().map_err(useless)?;
        let vault = self.gate.vaults.of(&agent);
        let room = Room::new(sandbox.clone(), agent, origin).with_reports(reports);
        let room = room.with_tokens(vault);
        let room = Arc::new(match heard.names {
            Some((names, given)) => {
                self.given = given;
                room.with_names(names)
            }
            None => room,
        });
        if kinds.contains(&ListenerKind::Kept) {
            self.quiet.insert(sandbox.clone(), (heard.ears, scope));
        } else {
            for listener in heard.ears {
                listener.serve(&self.gate, (&room, &scope));
            }
        }
        tracing::info!(%sandbox, agent = %room.agent, ?origin, "a sandbox opens");
        self.open.insert(sandbox, (room, life));
        Ok(())
    }

    /// The runs of a sandbox that stood before are told: a call that waited there is known for whose it is.
    fn go_on(&mut self, sandbox: &SandboxId) -> Result<(), String> {
        let (room, _) = self.open.get(sandbox).ok_or_else(|| unknown(sandbox))?;
        if let Some((ears, scope)) = self.quiet.remove(sandbox) {
            for ear in ears {
                ear.serve(&self.gate, (room, &scope));
            }
        }
        Ok(())
    }

    async fn close(&mut self, sandbox: &SandboxId) -> Result<(), String> {
        // What lives in its scope keeps the end waiting.
        self.quiet.remove(sandbox);
        let (_, life) = self.open.remove(sandbox).ok_or_else(|| unknown(sandbox))?;
        life.end().await;
        self.gate.forget(sandbox);
        tracing::info!(%sandbox, "a sandbox closed");
        Ok(())
    }

    async fn close_all(&mut self) {
        self.quiet.clear();
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

/// What came along with a sandbox.
struct Heard {
    ears: Vec<Ear>,
    reports: Option<OwnedFd>,
    /// The names that it has asked for, and what to give for them to be kept, unless that was done before.
    names: Option<(Synthetic, Option<OwnedFd>)>,
}

impl Heard {
    fn of(kinds: &[ListenerKind], fds: Vec<OwnedFd>) -> io::Result<Self> {
        let (mut ears, mut reports, mut names) = (Vec::new(), None, None);
        for (fd, kind) in fds.into_iter().zip(kinds) {
            match kind {
                ListenerKind::Kept => {
                    let (kept, before) = Kept::read(fd)?;
                    names = Some((Synthetic::kept(kept, before), None));
                }
                ListenerKind::Reports => reports = Some(fd),
                kind => ears.push(Ear::of(fd, *kind)?),
            }
        }
        if names.is_none() && kinds.contains(&ListenerKind::Names) {
            let kept = Kept::fresh()?;
            let given = kept.duplicate()?;
            names = Some((Synthetic::kept(kept, Vec::new()), Some(given)));
        }
        Ok(Self {
            ears,
            reports,
            names,
        })
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
            ListenerKind::Reports | ListenerKind::Kept => Err(io::ErrorKind::InvalidInput.into()),
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

fn no_agent(agent: &AgentName) -> String {
    format!("the gate's config has no agent `{agent}`")
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
