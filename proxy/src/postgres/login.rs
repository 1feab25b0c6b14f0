//! The gate's own login to a server, by SCRAM-SHA-256. Never says the password itself in any form that a server could ask
//! for, and never believes a server that does not prove that it knows the password, unless TLS vouched for it.

use std::io;

use postern_contract::Secret;
use postern_daemon::files;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::spawn_blocking,
};

use super::{
    message::{framed, read, text, unnamed},
    scram::{BadServer, Final, First},
    startup::Startup,
};
use crate::inject::Postgres;

/// The most messages of a login; a server says three, and perhaps some notices.
const MESSAGES_MAX: usize = 32;

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 18;

const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// A request for TLS.
const TLS: u32 = 80_877_103;

/// Why the gate is not in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLogin {
    #[error("the database went away during the login: {0}")]
    Broke(#[from] io::Error),
    #[error("the database speaks no TLS, and the credential does not say `plaintext = true`")]
    NoTls,
    #[error("the database asks for a password {0}, and the gate answers SCRAM-SHA-256 alone")]
    Method(&'static str),
    #[error("the database asks for no password, and nothing else proves who it is")]
    Anybody,
    #[error("the database refuses the gate's login (SQLSTATE {state})")]
    Refused { state: String },
    #[error(transparent)]
    Server(#[from] BadServer),
    #[error("the database says what is no login")]
    Form,
    #[error("the password has characters besides ASCII, which the gate does not send")]
    Password,
    #[error("the database did not let the gate in in time")]
    Late,
}

/// Where the exchange stands.
enum Stage {
    /// Nothing was asked yet.
    Begun,
    /// The gate has said whom it means.
    Named(First),
    /// The gate has proved that it knows the password.
    Proved(Final),
    /// So has the server.
    Agreed,
}

/// What a login is made with.
pub(super) struct Login<'a> {
    pub(super) tool: &'a Postgres,
    pub(super) password: &'a Secret,
    /// Whether TLS has said who the server is.
    pub(super) is_secured: bool,
}

/// Asks a server to speak TLS. What it sends before its answer to the handshake is never read as anything else.
pub(super) async fn ask_for_tls(server: &mut TcpStream) -> Result<(), NoLogin> {
    server.write_all(&unnamed(&TLS.to_be_bytes())).await?;
    match server.read_u8().await? {
        b'S' => Ok(()),
        b'N' | b'E' => Err(NoLogin::NoTls),
        _ => Err(NoLogin::Form),
    }
}

impl Login<'_> {
    /// Begins the session that was asked for, as the tool's user. What the server says from then on is not read here.
    pub(super) async fn enter<S>(&self, server: &mut S, startup: &Startup) -> Result<(), NoLogin>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begin = startup.to_server(self.tool.user(), self.tool.database());
        server.write_all(&begin).await?;
        server.flush().await?;
        let mut stage = Stage::Begun;
        for _ in 0..MESSAGES_MAX {
            let (kind, body) = read(server).await?;
            stage = match kind {
                b'R' => match self.step(stage, &body).await? {
                    Step::In => return Ok(()),
                    Step::On(stage, answer) => {
                        server.write_all(&answer).await?;
                        server.flush().await?;
                        stage
                    }
                },
                b'E' => {
                    return Err(NoLogin::Refused {
                        state: state(&body),
                    });
                }
                b'N' => stage,
                _ => return Err(NoLogin::Form),
            };
        }
        Err(NoLogin::Form)
    }

    /// One message about the login.
    async fn step(&self, stage: Stage, body: &[u8]) -> Result<Step, NoLogin> {
        let (code, rest) = body.split_at_checked(4).ok_or(NoLogin::Form)?;
        let code = code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        match (code, stage) {
            (0, Stage::Agreed) => Ok(Step::In),
            (0, Stage::Begun) if self.is_secured => Ok(Step::In),
            (0, Stage::Begun) => Err(NoLogin::Anybody),
            (3, Stage::Begun) => Err(NoLogin::Method("in the clear")),
            (5, Stage::Begun) => Err(NoLogin::Method("by MD5")),
            (10, Stage::Begun) => named(rest),
            (11, Stage::Named(first)) => self.prove(first, rest).await,
            (12, Stage::Proved(last)) => {
                last.check(utf8(rest)?)?;
                Ok(Step::On(Stage::Agreed, Vec::new()))
            }
            (_, Stage::Begun) => Err(NoLogin::Method("in a way that it does not know")),
            _ => Err(NoLogin::Form),
        }
    }

    async fn prove(&self, first: First, said: &[u8]) -> Result<Step, NoLogin> {
        if !self.password.expose().is_ascii() {
            return Err(NoLogin::Password);
        }
        let (said, password) = (utf8(said)?.to_owned(), self.password.duplicate());
        // Hashing is slow on purpose, and nobody else should wait for it.
        let proving = spawn_blocking(move || first.prove(&said, password.expose()));
        let (proof, last) = proving.await.map_err(io::Error::other)??;
        Ok(Step::On(
            Stage::Proved(last),
            framed(b'p', proof.as_bytes()),
        ))
    }
}

/// What comes of a message.
enum Step {
    In,
    On(Stage, Vec<u8>),
}

/// Takes SCRAM-SHA-256 out of the mechanisms that a server offers.
fn named(mut offered: &[u8]) -> Result<Step, NoLogin> {
    while let Some((mechanism, rest)) = text(offered).filter(|(name, _)| !name.is_empty()) {
        if mechanism == MECHANISM {
            let first = First::new("", files::random_hex(NONCE_BYTES)?);
            let message = first.message();
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let body = [MECHANISM, &[0], &length.to_be_bytes(), message.as_bytes()].concat();
            return Ok(Step::On(Stage::Named(first), framed(b'p', &body)));
        }
        offered = rest;
    }
    Err(NoLogin::Method("in a way that it does not know"))
}

fn utf8(bytes: &[u8]) -> Result<&str, NoLogin> {
    std::str::from_utf8(bytes).map_err(|_| NoLogin::Form)
}

/// The five characters that say what kind of error a server tells of. Its own words may say what an agent should not read.
fn state(mut fields: &[u8]) -> String {
    while let Some((kind, rest)) = fields.split_first().filter(|(kind, _)| **kind != 0) {
        let Some((value, rest)) = text(rest) else {
            break;
        };
        let is_one = value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric);
        if *kind == b'C' && is_one {
            return String::from_utf8_lossy(value).into_owned();
        }
        fields = rest;
    }
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What comes of a server that says this, whatever it is told.
    async fn enters(said: &[u8], is_secured: bool) -> Result<(), NoLogin> {
        let tool: Postgres = serde_json::from_str(r#"{"user":"app","secret":"db"}"#).unwrap();
        let password = Secret::new(b"pencil".to_vec());
        let login = Login {
            tool: &tool,
            password: &password,
            is_secured,
        };
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(said).await.unwrap();
        far.shutdown().await.unwrap();
        let entered = login.enter(&mut near, &Startup::default()).await;
        drop(near);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert!(!heard.windows(6).any(|window| window == b"pencil"));
        entered
    }

    fn asks(code: u32, rest: &[u8]) -> Vec<u8> {
        framed(b'R', &[&code.to_be_bytes(), rest].concat())
    }

    #[tokio::test]
    async fn a_server_is_told_no_password_however_it_asks() {
        for (code, words) in [(3, "in the clear"), (5, "by MD5"), (7, "does not know")] {
            let error = enters(&asks(code, b"salt"), true).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let plus = asks(10, b"SCRAM-SHA-256-PLUS\0\0");
        assert!(matches!(enters(&plus, true).await, Err(NoLogin::Method(_))));
    }

    #[tokio::test]
    async fn a_server_that_proves_nothing_is_believed_only_where_tls_knows_it() {
        assert!(enters(&asks(0, b""), true).await.is_ok());
        assert!(matches!(
            enters(&asks(0, b""), false).await,
            Err(NoLogin::Anybody)
        ));
        // Half-way through it may not skip its part.
        let halfway = [asks(10, b"SCRAM-SHA-256\0\0"), asks(0, b"")].concat();
        assert!(matches!(enters(&halfway, true).await, Err(NoLogin::Form)));
        let another = [
            asks(10, b"SCRAM-SHA-256\0\0"),
            asks(11, b"r=another,s=AAAA,i=4096"),
        ];
        assert!(matches!(
            enters(&another.concat(), true).await,
            Err(NoLogin::Server(BadServer::Nonce))
        ));
    }

    #[tokio::test]
    async fn an_error_is_told_by_its_state_alone() {
        let error = framed(b'E', b"SFATAL\0C28P01\0Mpassword of app is pencil\0\0");
        let error = enters(&error, true).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the database refuses the gate's login (SQLSTATE 28P01)"
        );
        for said in [
            &b"R\0\0\0\x05\0"[..],
            b"Z\0\0\0\x05I",
            b"",
            b"E\0\0\0\x05\0",
            b"HTTP/1.1 400",
        ] {
            assert!(enters(said, true).await.is_err(), "{said:?}");
        }
    }
}
