//! How an agent's program begins: what it wants of the server, and what the gate answers in the server's place. Never asks
//! for a password, and never offers TLS on a connection that does not leave the machine.

use std::io;

use postern_contract::{Code, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::message::{framed, text, unnamed};

/// The longest beginning, in bytes; PostgreSQL has the same.
const STARTUP_BYTES_MAX: usize = 10_000;

/// How often a program may ask for something to go before its beginning: TLS and GSS encryption.
const QUESTIONS_MAX: usize = 2;

/// The codes that stand where the version does.
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Version 3.0, the one that the gate speaks; 3.x are answered with it.
const VERSION: u32 = 3 << 16;

/// Parameters that ask for extensions of the protocol.
const EXTENSION: &[u8] = b"_pq_.";

/// What a connection is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A session.
    Session(Startup),
    /// An end to what another session is doing, in the words that the server gave that one.
    Cancel(Vec<u8>),
}

/// The beginning of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Startup {
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
    minor: u16,
}

/// Why a beginning is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadStartup {
    #[error("the connection broke: {0}")]
    Broke(#[from] io::Error),
    #[error("the connection does not begin as PostgreSQL's do")]
    Form,
    #[error("the gate speaks version 3 of PostgreSQL's protocol")]
    Version,
    #[error("replication is no session, and the gate opens nothing else")]
    Replication,
    #[error("nothing was asked for in time")]
    Late,
}

/// Reads until it is clear what a connection is for.
pub(super) async fn read<S>(agent: &mut S) -> Result<Opening, BadStartup>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..=QUESTIONS_MAX {
        let length = usize::try_from(agent.read_u32().await?).unwrap_or(usize::MAX);
        if !(8..=STARTUP_BYTES_MAX).contains(&length) {
            return Err(BadStartup::Form);
        }
        let mut body = vec![0; length - 4];
        agent.read_exact(&mut body).await?;
        let (code, rest) = body.split_at(4);
        let code = code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        match code {
            TLS | GSS if rest.is_empty() => agent.write_all(b"N").await?,
            CANCEL => return Ok(Opening::Cancel(unnamed(&body))),
            _ if code >> 16 == VERSION >> 16 => {
                return Startup::parse((code & 0xffff) as u16, rest).map(Opening::Session);
            }
            _ => return Err(BadStartup::Version),
        }
    }
    Err(BadStartup::Form)
}

impl Startup {
    fn parse(minor: u16, mut rest: &[u8]) -> Result<Self, BadStartup> {
        let mut parameters = Vec::new();
        while rest != [0] {
            let (name, after) = text(rest).ok_or(BadStartup::Form)?;
            let (value, after) = text(after).ok_or(BadStartup::Form)?;
            if name.is_empty() {
                return Err(BadStartup::Form);
            }
            if name == b"replication" {
                return Err(BadStartup::Replication);
            }
            parameters.push((name.to_owned(), value.to_owned()));
            rest = after;
        }
        Ok(Self { parameters, minor })
    }

    /// The same for the server, from another user, and for this database if there is one to keep to.
    pub(super) fn to_server(&self, user: &str, database: Option<&str>) -> Vec<u8> {
        let asked = self.parameters.iter().find(|(name, _)| name == b"database");
        let asked = asked.map(|(_, value)| value.as_slice());
        let database = database.map(str::as_bytes).or(asked);
        let own = [
            (&b"user"[..], Some(user.as_bytes())),
            (b"database", database),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let others = self.parameters.iter();
        let others = others.filter(|(name, _)| {
            !name.starts_with(EXTENSION) && name != b"user" && name != b"database"
        });
        let others = others.map(|(name, value)| (name.as_slice(), value.as_slice()));
        let mut body = VERSION.to_be_bytes().to_vec();
        for (name, value) in own.chain(others) {
            body.extend([name, &[0], value, &[0]].concat());
        }
        body.push(0);
        unnamed(&body)
    }

    /// What the program is told once the gate is in: nothing of newer versions, and that it is in too.
    pub(super) fn welcome(&self) -> Vec<u8> {
        let names = self.parameters.iter().map(|(name, _)| name);
        let unknown: Vec<_> = names.filter(|name| name.starts_with(EXTENSION)).collect();
        let mut bytes = Vec::new();
        if self.minor > 0 || !unknown.is_empty() {
            let count = u32::try_from(unknown.len()).unwrap_or(u32::MAX);
            let mut body = [VERSION.to_be_bytes(), count.to_be_bytes()].concat();
            for name in unknown {
                body.extend([name.as_slice(), &[0]].concat());
            }
            bytes.extend(framed(b'v', &body));
        }
        bytes.extend(framed(b'R', &[0; 4]));
        bytes
    }
}

/// A refusal in the words of the protocol, which programs show to whoever runs them.
pub(super) fn refusal(refusal: &Refusal) -> Vec<u8> {
    let state = match refusal.code {
        Code::RateLimited | Code::BudgetExceeded => "53300",
        Code::UpstreamUnreachable | Code::UpstreamTimeout | Code::CircuitOpen => "08006",
        Code::BadRequest => "08P01",
        _ => "28000",
    };
    let message = format!("{}: {}", refusal.code.word(), refusal.message);
    let mut body = Vec::new();
    for (field, value) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', state),
        (b'M', &message.replace('\0', " ")),
    ] {
        body.push(field);
        body.extend([value.as_bytes(), &[0]].concat());
    }
    body.push(0);
    framed(b'E', &body)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn startup(version: u32, parameters: &[u8]) -> Vec<u8> {
        unnamed(&[&version.to_be_bytes(), parameters].concat())
    }

    async fn opening(bytes: &[u8]) -> (Result<Opening, BadStartup>, Vec<u8>) {
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let opening = read(&mut near).await;
        drop(near);
        let mut answered = Vec::new();
        far.read_to_end(&mut answered).await.unwrap();
        (opening, answered)
    }

    #[tokio::test]
    async fn a_session_is_the_tools_users_whoever_the_program_says_it_is() {
        let asked = startup(
            VERSION,
            b"user\0root\0database\0mine\0application_name\0x\0\0",
        );
        let tls = unnamed(&TLS.to_be_bytes());
        let (opened, answered) = opening(&[tls, asked].concat()).await;
        assert_eq!(answered, b"N");
        let Ok(Opening::Session(session)) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!(
            session.to_server("app", None),
            startup(
                VERSION,
                b"user\0app\0database\0mine\0application_name\0x\0\0"
            )
        );
        assert_eq!(
            session.to_server("app", Some("orders")),
            startup(
                VERSION,
                b"user\0app\0database\0orders\0application_name\0x\0\0"
            )
        );
        assert_eq!(session.welcome(), b"R\0\0\0\x08\0\0\0\0");
    }

    #[tokio::test]
    async fn a_newer_program_is_told_which_version_is_spoken() {
        let asked = startup(VERSION + 2, b"user\0root\0_pq_.new\0on\0\0");
        let (Ok(Opening::Session(session)), _) = opening(&asked).await else {
            panic!("no session")
        };
        assert_eq!(
            session.to_server("app", None),
            startup(VERSION, b"user\0app\0\0")
        );
        assert_eq!(
            session.welcome(),
            [
                &b"v\0\0\0\x15\0\x03\0\0\0\0\0\x01_pq_.new\0"[..],
                b"R\0\0\0\x08\0\0\0\0"
            ]
            .concat()
        );
    }

    #[tokio::test]
    async fn what_is_no_beginning_is_refused_wherever_it_ends() {
        let good = startup(VERSION, b"user\0root\0\0");
        for cut in 0..good.len() {
            let (opened, _) = opening(&good[..cut]).await;
            assert!(opened.is_err(), "{cut}");
        }
        let tls = unnamed(&TLS.to_be_bytes());
        for bad in [
            startup(2 << 16, b"\0"),
            startup(VERSION, b""),
            startup(VERSION, b"user"),
            startup(VERSION, b"user\0root"),
            startup(VERSION, b"user\0root\0"),
            startup(VERSION, b"\0x\0\0"),
            startup(VERSION, b"user\0root\0replication\0true\0\0"),
            startup(VERSION, &[b'x'; STARTUP_BYTES_MAX]),
            [tls.clone(), tls.clone(), tls].concat(),
            b"\x16\x03\x01\x02\0\x01\0\x01".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let (opened, _) = opening(&bad).await;
            assert!(opened.is_err(), "{bad:?}");
        }
    }
}
