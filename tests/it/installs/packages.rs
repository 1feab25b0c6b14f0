//! Packages of npm and pip.

use std::process::Command;

use postern_testkit::Setup;

use super::{answer, has, setup, shelf};

pub(super) fn desk(kind: &str, more: &str, url: &str) -> Setup {
    let agent = format!(
        "[agents.desk]\nkind = \"command\"\nsource = {{ {kind} = {{ package_name = \"tiny-agent\", {more} }} }}\n\
         [agents.desk.command]\nargv = [\"tiny-agent\"]"
    );
    setup(&agent, url)
}

#[test]
fn a_package_of_npm_is_on_the_path_and_none_of_its_scripts_ran() {
    if !has("npm") {
        return;
    }
    let registry = shelf::npm("hello from npm");
    let url = registry.url();
    let devbox = desk(
        "npm",
        &format!("version = \"^1.0\", registry_url = \"{url}/\""),
        &url,
    )
    .start();
    assert_eq!(answer(&devbox), "hello from npm false");
    assert!(devbox.stderr().contains("1.2.3"), "{}", devbox.stderr());
    let _ended = devbox.stop();
}

#[test]
fn setup_may_run_the_scripts_of_a_package() {
    if !has("npm") {
        return;
    }
    let registry = shelf::npm("hello");
    let url = registry.url();
    let more = format!(
        "registry_url = \"{url}/\", agent_setup = [\"cd /agent && npm rebuild --foreground-scripts\"]"
    );
    let devbox = desk("npm", &more, &url).start();
    assert_eq!(answer(&devbox), "hello true");
    let _ended = devbox.stop();
}

/// Whether something here makes environments for Python; says that the test is skipped otherwise.
pub(super) fn has_environments() -> bool {
    let asked = Command::new("/usr/bin/python3")
        .args(["-c", "import ensurepip"])
        .output();
    asked.is_ok_and(|asked| asked.status.success()) || has("uv")
}

#[test]
fn a_package_of_pip_is_on_the_path() {
    if !has_environments() {
        return;
    }
    let index = shelf::pip("hello from pip");
    let url = index.url();
    let devbox = desk(
        "pip",
        &format!("version = \"1.2\", registry_url = \"{url}/simple/\""),
        &url,
    )
    .start();
    assert_eq!(answer(&devbox), "hello from pip");
    let _ended = devbox.stop();
}

#[test]
fn a_package_that_is_not_there_is_told_with_what_its_program_said() {
    if !has_environments() {
        return;
    }
    let index = shelf::pip("hello");
    let url = index.url();
    let ended = desk(
        "pip",
        &format!("version = \"9\", registry_url = \"{url}/simple/\""),
        &url,
    )
    .try_start();
    let ended = ended.err().unwrap();
    assert!(
        ended.stderr.contains("pip package tiny-agent 9"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("has no such package or version"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_package_that_comes_as_source_alone_is_refused_and_never_built() {
    if !has_environments() {
        return;
    }
    let index = shelf::pip("hello");
    let url = index.url();
    let more = format!("version = \"2.0\", registry_url = \"{url}/simple/\"");
    let ended = desk("pip", &more, &url).try_start().err().unwrap();
    assert!(
        !ended.stderr.contains("build of a package"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("or no wheel of it for this machine"),
        "{}",
        ended.stderr
    );
}
