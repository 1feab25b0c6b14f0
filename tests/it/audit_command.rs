//! `postern audit` over a log that a real devbox wrote: verified while it runs and after it was killed, exported, and seen
//! through when tampered with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::sys::signal::{Signal, kill};
use postern_testkit::{binaries, wait};
use serde_json::Value;

use crate::fixture::{self, call_tool};

fn postern(args: &[&str], log: &Path) -> Output {
    let mut command = Command::new(binaries::postern());
    command.arg("audit").args(args).arg(log).output().unwrap()
}

fn verified(log: &Path) -> (Option<i32>, Value) {
    let output = postern(&["verify", "--json"], log);
    let report = serde_json::from_slice(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        report.unwrap_or_else(|_| error.into()),
    )
}

/// A log of some calls, all of them vouched for, and the folder that it lies in.
fn written() -> (PathBuf, postern_testkit::Ended) {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    for (method, path) in [
        ("GET", "/items/1"),
        ("POST", "/items"),
        ("DELETE", "/items/1"),
    ] {
        let _ = call_tool(&devbox, method, path);
    }
    let log = devbox.state().join("gate/audit.jsonl");
    let heads = devbox.state().join("gate/audit.heads");
    let lines = || fs::read_to_string(&log).unwrap().lines().count();
    let vouched = || -> Option<u64> {
        let text = fs::read_to_string(&heads).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.is_empty())?;
        serde_json::from_str::<Value>(last).ok()?["seq"].as_u64()
    };
    wait::until("a head for the last line", || {
        (vouched() == u64::try_from(lines()).ok()).then_some(())
    });
    let (code, report) = verified(&log);
    assert_eq!((code, &report["ok"]), (Some(0), &true.into()), "{report}");
    // At once, and with nobody left to start it again.
    devbox.signal(Signal::SIGSTOP);
    kill(devbox.gate_pid(), Signal::SIGKILL).unwrap();
    devbox.signal(Signal::SIGKILL);
    (log, devbox.ended())
}

#[test]
fn a_log_is_verified_and_what_was_done_to_it_is_named() {
    let (log, _ended) = written();
    let whole = fs::read_to_string(&log).unwrap();
    let (code, report) = verified(&log);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["window"], Value::Null, "{report}");

    let lines: Vec<&str> = whole.lines().collect();
    let count = lines.len();
    let edited = whole.replacen("\"allowed\"", "\"refused\"", 1);
    let cut = format!("{}\n", lines[..count - 1].join("\n"));
    for (tampered, words) in [(edited, "not what line"), (cut, "missing at the end")] {
        fs::write(&log, tampered).unwrap();
        let (code, report) = verified(&log);
        assert_eq!(code, Some(1), "{report}");
        let what = report["problems"][0]["what"].as_str().unwrap();
        assert!(what.contains(words), "{report}");
    }
    fs::write(&log, whole).unwrap();
    fs::remove_file(log.with_file_name("audit.key")).unwrap();
    assert_eq!(verified(&log).0, Some(2), "without the key nobody can tell");
}

#[test]
fn a_log_is_exported_as_it_stands_and_as_ocsf() {
    let (log, _ended) = written();
    let lines = fs::read_to_string(&log).unwrap();
    let plain = postern(&["export", "--mark"], &log);
    assert_eq!(String::from_utf8_lossy(&plain.stdout), lines);
    let again = postern(&["export", "--new"], &log);
    assert!(again.status.success() && again.stdout.is_empty());
    let events = postern(&["export", "--ocsf", "--since", "2"], &log);
    let events = String::from_utf8(events.stdout).unwrap();
    let calls = lines.matches("\"kind\":\"call\"").count();
    assert_eq!(events.lines().count(), calls);
    for event in events.lines() {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["class_uid"], 4002, "{event}");
    }
    assert!(!events.contains(fixture::KEY));
}
