//! Every attack that broke somebody else has a test of ours: `tests/incidents.md` names them, and they must exist.

use std::{collections::BTreeSet, fs};

use super::{none, root, sources};

#[test]
fn every_incident_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("tests/incidents.md")).unwrap();
    let all = sources();
    let tests: BTreeSet<&str> = all
        .iter()
        .flat_map(|source| tests_of(&source.text))
        .collect();
    let mut missing = Vec::new();
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let Some(cell) = row.trim_matches('|').split('|').nth(1) else {
            continue;
        };
        for test in cell.split('`').skip(1).step_by(2) {
            named += 1;
            if !tests.contains(test) {
                missing.push(format!(
                    "{test} (row: {})",
                    row.chars().take(60).collect::<String>()
                ));
            }
        }
    }
    none(
        &missing,
        "tests that tests/incidents.md names and nobody wrote",
    );
    assert!(
        named > 20,
        "the table of incidents is not where this test looks for it"
    );
}

/// The names of a file's tests: functions with the attribute right above, among other attributes and comments.
fn tests_of(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        match name.and_then(|rest| rest.split('(').next()) {
            Some(name) => {
                found.extend(is_test.then_some(name));
                is_test = false;
            }
            None if line == "#[test]" || line.starts_with("#[tokio::test") => is_test = true,
            None if line.is_empty() || line.ends_with(';') || line.ends_with('}') => {
                is_test = false;
            }
            None => {}
        }
    }
    found
}

#[test]
fn a_function_counts_as_a_test_only_if_it_is_run_as_one() {
    let text = "fn helps() {}\n#[test]\n#[should_panic(expected = \"x\")]\nfn first() {\n}\n\
                #[tokio::test(start_paused = true)]\nasync fn second() {}\nfn third() {}\n#[test]\n\nfn fourth() {}";
    assert_eq!(tests_of(text), ["first", "second"]);
}
