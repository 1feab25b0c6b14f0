//! What end users have consented to, as long as a token of it is kept. Never holds the token, nor anything that leads to it but the
//! name that it is kept under.

use postern_contract::{
    ActionId, AgentName, ToolName,
    consent::{Granted, LISTED_MAX, Wanted},
};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Gate, GateError};
use crate::sqlite::{Columns, DatabaseError, failed};

impl Gate {
    /// Writes down what the token of this origin was given for. It is told of once that is kept.
    ///
    /// # Errors
    /// The database failed, and nothing was written.
    pub async fn keep_granted(&self, origin: &[u8], granted: &Granted) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO granted_consents (origin, id, agent, end_user, tool, since_ms, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(origin)
        .bind(granted.id.as_str())
        .bind(granted.agent.as_str())
        .bind(&granted.user)
        .bind(granted.tool.as_str())
        .bind(granted.since_ms)
        .bind(granted.expires_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// What is in force at this time, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn all_granted(
        &self,
        wanted: &Wanted,
        now_ms: i64,
    ) -> Result<Vec<Granted>, GateError> {
        let limit = wanted.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
        let rows = sqlx::query(
            "SELECT granted.* FROM granted_consents AS granted JOIN tokens USING (origin) \
             WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR end_user = ?2) AND (?3 IS NULL OR tool = ?3) \
             AND (expires_ms IS NULL OR expires_ms > ?4) AND (?5 IS NULL OR (since_ms, id) < \
             (SELECT since_ms, id FROM granted_consents WHERE id = ?5)) ORDER BY since_ms DESC, id DESC LIMIT ?6",
        )
        .bind(wanted.agent.as_ref().map(AgentName::as_str))
        .bind(&wanted.user)
        .bind(wanted.tool.as_ref().map(ToolName::as_str))
        .bind(now_ms)
        .bind(wanted.after.as_ref().map(ActionId::as_str))
        .bind(i64::from(limit))
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// One of them, with the origins of all tokens of the same user for the same agent and tool.
    ///
    /// # Errors
    /// The database failed.
    pub async fn granted_with_origins(
        &self,
        id: &ActionId,
    ) -> Result<Option<(Granted, Vec<Vec<u8>>)>, GateError> {
        let rows = sqlx::query(
            "SELECT alike.* FROM granted_consents AS one JOIN granted_consents AS alike USING (agent, end_user, tool) \
             JOIN tokens ON tokens.origin = alike.origin WHERE one.id = ?1 ORDER BY alike.id = ?1 DESC",
        )
        .bind(id.as_str())
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let origins = rows.iter().map(|row| row.try_get("origin"));
        let origins = origins.collect::<Result<_, _>>().map_err(failed)?;
        Ok(Some((read(first)?, origins)))
    }
}

fn read(row: &SqliteRow) -> Result<Granted, DatabaseError> {
    let columns = Columns(row);
    Ok(Granted {
        id: columns.parsed("id")?,
        agent: columns.parsed("agent")?,
        user: columns.text("end_user")?,
        tool: columns.parsed("tool")?,
        since_ms: columns.integer("since_ms")?,
        expires_ms: row.try_get("expires_ms").map_err(failed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(user: &str, since_ms: i64, expires_ms: Option<i64>) -> Granted {
        Granted {
            id: ActionId::fresh(),
            agent: "desk".parse().unwrap(),
            user: user.to_owned(),
            tool: "mail".parse().unwrap(),
            since_ms,
            expires_ms,
        }
    }

    #[tokio::test]
    async fn what_was_granted_is_told_as_long_as_its_token_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
        let (ada, before) = (granted("ada", 3, None), granted("ada", 1, None));
        let eve = granted("eve", 2, Some(10));
        for (origin, one) in [(b"a", &ada), (b"b", &before), (b"e", &eve)] {
            gate.keep_granted(origin, one).await.unwrap();
        }
        let all = async |wanted: Wanted, now| gate.all_granted(&wanted, now).await.unwrap();
        assert_eq!(all(Wanted::default(), 5).await, []);
        for origin in [b"a", b"b", b"e"] {
            gate.keep_token(origin, b"sealed", 5).await.unwrap();
        }
        let kept = [ada.clone(), eve.clone(), before.clone()];
        assert_eq!(all(Wanted::default(), 5).await, kept);
        assert_eq!(
            all(Wanted::default(), 10).await,
            [ada.clone(), before.clone()]
        );
        let after = Wanted {
            after: Some(ada.id.clone()),
            limit: Some(1),
            ..Wanted::default()
        };
        assert_eq!(all(after, 5).await, std::slice::from_ref(&eve));
        let of_eve = Wanted {
            user: Some("eve".to_owned()),
            ..Wanted::default()
        };
        assert_eq!(all(of_eve, 5).await, [eve]);
        let (found, origins) = gate
            .granted_with_origins(&before.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found, origins.len()), (before.clone(), 2));
        gate.drop_token(b"b").await.unwrap();
        assert_eq!(gate.granted_with_origins(&before.id).await.unwrap(), None);
        // What is given anew takes the place of what was given before.
        gate.keep_token(b"b", b"sealed", 5).await.unwrap();
        assert_eq!(gate.granted_with_origins(&before.id).await.unwrap(), None);
        assert_eq!(
            gate.granted_with_origins(&ActionId::fresh()).await.unwrap(),
            None
        );
    }
}
