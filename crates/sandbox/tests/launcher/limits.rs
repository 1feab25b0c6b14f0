//! Limits of a whole sandbox by cgroup: they hold, they are told when they are run into, and nothing of the group stays.
//! Never by the clock.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::geteuid;
use postern_contract::launch::{ExitStatus, Hit, Layer, Plan, Said, Standing};

use crate::harness::{self, Launcher, Mode, ORDINARY, Site, plan};

const MEMORY: u64 = 48 << 20;

/// How often the end of a group's last process is looked for.
const WAITS_MAX: u32 = 1000;

/// A sandbox whose launcher has a group of its own in each tree of version 1, which is its user's, as a service manager
/// would have it. Only root can arrange it.
struct Delegated {
    site: Site,
    groups: Vec<PathBuf>,
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // The launcher goes by itself once its connection has ended; until then the groups are not empty.
        for group in &self.groups {
            let gone = || fs::remove_dir(group).is_ok() || !group.exists();
            let _waits = (0..WAITS_MAX).find(|_| gone() || harness::moment());
        }
    }
}

impl Delegated {
    fn all() -> Vec<Self> {
        if !geteuid().is_root() {
            return Vec::new();
        }
        let modes = [Mode::Root, Mode::Ordinary];
        modes.into_iter().filter_map(Self::new).collect()
    }

    fn new(mode: Mode) -> Option<Self> {
        let site = Site::new(mode);
        let name = site.path("").file_name()?.to_owned();
        let mut groups = Vec::new();
        for controller in ["memory", "pids", "cpu"] {
            let group = own_group(controller)?.join(&name);
            fs::create_dir(&group).unwrap();
            for path in [group.clone(), group.join("cgroup.procs")] {
                chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
            }
            groups.push(group);
        }
        Some(Self { site, groups })
    }

    fn start(&self) -> Launcher {
        let mut command = Command::new("sh");
        let joins = self.groups.iter().map(|group| group.join("cgroup.procs"));
        let joins: String = joins
            .map(|procs| format!("echo $$ >{} && ", procs.display()))
            .collect();
        let become_user = match self.site.mode {
            Mode::Root => String::new(),
            Mode::Ordinary => {
                format!("setpriv --reuid={ORDINARY} --regid={ORDINARY} --clear-groups ")
            }
        };
        let line = format!("{joins}exec {become_user}\"$@\"");
        command.args(["-c", &line, "sh"]);
        command.arg(self.site.path("launcher"));
        command.arg("--config").arg(self.site.path("launcher.toml"));
        command.args(self.site.without());
        command.process_group(0);
        self.site.start_as(command)
    }

    fn build(&self, plan: &Plan) -> Launcher {
        let launcher = self.start();
        launcher.client.plan(plan).unwrap();
        match launcher.client.hear().unwrap() {
            Some((Said::Built { enforced }, _)) => {
                let standing = &enforced[&Layer::Cgroup];
                assert!(matches!(standing, Standing::Enforced(_)), "{standing:?}");
                launcher
            }
            other => panic!("{other:?}"),
        }
    }

    /// The sandboxes' groups that are there.
    fn made(&self) -> Vec<PathBuf> {
        let groups = self.groups.iter().flat_map(|group| {
            let entries = fs::read_dir(group)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
        });
        groups.collect()
    }
}

/// This process's own group in a tree of version 1, if the machine has that.
fn own_group(controller: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let has = controllers.split(',').any(|name| name == controller);
        has.then(|| path.trim_start_matches('/').to_owned())
    })?;
    let group = Path::new("/sys/fs/cgroup").join(controller).join(own);
    group.is_dir().then_some(group)
}

fn limited() -> Plan {
    let mut plan = plan();
    plan.limits.memory_bytes = Some(MEMORY);
    plan.limits.processes = Some(24);
    plan.limits.cpu_percent = Some(50);
    plan.required = vec![Layer::Cgroup, Layer::ResourceLimits];
    plan
}

/// Runs a line of Perl; how it ended, and what was run into.
fn perl(launcher: &mut Launcher, line: &str) -> (ExitStatus, Vec<Hit>) {
    let (started, _output) = launcher.spawn(&["perl", "-e", line]);
    match launcher.hear() {
        Said::Exited {
            process,
            status,
            hits,
        } if process == started => (status, hits),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_memory_bomb_ends_in_its_own_sandbox_and_is_told_as_one() {
    for delegated in Delegated::all() {
        let mut launcher = delegated.build(&limited());
        let bomb = "my $x = 'x' x (64 << 20); $x .= $x; print length $x";
        assert_eq!(
            perl(&mut launcher, bomb),
            (ExitStatus::Signal(9), vec![Hit::Memory])
        );
        // The sandbox goes on, and what is over is not told again.
        assert_eq!(perl(&mut launcher, "exit 0"), (ExitStatus::Code(0), vec![]));
    }
}

#[test]
fn memory_is_counted_together_with_files_in_memory() {
    for delegated in Delegated::all() {
        let mut launcher = delegated.build(&limited());
        let fill = "for my $d ('/tmp', '/dev/shm', '/workspace') {
            open(my $f, '>', \"$d/x\"); print $f 'x' x (24 << 20); close $f }";
        let (status, hits) = perl(&mut launcher, fill);
        assert_eq!((status, hits), (ExitStatus::Signal(9), vec![Hit::Memory]));
    }
}

#[test]
fn a_fork_bomb_ends_in_its_own_sandbox_and_is_told_as_one() {
    for delegated in Delegated::all() {
        let mut launcher = delegated.build(&limited());
        let bomb = "close STDOUT; close STDERR; for (1..64) { defined($p = fork) or last;
            if (!$p) { sleep 1000; exit } $n++ } exit($n < 24 ? 7 : 1)";
        let (status, hits) = perl(&mut launcher, bomb);
        assert_eq!((status, hits), (ExitStatus::Code(7), vec![Hit::Processes]));
        drop(launcher.client);
        assert_eq!(launcher.child.wait().unwrap().code(), Some(0));
        assert_eq!(delegated.made(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_groups_tree_is_out_of_reach() {
    for delegated in Delegated::all() {
        let mut launcher = delegated.build(&limited());
        let made = delegated.made();
        assert_eq!(made.len(), 3, "{made:?}");
        assert_eq!(launcher.shell("ls /sys 2>/dev/null; cut -d: -f3 /proc/self/cgroup | sort -u | head -c 200 | grep -c postern- ; true"), "0\n");
        let quota = fs::read_to_string(made[2].join("cpu.cfs_quota_us")).unwrap();
        assert_eq!(quota, "50000\n");
        for group in &made {
            let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
            assert!(text.lines().count() >= 1, "init is in {group:?}");
            assert!(
                !text
                    .lines()
                    .any(|pid| pid == launcher.child.id().to_string())
            );
        }
    }
}

#[test]
fn what_a_killed_launcher_left_goes_with_the_next() {
    for delegated in Delegated::all() {
        let left: Vec<_> = delegated
            .groups
            .iter()
            .map(|group| group.join("postern-sbx_left"))
            .collect();
        for group in &left {
            fs::create_dir(group).unwrap();
            chown(group, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
        let mut launcher = delegated.build(&limited());
        launcher.shell("true");
        let family = launcher.family();
        launcher.child.kill().unwrap();
        launcher.child.wait().unwrap();
        family.assert_gone();
        // Of the killed one itself nothing is left either: its helper outlives it by that much.
        assert_eq!(delegated.made(), Vec::<PathBuf>::new());
    }
}

/// Without a group too: it is the directory that says so.
#[test]
fn a_directory_that_is_full_is_told_as_one() {
    for mode in Mode::all() {
        let mut plan = plan();
        plan.limits.scratch_bytes = Some(1 << 20);
        let (mut launcher, _listeners) = Site::new(mode).build(&plan);
        let of_bytes =
            "open(my $f, '>', '/workspace/x'); syswrite($f, 'x' x (2 << 20)); exit(!!-s $f)";
        let (status, hits) = perl(&mut launcher, of_bytes);
        assert_eq!((status, hits), (ExitStatus::Code(1), vec![Hit::Disk]));
        assert_eq!(perl(&mut launcher, "exit 0"), (ExitStatus::Code(0), vec![]));
        let room = "unlink '/workspace/x'";
        assert_eq!(perl(&mut launcher, room), (ExitStatus::Code(0), vec![]));
        let of_files = "for (0 .. 200_000) { open(my $f, '>', \"/workspace/$_\") or exit 7 }";
        let full = (ExitStatus::Code(7), vec![Hit::Disk]);
        assert_eq!(perl(&mut launcher, of_files), full);
        drop(launcher.client);
        assert_eq!(launcher.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_written_limit_that_nobody_holds_is_refused() {
    let site = Site::new(Mode::Ordinary);
    let plan = Plan {
        required: vec![Layer::Cgroup],
        ..limited()
    };
    let why = site.refusal(&plan);
    assert!(
        why.contains("cgroup") && why.contains("Delegate=yes"),
        "{why}"
    );
}
