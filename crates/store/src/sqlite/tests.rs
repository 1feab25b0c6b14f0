//! The file itself: private, durable, refused when it is something else.

use std::{fs, os::unix::fs::PermissionsExt};

use sqlx::Row;

use super::*;
use crate::{gate::Gate, runs::Runs};

#[tokio::test]
async fn the_files_belong_to_their_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("runs.db");
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let runs = Runs::open(&path).await.unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(home.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 2, "the write-ahead log is there too");
    runs.close().await;
}

#[tokio::test]
async fn writes_are_durable_and_keys_are_held() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let mut transaction = gate.database.write().await.unwrap();
    for (pragma, wanted) in [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "1"),
    ] {
        let row = sqlx::query(sqlx::AssertSqlSafe(pragma))
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        let value = row.try_get_unchecked::<String, _>(0).unwrap();
        assert_eq!(value, wanted, "{pragma}");
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("runs.db");
    let text =
        "this is a letter to my aunt, long enough to be read as a header of a database file\n";
    fs::write(&path, text.repeat(20)).unwrap();
    let error = Runs::open(&path).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text.repeat(20));
}

#[tokio::test]
async fn the_other_daemons_database_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("some.db");
    Gate::open(&path).await.unwrap().close().await;
    let error = Runs::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Tables { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let home = tempfile::tempdir().unwrap();
    let error = Runs::open(&home.path().join("no/runs.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error}");
    assert!(error.to_string().contains("no/runs.db"), "{error}");
}
