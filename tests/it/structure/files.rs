//! What every file must look like. Functions, parameters and nesting are clippy's to count (`.clippy.toml`).

use std::collections::BTreeSet;

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
        .filter(|source| {
            source.is_test() && !me.ends_with(source.path.trim_start_matches("tests/"))
        })
        .flat_map(|source| lines_with(source, &["thread::sleep(", "time::sleep(", "#[ignore"]))
        .collect();
    none(&asleep, "tests that sleep or are ignored");
}

#[test]
fn no_test_file_is_forgotten() {
    let all = sources();
    let files: BTreeSet<&str> = all.iter().map(|source| source.path.as_str()).collect();
    let forgotten: Vec<_> = files
        .iter()
        .filter(|path| path.starts_with("tests/it/") && !path.ends_with("/main.rs"))
        .filter(|path| !declared(&all, path))
        .map(|path| (*path).to_owned())
        .collect();
    none(&forgotten, "test files that no module declares");
}

fn declared(all: &[Source], path: &str) -> bool {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let (folder, name) = stem.rsplit_once('/').unwrap();
    let parents = [
        format!("{folder}/main.rs"),
        format!("{folder}/mod.rs"),
        format!("{folder}.rs"),
    ];
    all.iter()
        .filter(|source| parents.contains(&source.path))
        .any(|source| {
            source
                .text
                .lines()
                .any(|line| line.trim() == format!("mod {name};"))
        })
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

fn lines_with(source: &Source, marks: &[&str]) -> Vec<String> {
    source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
        .map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim()))
        .collect()
}
