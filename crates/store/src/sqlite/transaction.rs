//! A transaction that may write, and the turn to do so. Where it is dropped without a commit, SQLite undoes it a moment after the
//! turn is given away; whoever writes then waits for that inside SQLite.

use std::ops::{Deref, DerefMut};

use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::OwnedMutexGuard;

/// Dropped without [`Transaction::commit`], it changes nothing.
#[derive(Debug)]
pub(crate) struct Transaction {
    // Before the turn: fields are dropped in this order.
    inner: sqlx::Transaction<'static, Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl Transaction {
    pub(super) fn new(
        inner: sqlx::Transaction<'static, Sqlite>,
        turn: OwnedMutexGuard<()>,
    ) -> Self {
        Self { inner, _turn: turn }
    }

    /// Returns when all of it is on the disk.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }
}

impl Deref for Transaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}
