//! The README is true: what its blocks tell a newcomer to run is run, in order, in a copy of what git has, and what it says
//! came of it is what came of it. Never builds anything: a command that does so is the build's own business.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use postern_testkit::{binaries, devbox::GATE_UID};
use tempfile::TempDir;

/// What other tests run, or nobody can here: they build, install, or are the tests themselves.
const ELSEWHERE: [&str; 4] = [
    "cargo run --release -- tour",
    "scripts/test",
    "cargo install ",
    "cargo build ",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The fenced blocks of these languages, in order.
fn blocks(text: &str, languages: &[&str]) -> Vec<String> {
    let mut pieces = text.split("\n```");
    let mut found = Vec::new();
    pieces.next();
    while let Some(block) = pieces.next() {
        let (language, body) = block.split_once('\n').unwrap_or_default();
        if languages.contains(&language) {
            found.push(body.to_owned());
        }
        pieces.next();
    }
    found
}

/// A copy of the examples as a fresh clone has them, with `postern` on the PATH and ports that nobody has.
struct Clone {
    folder: TempDir,
}

impl Clone {
    fn fresh() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("postern-test-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        copied(&root().join("examples"), &folder.path().join("examples"));
        let config = folder.path().join("examples/support-desk/postern.toml");
        let text = fs::read_to_string(&config).unwrap();
        let anywhere = text
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:8092", "127.0.0.1:0");
        fs::write(config, anywhere).unwrap();
        fs::copy(binaries::postern(), folder.path().join("postern")).unwrap();
        Self { folder }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-ec", line])
            .current_dir(self.folder.path())
            .env(
                "PATH",
                format!(
                    "{}:/usr/local/bin:/usr/bin:/bin",
                    self.folder.path().display()
                ),
            )
            .env("XDG_STATE_HOME", self.folder.path().join("state-home"));
        command
    }

    fn run(&self, line: &str) -> String {
        let output = self.command(line).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{line}\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Serves until its lifeline is cut, once it is ready.
    fn serve(&self, line: &str) {
        if nix::unistd::geteuid().is_root() {
            // What the README says to root.
            let key = self
                .folder
                .path()
                .join("examples/support-desk/secrets/orders.key");
            chown(key, Some(GATE_UID), Some(GATE_UID)).unwrap();
        }
        let state = self.folder.path().join("state");
        let line = format!("exec {line} --json --lifeline --state {}", state.display());
        let mut child = self
            .command(&line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert!(ready.contains("\"api\""), "{line}: {ready}");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().code().is_some(), "{line}");
    }
}

/// The files of git: what it ignores is not there after a clone, and it keeps no mode but the x bit.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copied(&path, &target);
        } else if path.extension().is_none_or(|end| end != "gz") {
            fs::copy(&path, &target).unwrap();
            let is_program = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let mode = if is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

#[test]
fn its_commands_run_after_a_fresh_clone_and_say_what_it_says() {
    let clone = Clone::fresh();
    let mut ran = 0;
    for block in blocks(&readme(), &["sh", "text"]) {
        let mut lines = block.lines().peekable();
        while let Some(line) = lines.next() {
            let command = match line.strip_prefix("$ ") {
                Some(command) => command,
                // Output of the tour, which has a test of its own.
                None if block.contains("\n1. ") => break,
                None => line.split("  #").next().unwrap().trim(),
            };
            if command.is_empty() || ELSEWHERE.iter().any(|begin| command.starts_with(begin)) {
                continue;
            }
            ran += 1;
            if command.starts_with("postern up ") {
                clone.serve(command);
                continue;
            }
            let said = clone.run(command);
            if line.starts_with("$ ") {
                let mut expected = String::new();
                while let Some(output) = lines.next_if(|next| !next.starts_with("$ ")) {
                    expected += output;
                    expected += "\n";
                }
                assert_eq!(said.trim_end(), expected.trim_end(), "{command}");
            }
        }
    }
    assert!(
        ran >= 4,
        "the README's commands are not where this test looks for them"
    );
}

#[test]
fn what_it_shows_of_the_tour_is_what_the_tour_says() {
    let block = blocks(&readme(), &["text"])
        .into_iter()
        .find(|block| block.contains("\n1. "))
        .unwrap();
    let folder = Clone::fresh();
    let said =
        folder.run("TMPDIR=$PWD postern tour --once --api 127.0.0.1:0 --operator 127.0.0.1:0");
    let steady = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("ok: ") || line.starts_with(|c: char| c.is_ascii_digit())
    };
    let shown: Vec<_> = block.lines().filter(steady).collect();
    assert!(shown.len() >= 10, "{shown:?}");
    for line in shown {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn the_files_it_names_are_there() {
    let text = readme();
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let links: Vec<_> = links.filter(|link| !link.contains("://")).collect();
    assert!(links.len() >= 8, "{links:?}");
    for link in links {
        assert!(root().join(link).exists(), "{link}");
    }
}
