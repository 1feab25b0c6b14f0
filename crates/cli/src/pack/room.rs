//! Where a hostile archive becomes an image: a sandbox without a way out, in a directory of this command's own, with a launcher that
//! knows no other. Never runs anything outside it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use postern_contract::{
    SandboxId,
    launch::{
        Access, ExitStatus, Layer, Limits, Mount, Outcome, Plan, Purpose, Said, Verb, WORKSPACE,
    },
};
use postern_runtime::unpack::{self, Told};
use postern_sandbox::{
    client::Client,
    config::{AgentIds, Written},
};
use postern_sys::seqpacket;

use super::feed::Feed;
use crate::{
    Failure,
    identity::{AGENT_IDS, Mode},
};

/// Where things are in the sandbox.
const PROGRAM: &str = "/run/postern/postern";
const TREE: &str = "/install";
const MADE_TARGET: &str = "/image";

/// Where the sandbox's user puts the image, in the directory that the sandbox stands in.
pub(super) const MADE: &str = "made";

/// What the image is called while it is made.
pub(super) const IMAGE: &str = "agent.erofs";

/// How much of the memory that is free a tree may take, as one part of so many.
const MEMORY_PART: u64 = 4;

/// The time that all files get, so that the same files make the same image: the first that a zip can hold (1980), UTC.
const TIME: &str = "-T315532800";

/// The same for the file system's own name.
const UUID: &str = "-U706f7374-6572-6e00-8000-000000000000";

/// How much of what a program says is told.
const SAID_BYTES_MAX: u64 = 64 * 1024;

/// Walls without which nothing hostile is unpacked here.
const REQUIRED: [Layer; 6] = [
    Layer::UserNamespace,
    Layer::MountNamespace,
    Layer::PidNamespace,
    Layer::NetNamespace,
    Layer::NoNewPrivileges,
    Layer::Seccomp,
];

/// Where the unpacked files are meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// In the sandbox's own memory: several times as fast, if they fit into a fourth of what is free.
    InMemory,
    /// Beside the image.
    OnDisk,
}

impl Tree {
    /// Where the sandbox has it.
    fn target(self) -> &'static str {
        match self {
            Self::InMemory => WORKSPACE,
            Self::OnDisk => TREE,
        }
    }
}

/// A sandbox with an empty tree and a place for its image.
pub(super) struct Room {
    folder: PathBuf,
    tree: Tree,
    launcher: Child,
    client: Client,
}

/// What was unpacked.
pub(super) struct Unpacked {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Room {
    /// Builds the sandbox in an empty directory, named by a path without links.
    pub(super) fn make(folder: &Path, tree: Tree) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::path(folder, error);
        let program = fs::canonicalize("/proc/self/exe").map_err(failed)?;
        let config = folder.join("launcher.toml");
        let written = written(folder, &program);
        let text = written
            .to_toml()
            .map_err(|error| Failure::path(folder, error))?;
        fs::write(&config, text).map_err(failed)?;
        let (here, there) = seqpacket::pair().map_err(failed)?;
        let launcher = Command::new("/proc/self/exe")
            .arg("launcher")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::from(there))
            .spawn()
            .map_err(failed)?;
        let room = Self {
            folder: folder.to_owned(),
            tree,
            launcher,
            client: Client::new(here),
        };
        room.client.plan(&room.plan(program)).map_err(failed)?;
        match room.client.hear().map_err(failed)? {
            Some((Said::Built { .. }, _)) => Ok(room),
            Some((Said::Refused(obstacle), _)) => Err(Failure::Run(format!(
                "no sandbox to pack in: {obstacle} (`postern doctor` says more)"
            ))),
            _ => Err(Failure::Run("no sandbox to pack in".to_owned())),
        }
    }

    fn plan(&self, program: PathBuf) -> Plan {
        let mount = |source: PathBuf, target: &str, access| Mount {
            source,
            target: target.into(),
            access,
        };
        let on_disk = self.tree == Tree::OnDisk;
        Plan {
            sandbox: SandboxId::fresh(),
            purpose: Purpose::Install,
            hostname: "pack".to_owned(),
            uid_slot: 0,
            mounts: [
                Some(mount(program, PROGRAM, Access::ReadOnly)),
                Some(mount(self.made(), MADE_TARGET, Access::Fresh)),
                on_disk.then(|| mount(self.tree(), TREE, Access::Fresh)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            trusted: None,
            listeners: Vec::new(),
            limits: Limits {
                scratch_bytes: (!on_disk).then(|| memory_free() / MEMORY_PART),
                ..Limits::default()
            },
            required: REQUIRED.to_vec(),
        }
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    fn made(&self) -> PathBuf {
        self.folder.join(MADE)
    }

    /// Unpacks with every check that an install makes.
    pub(super) fn unpack(&mut self, feed: Feed) -> Result<Unpacked, Failure> {
        let Feed {
            bytes,
            name,
            reading,
        } = feed;
        let argv = unpack::command_line(PROGRAM, Path::new(self.tree.target()), &name);
        let ran = self.run(argv, bytes);
        // Now nobody reads any more, so that whoever writes ends.
        let trouble = reading.trouble();
        let (said, _) = ran?;
        if let Some(error) = trouble {
            return Err(Failure::Run(format!("{name}: {error}")));
        }
        match serde_json::from_str(&said) {
            Ok(Told::Unpacked(report)) => Ok(Unpacked {
                entries: report.entries,
                bytes: report.bytes,
            }),
            Ok(Told::Refused(error)) => Err(Failure::Run(format!("{name}: {error}"))),
            Ok(Told::NoPlace(why)) => Err(Failure::Run(why)),
            Err(_) => Err(Failure::Run(format!(
                "{name}: it was not unpacked to its end"
            ))),
        }
    }

    /// Makes an image of the tree, in the directory [`MADE`].
    pub(super) fn make_image(&mut self, compress: bool) -> Result<(), Failure> {
        let image = format!("{MADE_TARGET}/{IMAGE}");
        let mut argv = vec!["mkfs.erofs", "--quiet", "-x-1", "--all-root", TIME, UUID];
        if compress {
            argv.push("-zlz4hc");
        }
        argv.extend([image.as_str(), self.tree.target()]);
        let null = fs::File::open("/dev/null").map_err(|error| Failure::Run(error.to_string()))?;
        let argv = argv.into_iter().map(str::to_owned).collect();
        match self.run(argv, null.into())? {
            (_, ExitStatus::Code(0)) => Ok(()),
            (said, status) => Err(Failure::Run(format!(
                "mkfs.erofs failed ({status:?}): {}",
                said.trim_end()
            ))),
        }
    }

    /// Runs a program to its end; what it said, and how it ended.
    fn run(&mut self, argv: Vec<String>, stdin: OwnedFd) -> Result<(String, ExitStatus), Failure> {
        let program = argv.first().cloned().unwrap_or_default();
        let failed = |error: io::Error| Failure::Run(format!("{program}: {error}"));
        let (said, out) = io::pipe().map_err(failed)?;
        let verb = Verb::Exec {
            argv,
            env: BTreeMap::from([(
                "PATH".to_owned(),
                "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned(),
            )]),
            cwd: "/".into(),
            channel: false,
        };
        let open = [stdin.as_fd(), out.as_fd(), out.as_fd()];
        self.client.ask(verb, &open).map_err(failed)?;
        drop((stdin, out));
        match self.hear().map_err(failed)? {
            Said::Done {
                outcome: Outcome::Started { .. },
                ..
            } => {}
            Said::Failed { obstacle, .. } => {
                let hint = match program.starts_with("mkfs") {
                    true => "; install erofs-utils",
                    false => "",
                };
                return Err(Failure::Run(format!("{program}: {obstacle}{hint}")));
            }
            other => return Err(Failure::Run(format!("{program}: {other:?}"))),
        }
        let mut text = Vec::new();
        said.take(SAID_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(failed)?;
        match self.hear().map_err(failed)? {
            Said::Exited { status, .. } => {
                Ok((String::from_utf8_lossy(&text).into_owned(), status))
            }
            other => Err(Failure::Run(format!("{program}: {other:?}"))),
        }
    }

    fn hear(&self) -> io::Result<Said> {
        let heard = self.client.hear()?;
        heard
            .map(|(said, _)| said)
            .ok_or_else(|| io::Error::other("the launcher is gone"))
    }

    /// Deletes the tree, and ends the sandbox; the image stays.
    pub(super) fn clear(mut self) {
        let tree = self.tree();
        // What stays goes with the directory.
        if self.tree == Tree::OnDisk && self.client.ask(Verb::Discard { tree }, &[]).is_ok() {
            drop(self.hear());
        }
        drop(self.client);
        drop(self.launcher.wait());
    }
}

fn written(folder: &Path, program: &Path) -> Written {
    // The last of the uids that agents get, which a devbox takes last.
    let one = AgentIds {
        first: AGENT_IDS.first + AGENT_IDS.count - 1,
        count: 1,
    };
    Written {
        source_roots: vec![folder.to_owned(), program.to_owned()],
        discard_roots: vec![folder.to_owned()],
        agent_ids: (Mode::of_caller() == Mode::Root).then_some(one),
        ..Written::default()
    }
}

/// In bytes; where nobody says, there is none.
fn memory_free() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
