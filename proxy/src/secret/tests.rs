//! Secrets from sources at hand: what is loaded, what is refused, and when a value counts as another one.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

const STRIPE: &str = r#"{"stripe":{"file":"key"}}"#;

fn sources(text: &str) -> BTreeMap<SecretName, Source> {
    serde_json::from_str(text).unwrap()
}

fn base(directory: &Path) -> Base<'_> {
    Base {
        directory,
        store: None,
        taken: None,
    }
}

fn written(mode: u32, content: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    directory
}

fn only_problem(directory: &Path) -> String {
    let (loaded, problems) = Secrets::load(
        &sources(STRIPE),
        base(directory),
        &BTreeSet::new(),
        &Held::default(),
    );
    assert!(loaded.values.is_empty());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, ["secrets", "stripe", "file"]);
    problems[0].message.clone()
}

#[test]
fn a_file_gives_its_content_without_the_last_line_break() {
    let directory = written(0o600, "sk_live_1\n");
    let (loaded, problems) = Secrets::load(
        &sources(STRIPE),
        base(directory.path()),
        &BTreeSet::new(),
        &Held::default(),
    );
    assert!(problems.is_empty());
    assert!(
        loaded
            .get(&"stripe".parse().unwrap())
            .unwrap()
            .is(b"sk_live_1")
    );
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_remedy() {
    let directory = written(0o640, "sk_live_1");
    let message = only_problem(directory.path());
    assert!(message.contains("chmod 600"), "{message}");
    assert!(!message.contains("sk_live_1"), "{message}");
}

#[test]
fn missing_empty_and_broken_files_are_refused() {
    let nowhere = tempfile::tempdir().unwrap();
    assert!(only_problem(nowhere.path()).contains("No such file"));
    assert!(only_problem(written(0o600, "\n").path()).contains("empty"));
    assert!(only_problem(written(0o600, "a\nb").path()).contains("control character"));
}

#[test]
fn several_lines_are_for_kinds_that_take_them() {
    let written = written(0o600, "-----BEGIN\n-----END\n");
    let lines = BTreeSet::from(["stripe".parse().unwrap()]);
    let (loaded, problems) = Secrets::load(
        &sources(STRIPE),
        base(written.path()),
        &lines,
        &Held::default(),
    );
    assert!(problems.is_empty() && loaded.values.len() == 1);
    fs::write(written.path().join("key"), "a\0b").unwrap();
    let (_, problems) = Secrets::load(
        &sources(STRIPE),
        base(written.path()),
        &lines,
        &Held::default(),
    );
    assert_eq!(problems.len(), 1);
}

#[test]
fn an_unset_variable_is_refused_when_loaded_and_not_when_inspected() {
    let sources = sources(r#"{"openai":{"env":"POSTERN_TEST_NO_SUCH_VARIABLE"}}"#);
    assert!(inspect(&sources, base(Path::new("."))).is_empty());
    let (_, problems) = Secrets::load(
        &sources,
        base(Path::new(".")),
        &BTreeSet::new(),
        &Held::default(),
    );
    assert!(
        problems[0]
            .message
            .contains("POSTERN_TEST_NO_SUCH_VARIABLE")
    );
}

#[test]
fn two_kinds_at_once_are_no_source() {
    let text = r#"{"a":{"env":"A","file":"b"}}"#;
    assert!(serde_json::from_str::<BTreeMap<SecretName, Source>>(text).is_err());
}

#[test]
fn a_generation_moves_when_the_value_does() {
    let written = written(0o600, "one");
    let load = || {
        Secrets::load(
            &sources(STRIPE),
            base(written.path()),
            &BTreeSet::new(),
            &Held::default(),
        )
    };
    let name: SecretName = "stripe".parse().unwrap();
    let first = load().0.for_generation(1, None);
    let same = load().0.for_generation(2, Some(&first));
    assert_eq!((first.since(&name), same.since(&name)), (Some(1), Some(1)));
    fs::write(written.path().join("key"), "two").unwrap();
    let moved = load().0.for_generation(3, Some(&same));
    assert_eq!(moved.since(&name), Some(3));
}
