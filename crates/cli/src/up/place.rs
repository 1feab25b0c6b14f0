//! The directories of one `postern up`: what stays and what goes with it. Never touches what another one still uses.
//!
//! ```text
//! STATE/               0711  lock                 held while this process lives
//! STATE/runtime/       0711  posternd's           STATE/gate/  0700  the gate's
//! STATE/images/        0700  images that launchers mount, where root runs them
//! STATE/run-XXXX/      0711  launcher.toml, launcher.sock, notify.sock          removed at the end
//! STATE/run-XXXX/gate/ 0710  link.sock            owned by the gate, entered by posternd's group
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg, OFlag};
use postern_contract::Digest;
use postern_daemon::files;
use postern_sandbox::config::Written;

use super::images;
use crate::{
    Failure,
    identity::{AGENT_IDS, Mode},
    sweep,
};

/// What the run directory's name begins with.
const RUN: &str = "run-";

/// The longest path of a Unix socket, in bytes (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directories of one run.
#[derive(Debug)]
pub(super) struct Place {
    state: PathBuf,
    run: PathBuf,
    /// Dropped with this value, and by the kernel with the process.
    _lock: Flock<File>,
}

/// Whether a path may be swept: a run directory's name, absolute, beneath a state directory.
pub(crate) fn is_run_directory(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    path.is_absolute() && name.is_some_and(|name| name.starts_with(RUN))
}

/// The path with links resolved, or a line that names it.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Place {
    /// Makes what is not there yet.
    pub(super) fn make(state: &Path, mode: Mode) -> Result<Self, Failure> {
        directory(state, 0o711, None)?;
        let state = canonical(state).map_err(Failure::Run)?;
        let lock = lock(&state)?;
        sweep_stale(&state);
        directory(
            &state.join("runtime"),
            0o711,
            owner(mode, Mode::runtime_uid),
        )?;
        directory(&state.join("gate"), 0o700, owner(mode, Mode::gate_uid))?;
        let name = files::random_hex(4).map_err(|error| Failure::path(&state, error))?;
        let run = state.join(format!("{RUN}{name}"));
        let place = Self {
            state,
            run,
            _lock: lock,
        };
        let longest = place.link().as_os_str().len();
        if longest > SOCKET_PATH_BYTES_MAX {
            return Err(Failure::Usage(format!(
                "{}: too long for a socket: choose a shorter --state",
                place.link().display()
            )));
        }
        directory(&place.run, 0o711, None)?;
        Ok(place)
    }

    /// Fills the run directory, once somebody stands by to remove it.
    pub(super) fn fill(&self, mode: Mode, launcher: &Written) -> Result<(), Failure> {
        let gate = self.run.join("gate");
        let owners = owner(mode, Mode::gate_uid).map(|gate| (gate.0, mode.runtime_uid()));
        directory(&gate, 0o710, owners)?;
        let text = launcher
            .to_toml()
            .map_err(|error| Failure::path(&self.launcher_config(), error))?;
        let path = self.launcher_config();
        fs::write(&path, text).map_err(|error| Failure::path(&path, error))
    }

    /// What launchers are allowed in this place, beside what the config shows of the host and the images that it pins.
    pub(super) fn launcher(
        &self,
        mode: Mode,
        (shown, pinned): (&[PathBuf], &[Digest]),
    ) -> Result<Written, Failure> {
        let mut source_roots = vec![self.runtime_state()];
        source_roots.extend_from_slice(shown);
        let mut store = None;
        let mut permitted = Vec::new();
        if mode == Mode::Root {
            let images = self.state.join("images");
            directory(&images, 0o700, None)?;
            permitted = images::permitted(&images, pinned.to_vec())
                .map_err(|error| Failure::path(&images, error))?;
            store = Some(images);
        }
        Ok(Written {
            source_roots,
            discard_roots: vec![self.runtime_state().join("agents")],
            agent_ids: (mode == Mode::Root).then_some(AGENT_IDS),
            peer_uid: Some(mode.runtime_uid()),
            mandatory_layers: Vec::new(),
            images: permitted,
            image_store: store,
        })
    }

    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    pub(super) fn runtime_state(&self) -> PathBuf {
        self.state.join("runtime")
    }

    pub(super) fn gate_state(&self) -> PathBuf {
        self.state.join("gate")
    }

    pub(super) fn link(&self) -> PathBuf {
        self.run.join("gate/link.sock")
    }

    pub(super) fn launcher_socket(&self) -> PathBuf {
        self.run.join("launcher.sock")
    }

    pub(super) fn launcher_config(&self) -> PathBuf {
        self.run.join("launcher.toml")
    }

    pub(super) fn notify_socket(&self) -> PathBuf {
        self.run.join("notify.sock")
    }
}

fn owner(mode: Mode, uid: fn(Mode) -> u32) -> Option<(u32, u32)> {
    (mode == Mode::Root).then(|| (uid(mode), uid(mode)))
}

/// Makes a directory with this mode and owner, or takes one that is already so.
fn directory(path: &Path, mode: u32, owners: Option<(u32, u32)>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::path(path, error);
    match fs::DirBuilder::new()
        .recursive(false)
        .mode(mode)
        .create(path)
    {
        Ok(()) => {
            let (uid, gid) = owners.unzip();
            lchown(path, uid, gid).map_err(failed)?;
            // The creation mask may have taken bits away.
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken(path, owners),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or_else(|| failed(error))?;
            fs::create_dir_all(parent).map_err(failed)?;
            directory(path, mode, owners)
        }
        Err(error) => Err(failed(error)),
    }
}

fn taken(path: &Path, owners: Option<(u32, u32)>) -> Result<(), Failure> {
    let found = fs::symlink_metadata(path).map_err(|error| Failure::path(path, error))?;
    if !found.is_dir() {
        return Err(Failure::path(path, "not a directory"));
    }
    let wanted = owners.map_or_else(|| nix::unistd::geteuid().as_raw(), |(uid, _)| uid);
    if found.uid() != wanted {
        let words = format!(
            "belongs to uid {}, not to {wanted}: remove it or choose another --state",
            found.uid()
        );
        return Err(Failure::path(path, words));
    }
    // Whoever can write here could put links in our way.
    if found.mode() & 0o022 != 0 {
        let words = "others may write in it: chmod go-w it or choose another --state";
        return Err(Failure::path(path, words));
    }
    Ok(())
}

fn lock(state: &Path) -> Result<Flock<File>, Failure> {
    let path = state.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&path);
    let file = file.map_err(|error| Failure::path(&path, error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::Error::EWOULDBLOCK => {
            Failure::path(state, "another `postern up` uses this state directory")
        }
        other => Failure::path(&path, other),
    })
}

/// Removes what a run left whose supervisor and sweeper were both killed. Under the lock nobody else's is touched.
fn sweep_stale(state: &Path) {
    let Ok(entries) = fs::read_dir(state) else {
        return;
    };
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_run_directory(path))
    {
        drop(sweep::remove(&path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_user_and_is_swept_of_what_was_left() {
        let top = tempfile::tempdir().unwrap();
        let state = top.path().join("deep/state");
        let mode = Mode::Ordinary(nix::unistd::geteuid().as_raw());
        fs::create_dir_all(state.join("run-stale")).unwrap();
        let place = Place::make(&state, mode).unwrap();
        assert!(!state.join("run-stale").exists());
        assert!(is_run_directory(place.run()) && place.run().is_dir());
        assert!(
            matches!(Place::make(&state, mode), Err(Failure::Run(line)) if line.contains("another"))
        );
        drop(place);
        assert!(Place::make(&state, mode).is_ok());
    }

    #[test]
    fn a_place_that_others_could_rearrange_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let open = top.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = format!("{:?}", Place::make(&open, Mode::Ordinary(own)).err());
        assert!(refused.contains("others may write"), "{refused}");
        let linked = top.path().join("linked");
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink("elsewhere", linked.join("lock")).unwrap();
        assert!(Place::make(&linked, Mode::Ordinary(own)).is_err());
        assert!(!linked.join("elsewhere").exists());
        if own == 0 {
            let strange = top.path().join("strange");
            fs::create_dir(&strange).unwrap();
            lchown(&strange, Some(61234), None).unwrap();
            let refused = format!("{:?}", Place::make(&strange, Mode::Root).err());
            assert!(refused.contains("belongs to uid 61234"), "{refused}");
        }
    }

    #[test]
    fn only_run_directories_may_be_swept() {
        assert!(is_run_directory(Path::new("/var/lib/postern/run-0a")));
        for bad in [
            "run-0a",
            "/",
            "/var/lib/postern",
            "/var/lib/postern/run-0a/..",
        ] {
            assert!(!is_run_directory(Path::new(bad)), "{bad}");
        }
    }
}
