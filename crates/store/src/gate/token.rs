//! What refresh tokens have become, sealed by the gate before it comes here. Never holds one that can be read, and never knows
//! whose it is.

use sqlx::Row as _;

use super::{Gate, GateError};
use crate::sqlite::failed;

/// How long what nobody asks for any more is kept, in milliseconds: 400 days.
const KEPT_MS: i64 = 400 * 24 * 3600 * 1000;

impl Gate {
    /// Keeps what a secret has become, in the place of what it was before. It is on the disk when this returns.
    ///
    /// # Errors
    /// The database failed; then what was kept before still is.
    pub async fn keep_token(
        &self,
        origin: &[u8],
        sealed: &[u8],
        at_ms: i64,
    ) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO tokens (origin, sealed, at_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (origin) DO UPDATE SET sealed = ?2, at_ms = ?3",
        )
        .bind(origin)
        .bind(sealed)
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query("DELETE FROM tokens WHERE at_ms < ?1")
            .bind(at_ms.saturating_sub(KEPT_MS))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Forgets what is kept of a secret that is worth nothing any more.
    ///
    /// # Errors
    /// The database failed; then it is still kept.
    pub async fn drop_token(&self, origin: &[u8]) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        for statement in [
            "DELETE FROM tokens WHERE origin = ?1",
            "DELETE FROM granted_consents WHERE origin = ?1",
        ] {
            sqlx::query(statement)
                .bind(origin)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// What is kept of a secret, if anything is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn kept_token(&self, origin: &[u8]) -> Result<Option<Vec<u8>>, GateError> {
        let row = sqlx::query("SELECT sealed FROM tokens WHERE origin = ?1")
            .bind(origin)
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        let sealed = row.map(|row| row.try_get("sealed"));
        Ok(sealed.transpose().map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_one_is_kept_and_what_is_very_old_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("gate.db");
        let gate = Gate::open(&path).await.unwrap();
        assert_eq!(gate.kept_token(b"a").await.unwrap(), None);
        for (origin, sealed, at_ms) in [(b"a", b"1", 0), (b"b", b"2", 1), (b"b", b"3", 2)] {
            gate.keep_token(origin, sealed, at_ms).await.unwrap();
        }
        gate.close().await;
        let gate = Gate::open(&path).await.unwrap();
        assert_eq!(gate.kept_token(b"a").await.unwrap(), Some(b"1".to_vec()));
        assert_eq!(gate.kept_token(b"b").await.unwrap(), Some(b"3".to_vec()));
        gate.drop_token(b"none").await.unwrap();
        gate.keep_token(b"d", b"5", 2).await.unwrap();
        gate.drop_token(b"d").await.unwrap();
        assert_eq!(gate.kept_token(b"d").await.unwrap(), None);
        gate.keep_token(b"c", b"4", KEPT_MS + 2).await.unwrap();
        assert_eq!(gate.kept_token(b"a").await.unwrap(), None);
        assert_eq!(gate.kept_token(b"b").await.unwrap(), Some(b"3".to_vec()));
    }
}
