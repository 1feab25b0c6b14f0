//! The tour passes from end to end, as root and as an ordinary user, and leaves nothing.

use std::{
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_testkit::{
    Curl, binaries,
    devbox::{ORDINARY_UID, traces},
    wait,
};
use tempfile::TempDir;

/// A directory for the tour's temporary files that its user may write and others may pass.
fn temporary(owner: Option<u32>) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("postern-test-")
        .tempdir_in("/tmp")
        .unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(directory.path(), owner, owner).unwrap();
    directory
}

/// The tour's command line, in a directory of its own.
fn tour(directory: &TempDir, uid: Option<u32>, flags: &[&str]) -> Command {
    let copy = directory.path().join("postern");
    std::fs::copy(binaries::postern(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command
        .args(["tour", "--api", "127.0.0.1:0", "--operator", "127.0.0.1:0"])
        .args(flags)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", directory.path())
        .current_dir(directory.path());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command
}

/// What a whole tour printed; it must have passed and left nothing.
fn passes(uid: Option<u32>, flags: &[&str], steps: u32) -> String {
    let directory = temporary(uid);
    let output = tour(&directory, uid, flags).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}\n{complaints}");
    assert!(
        said.contains(&format!("All {steps} steps were as said.")),
        "{said}"
    );
    for step in 1..=steps {
        assert!(said.contains(&format!("\n{step}. ")), "{said}");
    }
    assert!(
        said.contains("authorization: Bearer demo-orders-key"),
        "{said}"
    );
    assert!(said.contains("by the rule `no refunds`"), "{said}");
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != "postern")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_nothing_runs(&directory);
    said
}

fn assert_nothing_runs(directory: &TempDir) {
    let left = || traces(directory.path());
    let gone = wait::within(wait::DEADLINE, || left().is_empty().then_some(()));
    assert!(gone.is_some(), "{:#?}", left());
}

#[test]
fn it_passes_as_who_runs_the_tests() {
    let said = passes(None, &["--once"], 6);
    assert!(!said.contains("Try next"), "{said}");
}

#[test]
fn it_passes_as_an_ordinary_user() {
    let uid = nix::unistd::geteuid().is_root().then_some(ORDINARY_UID);
    let said = passes(uid, &["--once"], 6);
    assert!(said.contains("Goes on without `separate_uid`"), "{said}");
}

#[test]
fn it_passes_without_code() {
    let said = passes(None, &["--once", "--codeless"], 4);
    assert!(said.contains("orders__get-order"), "{said}");
}

/// A tour that serves, and the address that its last line offers.
fn serving(directory: &TempDir) -> (Child, String) {
    let mut child = tour(directory, None, &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<_> = output
        .lines()
        .map(Result::unwrap)
        .skip_while(|line| !line.starts_with("Try next"))
        .skip(1)
        .take(3)
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("  curl -s http://127.0.0.1:")),
        "{lines:?}"
    );
    (child, lines[0].split('/').nth(2).unwrap().to_owned())
}

#[test]
fn it_serves_until_ctrl_c() {
    let directory = temporary(None);
    let (mut child, address) = serving(&directory);
    let body = "{\"message\":\"order 1043\"}";
    let answer = Curl::post(format!("http://{address}/invoke"), body).send();
    assert!(answer.body.contains("a lantern"), "{answer:?}");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = wait::until("the tour has ended", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_nothing_runs(&directory);
}

#[test]
fn a_killed_tour_leaves_nothing_running() {
    let directory = temporary(None);
    let (mut child, _) = serving(&directory);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_nothing_runs(&directory);
}

#[test]
fn where_the_kernel_forbids_user_namespaces_the_setting_is_named() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" tour --once";
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
            "sh",
            "-c",
            script,
        ])
        .arg(binaries::postern())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("sysctl -w user.max_user_namespaces="),
        "{said}"
    );
}
