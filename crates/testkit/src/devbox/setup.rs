//! What a devbox is started with: a config, files beside it, a user. Never touches a path outside its own folder.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use nix::unistd::geteuid;

use super::{Devbox, Ended, Ready, wait_for_end};
use crate::{Folder, binaries, wait};

/// The uid that a test takes for an ordinary user: nobody's, and in no range of Postern's.
pub const ORDINARY_UID: u32 = 64_050;

/// The uid that `postern up` as root gives the gate.
pub const GATE_UID: u32 = 64_101;

pub(super) const CONFIG: &str = "postern.toml";
pub(super) const STATE: &str = "state";
const STDERR: &str = "stderr.log";

/// A devbox to be.
#[derive(Debug)]
pub struct Setup {
    folder: Folder,
    uid: Option<u32>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A folder with this config. Its ports should be 0.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(config: &str) -> Self {
        let setup = Self {
            folder: Folder::new("postern-test-"),
            uid: None,
            flags: Vec::new(),
            environment: Vec::new(),
        };
        set_mode(setup.folder.path(), 0o755);
        setup.file(CONFIG, config)
    }

    /// A devbox that has ended, with all that it had, to be started again. Flags must be given again.
    #[must_use]
    pub fn again(ended: Ended) -> Self {
        Self {
            folder: ended.folder,
            uid: None,
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Runs it as an ordinary user, if the tests run as root; else they are one already.
    #[must_use]
    pub fn as_ordinary_user(mut self) -> Self {
        if geteuid().is_root() {
            self.uid = Some(ORDINARY_UID);
        }
        self
    }

    /// Adds a file beside the config, 0644.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(path);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_mode(&path, 0o644);
        self
    }

    /// Adds a file that only the gate may read. Call it after [`Self::as_ordinary_user`].
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn secret(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let setup = self.file(path, content);
        let path = setup.folder.path().join(path);
        set_mode(&path, 0o600);
        if geteuid().is_root() {
            let owner = setup.uid.unwrap_or(GATE_UID);
            chown(&path, Some(owner), Some(owner))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        setup
    }

    /// Adds a flag of `postern up`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sets an environment variable of the daemons.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The flags so far.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start(self) -> Devbox {
        self.try_start()
            .unwrap_or_else(|ended| panic!("postern up did not start: {ended:#?}"))
    }

    /// Starts it and waits until it is ready or has ended.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// After [`wait::DEADLINE`] with neither.
    pub fn try_start(self) -> Result<Devbox, Ended> {
        let (mut child, lines) = self.spawn();
        match lines.recv_timeout(wait::DEADLINE) {
            Ok(line) => match Ready::parse(&line) {
                Some(ready) => Ok(Devbox {
                    child,
                    folder: Some(self.folder),
                    ready,
                }),
                None => panic!("postern up said `{line}`"),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = wait_for_end(&mut child);
                let stderr = stderr(self.folder.path());
                Err(Ended {
                    code: status.code(),
                    stderr,
                    folder: self.folder,
                })
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                drop(child.kill());
                panic!(
                    "postern up is not ready after {:?}: {}",
                    wait::DEADLINE,
                    stderr(self.folder.path())
                )
            }
        }
    }

    /// Starts it and does not wait: for tests that kill it while it starts.
    #[must_use]
    pub fn start_unready(self) -> (Child, Folder) {
        let (child, _) = self.spawn();
        (child, self.folder)
    }

    fn spawn(&self) -> (Child, mpsc::Receiver<String>) {
        let mut child = self
            .command()
            .spawn()
            .unwrap_or_else(|error| panic!("postern up: {error}"));
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        (child, lines)
    }

    fn command(&self) -> Command {
        let folder = self.folder.path();
        let log = fs::File::create(folder.join(STDERR))
            .unwrap_or_else(|error| panic!("no log file: {error}"));
        let mut command = Command::new(self.binary());
        command
            .args(["up", "--json", "--lifeline", "--state"])
            .arg(folder.join(STATE))
            .args(&self.flags)
            .arg(folder.join(CONFIG))
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(uid) = self.uid {
            chown(folder, Some(uid), Some(uid)).unwrap_or_else(|error| panic!("{error}"));
            command.uid(uid).gid(uid);
        }
        command
    }

    /// The binary itself, or a copy in the folder where an ordinary user cannot reach it.
    fn binary(&self) -> PathBuf {
        let binary = binaries::postern();
        if self.uid.is_none() || binary.ancestors().skip(1).all(anybody_may_pass) {
            return binary;
        }
        let copy = self.folder.path().join("postern");
        fs::copy(&binary, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
        set_mode(&copy, 0o755);
        copy
    }
}

fn anybody_may_pass(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub(super) fn stderr(folder: &Path) -> String {
    fs::read_to_string(folder.join(STDERR)).unwrap_or_default()
}
