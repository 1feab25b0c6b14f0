//! Every attack that broke somebody else has a test of ours: `tests/incidents.md` names them, and they must exist.

use std::{collections::BTreeSet, fs};

use super::{none, root, sources};

#[test]
fn every_incident_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("tests/incidents.md")).unwrap();
    let all = sources();
    let tests: BTreeSet<&str> = all
        .iter()
        .flat_map(|source| source.text.lines())
        .filter_map(|line| line.trim().trim_start_matches("async ").strip_prefix("fn "))
        .filter_map(|rest| rest.split('(').next())
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
