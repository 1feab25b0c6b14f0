//! The chain over restarts, crashes and rotations. Never a line that is not linked.

use std::fs;

use super::*;

const LARGE: u64 = 1 << 30;

#[derive(Serialize)]
struct Note {
    text: &'static str,
}

/// Follows the chain through all files of a directory and gives the number of its lines.
fn verified(directory: &Path) -> u64 {
    let mut files: Vec<_> = pieces(directory).unwrap();
    files.push(Piece {
        first: 0,
        last: 0,
        path: directory.join(LOG_FILE),
    });
    let mut before = NOTHING_BEFORE.to_owned();
    let mut seq = 0;
    for file in files {
        for line in fs::read_to_string(&file.path).unwrap().lines() {
            seq += 1;
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(line) {
                assert_eq!(value["before"], before.as_str());
                assert_eq!(value["seq"], seq);
            }
            before = line_hash(line.as_bytes());
        }
        assert!(file.last == 0 || file.last == seq, "{file:?}");
    }
    seq
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for _start in 0..3 {
        let mut chain = Chain::open(directory.path(), LARGE).unwrap();
        chain.append(&Note { text: "one" }).unwrap();
        chain.append(&Note { text: "two" }).unwrap();
    }
    assert_eq!(verified(directory.path()), 6);
}

#[test]
fn a_line_that_a_crash_cut_stays_visible_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(directory.path(), LARGE).unwrap();
    chain.append(&Note { text: "whole" }).unwrap();
    drop(chain);
    OpenOptions::new()
        .append(true)
        .open(directory.path().join(LOG_FILE))
        .unwrap()
        .write_all(b"{\"seq\":2")
        .unwrap();
    Chain::open(directory.path(), LARGE)
        .unwrap()
        .append(&Note { text: "after" })
        .unwrap();
    assert_eq!(verified(directory.path()), 3);
}

#[test]
fn two_gates_cannot_write_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Chain::open(directory.path(), LARGE).unwrap();
    let error = Chain::open(directory.path(), LARGE).err().unwrap();
    assert!(error.to_string().contains("another gate"), "{error}");
}

#[test]
fn a_planted_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/null", directory.path().join(LOG_FILE)).unwrap();
    assert!(Chain::open(directory.path(), LARGE).is_err());
}

#[test]
fn the_chain_goes_on_from_file_to_file_and_over_a_restart_at_any_of_them() {
    let directory = tempfile::tempdir().unwrap();
    for _start in 0..5 {
        let mut chain = Chain::open(directory.path(), 400).unwrap();
        for _line in 0..7 {
            chain.append(&Note { text: "some words" }).unwrap();
        }
        assert!(chain.has_retired());
        assert!(chain.unsynced().unwrap().len() > 1);
        assert!(!chain.has_retired());
    }
    assert_eq!(verified(directory.path()), 35);
    assert!(pieces(directory.path()).unwrap().len() > 5);
    // A crash between the renaming and the next file's first line.
    let last = pieces(directory.path()).unwrap().pop().unwrap();
    fs::remove_file(directory.path().join(LOG_FILE)).unwrap();
    let chain = Chain::open(directory.path(), 400).unwrap();
    assert_eq!(chain.head().0, last.last);
}

#[test]
fn a_file_that_cannot_be_put_aside_is_written_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(directory.path(), 100).unwrap();
    chain.append(&Note { text: "some words" }).unwrap();
    // Its next name is taken by a directory.
    fs::create_dir(Piece::new(directory.path(), (1, 1)).path).unwrap();
    chain.append(&Note { text: "more" }).unwrap();
    assert_eq!(chain.head().0, 2);
    assert!(!chain.has_retired());
}
