//! A connection to a Redis server: the gate logs in with the tool's credential, so that the agent needs none. Never tells the agent
//! what it logged in with, never logs in where no rule allows, never hands over a session that could read the password back, and
//! never looks at a command.
//!
//! ```text
//! judged ─▶ dialled, TLS ─▶ AUTH ─▶ +OK ─▶ three questions that must be refused ─▶ bytes both ways
//! ```
//!
//! A user who may ask for the server's config or for its list of users is told passwords in the clear, or what they hash to. What the
//! agent may ask is the server's to say, so the server is asked.
//!
//! The protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>; AUTH: <https://redis.io/docs/latest/commands/auth/>.

use std::io;

use postern_contract::{Refusal, Secret};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    book::Target,
    decide::Permit,
    gate::Gate,
    identify::Caller,
    inject::{Credentials, Login, Misdirected, Redis},
    intercept::reach,
    record::Record,
    refuse::Refused,
    tunnel::{self, Ends, Terms},
};

/// The longest line that an answer to a login is, in bytes.
const LINE_BYTES_MAX: usize = 512;

/// Why the gate is not in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSession {
    #[error("the Redis server went away during the login: {0}")]
    Broke(#[from] io::Error),
    #[error("the Redis server refuses the gate's login ({0})")]
    Refused(String),
    #[error(
        "the Redis server would tell the agent passwords: the credential's user may ask for `{0}`; take that away, as with \
         `ACL SETUSER NAME -@admin`"
    )]
    Telling(String),
    #[error(
        "the Redis server lets in who shows no password, so the agent could leave the credential's user and ask for everything: \
         say `ACL SETUSER default off`, or give that user a password"
    )]
    Open,
    #[error("the Redis server does not say whether it would tell the agent passwords ({0})")]
    Unclear(String),
    #[error("the Redis server says what is no answer to a login")]
    Form,
    #[error("the Redis server did not let the gate in in time")]
    Late,
}

/// A permitted connection and whose it is.
type Permitted<'a> = (&'a Permit, &'a Caller, &'a Target);

/// Attends to a program's connection that was permitted, for as long as it lasts.
pub(crate) async fn attend(
    agent: TcpStream,
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
    match enter(gate, permitted, &mut record).await {
        Ok(server) => tunnel::carry((agent, server), terms, record).await,
        Err(refused) => refuse(agent, gate, refused, record).await,
    }
}

/// Writes down why, then says it as the answer to whatever the program asks first.
pub(crate) async fn refuse(
    mut agent: TcpStream,
    gate: &Gate,
    refused: Refused,
    record: Box<Record>,
) {
    let line = told(refused.refusal());
    record.abandon(refused);
    let said = async {
        let mut first = [0];
        agent.read_exact(&mut first).await?;
        agent.write_all(line.as_bytes()).await?;
        agent.shutdown().await
    };
    let said = timeout(gate.book().patience.head, said).await;
    if !matches!(said, Ok(Ok(()))) {
        tracing::debug!("a program did not wait to hear why");
    }
}

/// A refusal as an error of Redis': one line.
fn told(refusal: &Refusal) -> String {
    let words = refusal.message.replace(['\r', '\n'], " ");
    format!("-ERR {}: {words}\r\n", refusal.code.word())
}

/// A session at the server, as the tool's user.
async fn enter(
    gate: &Gate,
    permitted: Permitted<'_>,
    record: &mut Record,
) -> Result<Box<dyn Ends>, Refused> {
    let (permit, _, target) = permitted;
    let credential = permit.credential(target);
    let Some(Login::Redis(tool)) = credential.and_then(Credentials::login) else {
        return Err(Misdirected::Unearned.into());
    };
    let mut server = connect(gate, permitted, tool, record).await?;
    // Nothing is said with a secret that a newer book may have withdrawn.
    if let Some(cut) = record.cut_now() {
        return Err(cut.into());
    }
    let book = gate.book();
    let addition = book.addition(credential)?.ok_or(Misdirected::NoValue)?;
    let generation = book.credential_generation(credential);
    record.credential(credential.map(Credentials::label), generation);
    let password = addition.values.get(tool.secret());
    let password = password.map_err(Misdirected::from)?;
    let entering = log_in(&mut server, tool.user(), password);
    let entered = timeout(target.manner.timeouts.connect, entering).await;
    entered.unwrap_or(Err(NoSession::Late))?;
    Ok(server)
}

/// A connection to the server, secured unless its config says that it is not.
async fn connect(
    gate: &Gate,
    permitted: Permitted<'_>,
    tool: &Redis,
    record: &mut Record,
) -> Result<Box<dyn Ends>, Refused> {
    let (permit, _, target) = permitted;
    let stream = reach(gate, permitted, record).await?.stream;
    if tool.plaintext() {
        return Ok(Box::new(stream));
    }
    let secured = gate.dialer.secure(permit, &target.manner, (stream, None));
    Ok(Box::new(secured.await?))
}

/// Logs in, and finds that the session tells no password.
async fn log_in<S>(server: &mut S, user: &str, password: &Secret) -> Result<(), NoSession>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What no access list can take from a user is to leave it, by RESET or AUTH: whoever then is nobody must be able to do nothing.
    say(server, &[b"PING"]).await?;
    if !line(server).await?.starts_with(b"-NOAUTH") {
        return Err(NoSession::Open);
    }
    let auth = [b"AUTH", user.as_bytes(), password.expose()];
    say(server, &auth).await?;
    match line(server).await?.as_slice() {
        b"+OK" => {}
        // Its first word alone: the rest is somebody else's text.
        [b'-', why @ ..] => return Err(NoSession::Refused(first_word(why))),
        _ => return Err(NoSession::Form),
    }
    // What a user that an agent works as must not be allowed: each tells a password, or what it hashes to.
    let telling: [&[&[u8]]; 3] = [
        &[b"CONFIG", b"GET", b"requirepass"],
        &[b"ACL", b"LIST"],
        &[b"ACL", b"GETUSER", user.as_bytes()],
    ];
    for question in telling {
        say(server, question).await?;
        let answer = line(server).await?;
        if !answer.starts_with(b"-") {
            let words = question.iter().map(|word| String::from_utf8_lossy(word));
            return Err(NoSession::Telling(words.collect::<Vec<_>>().join(" ")));
        }
        if !is_never(&answer) {
            return Err(NoSession::Unclear(first_word(&answer[1..])));
        }
    }
    Ok(())
}

/// Whether an error says that the user may not, or that nobody can. Others, such as `-BUSY`, are no answer to the question: a moment later it may be
/// another.
fn is_never(error: &[u8]) -> bool {
    let error = error.to_ascii_lowercase();
    error.starts_with(b"-noperm") || error.starts_with(b"-err unknown ")
}

/// Sends a command: an array of texts, each behind its length.
async fn say<S: AsyncWrite + Unpin>(server: &mut S, words: &[&[u8]]) -> io::Result<()> {
    let length: usize = words.iter().map(|word| word.len() + 32).sum();
    // Whole from the start: what grows leaves copies behind.
    let mut command = Zeroizing::new(Vec::with_capacity(length + 32));
    command.extend(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        command.extend(format!("${}\r\n", word.len()).as_bytes());
        command.extend(*word);
        command.extend(b"\r\n");
    }
    server.write_all(&command).await?;
    server.flush().await
}

/// One line of an answer, and not a byte behind it.
async fn line<S: AsyncRead + Unpin>(server: &mut S) -> Result<Vec<u8>, NoSession> {
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        line.push(server.read_u8().await?);
        if let Some(line) = line.strip_suffix(b"\r\n") {
            return Ok(line.to_vec());
        }
    }
    Err(NoSession::Form)
}

fn first_word(why: &[u8]) -> String {
    let is_word = |byte: &&u8| byte.is_ascii_alphanumeric();
    why.iter()
        .take_while(is_word)
        .take(32)
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What comes of a login at a server that answers so, and what it was sent.
    async fn entered(answers: &[&str]) -> (Result<(), NoSession>, String) {
        let (mut gate, mut server) = duplex(4096);
        server.write_all(answers.concat().as_bytes()).await.unwrap();
        let password = Secret::new(b"pencil".to_vec());
        let done = log_in(&mut gate, "keeper", &password).await;
        drop(gate);
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        (done, sent)
    }

    const NOBODY: &str = "-NOAUTH Authentication required.\r\n";
    const NO: &str = "-NOPERM User keeper has no permissions\r\n";

    #[tokio::test]
    async fn it_says_who_it_is_once_and_nothing_is_told() {
        let (done, sent) = entered(&[NOBODY, "+OK\r\n", NO, "-ERR unknown command\r\n", NO]).await;
        done.unwrap();
        let auth = "*1\r\n$4\r\nPING\r\n*3\r\n$4\r\nAUTH\r\n$6\r\nkeeper\r\n$6\r\npencil\r\n";
        assert!(sent.starts_with(auth), "{sent}");
        assert_eq!(sent.matches("pencil").count(), 1);
    }

    #[tokio::test]
    async fn a_session_that_would_tell_passwords_is_none() {
        let told = "*2\r\n$11\r\nrequirepass\r\n$6\r\npencil\r\n";
        let (done, _) = entered(&[NOBODY, "+OK\r\n", told]).await;
        assert!(matches!(done, Err(NoSession::Telling(what)) if what == "CONFIG GET requirepass"));
        let users = "*1\r\n$3\r\nany\r\n";
        let (done, _) = entered(&[NOBODY, "+OK\r\n", NO, users]).await;
        assert!(matches!(done, Err(NoSession::Telling(what)) if what == "ACL LIST"));
        let (done, _) = entered(&[NOBODY, "+OK\r\n", NO, NO, users]).await;
        assert!(matches!(done, Err(NoSession::Telling(what)) if what == "ACL GETUSER keeper"));
    }

    /// While a script runs Redis answers so whoever may ask, and lets anybody log in.
    #[tokio::test]
    async fn a_session_of_which_that_is_not_known_is_none() {
        let busy = "-BUSY Redis is busy running a script.\r\n";
        for answers in [[busy, busy, busy], [NO, busy, NO], [NO, NO, "-ERR\r\n"]] {
            let (done, _) = entered(&[&[NOBODY, "+OK\r\n"][..], &answers].concat()).await;
            assert!(matches!(done, Err(NoSession::Unclear(_))), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_anybody_may_use_hears_no_password() {
        for answer in [
            "+PONG\r\n",
            "-NOPERM User default has no permissions\r\n",
            "-ERR\r\n",
        ] {
            let (done, sent) = entered(&[answer]).await;
            assert!(matches!(done, Err(NoSession::Open)), "{answer}");
            assert!(!sent.contains("pencil"), "{sent}");
        }
    }

    #[tokio::test]
    async fn what_is_no_yes_is_a_no() {
        let (done, _) = entered(&[NOBODY, "-WRONGPASS <b>invalid</b>\r\n"]).await;
        assert!(matches!(done, Err(NoSession::Refused(why)) if why == "WRONGPASS"));
        let (done, _) = entered(&[NOBODY, "+OKAY\r\n"]).await;
        assert!(matches!(done, Err(NoSession::Form)));
        let (done, _) = entered(&[NOBODY, &"+".repeat(LINE_BYTES_MAX + 1)]).await;
        assert!(matches!(done, Err(NoSession::Form)));
    }
}
