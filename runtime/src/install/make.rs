//! A source that was looked at becomes a whole tree without a name: unpacked, copied or fetched, and made ready. Never makes anything
//! live.

use std::{path::PathBuf, time::Duration};

use postern_unpack::{Kind, Object as Looks, Report};

use super::{
    InstallError, Installer, Note, Occasion, Stage,
    archive::{self, Packed, Seen},
    discard, image,
    tree::Tree,
};
use crate::{
    agents::files::Files,
    config::Agent,
    source::{Content, Digest, Object, Resolved, Script, Source, Way},
};

/// What the stages are called.
const UNPACK: &str = "unpack";
const COPY: &str = "copy";
const FETCH: &str = "fetch";
const SETUP: &str = "setup";

/// How a source's files are had, as far as it was looked at.
pub(super) enum Coming<'source> {
    Packed(Packed<'source>),
    Script(Script),
}

/// A new tree that is whole and has no name yet.
pub(super) struct Made {
    pub(super) staging: PathBuf,
    pub(super) unpacked: Option<Report>,
    resolved: Option<Resolved>,
    /// What it hashes to, if it is an image.
    image: Option<Digest>,
    /// How much room it takes, where that is known.
    bytes: Option<u64>,
    stages: Vec<Stage>,
}

impl<'source> Coming<'source> {
    /// Looks at a source as far as its version hangs on it.
    pub(super) async fn of(
        (files, is_there): (&'source Files, &(dyn Fn(Digest) -> bool + Sync)),
        occasion: Occasion,
    ) -> Result<Self, InstallError> {
        Ok(match files.source.way() {
            Way::Unpack(object) => {
                let seen = seen((files, is_there), object, occasion).await?;
                Self::Packed(Packed::File(object, seen))
            }
            Way::Download(object) => Self::Packed(Packed::World(object)),
            Way::Fetch(script) => Self::Script(script),
        })
    }

    /// What comes, where that is known before.
    pub(super) fn content(&self) -> Option<Content> {
        match self {
            Self::Packed(packed) => packed.expected(),
            Self::Script(_) => None,
        }
    }
}

/// What an object is. One that is pinned and installed is not read again, however large it is.
async fn seen(
    (files, is_there): (&Files, &(dyn Fn(Digest) -> bool + Sync)),
    object: &Object,
    occasion: Occasion,
) -> Result<Seen, InstallError> {
    let known = object
        .pinned()
        .filter(|_| occasion != Occasion::Asked { renew: true });
    if let Some(digest) = known {
        for is in [Looks::Archive, Looks::File] {
            let seen = Seen { digest, is };
            let content = Packed::File(object, seen).expected();
            let version = files.source.version(content.as_ref(), &files.mount);
            if is_there(version) {
                return Ok(seen);
            }
        }
    }
    archive::look_at(object).await
}

impl Made {
    /// What is kept of how it came to be.
    pub(super) fn note(&self, source: &Source, at_ms: i64) -> Note {
        Note {
            resolved: self.resolved.clone(),
            source: source.described(),
            installed_at_ms: at_ms,
            bytes: self.bytes,
            sha256: self.image.map(|sha256| sha256.to_string()),
            stages: self.stages.clone(),
        }
    }
}

impl Installer {
    /// Unpacks, copies or fetches, and makes ready. Nothing is left of what fails.
    pub(super) async fn make(
        &self,
        agent: &Agent,
        files: &Files,
        (tree, coming): (&Tree, Coming<'_>),
    ) -> Result<Made, InstallError> {
        let source = &files.source;
        let mut made = match coming {
            Coming::Packed(Packed::File(object, seen)) if seen.is == Looks::Image => {
                self.copied(agent, (source, object), tree).await?
            }
            Coming::Packed(packed) => self.unpacked(agent, (source, packed), tree).await?,
            Coming::Script(script) => self.fetched(agent, (files, &script), tree).await?,
        };
        if let Some(Resolved { version, integrity }) = &made.resolved {
            let pinned = source.is_pinned();
            tracing::info!(agent = %agent.name, source = source.shown(), version, integrity, pinned, "fetched");
        }
        if !source.setup().is_empty() {
            let _stage = self.progress.begin(&agent.name, SETUP);
            let (begun, ready) = (self.clock.now(), tree.staging()?);
            let bytes = self.set_up(agent, files, (&made.staging, &ready)).await?;
            made.staging = ready;
            made.bytes = bytes;
            let took = Stage::took(SETUP, self.clock.now() - begun);
            made.stages.push(over(agent, took));
        }
        Ok(made)
    }

    async fn copied(
        &self,
        agent: &Agent,
        (source, object): (&Source, &Object),
        tree: &Tree,
    ) -> Result<Made, InstallError> {
        let _stage = self.progress.begin(&agent.name, COPY);
        let (begun, staging) = (self.clock.now(), tree.staging()?);
        let pinned = image::may_be_one(source)?;
        let bytes = self.take(agent, (object, pinned), &staging).await?;
        let took = Stage::took(COPY, self.clock.now() - begun);
        Ok(Made {
            staging,
            unpacked: None,
            resolved: None,
            image: Some(pinned),
            bytes: Some(bytes),
            stages: vec![over(
                agent,
                Stage {
                    bytes: Some(bytes),
                    ..took
                },
            )],
        })
    }

    async fn unpacked(
        &self,
        agent: &Agent,
        (source, packed): (&Source, Packed<'_>),
        tree: &Tree,
    ) -> Result<Made, InstallError> {
        let _stage = self.progress.begin(&agent.name, UNPACK);
        let (begun, unpacked) = (self.clock.now(), tree.staging()?);
        let report = self.unpack(agent, packed, &unpacked).await?;
        let mut staging = unpacked;
        if report.kind == Kind::Image {
            let (tree_of_one, image) = (staging, tree.staging()?);
            let taken = self
                .take_unpacked(agent, (source, &tree_of_one), &image)
                .await;
            if let Ok(sandbox) = self.sandbox(agent, Vec::new()).await {
                discard(&sandbox, &tree_of_one).await;
            }
            taken?;
            staging = image;
        }
        let took = unpacking_took(self.clock.now() - begun, &report);
        Ok(Made {
            staging,
            resolved: packed.resolved(&report),
            image: source.sha256().filter(|_| report.kind == Kind::Image),
            bytes: Some(report.bytes),
            unpacked: Some(report),
            stages: vec![over(agent, took)],
        })
    }

    async fn fetched(
        &self,
        agent: &Agent,
        (files, script): (&Files, &Script),
        tree: &Tree,
    ) -> Result<Made, InstallError> {
        let _stage = self.progress.begin(&agent.name, FETCH);
        let (begun, staging) = (self.clock.now(), tree.staging()?);
        let (resolved, bytes) = self.fetch(agent, files, (script, &staging)).await?;
        let took = Stage::took(FETCH, self.clock.now() - begun);
        Ok(Made {
            staging,
            unpacked: None,
            resolved: Some(resolved),
            image: None,
            bytes,
            stages: vec![over(agent, took)],
        })
    }
}

fn unpacking_took(time: Duration, report: &Report) -> Stage {
    Stage {
        entries: Some(report.entries),
        bytes: Some(report.bytes),
        ..Stage::took(UNPACK, time)
    }
}

/// Tells of a stage that is over.
fn over(agent: &Agent, stage: Stage) -> Stage {
    let Stage {
        seconds,
        entries,
        bytes,
        ..
    } = stage;
    tracing::info!(agent = %agent.name, stage = stage.stage, seconds, entries, bytes, "stage over");
    stage
}
