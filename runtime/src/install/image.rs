//! An EROFS image as a version: the file itself, a copy that is posternd's own, which the launcher mounts in each sandbox. Never looks
//! into one, and takes none but those that the config pins: the kernel parses them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;
use postern_contract::launch::{Access, Mount};
use sha2::{Digest as _, Sha256};

use super::{
    InstallError, Installer,
    archive::{PIECE_BYTES, TREE_TARGET, joined},
    progress::Gauge,
};
use crate::{
    config::Agent,
    source::{Digest, Object, Source},
};

/// The digest that a source pins, which may be an image's.
pub(super) fn may_be_one(source: &Source) -> Result<Digest, InstallError> {
    let refused = |why: &str| InstallError::Refused {
        shown: source.shown(),
        why: why.to_owned(),
    };
    let pinned = source.sha256().ok_or_else(|| {
        refused(
            "it is an image, which the kernel would parse: pin what you trust with `sha256` (`postern pack` prints the line)",
        )
    })?;
    if source.setup().is_empty() {
        return Ok(pinned);
    }
    Err(refused(
        "an image is mounted as it is: run `agent_setup` before it is packed, and leave it out here",
    ))
}

impl Installer {
    /// Copies an image of the operator's.
    pub(super) async fn take(
        &self,
        agent: &Agent,
        (object, pinned): (&Object, Digest),
        staging: &Path,
    ) -> Result<u64, InstallError> {
        let opened = object.open().map_err(|source| InstallError::Source {
            shown: object.shown(),
            source,
        })?;
        self.keep(agent, (opened, pinned), (&object.shown(), staging))
            .await
    }

    /// Takes the image that `unpack` put into a tree.
    pub(super) async fn take_unpacked(
        &self,
        agent: &Agent,
        (source, tree): (&Source, &Path),
        staging: &Path,
    ) -> Result<u64, InstallError> {
        let pinned = may_be_one(source)?;
        let path = tree.join(postern_unpack::IMAGE_NAME);
        // Who unpacked owns the tree: what it put there is believed as little as what came from afar.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let opened = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(&path)
            .and_then(|file| match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::other("no file")),
            })
            .map_err(|source| InstallError::Place { path, source })?;
        self.keep(agent, (opened, pinned), (&source.shown(), staging))
            .await
    }

    /// A copy of our own that is what was pinned, and that can be mounted; nothing is left of another. Gives its length in bytes.
    async fn keep(
        &self,
        agent: &Agent,
        (opened, pinned): (File, Digest),
        (shown, staging): (&str, &Path),
    ) -> Result<u64, InstallError> {
        let (to, gauge) = (staging.to_owned(), self.progress.gauge(&agent.name));
        let copying = tokio::task::spawn_blocking(move || copy(opened, &to, &gauge));
        let copied = joined(copying.await).map_err(|source| InstallError::Place {
            path: staging.to_owned(),
            source,
        });
        let checked = match copied {
            Ok((found, _)) if found != pinned => Err(InstallError::OtherThanPinned {
                shown: shown.to_owned(),
                found,
                pinned,
            }),
            Ok((_, length)) => self
                .try_out(agent, (staging, pinned))
                .await
                .map(|()| length),
            Err(error) => Err(error),
        };
        if checked.is_err() {
            drop(fs::remove_file(staging));
        }
        checked
    }

    /// Mounts it once, so that one that cannot be does not go live.
    async fn try_out(
        &self,
        agent: &Agent,
        (image, sha256): (&Path, Digest),
    ) -> Result<(), InstallError> {
        let mount = Mount {
            source: image.to_owned(),
            target: TREE_TARGET.into(),
            access: Access::Image { sha256 },
        };
        drop(self.sandbox(agent, vec![mount]).await?);
        Ok(())
    }
}

/// Copies, and says what the copy is: it is read again, so that what was hashed is what the launcher will be shown. It may be lost with the power,
/// which the launcher's own copy is not: that one is what will be mounted.
fn copy(mut from: File, to: &Path, gauge: &Gauge) -> io::Result<(Digest, u64)> {
    let mut copy = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    // As the file system can: one that shares blocks copies nothing.
    let length = io::copy(&mut from, &mut copy)?;
    gauge.expects(length);
    Ok((hashed(File::open(to)?, gauge)?, length))
}

/// What an image of ours hashes to.
pub(super) async fn digest(image: &Path) -> io::Result<String> {
    let image = image.to_owned();
    let hashing =
        tokio::task::spawn_blocking(move || hashed(File::open(image)?, &Gauge::default()));
    Ok(joined(hashing.await)?.to_string())
}

fn hashed(mut file: File, gauge: &Gauge) -> io::Result<Digest> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Digest::of(hasher.finalize().into()));
        }
        hasher.update(&piece[..read]);
        gauge.passed(read);
    }
}
