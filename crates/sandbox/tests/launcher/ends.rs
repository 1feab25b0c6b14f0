//! However a sandbox ends, nothing of it is left. Never by waiting for a time.

use std::{fs, os::unix::process::ExitStatusExt, process::Stdio};

use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill},
        socket::{getsockopt, sockopt},
        time::TimeValLike,
    },
    unistd::Pid,
};
use postern_sys::seqpacket;

use crate::harness::{Family, Launcher, Mode, Site, plan};

/// A sandbox with a process that would live long, and children of children of it.
fn busy(mode: Mode) -> (Site, Launcher, Family) {
    let site = Site::new(mode);
    let (mut launcher, _listeners) = site.build(&plan());
    // The line is the sign that all of them are there.
    let line = "trap '' TERM HUP INT; (setsid sleep 1000 & sleep 1000 & wait) & echo up; wait";
    let (_, output) = launcher.spawn(&["bash", "-c", line]);
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut String::new()).unwrap();
    let family = launcher.family();
    // The launcher, its two children, and the shell at least.
    assert!(family.len() >= 4, "{:?}", family.pids());
    (site, launcher, family)
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn when_the_connection_ends() {
    for mode in Mode::all() {
        let (_site, launcher, family) = busy(mode);
        let Launcher { mut child, client } = launcher;
        drop(client);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        family.assert_gone();
    }
}

#[test]
fn when_the_launcher_is_asked_to() {
    for mode in Mode::all() {
        for by in [Signal::SIGTERM, Signal::SIGINT] {
            let (_site, mut launcher, family) = busy(mode);
            signal(launcher.child.id().cast_signed(), by);
            assert_eq!(launcher.child.wait().unwrap().code(), Some(0));
            family.assert_gone();
        }
    }
}

#[test]
fn when_the_launcher_is_killed() {
    for mode in Mode::all() {
        let (_site, mut launcher, family) = busy(mode);
        signal(launcher.child.id().cast_signed(), Signal::SIGKILL);
        assert_eq!(launcher.child.wait().unwrap().signal(), Some(9));
        family.assert_gone();
        assert!(
            launcher.client.hear().unwrap().is_none(),
            "posternd notices"
        );
    }
}

#[test]
fn when_a_child_of_the_launcher_is_killed() {
    for mode in Mode::all() {
        for which in [1, 2] {
            let (_site, mut launcher, family) = busy(mode);
            signal(family.pids()[which], Signal::SIGKILL);
            assert_eq!(launcher.child.wait().unwrap().code(), Some(1));
            family.assert_gone();
        }
    }
}

/// Waits until the process waits for something itself; before its plan, that is the only thing it waits for.
fn waits(pid: u32) {
    let sleeping = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    while !sleeping() {
        std::thread::yield_now();
    }
}

#[test]
fn when_the_launcher_is_asked_to_before_there_is_a_plan() {
    for mode in Mode::all() {
        // Started with and without them blocked, as a supervisor may have them.
        for blocked in [SigSet::empty(), SigSet::all()] {
            let site = Site::new(mode);
            let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK).unwrap();
            let mut launcher = site.start();
            before.thread_set_mask().unwrap();
            waits(launcher.child.id());
            signal(launcher.child.id().cast_signed(), Signal::SIGTERM);
            assert_eq!(launcher.child.wait().unwrap().signal(), Some(15));
        }
    }
}

#[test]
fn no_wait_is_without_an_end() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let (here, there) = seqpacket::pair().unwrap();
        // The waits are bounded in the socket itself, which this is another descriptor of.
        let same = there.try_clone().unwrap();
        drop(here);
        let mut launcher = site.command();
        assert!(
            launcher
                .stdin(Stdio::from(there))
                .status()
                .unwrap()
                .success()
        );
        for bound in [
            getsockopt(&same, sockopt::ReceiveTimeout).unwrap(),
            getsockopt(&same, sockopt::SendTimeout).unwrap(),
        ] {
            assert!((1..=30).contains(&bound.num_seconds()), "{bound}");
        }
    }
}

#[test]
fn before_there_is_a_plan() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let Launcher { mut child, client } = site.start();
        drop(client);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
