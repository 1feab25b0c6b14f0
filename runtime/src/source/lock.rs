//! Files that pin everything that is installed, byte for byte: npm's `package-lock.json`, and requirements of pip with hashes. Read when the
//! config is, and refused where a line would have a program do anything but take what the hash says. Never decides where from: that is
//! the registry's and the gate's.

use std::{
    fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fetched::place;
use crate::config::Places;

/// The longest that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// Hashes that count, as pip writes them with the length of each in hexadecimal digits, and as npm writes them.
const PIPS: [(&str, usize); 3] = [("sha256:", 64), ("sha384:", 96), ("sha512:", 128)];
const NPMS: [&str; 3] = ["sha256-", "sha384-", "sha512-"];

/// Reads a file beneath the config's directory or `object_roots`.
///
/// # Errors
/// What is wrong with it, for the config's author.
pub(super) fn read(path: &Path, places: &Places) -> Result<Arc<str>, String> {
    let resolved = places.resolve(path)?;
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(&resolved)
        .map_err(|error| told(&error))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(told(&"it is no file"));
    }
    let mut text = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| told(&error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(told(&"it is longer than 4 MiB"));
    }
    Ok(text.into())
}

/// Requirements of pip: `name==version`, a marker perhaps, and hashes, and nothing else. Gives them as they were understood, a line each,
/// so that nobody can read them otherwise.
///
/// # Errors
/// The first line that says something else, or that the agent's package is not there.
pub(super) fn requirements(text: &str, package: &str) -> Result<String, String> {
    let (mut found, mut understood) = (false, String::new());
    for (number, line) in logical_lines(text) {
        let name = requirement(&line).ok_or_else(|| {
            format!(
                "line {number}: each line is `name==version --hash=sha256:…`, as `pip-compile --generate-hashes` writes it: no options, \
                 URLs or paths"
            )
        })?;
        found |= plain_name(name) == plain_name(package);
        understood.push_str(line.trim());
        understood.push('\n');
    }
    match found {
        true => Ok(understood),
        false => Err(format!("it does not name `{package}`")),
    }
}

/// Lines without comments, where one that ends with a backslash goes on; each with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let (mut lines, mut open) = (Vec::new(), None::<(usize, String)>);
    for (line, number) in text.lines().zip(1..) {
        let said = match line.trim_start().starts_with('#') {
            true => "",
            false => line.split(" #").next().unwrap_or_default(),
        };
        let (first, mut whole) = open.take().unwrap_or((number, String::new()));
        match said.trim_end().strip_suffix('\\') {
            Some(more) => {
                whole.push_str(more);
                whole.push(' ');
                open = Some((first, whole));
            }
            None => {
                whole.push_str(said);
                lines.push((first, whole));
            }
        }
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

/// The name in a requirement that is pinned and hashed.
fn requirement(line: &str) -> Option<&str> {
    let (what, hashes) = line.split_once("--hash=")?;
    let hashes = hashes
        .split_whitespace()
        .map(|word| word.trim_start_matches("--hash="));
    let is_hash = |word: &str| {
        PIPS.iter().any(|(kind, length)| {
            let digits = word.strip_prefix(kind).unwrap_or_default();
            digits.len() == *length && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let (what, marker) = what.split_once(';').unwrap_or((what, ""));
    let (name, version) = what.trim().split_once("==")?;
    let in_marker = |byte: u8| byte.is_ascii_alphanumeric() || b" _.-'\"<>=!~()+*".contains(&byte);
    let is_pinned = super::pip::is_a_name(name)
        && super::pip::is_one_version(version)
        && marker.bytes().all(in_marker)
        && !marker.split_whitespace().any(|word| word.starts_with('-'))
        && hashes.clone().count() > 0
        && hashes.clone().all(is_hash);
    is_pinned.then(|| name.split('[').next().unwrap_or(name))
}

/// A name as pip compares it (PEP 503).
fn plain_name(name: &str) -> String {
    let name = name.split('[').next().unwrap_or(name).to_lowercase();
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

#[derive(Serialize, Deserialize)]
struct Lock {
    #[serde(rename = "lockfileVersion")]
    version: u64,
    packages: Map<String, Value>,
}

/// A lock of npm 7 or later, in which every package comes from a registry and has a hash. Gives it as it was understood.
///
/// # Errors
/// The first package of which that is not so, or that the agent's is not there.
pub(super) fn npm(text: &str, package: &str) -> Result<String, String> {
    let lock: Lock =
        serde_json::from_str(text).map_err(|error| format!("it is no lock of npm: {error}"))?;
    if !matches!(lock.version, 2 | 3) || !lock.packages.get("").is_some_and(Value::is_object) {
        return Err("it is no lock of npm 7 or later (`lockfileVersion` 2 or 3)".to_owned());
    }
    for (key, entry) in lock.packages.iter().filter(|(key, _)| !key.is_empty()) {
        if !is_locked(key, entry) {
            return Err(format!(
                "`{key}`: each package has `resolved`, a URL of a registry, and `integrity`, its SHA-256 or longer: no links, \
                 workspaces, repositories or paths"
            ));
        }
    }
    match lock
        .packages
        .contains_key(&format!("node_modules/{package}"))
    {
        true => serde_json::to_string(&lock).map_err(|error| error.to_string()),
        false => Err(format!("it does not name `{package}`")),
    }
}

fn is_locked(key: &str, entry: &Value) -> bool {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let within = key.starts_with("node_modules/")
        && key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let is_link = entry
        .get("link")
        .is_some_and(|link| *link != Value::Bool(false));
    // It comes within another package, whose hash is its own.
    let is_bundled =
        entry.get("inBundle") == Some(&Value::Bool(true)) && text("resolved").is_none();
    let is_hashed = text("resolved").is_some_and(|url| place(url).is_ok())
        && text("integrity").is_some_and(|hash| NPMS.iter().any(|kind| hash.starts_with(kind)));
    within && !is_link && (is_bundled || is_hashed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str =
        "--hash=sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn requirements_are_pinned_and_hashed_whatever_their_form() {
        let text = format!(
            "# made by hand\n\nTiny_Agent[fast]==1.2 \\\n    {HASH} \\\n    {HASH}\nother==2.0 ; python_version < \"3.9\" \\\n    {HASH} # via x\n"
        );
        let understood = requirements(&text, "tiny-agent").unwrap();
        let lines: Vec<_> = understood
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        assert_eq!(lines[0], ["Tiny_Agent[fast]==1.2", HASH, HASH]);
        assert_eq!(
            lines[1],
            ["other==2.0", ";", "python_version", "<", "\"3.9\"", HASH]
        );
        assert_eq!(lines.len(), 2);
        assert!(
            requirements(&text, "third")
                .unwrap_err()
                .contains("does not name")
        );
    }

    #[test]
    fn a_line_that_says_anything_else_is_refused_with_its_number() {
        for odd in [
            "a==1",
            "a>=1 {HASH}",
            "a==1.* {HASH}",
            "a {HASH}",
            "-r other.txt",
            "--index-url https://elsewhere.test/",
            "-e . {HASH}",
            "a @ https://elsewhere.test/a.whl {HASH}",
            "./a.whl {HASH}",
            "a==1 --hash=md5:00",
            "a==1 --hash=sha256:00",
            "a==1 {HASH} --no-binary=:all:",
            "a==1 --config-settings=x {HASH}",
            "a==1 ; x --pre {HASH}",
            "a==1 {HASH} b",
            "a==1; python_version < '3' --find-links=/ {HASH}",
            "a==1 {HASH} \\\n--trusted-host=x",
        ] {
            let text = format!("a==1 {HASH}\n{}\n", odd.replace("{HASH}", HASH));
            let error = requirements(&text, "a").unwrap_err();
            assert!(error.starts_with("line 2:"), "{odd}: {error}");
        }
    }

    fn lock(key: &str, entry: &Value) -> String {
        let packages = json!({ "": {}, "node_modules/a": good(), key: entry });
        json!({ "lockfileVersion": 3, "packages": packages }).to_string()
    }

    fn good() -> Value {
        json!({ "version": "1.0.0", "resolved": "https://registry.test/a.tgz", "integrity": "sha512-AAAA" })
    }

    #[test]
    fn a_lock_takes_everything_from_registries_by_its_hash() {
        assert!(npm(&lock("node_modules/@b/c", &good()), "a").is_ok());
        let bundled = json!({ "version": "1.0.0", "inBundle": true });
        assert!(npm(&lock("node_modules/a/node_modules/d", &bundled), "a").is_ok());
        assert!(npm(&lock("node_modules/b", &good()), "other").is_err());
        assert!(npm("{}", "a").is_err());
        let old = lock("node_modules/b", &good())
            .replace("\"lockfileVersion\":3", "\"lockfileVersion\":1");
        assert!(npm(&old, "a").unwrap_err().contains("npm 7"));
    }

    #[test]
    fn what_a_lock_would_take_from_elsewhere_is_refused_by_name() {
        let with = |name: &str, value: Value| {
            let mut entry = good();
            entry[name] = value;
            entry
        };
        for (key, entry) in [
            (
                "node_modules/b",
                with("resolved", json!("git+https://elsewhere.test/b.git#main")),
            ),
            ("node_modules/b", with("resolved", json!("file:../b.tgz"))),
            ("node_modules/b", with("integrity", json!("sha1-AAAA"))),
            ("node_modules/b", with("integrity", json!(null))),
            ("node_modules/b", with("link", json!(true))),
            ("node_modules/b", json!({ "version": "1.0.0" })),
            ("node_modules/../../b", good()),
            ("packages/b", good()),
        ] {
            let error = npm(&lock(key, &entry), "a").unwrap_err();
            assert!(
                error.starts_with(&format!("`{key}`")),
                "{key} {entry}: {error}"
            );
        }
    }
}
