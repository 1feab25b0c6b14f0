//! What every file must look like. Functions, parameters and nesting are clippy's to count (`.clippy.toml`).

use std::fs;

use super::{Source, none, root, sources};

/// Production lines a file may have.
const FILE_LINES_MAX: usize = 500;

/// Words that name no thing.
const EMPTY_NAMES: [&str; 7] = [
    "util", "utils", "common", "helper", "helpers", "misc", "manager",
];

#[test]
fn no_file_is_too_long_to_hold_in_mind() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.production().lines().count(), source))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, source)| format!("{}: {lines} lines", source.path))
        .collect();
    none(&long, "files over 500 production lines");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    none(&silent, "files that do not begin with a `//!` line");
}

#[test]
fn no_module_has_an_empty_name() {
    let empty: Vec<_> = sources()
        .iter()
        .filter(|source| {
            source
                .path
                .split('/')
                .any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")))
        })
        .map(|source| source.path.clone())
        .collect();
    none(&empty, "modules whose name says nothing");
}

#[test]
fn unsafe_code_lives_in_one_crate() {
    let (mut unsafe_elsewhere, mut unforbidden) = (Vec::new(), Vec::new());
    for source in sources()
        .iter()
        .filter(|source| !source.path.starts_with("crates/sys/"))
    {
        let marks = [concat!("unsafe", " {"), concat!("unsafe", " fn")];
        if marks.iter().any(|mark| source.text.contains(mark)) {
            unsafe_elsewhere.push(source.path.clone());
        }
        let is_library = source.path.ends_with("/src/lib.rs") && !source.path.starts_with("tests/");
        if is_library && !source.text.contains("#![forbid(unsafe_code)]") {
            unforbidden.push(source.path.clone());
        }
    }
    none(&unsafe_elsewhere, "unsafe outside crates/sys");
    none(&unforbidden, "libraries without #![forbid(unsafe_code)]");
}

#[test]
fn every_unsafe_block_says_why_it_is_needed_and_sound() {
    let mut silent = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("crates/sys/"))
    {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(concat!("unsafe", " {")))
        {
            let above = lines[at.saturating_sub(8)..at].join("\n");
            if !above.contains("NEEDED") || !above.contains("SAFETY:") {
                silent.push(format!("{}:{}", source.path, at + 1));
            }
        }
    }
    none(&silent, "unsafe blocks without NEEDED and SAFETY");
}

#[test]
fn no_lint_is_silenced_for_a_whole_library() {
    let allowed = [
        "crates/cli/src/lib.rs",
        "crates/cli/src/main.rs",
        "crates/sys/src/lib.rs",
    ];
    let silenced: Vec<_> = sources()
        .iter()
        .filter(|source| !source.is_test() && !allowed.contains(&source.path.as_str()))
        .filter(|source| source.text.contains("#![allow("))
        .map(|source| source.path.clone())
        .collect();
    none(&silenced, "files that allow a lint throughout");
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let me = file!();
    let asleep: Vec<_> = sources()
        .iter()
        .filter(|source| !me.ends_with(source.path.trim_start_matches("tests/")))
        .flat_map(|source| sleeps(&source.path, source.tests()))
        .collect();
    none(&asleep, "tests that sleep or are ignored");
}

/// Lines of test code that sleep, by whichever name, or keep a test from being run.
fn sleeps(path: &str, tests: &str) -> Vec<String> {
    let is_call = |line: &str| {
        let mut before = line.match_indices("sleep(").map(|(at, _)| &line[..at]);
        // The end of another name is none of these, nor is what another program is told.
        before.any(|before| {
            !before.ends_with(|c: char| c == '_' || c.is_alphanumeric()) && !before.contains('"')
        })
    };
    let mut is_paused = false;
    let mut found = Vec::new();
    for (at, line) in tests.lines().map(str::trim).enumerate() {
        if line.starts_with("#[") && line.contains("test") {
            // There time passes at once when nobody has anything to do.
            is_paused = line.contains("start_paused = true");
        }
        let sleeps = is_call(line) || line.contains("time::sleep");
        let sleeps = sleeps && !is_paused || line.contains("thread::sleep");
        if !line.starts_with("//") && (sleeps || line.contains("#[ignore")) {
            found.push(format!("{path}, line {} of its tests: {line}", at + 1));
        }
    }
    found
}

#[test]
fn a_sleep_is_found_by_whichever_name() {
    for line in [
        "thread::sleep(PAUSE);",
        "tokio::time::sleep(pause).await;",
        "sleep(PAUSE).await;",
        "use tokio::time::sleep;",
        "#[ignore = \"slow\"]",
    ] {
        assert_eq!(sleeps("x", line).len(), 1, "{line}");
    }
    for line in [
        "// never sleep(",
        "let all = who_sleep(3);",
        "run(\"sleep(1)\")",
        "#[tokio::test(start_paused = true)]\nasync fn later() {\nsleep(HOUR).await;",
    ] {
        assert!(sleeps("x", line).is_empty(), "{line}");
    }
}

/// A file that no module declares is never compiled, and what it tests is never tested.
#[test]
fn no_file_is_forgotten() {
    let all = sources();
    let forgotten: Vec<_> = all
        .iter()
        .map(|source| source.path.as_str())
        .filter(|path| !is_root(path) && !declared(&all, path))
        .map(str::to_owned)
        .collect();
    none(&forgotten, "files that no module declares");
}

/// Whether cargo finds the file by itself: a library, a program, a test, or what a manifest names.
fn is_root(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    let folder = path.trim_end_matches(name).trim_end_matches('/');
    let is_named = || {
        let owner = folder.split_once("/bench").map(|(owner, _)| owner);
        let manifest =
            owner.and_then(|owner| fs::read_to_string(root().join(owner).join("Cargo.toml")).ok());
        manifest.is_some_and(|text| text.contains(&format!("/{name}\"")))
    };
    let is_test = folder.starts_with("crates/") && folder.ends_with("/tests");
    matches!(name, "main.rs" | "lib.rs" | "build.rs") || is_test || is_named()
}

fn declared(all: &[Source], path: &str) -> bool {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let (folder, name) = stem.rsplit_once('/').unwrap();
    let parents = [
        format!("{folder}/main.rs"),
        format!("{folder}/lib.rs"),
        format!("{folder}/mod.rs"),
        format!("{folder}.rs"),
    ];
    let declaration = format!("mod {name};");
    let declares = |line: &str| {
        let before = line.trim().strip_suffix(&declaration);
        before.is_some_and(|before| before.is_empty() || before.starts_with("pub"))
    };
    all.iter()
        .filter(|source| parents.contains(&source.path))
        .any(|source| source.text.lines().any(declares))
}

#[test]
fn nothing_committed_names_where_it_was_written() {
    let marks = [concat!("/wo", "rk/"), concat!("../sha", "red")];
    let named: Vec<_> = sources()
        .iter()
        .flat_map(|source| lines_with(source, &marks))
        .collect();
    none(&named, "files that name a workplace");
    assert!(root().join("LICENSE").exists());
}

/// Documents that nobody has who reads the code: what they say stands where it is needed, in words.
#[test]
fn nothing_refers_to_what_a_stranger_cannot_look_up() {
    let mut found = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            if is_numbered(comment) || line.contains("fn ") && is_numbered(line) {
                found.push(format!("{}:{}: {line}", source.path, at + 1));
            }
        }
    }
    none(&found, "references to a document that is not here");
}

/// Whether a line names something by a number that only another document explains; RFCs are everybody's.
fn is_numbered(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let nouns = ["attack", "attacks", "decision", "section", "security rule"];
    let names = |noun: &str| {
        let mut rests = line
            .match_indices(noun)
            .map(|(at, _)| &line[at + noun.len()..]);
        rests.any(|rest| {
            let number = rest.trim_start_matches(['_', ' ']);
            number.len() < rest.len() && number.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    !line.contains("rfc") && !line.contains("https://") && nouns.into_iter().any(names)
}

fn lines_with(source: &Source, marks: &[&str]) -> Vec<String> {
    source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
        .map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim()))
        .collect()
}
