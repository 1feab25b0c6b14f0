//! Whole programs of somebody hostile (`tests/hostile/`), each a list of attempts with the outcome that each must have; as the
//! agent and as root of its namespace, in both modes. Never needs more of them than their last line.

use std::fs;

use postern_contract::launch::{Access, ExitStatus, Listener, Plan};

use crate::harness::{self, Launcher, Site, Standing, mount, plan};

/// A program: its file, what must be installed for it, and how it is started.
struct Program {
    file: &'static str,
    text: &'static str,
    needs: &'static str,
    start: &'static str,
}

const KERNEL: Program = Program {
    file: "kernel.c",
    text: include_str!("../../../../tests/hostile/kernel.c"),
    needs: "cc",
    start: "cc -Wall -Werror -o /tmp/kernel /hostile/kernel.c && /tmp/kernel",
};

const FILES: Program = Program {
    file: "files.py",
    text: include_str!("../../../../tests/hostile/files.py"),
    needs: "python3",
    start: "python3 /hostile/files.py",
};

const WAYS_OUT: Program = Program {
    file: "ways_out.mjs",
    text: include_str!("../../../../tests/hostile/ways_out.mjs"),
    needs: "node",
    start: "node /hostile/ways_out.mjs",
};

const COMMANDS: Program = Program {
    file: "commands.sh",
    text: include_str!("../../../../tests/hostile/commands.sh"),
    needs: "bash",
    start: "bash /hostile/commands.sh",
};

impl Program {
    /// Plays it everywhere; it counts at least so many attempts, none of which came to anything.
    fn comes_to_nothing(&self, attempts: u32) {
        for (mode, standing) in harness::everywhere() {
            let site = Site::standing(mode, standing);
            let (mut launcher, _listeners) = site.build(&self.plan(&site));
            let path = "export PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/agent";
            if launcher
                .shell(&format!("{path}; command -v {}; true", self.needs))
                .is_empty()
            {
                eprintln!(
                    "skipped: {} is not installed, so {} is not played",
                    self.needs, self.file
                );
                return;
            }
            let who = match standing {
                Standing::Agent => "agent",
                Standing::Root => "root",
            };
            let line = format!("{path}; {} {who}", self.start);
            let (text, status) = launcher.run(&["bash", "-c", &line]);
            assert_eq!(
                status,
                ExitStatus::Code(0),
                "{mode:?} {standing:?}:\n{text}"
            );
            let last = text.lines().last().unwrap_or_default();
            let (count, rest) = last.split_once(' ').unwrap();
            assert_eq!(rest, "attempts, 0 came to something", "{text}");
            assert!(count.parse::<u32>().unwrap() >= attempts, "{text}");
            goes_on(&mut launcher);
        }
    }

    /// A sandbox as agents have it, with this program in it.
    fn plan(&self, site: &Site) -> Plan {
        let folder = site.source("hostile", None);
        fs::write(folder.join(self.file), self.text).unwrap();
        let captured = [80, 443].map(|port| Listener::Captured { port });
        let names = [Listener::NamesByDatagram, Listener::NamesByStream];
        Plan {
            mounts: vec![mount(&folder, "/hostile", Access::ReadOnly)],
            listeners: [Listener::Gate]
                .into_iter()
                .chain(captured)
                .chain(names)
                .collect(),
            ..plan()
        }
    }
}

/// Calls at random, and what is left of them: nothing.
#[test]
fn noise_of_every_call_leaves_nothing_behind() {
    const NOISE: &str = include_str!("../../../../tests/hostile/noise.c");
    for (seed, (mode, standing)) in harness::everywhere().into_iter().enumerate() {
        let site = Site::standing(mode, standing);
        let code = site.source("hostile", None);
        fs::write(code.join("noise.c"), NOISE).unwrap();
        let mut plan = plan();
        plan.mounts = vec![mount(&code, "/hostile", Access::ReadOnly)];
        plan.limits.processes = Some(64);
        let (mut launcher, _listeners) = site.build(&plan);
        let line = "export PATH=/usr/bin:/bin; command -v cc >/dev/null || { echo none; exit 0; }
            cc -O1 -o /workspace/noise /hostile/noise.c";
        if launcher.shell(line) == "none\n" {
            eprintln!("skipped: cc is not installed, so no noise is made");
            return;
        }
        let (seed, calls) = (seed.to_string(), "6000");
        let (text, status) = launcher.run(&["/workspace/noise", &seed, "6", calls]);
        assert_eq!(status, ExitStatus::Code(0), "{mode:?} {standing:?}: {text}");
        let made: u32 = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(made > 500, "{text}");
        goes_on(&mut launcher);
        let family = launcher.family();
        let Launcher { mut child, client } = launcher;
        drop(client);
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "{mode:?} {standing:?}"
        );
        family.assert_gone();
    }
}

fn goes_on(launcher: &mut Launcher) {
    assert_eq!(launcher.shell("echo goes on"), "goes on\n");
}

#[test]
fn a_program_that_asks_the_kernel_for_everything() {
    KERNEL.comes_to_nothing(80);
}

#[test]
fn a_program_that_looks_for_what_is_not_its_own() {
    FILES.comes_to_nothing(125);
}

#[test]
fn a_program_that_knows_every_way_out() {
    WAYS_OUT.comes_to_nothing(100);
}

#[test]
fn commands_of_somebody_who_wants_out() {
    COMMANDS.comes_to_nothing(60);
}
