//! A plan becomes a checked plan: everything that can be wrong with it by itself or against the launcher's config. Pure
//! but for the caller's own ids; never opens a file, so what depends on files is refused later, when they are opened.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use nix::unistd::getgid;
use postern_contract::{
    Digest, SandboxId,
    launch::{
        Access, CAPTURED_PORTS_MAX, KEPT_PORTS, Layer, Limits, Listener, Mount, Obstacle, Plan,
        Purpose, TRUSTED, TRUSTED_BY_JAVA, Trusted,
    },
};

use crate::config::{Config, Ids, Images, is_plain};

/// The most mounts of one plan.
const MOUNTS_MAX: usize = 64;

/// The longest host name, in bytes.
const HOSTNAME_BYTES_MAX: usize = 63;

/// The longest path of a plan, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// First components of targets that the launcher keeps for itself.
const KEPT: [&str; 14] = [
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "root", "sbin",
    "sys", "usr",
];

/// Bounds where the plan names none.
const OPEN_FILES: u64 = 65_536;
const PROCESSES: u64 = 4_096;
const SCRATCH_BYTES: u64 = 512 * 1024 * 1024;

/// The least number of open files; starting a program takes some.
const OPEN_FILES_MIN: u64 = 64;

/// The least scratch space, in bytes; a tmpfs of size 0 would be without any limit.
const SCRATCH_BYTES_MIN: u64 = 64 * 1024;

/// A plan that nothing is wrong with, as far as that can be seen without touching the system.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Whose plan it is.
    pub(crate) sandbox: SandboxId,
    /// The host name inside.
    pub(crate) hostname: String,
    /// Whose uid the agent gets.
    pub(crate) identity: Identity,
    /// Which images may be mounted, and where they are kept.
    pub(crate) images: Images,
    /// What is shown.
    pub(crate) shown: Vec<Shown>,
    /// The certificates of trusted authorities, once as everybody reads them and once for Java; none if the host's count.
    pub(crate) trusted: Option<[Shown; 2]>,
    /// Sockets to make.
    pub(crate) listeners: Vec<Listener>,
    /// Bounds of what runs inside.
    pub(crate) bounds: Bounds,
    /// Layers that must hold.
    pub(crate) required: BTreeSet<Layer>,
}

/// The host ids behind uid and gid 1000 of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Ids of its own; the launcher is root until it takes them on.
    Own {
        /// Uid and gid.
        id: u32,
    },
    /// The ordinary user who runs the launcher.
    Caller {
        /// The user's uid.
        uid: u32,
        /// The user's gid.
        gid: u32,
    },
}

/// One mount of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The permitted root that the source lies in.
    pub(crate) root: PathBuf,
    /// The source, relative to the root; empty if it is the root itself.
    pub(crate) beneath: PathBuf,
    /// Where it is shown, relative to the sandbox's root.
    pub(crate) target: PathBuf,
    /// What may be done with it.
    pub(crate) access: Access,
}

/// Bounds as meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Memory of the sandbox, in bytes, if the plan says.
    pub(crate) memory_bytes: Option<u64>,
    /// CPU time of the sandbox, in percent of one CPU, if the plan says.
    pub(crate) cpu_percent: Option<u32>,
    /// Processes and threads together.
    pub(crate) processes: u64,
    /// Open files of each process.
    pub(crate) open_files: u64,
    /// Each writable tmpfs, in bytes.
    pub(crate) scratch_bytes: u64,
}

/// Checks a plan against the launcher's config.
pub(crate) fn check(plan: Plan, config: &Config) -> Result<Checked, Obstacle> {
    let identity = identity(&plan, config)?;
    hostname(&plan.hostname)?;
    listeners(&plan)?;
    if plan.mounts.len() > MOUNTS_MAX {
        return Err(Obstacle::plain(format!(
            "a plan has at most {MOUNTS_MAX} mounts"
        )));
    }
    let shown = plan
        .mounts
        .into_iter()
        .map(|mount| show(mount, config))
        .collect::<Result<Vec<_>, _>>()?;
    apart(&shown)?;
    let trusted = plan
        .trusted
        .map(|sources| trusted(&sources, &config.source_roots))
        .transpose()?;
    let required = plan
        .required
        .into_iter()
        .chain(config.mandatory.iter().copied())
        .chain(layer_of(&plan.limits))
        .collect();
    let bounds = bounds(&plan.limits)?;
    let (hostname, listeners) = (plan.hostname, plan.listeners);
    Ok(Checked {
        sandbox: plan.sandbox,
        hostname,
        identity,
        images: config.images.clone(),
        shown,
        trusted,
        listeners,
        bounds,
        required,
    })
}

fn identity(plan: &Plan, config: &Config) -> Result<Identity, Obstacle> {
    match config.ids {
        Ids::Caller { uid } => Ok(Identity::Caller {
            uid,
            gid: getgid().as_raw(),
        }),
        Ids::Range(range) => {
            let id = range.slot(plan.uid_slot).ok_or_else(|| {
                let what = format!(
                    "uid_slot {} is not in the range of agent_ids",
                    plan.uid_slot
                );
                Obstacle::layer(Layer::SeparateUid, what)
                    .with_fix("give agent_ids in launcher.toml a larger count")
            })?;
            Ok(Identity::Own { id })
        }
    }
}

fn hostname(name: &str) -> Result<(), Obstacle> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.bytes().all(good) && name.len() <= HOSTNAME_BYTES_MAX {
        return Ok(());
    }
    Err(Obstacle::plain(
        "hostname: use 1 to 63 letters, digits, `-`, `_` or `.`",
    ))
}

fn listeners(plan: &Plan) -> Result<(), Obstacle> {
    if plan.purpose == Purpose::Install && !plan.listeners.is_empty() {
        return Err(Obstacle::plain("an install sandbox gets no listener"));
    }
    let mut seen = BTreeSet::new();
    for listener in &plan.listeners {
        if !seen.insert(listener) {
            return Err(Obstacle::plain("the same listener twice"));
        }
        if let Listener::Captured { port } = listener {
            captured(*port)?;
        }
    }
    let captured = seen
        .iter()
        .filter(|listener| matches!(listener, Listener::Captured { .. }));
    if captured.count() > CAPTURED_PORTS_MAX {
        let what = format!("a sandbox has at most {CAPTURED_PORTS_MAX} captured ports");
        return Err(Obstacle::plain(what));
    }
    Ok(())
}

/// Connections at this port can be captured.
fn captured(port: u16) -> Result<(), Obstacle> {
    if port == 0 {
        return Err(Obstacle::plain("0 is no port"));
    }
    if KEPT_PORTS.contains(&port) {
        let what = format!("port {port} cannot be captured: something else answers there");
        return Err(Obstacle::plain(what));
    }
    Ok(())
}

fn show(mount: Mount, config: &Config) -> Result<Shown, Obstacle> {
    let Mount {
        source,
        target,
        access,
    } = mount;
    plain(&target)?;
    if let Access::Image { sha256 } = access {
        may_mount(&source, sha256, config)?;
    }
    let mut place = permitted_source(&source, &config.source_roots)?;
    if access == Access::Fresh {
        // To be shown is not to be written: an agent's directory is made only where agents' trees live and are deleted.
        place = strictly_within(&source, &config.discard_roots).ok_or_else(|| {
            Obstacle::plain(format!(
                "{source:?} cannot be fresh: no discard root holds it"
            ))
            .with_fix("add its directory to discard_roots in launcher.toml")
        })?;
    }
    let (root, beneath) = place;
    let target = permitted_target(&target)?;
    Ok(Shown {
        root,
        beneath,
        target,
        access,
    })
}

/// The kernel may be given an image to parse.
fn may_mount(image: &Path, sha256: Digest, config: &Config) -> Result<(), Obstacle> {
    let refused = |why| Err(Obstacle::plain(format!("{image:?} is not mounted: {why}")));
    let (why, fix) = match config.ids {
        Ids::Caller { .. } => (
            "only root can mount an image",
            "have root start the devbox, or give the agent an archive",
        ),
        Ids::Range(_) if !config.images.listed.contains(&sha256) => (
            "launcher.toml does not name its sha256",
            "add it to `images` there, or give the agent an archive",
        ),
        Ids::Range(_) => return Ok(()),
    };
    refused(why).map_err(|obstacle| obstacle.with_fix(fix))
}

/// The root that the path lies in, and the rest of the way; the path is no root itself.
pub(crate) fn strictly_within(path: &Path, roots: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    roots
        .iter()
        .filter_map(|root| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned())))
        .find(|(_, beneath)| !beneath.as_os_str().is_empty())
}

/// The only mounts in /etc that a plan may ask for: their places are the launcher's, only their sources are the plan's.
fn trusted(sources: &Trusted, roots: &[PathBuf]) -> Result<[Shown; 2], Obstacle> {
    let shown = |source: &Path, target: &str| {
        let (root, beneath) = permitted_source(source, roots)?;
        Ok(Shown {
            root,
            beneath,
            target: Path::new(target).components().skip(1).collect(),
            access: Access::ReadOnly,
        })
    };
    Ok([
        shown(&sources.list, TRUSTED)?,
        shown(&sources.java, TRUSTED_BY_JAVA)?,
    ])
}

fn plain(path: &Path) -> Result<(), Obstacle> {
    if is_plain(path) && path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(());
    }
    let what = format!("{path:?} is not an absolute path without `..`");
    Err(Obstacle::plain(what))
}

/// The permitted root that a source lies in, and the rest of the way.
fn permitted_source(source: &Path, roots: &[PathBuf]) -> Result<(PathBuf, PathBuf), Obstacle> {
    plain(source)?;
    roots
        .iter()
        .find_map(|root| Some((root.clone(), source.strip_prefix(root).ok()?.to_owned())))
        .ok_or_else(|| {
            Obstacle::plain(format!("{source:?} is in no permitted source root"))
                .with_fix("add its directory to source_roots in launcher.toml")
        })
}

fn permitted_target(target: &Path) -> Result<PathBuf, Obstacle> {
    let relative: PathBuf = target.components().skip(1).collect();
    let first = relative.components().next().map(Component::as_os_str);
    match first.map(|first| KEPT.iter().any(|kept| first == *kept)) {
        Some(false) => Ok(relative),
        Some(true) | None => Err(Obstacle::plain(format!(
            "nothing can be shown at {target:?}"
        ))),
    }
}

/// No mount lies in another's target: the launcher would have to make a directory in somebody's tree.
fn apart(shown: &[Shown]) -> Result<(), Obstacle> {
    for (index, one) in shown.iter().enumerate() {
        let near = |other: &&Shown| {
            other.target.starts_with(&one.target) || one.target.starts_with(&other.target)
        };
        if let Some(other) = shown.iter().skip(index + 1).find(near) {
            let (one, other) = (&one.target, &other.target);
            return Err(Obstacle::plain(format!(
                "the targets {one:?} and {other:?} overlap"
            )));
        }
    }
    Ok(())
}

/// The layer that a written limit takes: whoever writes one must not get a sandbox without it. Scratch space is bounded by
/// the mounts themselves, which no sandbox is without.
fn layer_of(limits: &Limits) -> Option<Layer> {
    let written =
        limits.memory_bytes.is_some() || limits.processes.is_some() || limits.open_files.is_some();
    written.then_some(Layer::ResourceLimits)
}

fn bounds(limits: &Limits) -> Result<Bounds, Obstacle> {
    let bounds = Bounds {
        memory_bytes: limits.memory_bytes,
        cpu_percent: limits.cpu_percent,
        processes: limits.processes.map_or(PROCESSES, u64::from),
        open_files: limits.open_files.map_or(OPEN_FILES, u64::from),
        scratch_bytes: limits.scratch_bytes.unwrap_or(SCRATCH_BYTES),
    };
    if bounds.scratch_bytes < SCRATCH_BYTES_MIN {
        let what = format!("scratch_bytes must be at least {SCRATCH_BYTES_MIN}");
        return Err(Obstacle::plain(what));
    }
    if bounds.open_files < OPEN_FILES_MIN {
        return Err(Obstacle::plain(format!(
            "open_files must be at least {OPEN_FILES_MIN}"
        )));
    }
    if bounds.processes == 0 || bounds.memory_bytes == Some(0) || bounds.cpu_percent == Some(0) {
        return Err(Obstacle::plain("a limit of 0 leaves nothing to run"));
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests;
