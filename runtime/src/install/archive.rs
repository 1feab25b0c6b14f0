//! An archive into a new tree: its bytes go into `unpack`, which stands in a sandbox that has no way out, while they are read or
//! downloaded. Never parses one here.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use postern_contract::launch::{Access, ExitStatus, Mount};
use postern_unpack::{self as unpacking, HEAD_BYTES, Report};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use super::{InstallError, Installer, STAGE_MAX, discard, progress::Gauge};
use crate::{
    config::Agent,
    output,
    sandbox::{Descriptors, Program, Sandbox},
    source::{Content, Digest, Object, Remote, Resolved},
    unpack::{self, Told},
};

/// Where this executable is shown in an install sandbox.
const PROGRAM_TARGET: &str = "/run/postern/posternd";

/// Where the new tree is shown in an install sandbox.
pub(super) const TREE_TARGET: &str = "/install";

/// How many bytes are read from a source at once.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// What a look at an object's bytes showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) digest: Digest,
    pub(super) is: unpacking::Object,
}

/// Looks at an object, which has the digest that the config pins if it pins one.
pub(super) async fn look_at(object: &Object) -> Result<Seen, InstallError> {
    let looked_at = object.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let mut head = Head(Vec::new());
        let digest = copy_hashed(&looked_at, &mut head, &Gauge::default())?;
        let is = unpacking::Object::of(&head.0);
        Ok(Seen { digest, is })
    });
    let seen = joined(looking.await).map_err(|source| InstallError::Source {
        shown: object.shown(),
        source,
    })?;
    match object.pinned() {
        Some(pinned) if pinned != seen.digest => Err(InstallError::OtherThanPinned {
            shown: object.shown(),
            found: seen.digest,
            pinned,
        }),
        _ => Ok(seen),
    }
}

/// Keeps the first bytes, by which the kind is told.
struct Head(Vec<u8>);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = HEAD_BYTES.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(missing));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where an archive's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packed<'source> {
    /// In a file, whose bytes were such a moment ago.
    File(&'source Object, Seen),
    /// Somewhere in the world.
    World(&'source Remote),
}

impl Packed<'_> {
    fn shown(self) -> String {
        match self {
            Self::File(object, _) => object.shown(),
            Self::World(object) => object.shown(),
        }
    }

    fn refused(self, why: impl Into<String>) -> InstallError {
        InstallError::Refused {
            shown: self.shown(),
            why: why.into(),
        }
    }

    fn source(self, source: io::Error) -> InstallError {
        InstallError::Source {
            shown: self.shown(),
            source,
        }
    }

    /// What a single file would be called.
    fn name(self) -> String {
        match self {
            Self::File(object, _) => object.name().to_owned(),
            Self::World(object) => object.name(),
        }
    }

    /// What it will be, where that is known.
    pub(super) fn expected(self) -> Option<Content> {
        let (digest, is_archive) = match self {
            Self::File(_, seen) => (seen.digest, seen.is != unpacking::Object::File),
            Self::World(object) => (object.pinned()?, false),
        };
        let name = (!is_archive).then(|| self.name());
        Some(Content { digest, name })
    }

    /// What it led to, where that is more than the config says.
    pub(super) fn resolved(self, report: &Report) -> Option<Resolved> {
        match self {
            Self::File(..) => None,
            Self::World(_) => Some(Resolved {
                version: format!("sha256:{}", report.sha256),
                integrity: None,
            }),
        }
    }

    /// What was unpacked is by the unpacker's own hash what was passed on, and what was to be found there.
    fn accept(self, report: Report, passed: Option<Digest>) -> Result<Report, InstallError> {
        let is = |digest: Digest| report.sha256 == digest.to_string();
        match self {
            Self::File(_, seen) if !is(seen.digest) => {
                return Err(self.refused("the archive changed while it was read"));
            }
            Self::File(..) => return Ok(report),
            Self::World(_) => {}
        }
        let Some(found) = passed.filter(|digest| is(*digest)) else {
            return Err(self.refused("it was not unpacked to its end"));
        };
        match self.expected() {
            Some(pinned) if pinned.digest != found => Err(InstallError::OtherThanPinned {
                shown: self.shown(),
                found,
                pinned: pinned.digest,
            }),
            _ => Ok(report),
        }
    }
}

impl Installer {
    /// Unpacks an archive into a new directory; nothing is left of one that is refused.
    pub(super) async fn unpack(
        &self,
        agent: &Agent,
        packed: Packed<'_>,
        staging: &Path,
    ) -> Result<Report, InstallError> {
        let mounts = vec![
            Mount {
                source: self.program.clone(),
                target: PROGRAM_TARGET.into(),
                access: Access::ReadOnly,
            },
            Mount {
                source: staging.to_owned(),
                target: TREE_TARGET.into(),
                access: Access::Fresh,
            },
        ];
        let sandbox = self.sandbox(agent, mounts).await?;
        let unpacked = tokio::time::timeout(STAGE_MAX, self.run(&sandbox, agent, packed));
        let unpacked = match unpacked.await {
            Ok(done) => done,
            Err(_) => Err(packed.refused("it was not unpacked in time")),
        };
        if unpacked.is_err() {
            discard(&sandbox, staging).await;
        }
        unpacked
    }

    /// Runs `unpack` in the sandbox: the archive goes in, one line comes out.
    async fn run(
        &self,
        sandbox: &Sandbox,
        agent: &Agent,
        packed: Packed<'_>,
    ) -> Result<Report, InstallError> {
        let failed = |error| packed.source(error);
        let (stdin, feed) = io::pipe().map_err(failed)?;
        let (line, stdout) = io::pipe().map_err(failed)?;
        let stderr = output::to_log(agent.name.as_str(), "unpack").map_err(failed)?;
        let program = Program {
            argv: unpack::command_line(PROGRAM_TARGET, Path::new(TREE_TARGET), &packed.name()),
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            cwd: "/".into(),
        };
        let open = Descriptors {
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr,
            channel: None,
        };
        let mut process = sandbox.exec(program, open).await?;
        let feeding = self.feed(agent, packed, feed.into());
        let (told, passed) = tokio::join!(read_line(line.into()), feeding);
        let status = process.exited().await.map(|exit| exit.status);
        let (told, passed) = (told.map_err(failed)?, passed?);
        match (serde_json::from_slice(&told), status) {
            (Ok(Told::Unpacked(report)), Some(ExitStatus::Code(0))) => {
                packed.accept(report, passed)
            }
            (Ok(Told::Refused(error)), _) => Err(packed.refused(error.to_string())),
            (Ok(Told::NoPlace(why)), _) => Err(packed.refused(why)),
            (_, status) => {
                Err(packed.refused(format!("`unpack` ended without a word: {status:?}")))
            }
        }
    }

    /// Passes the archive's bytes on, and says what they were, if all of them were wanted.
    async fn feed(
        &self,
        agent: &Agent,
        packed: Packed<'_>,
        into: OwnedFd,
    ) -> Result<Option<Digest>, InstallError> {
        match packed {
            Packed::File(object, _) => {
                let (object, mut into) = (object.clone(), File::from(into));
                let gauge = self.progress.gauge(&agent.name);
                let copying =
                    tokio::task::spawn_blocking(move || copy_hashed(&object, &mut into, &gauge));
                match joined(copying.await) {
                    Ok(digest) => Ok(Some(digest)),
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
                    Err(error) => Err(packed.source(error)),
                }
            }
            Packed::World(object) => {
                let into =
                    pipe::Sender::from_owned_fd(into).map_err(|error| packed.source(error))?;
                self.download(agent, object, into).await
            }
        }
    }
}

pub(super) fn joined<T>(task: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    task.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads an archive to its end, passes the bytes on and says what they were.
fn copy_hashed(object: &Object, to: &mut dyn Write, gauge: &Gauge) -> io::Result<Digest> {
    let mut file = object.open()?;
    gauge.expects(file.metadata()?.len());
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(Digest::of(hasher.finalize().into()));
        }
        hasher.update(&piece[..length]);
        to.write_all(&piece[..length])?;
        gauge.passed(length);
    }
}

/// What a program in a sandbox prints, up to its end or a bound.
pub(super) async fn read_line(from: OwnedFd) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let bounded = pipe::Receiver::from_owned_fd(from)?;
    bounded
        .take(unpack::LINE_BYTES_MAX as u64)
        .read_to_end(&mut line)
        .await?;
    Ok(line)
}
