//! Starts launchers in a directory of their own and speaks to them. Waits for conditions only, never for time.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, chown},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::geteuid,
};
use postern_contract::{
    SandboxId,
    launch::{Access, ExitStatus, Limits, Listener, Mount, Outcome, Plan, Purpose, Said, Verb},
};
use postern_sandbox::{
    client::Client,
    config::{AgentIds, Written},
};
use postern_sys::{pidfd, seqpacket};
use tempfile::TempDir;

/// An ordinary user; it needs no entry in /etc/passwd.
pub(crate) const ORDINARY: u32 = 61_234;

/// The uids that root's launchers give to agents.
pub(crate) const RANGE: AgentIds = AgentIds {
    first: 64_200,
    count: 4,
};

/// Fails the test instead of hanging it, in milliseconds.
const PATIENCE_MS: u16 = 20_000;

/// Who runs the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Root, as a service or `postern up` does.
    Root,
    /// Somebody without any privilege.
    Ordinary,
}

impl Mode {
    /// The modes that can be tested by whoever runs the tests.
    pub(crate) fn all() -> Vec<Self> {
        let root = geteuid().is_root();
        [root.then_some(Self::Root), Some(Self::Ordinary)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The host uid of the agent in slot 0.
    pub(crate) fn agent(self) -> u32 {
        match self {
            Self::Root => RANGE.first,
            Self::Ordinary => self.uid(),
        }
    }

    fn uid(self) -> u32 {
        let own = geteuid();
        if self == Self::Ordinary && own.is_root() {
            ORDINARY
        } else {
            own.as_raw()
        }
    }
}

/// What the agent is in its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Uid 1000 with no capability, as the product has it.
    Agent,
    /// Its root with every capability, as if two walls had fallen: no other may need them. The weakened launcher makes it.
    Root,
}

/// Every mode with every standing.
pub(crate) fn everywhere() -> Vec<(Mode, Standing)> {
    let standings = |mode| [(mode, Standing::Agent), (mode, Standing::Root)];
    Mode::all().into_iter().flat_map(standings).collect()
}

/// The layers that this run of the tests leaves out (`scripts/weaken`), one word each.
#[expect(
    clippy::disallowed_methods,
    reason = "the test runner has no other way to tell its tests anything"
)]
fn left_out() -> Vec<String> {
    let words = std::env::var("POSTERN_WITHOUT").unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

/// A directory with a launcher, its config, and a source root.
pub(crate) struct Site {
    pub(crate) mode: Mode,
    dir: TempDir,
    without: Vec<String>,
}

/// A launcher that runs.
pub(crate) struct Launcher {
    pub(crate) child: Child,
    pub(crate) client: Client,
}

impl Site {
    pub(crate) fn new(mode: Mode) -> Self {
        Self::standing(mode, Standing::Agent)
    }

    pub(crate) fn standing(mode: Mode, standing: Standing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut without = left_out();
        if standing == Standing::Root {
            without.extend(["user_namespace", "capabilities"].map(str::to_owned));
        }
        let site = Self { mode, dir, without };
        fs::set_permissions(site.path(""), Permissions::from_mode(0o755)).unwrap();
        // By another process: a test beside this one that starts a child while the copy is open for writing would make
        // it busy.
        let mut copy = Command::new("install");
        copy.args(["-m", "755"]).arg(site.built());
        copy.arg(site.path("launcher"));
        assert!(copy.status().unwrap().success());
        for name in ["sources", "outside"] {
            fs::create_dir(site.path(name)).unwrap();
            site.give(&site.path(name));
        }
        site.configure(&site.config());
        site
    }

    /// The launcher, or the one that leaves layers out, where cargo puts examples.
    fn built(&self) -> PathBuf {
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_postern-launcher"));
        if self.without.is_empty() {
            return launcher;
        }
        launcher.with_file_name("examples").join("weakened")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.dir.path().to_owned()
        } else {
            self.dir.path().join(name)
        }
    }

    /// A directory or file in the source root, owned by whoever runs the launcher.
    pub(crate) fn source(&self, name: &str, text: Option<&str>) -> PathBuf {
        let path = self.path("sources").join(name);
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
        self.give(&path);
        path
    }

    pub(crate) fn give(&self, path: &Path) {
        chown(path, Some(self.mode.uid()), Some(self.mode.uid())).unwrap();
    }

    pub(crate) fn config(&self) -> Written {
        Written {
            source_roots: vec![self.path("sources")],
            discard_roots: vec![self.path("sources")],
            agent_ids: (self.mode == Mode::Root).then_some(RANGE),
            peer_uid: None,
            mandatory_layers: Vec::new(),
            images: Vec::new(),
            image_store: None,
        }
    }

    pub(crate) fn configure(&self, config: &Written) {
        let path = self.path("launcher.toml");
        fs::write(&path, config.to_toml().unwrap()).unwrap();
        self.give(&path);
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.path("launcher"));
        command.arg("--config").arg(self.path("launcher.toml"));
        command.args(self.without());
        if self.mode.uid() != geteuid().as_raw() {
            command.uid(self.mode.uid()).gid(self.mode.uid());
        }
        command
    }

    /// The arguments that leave layers out.
    pub(crate) fn without(&self) -> Vec<String> {
        let argument = |layer: &String| format!("--without={layer}");
        self.without.iter().map(argument).collect()
    }

    /// A launcher that waits for its plan.
    pub(crate) fn start(&self) -> Launcher {
        self.start_as(self.command())
    }

    pub(crate) fn start_as(&self, mut command: Command) -> Launcher {
        let (here, there) = seqpacket::pair().unwrap();
        let child = command
            .stdin(Stdio::from(there))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Launcher {
            child,
            client: Client::new(here),
        }
    }

    /// A sandbox that stands, and its listeners.
    pub(crate) fn build(&self, plan: &Plan) -> (Launcher, Vec<OwnedFd>) {
        let launcher = self.start();
        launcher.client.plan(plan).unwrap();
        match launcher.client.hear().unwrap() {
            Some((Said::Built { .. }, listeners)) => (launcher, listeners),
            other => panic!("{other:?}"),
        }
    }

    /// What the launcher says instead of building.
    pub(crate) fn refusal(&self, plan: &Plan) -> String {
        let mut launcher = self.start();
        launcher.client.plan(plan).unwrap();
        let said = launcher.client.hear().unwrap();
        assert!(!launcher.child.wait().unwrap().success());
        match said {
            Some((Said::Refused(obstacle), _)) => obstacle.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        sandbox: SandboxId::fresh(),
        purpose: Purpose::Agent,
        hostname: "desk".to_owned(),
        uid_slot: 0,
        mounts: Vec::new(),
        trusted: None,
        listeners: vec![Listener::Gate],
        limits: Limits::default(),
        required: Vec::new(),
    }
}

pub(crate) fn mount(source: impl Into<PathBuf>, target: &str, access: Access) -> Mount {
    Mount {
        source: source.into(),
        target: target.into(),
        access,
    }
}

pub(crate) fn exec(argv: &[&str]) -> Verb {
    Verb::Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        cwd: "/workspace".into(),
        channel: false,
    }
}

impl Launcher {
    /// Starts a program; gives its number and what it writes.
    pub(crate) fn spawn(&mut self, argv: &[&str]) -> (u32, File) {
        let (read, write) = io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let fds = [null.as_fd(), write.as_fd(), write.as_fd()];
        self.client.ask(exec(argv), &fds).unwrap();
        match self.hear() {
            Said::Done {
                outcome: Outcome::Started { process },
                ..
            } => (process, OwnedFd::from(read).into()),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a program to its end; gives what it wrote and how it ended.
    pub(crate) fn run(&mut self, argv: &[&str]) -> (String, ExitStatus) {
        let (started, mut output) = self.spawn(argv);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        match self.hear() {
            Said::Exited {
                process, status, ..
            } if process == started => (text, status),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a line of shell, which must succeed, and gives its output.
    pub(crate) fn shell(&mut self, line: &str) -> String {
        let (text, status) = self.run(&["bash", "-c", line]);
        assert_eq!(status, ExitStatus::Code(0), "{line}: {text}");
        text
    }

    pub(crate) fn hear(&mut self) -> Said {
        self.hear_with_fds().0
    }

    pub(crate) fn hear_with_fds(&mut self) -> (Said, Vec<OwnedFd>) {
        self.client
            .hear()
            .unwrap()
            .unwrap_or_else(|| panic!("{}", self.complaint()))
    }

    /// Asks for something that answers with a descriptor.
    pub(crate) fn descriptor(&mut self, verb: Verb) -> OwnedFd {
        self.client.ask(verb, &[]).unwrap();
        match self.hear_with_fds() {
            (
                Said::Done {
                    outcome: Outcome::Descriptor,
                    ..
                },
                mut fds,
            ) => fds.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Asks for something that fails; gives why.
    pub(crate) fn failure(&mut self, verb: Verb) -> String {
        self.client.ask(verb, &[]).unwrap();
        match self.hear() {
            Said::Failed { obstacle, .. } => obstacle.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// What the launcher wrote to standard error until its end.
    pub(crate) fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// Every process that came from this launcher, itself included.
    pub(crate) fn family(&self) -> Family {
        let mut family = vec![self.child.id().cast_signed()];
        let parents = parents();
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            let children = parents.iter().filter(|(_, of)| *of == parent);
            family.extend(children.map(|(child, _)| *child));
            next += 1;
        }
        Family(
            family
                .into_iter()
                .map(|pid| (pid, pidfd::open(pid).unwrap()))
                .collect(),
        )
    }
}

/// Processes, held so that none can be mistaken for another.
pub(crate) struct Family(Vec<(i32, OwnedFd)>);

impl Family {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        self.0.iter().map(|(pid, _)| *pid).collect()
    }

    /// Waits until all of them are gone.
    pub(crate) fn assert_gone(&self) {
        for (pid, pidfd) in &self.0 {
            assert!(readable(pidfd), "process {pid} still runs");
        }
    }
}

/// Whether this kernel has Landlock as the launcher wants it.
pub(crate) fn has_landlock() -> bool {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules
        .handle_access(AccessFs::from_all(ABI::V2))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Lets a moment pass, for a condition that nothing announces: never true, so that whoever looks looks again.
pub(crate) fn moment() -> bool {
    poll(&mut [], PollTimeout::from(5u8)).is_err()
}

/// Waits until something can be read.
pub(crate) fn readable(fd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::from(PATIENCE_MS)).unwrap() == 1
}

fn parents() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}
