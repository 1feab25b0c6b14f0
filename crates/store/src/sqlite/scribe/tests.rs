//! Changes that share a commit: each whole or not at all, and none at the cost of another.

use std::path::Path;

use sqlx::{Row as _, migrate::Migrator};

use super::*;

async fn open(path: &Path) -> (Database, Scribe) {
    static TABLES: Migrator = sqlx::migrate!("migrations/runs");
    let database = Database::open(path, &TABLES).await.unwrap();
    let scribe = Scribe::start(&database).await.unwrap();
    (database, scribe)
}

/// Two rows, of which the second is one too many where the first has the same name.
fn pair(first: &str, second: &str) -> Change {
    Change {
        statements: &[
            "INSERT INTO agents (name, version, source, installed_at_ms) VALUES (?1, 'v', 's', 1)",
            "INSERT INTO agents (name, version, source, installed_at_ms) VALUES (?2, 'v', 's', 1) RETURNING 7",
        ],
        values: [first, second].map(|name| name.to_owned().into()).into(),
    }
}

async fn names(database: &Database) -> Vec<String> {
    let rows = sqlx::query("SELECT name FROM agents ORDER BY name");
    let rows = rows.fetch_all(database.read()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_change_that_fails_halfway_leaves_nothing_and_harms_nobody_in_its_commit() {
    let home = tempfile::tempdir().unwrap();
    let (database, scribe) = open(&home.path().join("runs.db")).await;
    for kept in [Kept::Written, Kept::Synced] {
        let name = |end: &str| format!("{kept:?}-{end}");
        // While somebody else has the turn they gather, and then share one commit.
        let turn = database.write().await.unwrap();
        let made = [("a", "b"), ("c", "c"), ("d", "a"), ("e", "f")].map(|(first, second)| {
            let (scribe, text) = (scribe.clone(), pair(&name(first), &name(second)));
            tokio::spawn(async move { scribe.make(text, kept).await })
        });
        turn.commit().await.unwrap();
        let mut went_well = Vec::new();
        for one in made {
            went_well.push(one.await.unwrap().ok());
        }
        let done = Some(Some(7));
        assert_eq!(went_well, [done, None, None, done], "{kept:?}");
        let found = names(&database).await;
        let wanted = ["a", "b", "e", "f"].map(name);
        assert!(wanted.iter().all(|one| found.contains(one)), "{found:?}");
        assert_eq!(
            found
                .iter()
                .filter(|one| one.starts_with(&name("")))
                .count(),
            4
        );
        // Alone it fails as well, and the next one is none the worse.
        assert!(
            scribe
                .make(pair(&name("g"), &name("a")), kept)
                .await
                .is_err()
        );
        assert!(
            scribe
                .make(pair(&name("g"), &name("h")), kept)
                .await
                .is_ok()
        );
    }
    scribe.end().await;
    assert!(scribe.make(pair("y", "z"), Kept::Written).await.is_err());
}

#[tokio::test]
async fn what_many_write_at_once_is_all_there() {
    const WRITERS: usize = 32;
    const EACH: usize = 50;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("runs.db");
    let (database, scribe) = open(&path).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let scribe = scribe.clone();
            tokio::spawn(async move {
                for turn in 0..EACH {
                    let text = pair(&format!("{writer}-{turn}-a"), &format!("{writer}-{turn}-b"));
                    scribe.make(text, Kept::Written).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(names(&database).await.len(), WRITERS * EACH * 2);
    scribe.end().await;
    database.close().await;
    let (database, _scribe) = open(&path).await;
    assert_eq!(names(&database).await.len(), WRITERS * EACH * 2);
}

#[tokio::test]
async fn the_log_does_not_grow_without_end_also_where_somebody_reads() {
    /// Of one change, in bytes.
    const LARGE: usize = 4 << 20;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("runs.db");
    let (database, scribe) = open(&path).await;
    let log = home.path().join("runs.db-wal");
    let large = "x".repeat(LARGE);
    let mut written = 0;
    let mut begun_anew = 0;
    let mut before = 0;
    // A reader of an old state, and then none.
    let mut reader = Some(database.read().begin().await.unwrap());
    if let Some(reader) = &mut reader {
        sqlx::query("SELECT 1 FROM agents")
            .fetch_all(&mut **reader)
            .await
            .unwrap();
    }
    while begun_anew < 2 {
        let text = pair(&format!("{written}-{large}"), &format!("{written}-b"));
        scribe.make(text, Kept::Written).await.unwrap();
        written += 1;
        let now = std::fs::metadata(&log).unwrap().len();
        assert!(
            now < super::super::log::BYTES_MAX * 4,
            "{now} after {written}"
        );
        begun_anew += usize::from(now < before);
        before = now;
        if now > super::super::log::BYTES_MAX * 2 {
            drop(reader.take());
        }
    }
    assert_eq!(names(&database).await.len(), written * 2);
}

#[tokio::test]
async fn a_disk_that_takes_no_more_fails_those_it_fails_and_keeps_nothing_of_them() {
    let home = tempfile::tempdir().unwrap();
    let (database, scribe) = open(&home.path().join("runs.db")).await;
    // A database that may not grow is as full as a disk.
    let size = Change {
        statements: &["PRAGMA max_page_count = 40"],
        values: Vec::new(),
    };
    scribe.make(size, Kept::Synced).await.unwrap();
    let turn = database.write().await.unwrap();
    let large = "x".repeat(1 << 20);
    let made = [("a", "b"), (large.as_str(), "c"), ("d", "e")].map(|(first, second)| {
        let (scribe, text) = (scribe.clone(), pair(first, second));
        tokio::spawn(async move { scribe.make(text, Kept::Synced).await })
    });
    drop(turn);
    let mut kept = Vec::new();
    for (one, name) in made.into_iter().zip(["a", "c", "d"]) {
        if one.await.unwrap().is_ok() {
            kept.push(name.to_owned());
        }
    }
    assert!(!kept.contains(&"c".to_owned()), "a mebibyte in forty pages");
    let found: Vec<_> = names(&database)
        .await
        .into_iter()
        .filter(|name| name.len() == 1)
        .collect();
    for (first, second) in [("a", "b"), ("d", "e")] {
        let is_kept = kept.contains(&first.to_owned());
        assert_eq!(found.contains(&first.to_owned()), is_kept, "{found:?}");
        assert_eq!(found.contains(&second.to_owned()), is_kept, "{found:?}");
    }
}

#[tokio::test]
async fn what_is_to_be_on_the_disk_waits_for_it_and_nothing_else_does() {
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    let home = tempfile::tempdir().unwrap();
    let (_database, scribe) = open(&home.path().join("runs.db")).await;
    let asked = |statements| Change {
        statements,
        values: Vec::new(),
    };
    for (kept, waits) in [(Kept::Written, NORMAL), (Kept::Synced, FULL)] {
        let synchronous = scribe.make(asked(&["PRAGMA synchronous"]), kept).await;
        assert_eq!(synchronous.unwrap(), Some(waits), "{kept:?}");
        let keys = scribe.make(asked(&["PRAGMA foreign_keys"]), kept).await;
        assert_eq!(keys.unwrap(), Some(1), "{kept:?}");
    }
}
