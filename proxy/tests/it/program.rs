//! The program itself: its exit codes, its one line on stderr, and its readiness.

use std::{
    io::Write as _,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
};

use postern_contract::{
    link::{FromGate, LINK_VERSION, News, Reply, ToGate},
    secret::Shown,
};
use postern_daemon::channel::Channel;

use crate::house::{SECRET, config, soon, written};

fn gate(config: &Path, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-proxy"));
    command
        .arg("--config")
        .arg(config)
        .arg("--state")
        .arg(directory);
    command.arg("--link").arg(directory.join("link.sock"));
    command
        .env_remove("NOTIFY_SOCKET")
        .env("POSTERN_LOG", "off");
    command
}

#[track_caller]
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn a_config_that_is_wrong_ends_it_with_two_and_the_place() {
    let good = config("127.0.0.1:9".parse().unwrap());
    let (directory, path) = written(&good.replace("private = true", "privat = true"));
    fails(
        &mut gate(&path, directory.path()),
        2,
        &["postern.toml:7:1", "private"],
    );
    let (directory, path) = written(&good);
    std::fs::remove_file(directory.path().join("key")).unwrap();
    fails(
        &mut gate(&path, directory.path()),
        2,
        &["postern.toml:3:1", "key"],
    );
    fails(
        &mut gate(Path::new("/nonexistent.toml"), directory.path()),
        2,
        &["nonexistent"],
    );
    fails(
        Command::new(env!("CARGO_BIN_EXE_postern-proxy")).arg("--nonsense"),
        2,
        &["--nonsense"],
    );
}

#[test]
fn a_state_directory_that_is_missing_ends_it_with_one() {
    let (directory, path) = written(&config("127.0.0.1:9".parse().unwrap()));
    let nowhere = directory.path().join("nowhere");
    fails(&mut gate(&path, &nowhere), 1, &["audit.jsonl"]);
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn it_says_when_it_is_ready_asks_for_the_token_and_ends_with_its_supervisor() {
    let (directory, path) = written(&config("127.0.0.1:9".parse().unwrap()));
    let notify = directory.path().join("notify.sock");
    let ready = UnixDatagram::bind(&notify).unwrap();
    let mut command = gate(&path, directory.path());
    command
        .arg("--lifeline")
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut lifeline = running.0.stdin.take().unwrap();
    lifeline.write_all(b"{\"link_token\":\"t0k3n\"}\n").unwrap();
    let mut buffer = [0; 64];
    let length = ready.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");

    let link = directory.path().join("link.sock");
    for (token, welcome) in [(None, false), (Some("wrong"), false), (Some("t0k3n"), true)] {
        let channel = Channel::connect(&link).unwrap();
        let token = token.map(|token| Shown::new(token.to_owned()));
        let news = News::Hello {
            version: LINK_VERSION,
            token,
        };
        soon(channel.send(&ToGate { seq: 1, news }, &[]))
            .await
            .unwrap();
        let (answer, _) = soon(channel.receive::<FromGate>()).await.unwrap().unwrap();
        let taken = matches!(answer.reply, Reply::Welcome(_));
        assert_eq!(taken, welcome, "{answer:?}");
    }
    drop(lifeline);
    let status = tokio::task::spawn_blocking(move || running.0.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
