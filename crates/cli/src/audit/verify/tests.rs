//! A log that was tampered with, in every way that has a name. Never a check that says yes to one of them.

use postern_proxy::audit::NOTHING_BEFORE;

use super::*;
use crate::audit::written::{WrittenLog, chained};

fn checked(log: &WrittenLog) -> Report {
    let heads = Heads::read(&log.heads(), Some(log.key())).unwrap();
    check(&Log::of(&log.path()).unwrap(), &heads).unwrap()
}

/// The first problem of a log that is not whole.
#[track_caller]
fn broken(log: &WrittenLog, line: u64, words: &str) {
    let report = checked(log);
    assert!(!report.ok);
    let problem = &report.problems[0];
    assert_eq!(problem.line, Some(line), "{problem:?}");
    assert!(problem.what.contains(words), "{problem:?}");
}

fn attested(lines: u64, heads: &[u64]) -> WrittenLog {
    let log = WrittenLog::of(lines);
    heads.iter().for_each(|line| log.attest(*line));
    log
}

#[test]
fn a_whole_log_is_whole_and_the_window_behind_its_last_head_is_named() {
    let report = checked(&attested(9, &[2, 5]));
    assert!(report.ok, "{report:?}");
    assert_eq!((report.lines, report.vouched), (9, Some(5)));
    let window = report.window.unwrap();
    assert_eq!((window.first, window.last), (6, 9));
    assert_eq!(window.since.as_deref(), Some("2026-01-01T00:00:00.000Z"));
    let report = checked(&attested(9, &[9]));
    assert!(report.ok && report.window.is_none());
}

#[test]
fn an_edited_line_is_named() {
    let log = attested(9, &[9]);
    log.change(|lines| lines[3] = lines[3].replace("/4", "/5"));
    broken(&log, 4, "not what line 5 was written behind");
    let log = attested(9, &[9]);
    log.change(|lines| lines[8] = lines[8].replace("/9", "/5"));
    broken(&log, 9, "when its head was sent");
}

#[test]
fn a_line_that_was_cut_out_or_put_in_is_named() {
    let log = attested(9, &[9]);
    log.change(|lines| drop(lines.drain(3..5)));
    broken(&log, 4, "lines 4 to 5 are missing");
    let log = attested(9, &[9]);
    log.change(|lines| lines.insert(3, lines[2].clone()));
    broken(&log, 4, "line 3 stands where 4 should");
    let log = attested(9, &[9]);
    log.change(|lines| lines.insert(3, "not a line".to_owned()));
    broken(&log, 4, "no line of the gate's");
}

#[test]
fn lines_in_another_order_are_named() {
    let log = attested(9, &[9]);
    log.change(|lines| lines.swap(3, 4));
    broken(&log, 4, "missing here");
}

#[test]
fn what_was_cut_off_at_the_end_is_named_as_far_as_a_head_was_sent() {
    let log = attested(9, &[4, 7]);
    log.change(|lines| lines.truncate(5));
    broken(&log, 6, "lines 6 to 7 were there at time 7");
    // Behind the last head nobody can tell, and the check says so.
    let log = attested(9, &[4]);
    log.change(|lines| lines.truncate(5));
    let report = checked(&log);
    assert!(report.ok);
    assert_eq!(
        report.window.map(|window| (window.first, window.last)),
        Some((5, 5))
    );
    // Nothing is left at all.
    let log = attested(9, &[4]);
    log.change(Vec::clear);
    broken(&log, 1, "lines 1 to 4 were there");
}

#[test]
fn a_log_that_was_made_again_is_not_the_one_whose_heads_were_sent() {
    let log = attested(9, &[4, 9]);
    let again = chained((1, NOTHING_BEFORE), 9, "again");
    log.write(&log.path(), &again);
    broken(&log, 4, "made again");
    // Heads that come with it do not help without the key.
    let other = attested(9, &[4, 9]);
    let stolen = std::fs::read_to_string(other.heads()).unwrap();
    std::fs::write(log.heads(), stolen).unwrap();
    let heads = Heads::read(&log.heads(), Some(log.key())).unwrap();
    assert!(heads.is_empty() && heads.strangers == 2);
    // Nor does the gate itself starting a new one where the old one was.
    let log = attested(9, &[4]);
    log.write(&log.path(), &again);
    log.attest(4);
    let report = checked(&log);
    assert!(report.problems[0].what.contains("two heads"), "{report:?}");
}

#[test]
fn a_forged_head_is_named() {
    let log = attested(9, &[9]);
    let mut head = log.key().head("later".to_owned(), (7, "ab"));
    head.mac = "00".repeat(32);
    log.send(&head);
    let report = checked(&log);
    assert!(report.problems[0].what.contains("did not"), "{report:?}");
}

#[test]
fn a_line_cut_in_its_middle_is_named_and_one_that_the_gate_went_on_behind_is_noted() {
    let log = attested(9, &[5]);
    let text = std::fs::read_to_string(log.path()).unwrap();
    std::fs::write(log.path(), &text[..text.len() - 20]).unwrap();
    broken(&log, 9, "cut off");
    let mut lines = chained((1, NOTHING_BEFORE), 3, "");
    lines[2].truncate(30);
    let before = postern_proxy::audit::line_hash(lines[2].as_bytes());
    lines.extend(chained((4, &before), 2, ""));
    log.write(&log.path(), &lines);
    std::fs::write(log.heads(), "").unwrap();
    log.attest(5);
    let report = checked(&log);
    assert!(report.ok, "{report:?}");
    assert!(report.notes[0].contains("line 3"), "{report:?}");
}

#[test]
fn a_log_on_several_files_is_one_and_a_missing_file_needs_a_line_that_says_so() {
    let log = attested(9, &[9]);
    let first = log.rotate(1, 3);
    let second = log.rotate(4, 6);
    let report = checked(&log);
    assert!(report.ok, "{report:?}");
    assert_eq!((report.lines, report.first), (9, Some(1)));
    std::fs::remove_file(&first).unwrap();
    broken(&log, 1, "no line says");
    std::fs::remove_file(&second).unwrap();
    broken(&log, 1, "lines 1 to 6 are missing");
    let mut lines = log.lines();
    let before = postern_proxy::audit::line_hash(lines[2].as_bytes());
    lines.push(format!(
        r#"{{"seq":10,"before":"{before}","kind":"deleted","time":"t","first":4,"last":6}}"#
    ));
    log.write(&log.path(), &lines);
    assert!(checked(&log).ok);
}

#[test]
fn a_missing_file_in_the_middle_is_a_gap() {
    let log = attested(9, &[9]);
    log.rotate(1, 3);
    std::fs::remove_file(log.rotate(4, 6)).unwrap();
    broken(&log, 4, "lines 4 to 6 are missing");
}

#[test]
fn calls_that_were_begun_and_not_ended_are_named() {
    let log = WrittenLog::of(0);
    let begun = |seq: u64, before: &str| {
        format!(r#"{{"seq":{seq},"before":"{before}","kind":"begun","request":"req_{seq}"}}"#)
    };
    let mut lines = vec![begun(1, NOTHING_BEFORE)];
    lines.push(begun(
        2,
        &postern_proxy::audit::line_hash(lines[0].as_bytes()),
    ));
    let before = postern_proxy::audit::line_hash(lines[1].as_bytes());
    lines.push(format!(
        r#"{{"seq":3,"before":"{before}","kind":"call","request":"req_1"}}"#
    ));
    log.write(&log.path(), &lines);
    log.attest(3);
    assert_eq!(checked(&log).begun_not_ended, ["req_2"]);
}
