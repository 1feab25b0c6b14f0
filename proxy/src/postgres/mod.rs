//! A connection to a PostgreSQL server: the gate logs in with the tool's credential, so that the agent needs none. Never
//! tells the agent what it logged in with, never logs in where no rule allows, and never looks at a query.
//!
//! ```text
//! judged ─▶ program's startup (startup.rs) ─▶ dialled, TLS ─▶ gate's startup and SCRAM (login.rs) ─▶ bytes both ways
//!                └ a cancel request ─────────▶ dialled, TLS ─▶ passed on, closed
//! ```

mod login;
mod message;
mod scram;
mod startup;

use postern_contract::Refusal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::{
    login::Login,
    startup::{Opening, Startup},
};
pub(crate) use self::{login::NoLogin, startup::BadStartup};
use crate::{
    book::Target,
    decide::Permit,
    gate::Gate,
    identify::Caller,
    inject::{self, Credentials, Misdirected, Postgres},
    intercept::reach,
    record::Record,
    refuse::Refused,
    tunnel::{self, Ends, Terms},
};

/// What a server may still say to a cancel request before the gate closes, in bytes: nothing, by the protocol.
const LAST_WORDS_BYTES_MAX: u64 = 1024;

/// A permitted connection and whose it is.
type Permitted<'a> = (&'a Permit, &'a Caller, &'a Target);

/// Attends to a program's connection that was permitted, for as long as it lasts.
pub(crate) async fn attend(
    mut agent: TcpStream,
    gate: &Gate,
    permitted: Permitted<'_>,
    mut record: Box<Record>,
) {
    let terms = Terms {
        silence_max: gate.book().patience.tunnel,
        greeting: None,
        sieve: None,
        is_opaque: true,
    };
    let opened = match open(&mut agent, gate).await {
        Ok(Opening::Session(startup)) => {
            let entered = enter(gate, permitted, &startup, &mut record).await;
            entered.map(|server| (startup, server))
        }
        Ok(Opening::Cancel(request)) => {
            return match cancel(gate, permitted, &request, &mut record).await {
                Ok(()) => drop(record.close(None)),
                Err(refused) => record.abandon(refused),
            };
        }
        Err(bad) => Err(bad.into()),
    };
    match opened {
        Ok((startup, server)) => match agent.write_all(&startup.welcome()).await {
            Ok(()) => tunnel::carry((agent, server), terms, record).await,
            Err(error) => drop(record.close(Some(&error.to_string()))),
        },
        Err(refused) => tell(agent, refused, record).await,
    }
}

/// Refuses a connection in words that the program shows, once it has said what it wants.
pub(crate) async fn refuse(
    mut agent: TcpStream,
    gate: &Gate,
    refused: Refused,
    record: Box<Record>,
) {
    match open(&mut agent, gate).await {
        Ok(_) => tell(agent, refused, record).await,
        Err(_) => record.abandon(refused),
    }
}

/// Writes down why, then says it.
async fn tell(mut agent: TcpStream, refused: Refused, record: Box<Record>) {
    let refusal: Refusal = refused.refusal().clone();
    record.abandon(refused);
    let said = async {
        agent.write_all(&startup::refusal(&refusal)).await?;
        agent.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a program did not wait to hear why");
    }
}

async fn open(agent: &mut TcpStream, gate: &Gate) -> Result<Opening, BadStartup> {
    let opening = timeout(gate.book().patience.head, startup::read(agent)).await;
    opening.unwrap_or(Err(BadStartup::Late))
}

/// A session at the server, as the tool's user.
async fn enter(
    gate: &Gate,
    permitted: Permitted<'_>,
    startup: &Startup,
    record: &mut Record,
) -> Result<Box<dyn Ends>, Refused> {
    let (permit, _, target) = permitted;
    let credential = permit.credential(target);
    let tool = login_of(credential)?;
    let mut server = connect(gate, permitted, tool, record).await?;
    // Nothing is said with a secret that a newer book may have withdrawn.
    if let Some(cut) = record.cut_now() {
        return Err(cut.into());
    }
    let book = gate.book();
    let addition = book.addition(credential)?.ok_or(Misdirected::NoValue)?;
    let generation = book.credential_generation(credential);
    record.credential(credential.map(Credentials::label), generation);
    let login = Login {
        tool,
        password: addition
            .values
            .get(tool.secret())
            .map_err(Misdirected::from)?,
        is_secured: !tool.plaintext(),
    };
    let entering = login.enter(&mut server, startup);
    let entered = timeout(target.manner.timeouts.connect, entering).await;
    entered.unwrap_or(Err(NoLogin::Late))?;
    Ok(server)
}

/// What a login needs to know, of a credential that is for logging in.
fn login_of(credential: Option<&Credentials>) -> Result<&Postgres, Misdirected> {
    match credential.and_then(Credentials::login) {
        Some(inject::Login::Postgres(login)) => Ok(login),
        _ => Err(Misdirected::Unearned),
    }
}

/// Has a server end what another session does: in the words that it gave that session, which only that one has.
async fn cancel(
    gate: &Gate,
    permitted: Permitted<'_>,
    request: &[u8],
    record: &mut Record,
) -> Result<(), Refused> {
    let (_, _, target) = permitted;
    let tool = login_of(target.credential.as_ref())?;
    let mut server = connect(gate, permitted, tool, record).await?;
    let passing = async {
        server.write_all(request).await?;
        server.flush().await?;
        record.up.add(request.len());
        let mut last_words = Vec::new();
        let mut server = server.take(LAST_WORDS_BYTES_MAX);
        server.read_to_end(&mut last_words).await
    };
    let passed = timeout(target.manner.timeouts.connect, passing).await;
    passed
        .unwrap_or(Ok(0))
        .map(drop)
        .map_err(|error| NoLogin::from(error).into())
}

/// A connection to the server, secured unless its config says that it is not.
async fn connect(
    gate: &Gate,
    permitted: Permitted<'_>,
    tool: &Postgres,
    record: &mut Record,
) -> Result<Box<dyn Ends>, Refused> {
    let (permit, _, target) = permitted;
    let mut stream = reach(gate, permitted, record).await?.stream;
    if tool.plaintext() {
        return Ok(Box::new(stream));
    }
    let manner = &target.manner;
    let asked = timeout(manner.timeouts.connect, login::ask_for_tls(&mut stream)).await;
    asked.unwrap_or(Err(NoLogin::Late))?;
    let secured = gate
        .dialer
        .secure(permit, manner, (stream, Some(ALPN)))
        .await?;
    Ok(Box::new(secured))
}

/// How the protocol is called inside TLS.
const ALPN: &[u8] = b"postgresql";
