//! `postern agents`: another version goes live in a running devbox, and the one before again; what a start makes of that.

use std::{
    fs,
    process::{Command, Output},
};

use postern_testkit::{Archive, Devbox, Setup, binaries};
use serde_json::Value;

use super::{AGENT, answer, setup, shelf::Repository, trees};

/// `postern agents …` with the operator's key.
pub(super) fn agents(devbox: &Devbox, words: &[&str]) -> Output {
    Command::new(binaries::postern())
        .arg("agents")
        .args(words)
        .args(["--operator", &devbox.operator_address().to_string()])
        .arg("--key-file")
        .arg(devbox.state().join("runtime/operator.key"))
        .output()
        .unwrap()
}

pub(super) fn told(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is installed of the one agent.
fn installed(devbox: &Devbox) -> Value {
    let all: Value = serde_json::from_str(&told(&agents(devbox, &["--json"]))).unwrap();
    all[0]["installed"].clone()
}

#[test]
fn a_renewed_branch_is_live_for_the_next_run_and_the_way_back_outlives_a_start() {
    let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
    let url = repository.url();
    let agent = format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nisolation = \"run\"\nsource = {{ git = {{ repository = \"{url}\", agent_setup = [\"true\"] }} }}"
    );
    let devbox = setup(&agent, &url).start();
    assert_eq!(answer(&devbox), "one");
    let none = refused(&agents(&devbox, &["rollback", "desk"]));
    assert!(none.contains("desk has no version to go back to"), "{none}");

    let second = repository.commit(&[("word", "two\n")]);
    let _same = told(&agents(&devbox, &["install", "desk"]));
    assert_eq!(answer(&devbox), "one");
    let line = told(&agents(&devbox, &["install", "desk", "--renew"]));
    assert!(line.contains(&format!("-1 = {second}")), "{line}");
    assert_eq!(answer(&devbox), "two");
    let standing = installed(&devbox);
    assert_eq!(standing["resolved"]["version"], second.as_str());
    let stages = standing["stages"].as_array().unwrap();
    let words: Vec<_> = stages.iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(words, ["fetch", "setup"], "{standing}");
    assert!(
        stages.iter().all(|stage| stage["seconds"].is_f64()),
        "{standing}"
    );

    let line = told(&agents(&devbox, &["rollback", "desk"]));
    assert!(line.contains("rolled back"), "{line}");
    assert_eq!(answer(&devbox), "one");
    // The config still means the other: a start says so and leaves it as it is.
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "one");
    assert!(
        devbox
            .stderr()
            .contains("rolled back: the version that the config means")
    );
    assert_eq!(
        installed(&devbox)["way_back"]["resolved"]["version"],
        second.as_str()
    );
    let _forward = told(&agents(&devbox, &["rollback", "desk"]));
    assert_eq!(answer(&devbox), "two");
    let ended = devbox.stop();
    assert_eq!(trees(&ended), 2);
}

#[test]
fn a_shared_sandbox_keeps_the_version_that_it_was_made_with() {
    let agent = "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = { object = { path = \"desk.tar.gz\" } }";
    let archive = |word: &str| {
        Archive::new()
            .file("agent.py", AGENT)
            .file("word", word)
            .tar_gz()
    };
    let setup = setup(agent, "http://127.0.0.1:9");
    let devbox = setup.file("desk.tar.gz", archive("one\n")).start();
    let at = devbox.folder().join("desk.tar.gz");
    for word in ["two\n", "three\n"] {
        fs::write(&at, archive(word)).unwrap();
        let _line = told(&agents(&devbox, &["install", "desk"]));
        assert_eq!(answer(&devbox), "one");
    }
    // What is refused changes nothing.
    fs::write(&at, &archive("half\n")[..60]).unwrap();
    let why = refused(&agents(&devbox, &["install", "desk"]));
    assert!(why.contains("desk.tar.gz"), "{why}");
    fs::write(&at, archive("three\n")).unwrap();
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "three");
    let _line = told(&agents(&devbox, &["rollback", "desk"]));
    let ended = devbox.stop();
    assert_eq!(trees(&ended), 2);
    let devbox = Setup::again(ended).start();
    assert_eq!(answer(&devbox), "two");
    // Another source is what the config says now.
    fs::write(&at, archive("four\n")).unwrap();
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "four");
    let _ended = devbox.stop();
}

#[test]
fn nobody_installs_without_the_operators_key() {
    let agent = "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = { object = { path = \"desk.tar.gz\" } }";
    let archive = Archive::new().file("agent.py", AGENT).file("word", "one\n");
    let setup = setup(agent, "http://127.0.0.1:9");
    let devbox = setup.file("desk.tar.gz", archive.tar_gz()).start();
    let key = devbox.state().join("runtime/callers.key");
    for words in [&["install", "desk"][..], &["rollback", "desk"]] {
        let output = Command::new(binaries::postern())
            .arg("agents")
            .args(words)
            .args(["--operator", &devbox.operator_address().to_string()])
            .arg("--key-file")
            .arg(&key)
            .output()
            .unwrap();
        let why = refused(&output);
        assert!(why.contains("401"), "{why}");
    }
    let why = refused(&agents(&devbox, &["install", "nobody"]));
    assert!(why.contains("404"), "{why}");
    let _ended = devbox.stop();
}
