//! The log as a whole: trouble, counts, heads, rotation and age. Never a line that goes missing unsaid.

use std::{fs, time::Duration};

use postern_contract::{Code, SandboxId};

use super::{chain::NOTHING_BEFORE, *};

fn settings() -> Settings {
    Settings {
        heads: None,
        rotate: 1 << 30,
        keep: None,
        delete_unexported: false,
        per_sandbox: u64::MAX,
    }
}

fn values(directory: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(directory.join(LOG_FILE)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn heads(directory: &Path) -> Vec<Head> {
    let text = fs::read_to_string(directory.join(HEADS_FILE)).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_full_disk_is_trouble_until_a_write_passes() {
    let full = File::options().append(true).open("/dev/full").unwrap();
    let audit = Audit::over_file(full, Clock::manual(0));
    assert!(audit.ready().is_ok());
    assert!(audit.append(&Line::default()).is_err());
    assert!(audit.ready().is_err());
    assert!(audit.trouble().unwrap().contains("No space left"));

    let directory = tempfile::tempdir().unwrap();
    audit.lock().chain = Chain::open(directory.path(), 1 << 30).unwrap();
    assert!(audit.ready().is_ok());
    assert!(audit.trouble().is_none());
}

#[tokio::test]
async fn what_was_counted_while_the_log_could_not_be_written_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, keeper) = Audit::open(directory.path(), settings(), Clock::manual(0)).unwrap();
    let line = Line {
        sandbox: Some(SandboxId::fresh()),
        reason: Some(Code::PolicyDenied),
        ..Line::default()
    };
    let refuse = |times: usize| {
        for _ in 0..times {
            audit.append_or_count(&line).unwrap();
        }
    };
    refuse(10);
    let full = File::options().append(true).open("/dev/full").unwrap();
    let good = std::mem::replace(&mut audit.lock().chain, Chain::fresh(full));
    audit.write_counts(true);
    audit.lock().chain = good;
    refuse(3);
    keeper.finish().await;
    let values = values(directory.path());
    let counted = values.iter().filter(|line| line["kind"] == "repeated");
    let times: Vec<_> = counted.map(|line| line["times"].clone()).collect();
    assert_eq!(times, [serde_json::Value::from(5)]);
}

#[tokio::test]
async fn a_failed_sync_is_not_forgiven() {
    let (pipe, _writer) = io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    let audit = Audit::over_file(pipe, Clock::manual(0));
    audit.lock().unsynced = true;
    assert!(!audit.sync().await);
    assert!(audit.ready().is_err());
}

#[tokio::test]
async fn ten_thousand_refusals_are_nine_lines_and_the_count_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, keeper) = Audit::open(directory.path(), settings(), Clock::manual(0)).unwrap();
    let line = Line {
        sandbox: Some(SandboxId::fresh()),
        reason: Some(Code::PolicyDenied),
        path: Some("/a".to_owned()),
        ..Line::default()
    };
    let kept: Vec<_> = (0..10_000)
        .map(|_| audit.append_or_count(&line).unwrap())
        .collect();
    assert_eq!((kept[7], kept[8]), (Kept::Written, Kept::Counted));
    keeper.finish().await;
    let values = values(directory.path());
    assert_eq!((values.len(), &values[1]["kind"]), (10, &"call".into()));
    assert_eq!(
        (&values[9]["kind"], &values[9]["times"]),
        (&"repeated".into(), &9_992.into())
    );
    assert_eq!(values[9]["path"], "/a");
}

#[tokio::test]
async fn every_head_names_the_last_line_and_is_sent_where_something_changed() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, keeper) = Audit::open(directory.path(), settings(), Clock::manual(0)).unwrap();
    keeper.finish().await;
    keeper.finish().await;
    audit.append(&Line::default()).unwrap();
    keeper.finish().await;
    let key = HeadKey::read(&directory.path().join(KEY_FILE)).unwrap();
    let heads = heads(directory.path());
    assert_eq!((heads.len(), heads[0].seq, heads[1].seq), (2, 1, 2));
    let text = fs::read_to_string(directory.path().join(LOG_FILE)).unwrap();
    for (head, line) in heads.iter().zip(text.lines()) {
        assert!(key.made(head));
        assert_eq!(head.hash, line_hash(line.as_bytes()));
    }
    assert_eq!(values(directory.path())[0]["before"], NOTHING_BEFORE);
}

#[tokio::test]
async fn heads_that_cannot_be_kept_are_trouble_and_no_reason_to_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let heads = Some("/dev/full".into());
    let refused = Audit::open(
        directory.path(),
        Settings {
            heads,
            ..settings()
        },
        Clock::manual(0),
    );
    assert!(refused.is_err(), "a device is no place for heads");
    let (audit, keeper) = Audit::open(directory.path(), settings(), Clock::manual(0)).unwrap();
    audit.heads_trouble(Some("gone".to_owned()));
    assert!(audit.trouble().unwrap().contains("gone"));
    assert!(audit.ready().is_ok());
    keeper.finish().await;
    assert!(audit.trouble().is_none());
}

#[test]
fn what_is_old_goes_after_export_and_a_line_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(0);
    let small = Settings {
        rotate: 1024,
        ..settings()
    };
    let (audit, keeper) = Audit::open(directory.path(), small, clock.clone()).unwrap();
    for _ in 0..20 {
        audit.append(&Line::default()).unwrap();
    }
    let before = pieces(directory.path()).unwrap();
    assert!(before.len() > 3);
    for piece in &before {
        let file = File::options().write(true).open(&piece.path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    clock.advance(Duration::from_secs(3600));
    let keep = Duration::from_secs(60);
    keeper.remove_overdue(keep).unwrap();
    assert_eq!(pieces(directory.path()).unwrap().len(), before.len());
    let mark = serde_json::to_string(&Mark {
        seq: before[1].last,
        hash: String::new(),
    });
    fs::write(directory.path().join(MARK_FILE), mark.unwrap()).unwrap();
    keeper.remove_overdue(keep).unwrap();
    let left = pieces(directory.path()).unwrap();
    assert_eq!(left[0], before[2]);
    let deleted: Vec<_> = left.iter().map(|piece| piece.path.clone()).collect();
    let texts = deleted.iter().map(|path| fs::read_to_string(path).unwrap());
    let mut text: String = texts.collect();
    text.push_str(&fs::read_to_string(directory.path().join(LOG_FILE)).unwrap());
    assert_eq!(text.matches(r#""kind":"deleted""#).count(), 2);
}
