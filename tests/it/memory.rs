//! The gate's memory and environment, looked at by other processes. Never by root, who reads everything.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Output, Stdio},
};

use postern_testkit::devbox::{GATE_UID, ORDINARY_UID};

use crate::fixture;

/// Looks into a process as this user, if the tests may choose one.
fn look(uid: u32, pid: i64, file: &str) -> Output {
    let mut command = Command::new("head");
    command.args(["-c", "1"]).arg(format!("/proc/{pid}/{file}"));
    if fixture::runs_as_root() {
        command.uid(uid).gid(uid);
    }
    command.output().unwrap()
}

/// A program that did nothing to protect itself; it ends with this value.
struct Open(Child);

impl Open {
    fn start(uid: u32) -> Self {
        let mut command = Command::new("cat");
        if fixture::runs_as_root() {
            command.uid(uid).gid(uid);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(piped.spawn().unwrap())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn nobody_but_root_looks_into_the_gate_or_posternd_not_even_as_the_same_user() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let open = Open::start(GATE_UID);
    let id = i64::from(open.0.id());
    // So that the looks below could see something.
    for file in ["environ", "maps"] {
        let seen = look(GATE_UID, id, file);
        assert!(
            seen.status.success() && seen.stdout.len() == 1,
            "{file}: {seen:?}"
        );
    }
    for pid in [devbox.gate_pid(), devbox.runtime_pid()] {
        for uid in [GATE_UID, ORDINARY_UID] {
            for file in ["environ", "maps", "mem", "auxv", "fd/0"] {
                let seen = look(uid, pid.as_raw().into(), file);
                let error = String::from_utf8_lossy(&seen.stderr);
                assert!(
                    !seen.status.success() && seen.stdout.is_empty() && error.contains("denied"),
                    "{uid} sees {file}: {seen:?}"
                );
            }
        }
    }
}
