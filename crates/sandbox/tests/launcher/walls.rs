//! Attacks that one wall alone stops, so that a test falls with each (`scripts/weaken` takes them away one by one). Never
//! the only test of a wall that others see too.

use std::{
    collections::BTreeSet, fs, net::TcpListener, os::unix::fs::MetadataExt, process::Command,
};

use postern_contract::launch::{Layer, Plan};

use crate::harness::{self, Launcher, Mode, Site, plan};

/// What a line of Perl prints inside.
fn perl(launcher: &mut Launcher, line: &str) -> String {
    launcher.run(&["perl", "-e", line]).0
}

#[test]
fn the_hosts_own_servers_are_not_in_its_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!(
        "socket(my $s, 2, 1, 0); connect($s, pack('S n a4 x8', 2, {port}, \"\\x7f\\0\\0\\1\")) or print $!+0"
    );
    for (mode, standing) in harness::everywhere() {
        let (mut launcher, _listeners) = Site::standing(mode, standing).build(&plan());
        assert_eq!(perl(&mut launcher, &line), libc::ECONNREFUSED.to_string());
        assert!(listener.accept().is_err());
    }
}

/// Memory that two programs share by a number, as System V has it.
#[test]
fn shared_memory_of_the_host_is_not_there() {
    let key = 0x506f_0000 | std::process::id() & 0xffff;
    let host = |line: String| {
        let status = Command::new("perl").args(["-e", &line]).status().unwrap();
        assert!(status.success(), "{line}");
    };
    host(format!("defined shmget({key}, 4096, 0001666) or die $!"));
    for (mode, standing) in harness::everywhere() {
        let (mut launcher, _listeners) = Site::standing(mode, standing).build(&plan());
        let line = format!("defined shmget({key}, 4096, 0666) or print $!+0");
        assert_eq!(perl(&mut launcher, &line), libc::ENOENT.to_string());
    }
    host(format!(
        "shmctl(shmget({key}, 0, 0) // die, 0, 0) or die $!"
    ));
}

#[test]
fn the_names_of_the_hosts_groups_are_hidden() {
    for (mode, standing) in harness::everywhere() {
        let (mut launcher, _listeners) = Site::standing(mode, standing).build(&plan());
        let host = fs::read_to_string(format!("/proc/{}/cgroup", launcher.child.id())).unwrap();
        let seen = launcher.shell("cat /proc/self/cgroup");
        assert!(seen.lines().all(|line| line.ends_with(":/")), "{seen}");
        assert_eq!(seen.lines().count(), host.lines().count());
    }
}

/// Only root can give each a uid of its own; as an ordinary user nobody claims it.
#[test]
fn no_two_sandboxes_have_one_uid_outside() {
    for mode in Mode::all().into_iter().filter(|mode| *mode == Mode::Root) {
        let site = Site::new(mode);
        let required = vec![Layer::SeparateUid];
        let mut uids = BTreeSet::new();
        let mut alive = Vec::new();
        for uid_slot in [0, 1] {
            let required = required.clone();
            let plan = Plan {
                uid_slot,
                required,
                ..plan()
            };
            let (mut launcher, _listeners) = site.build(&plan);
            let (_, _output) = launcher.spawn(&["perl", "-e", "sleep 1000"]);
            let pid = *launcher.family().pids().last().unwrap();
            let uid = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
            assert_ne!(uid, 0);
            uids.insert(uid);
            alive.push(launcher);
        }
        assert_eq!(uids.len(), 2, "{uids:?}");
    }
}

/// The program that process 1 runs is the launcher's own file, and who could write it would be its next start.
#[test]
fn process_1_shows_nothing_of_itself() {
    for (mode, standing) in harness::everywhere() {
        let (mut launcher, _listeners) = Site::standing(mode, standing).build(&plan());
        for line in [
            "readlink /proc/1/exe",
            "cat /proc/1/environ",
            "ls /proc/1/fd",
            "ls /proc/1/root/",
            "ls /proc/1/cwd/",
            "exec 3<>/proc/1/exe",
            "exec 3</proc/1/mem",
            "head -c1 /proc/1/auxv | grep -q .",
        ] {
            launcher.shell(&format!("( {line} ) >/dev/null 2>&1 && exit 1; exit 0"));
        }
    }
}

/// What a test build can leave out, no product knows of.
#[test]
fn the_launcher_leaves_no_layer_out_for_the_asking() {
    let launcher = env!("CARGO_BIN_EXE_postern-launcher");
    let mut command = Command::new(launcher);
    let output = command.args(["--without=seccomp", "--probe"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("usage:"), "{said}");
    let built = fs::read(launcher).unwrap();
    let word = concat!("--with", "out=").as_bytes();
    assert!(!built.windows(word.len()).any(|window| window == word));
}
