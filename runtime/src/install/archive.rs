//! An archive into a new tree: hashed, then unpacked by `unpack` in a sandbox that has no way out. Never parses one here.

use std::{
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use postern_contract::launch::{Access, ExitStatus, Mount};
use postern_unpack::Report;
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use super::{InstallError, Installer, STAGE_MAX, discard};
use crate::{
    config::Agent,
    output,
    sandbox::{Descriptors, Program, Sandbox},
    source::{Digest, Object},
    unpack::{self, Told},
};

/// Where this executable is shown in an install sandbox.
const PROGRAM_TARGET: &str = "/run/postern/posternd";

/// Where the new tree is shown in an install sandbox.
const TREE_TARGET: &str = "/install";

/// How many bytes are read from a source at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The digest of an archive, which is the one that the config pins if it pins one.
pub(super) async fn digest(object: &Object) -> Result<Digest, InstallError> {
    let hashed = object.clone();
    let hashing = tokio::task::spawn_blocking(move || copy_hashed(&hashed, &mut io::sink()));
    let found = joined(hashing.await).map_err(|source| InstallError::Source {
        shown: object.shown(),
        source,
    })?;
    match object.pinned() {
        Some(pinned) if pinned != found => Err(InstallError::OtherThanPinned {
            shown: object.shown(),
            found,
            pinned,
        }),
        _ => Ok(found),
    }
}

pub(super) fn refused(object: &Object, why: impl Into<String>) -> InstallError {
    InstallError::Refused {
        shown: object.shown(),
        why: why.into(),
    }
}

impl Installer {
    /// Unpacks an archive that has this digest into a new directory; nothing is left of one that is refused.
    pub(super) async fn unpack(
        &self,
        agent: &Agent,
        object: &Object,
        (staging, digest): (&Path, Digest),
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
        let unpacked = tokio::time::timeout(STAGE_MAX, run(&sandbox, agent, object));
        let unpacked = match unpacked.await {
            Ok(Ok(report)) => accept(report, digest, object),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(refused(object, "it was not unpacked in time")),
        };
        if unpacked.is_err() {
            discard(&sandbox, staging).await;
        }
        unpacked
    }
}

fn joined<T>(task: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    task.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads an archive to its end, passes the bytes on and says what they were.
fn copy_hashed(object: &Object, to: &mut dyn Write) -> io::Result<Digest> {
    let mut file = object.open()?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(Digest::of(hasher.finalize().into()));
        }
        hasher.update(&piece[..length]);
        to.write_all(&piece[..length])?;
    }
}

/// Runs `unpack` in the sandbox: the archive goes in, one line comes out.
async fn run(sandbox: &Sandbox, agent: &Agent, object: &Object) -> Result<Report, InstallError> {
    let failed = |source: io::Error| InstallError::Source {
        shown: object.shown(),
        source,
    };
    let (stdin, mut feed) = io::pipe().map_err(failed)?;
    let (line, stdout) = io::pipe().map_err(failed)?;
    let stderr = output::to_log(agent.name.as_str(), "unpack").map_err(failed)?;
    let program = Program {
        argv: unpack::command_line(PROGRAM_TARGET, Path::new(TREE_TARGET)),
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
    let fed = object.clone();
    let feeding = tokio::task::spawn_blocking(move || copy_hashed(&fed, &mut feed));
    let (told, fed) = tokio::join!(read_line(line.into()), feeding);
    let status = process.exited().await.map(|exit| exit.status);
    let told = told.map_err(failed)?;
    match (serde_json::from_slice(&told), status) {
        (Ok(Told::Unpacked(report)), Some(ExitStatus::Code(0))) => {
            joined(fed).map_err(failed)?;
            Ok(report)
        }
        (Ok(Told::Refused(error)), _) => Err(refused(object, error.to_string())),
        (Ok(Told::NoPlace(why)), _) => Err(refused(object, why)),
        (_, status) => Err(refused(
            object,
            format!("`unpack` ended without a word: {status:?}"),
        )),
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

/// The unpacker's own hash must be of the archive that was hashed here before: the file may have changed between.
fn accept(report: Report, digest: Digest, object: &Object) -> Result<Report, InstallError> {
    if report.sha256 == digest.to_string() {
        return Ok(report);
    }
    Err(refused(object, "the archive changed while it was read"))
}
