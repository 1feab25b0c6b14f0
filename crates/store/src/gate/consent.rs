//! Consents that end users are asked for, and which of them were given. Never holds a token, a code or anything else that is shown
//! to a provider.

use postern_contract::{ActionId, AgentName, RunId, ToolName, consent::Consented};
use sqlx::sqlite::SqliteRow;

use super::{Gate, GateError};
use crate::sqlite::{Columns, DatabaseError, failed};

/// How long after its end a consent can still be told of, in milliseconds: a week.
const TOLD_MS: i64 = 7 * 24 * 3600 * 1000;

/// Who is asked, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its id.
    pub action: ActionId,
    /// Who would act.
    pub agent: AgentName,
    /// The run that needs it.
    pub run: RunId,
    /// Whose consent it is.
    pub user: String,
    /// What the agent would use.
    pub tool: ToolName,
    /// Whether it was given.
    pub given: bool,
    /// The way to the provider that is under way, if one is.
    pub attempt: Option<Attempt>,
    /// Since when it is asked for, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// Until when.
    pub expires_ms: i64,
}

/// One way to the provider and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What tells it from every other.
    pub id: String,
    /// A digest of the secret of the browser that it was begun in.
    pub browser: Vec<u8>,
}

/// How many consents are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Together.
    pub all: i64,
    /// Of the same agent and end user.
    pub of_user: i64,
}

impl Consent {
    /// What became of it at this time.
    #[must_use]
    pub fn stands(&self, now_ms: i64) -> Consented {
        if self.given {
            Consented::Given
        } else if self.expires_ms <= now_ms {
            Consented::Expired
        } else {
            Consented::Pending
        }
    }
}

impl Gate {
    /// Keeps a consent that is asked for from now on, and forgets those that nobody asks about any more.
    ///
    /// # Errors
    /// The database failed, and nothing was kept.
    pub async fn ask_consent(&self, consent: &Consent) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM consents WHERE expires_ms < ?1")
            .bind(consent.created_ms.saturating_sub(TOLD_MS))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::query(
            "INSERT INTO consents (action_id, agent, run, end_user, tool, created_ms, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(consent.action.as_str())
        .bind(consent.agent.as_str())
        .bind(consent.run.as_str())
        .bind(&consent.user)
        .bind(consent.tool.as_str())
        .bind(consent.created_ms)
        .bind(consent.expires_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// One consent.
    ///
    /// # Errors
    /// The database failed.
    pub async fn consent(&self, action: &ActionId) -> Result<Option<Consent>, GateError> {
        let row = sqlx::query("SELECT * FROM consents WHERE action_id = ?1")
            .bind(action.as_str())
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The consent that a run asks for already, of the same user for the same tool.
    ///
    /// # Errors
    /// The database failed.
    pub async fn consent_like(
        &self,
        like: &Consent,
        now_ms: i64,
    ) -> Result<Option<Consent>, GateError> {
        let row = sqlx::query(
            "SELECT * FROM consents WHERE agent = ?1 AND end_user = ?2 AND tool = ?3 AND run = ?4 AND given = 0 \
             AND expires_ms > ?5 ORDER BY created_ms, action_id LIMIT 1",
        )
        .bind(like.agent.as_str())
        .bind(&like.user)
        .bind(like.tool.as_str())
        .bind(like.run.as_str())
        .bind(now_ms)
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// How many consents are asked for now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn consents_like(&self, like: &Consent, now_ms: i64) -> Result<Asked, GateError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS whole, COALESCE(SUM(agent = ?1 AND end_user = ?2), 0) AS of_user FROM consents \
             WHERE given = 0 AND expires_ms > ?3",
        )
        .bind(like.agent.as_str())
        .bind(&like.user)
        .bind(now_ms)
        .fetch_one(self.database.read())
        .await
        .map_err(failed)?;
        let columns = Columns(&row);
        Ok(Asked {
            all: columns.integer("whole")?,
            of_user: columns.integer("of_user")?,
        })
    }

    /// Begins a way to the provider, in the place of one that was under way. Tells whether the consent is still asked for.
    ///
    /// # Errors
    /// The database failed, and nothing changed.
    pub async fn begin_consent(
        &self,
        action: &ActionId,
        attempt: &Attempt,
        now_ms: i64,
    ) -> Result<bool, GateError> {
        let mut transaction = self.database.write().await?;
        let begun = sqlx::query(
            "UPDATE consents SET attempt = ?2, browser = ?3 WHERE action_id = ?1 AND given = 0 AND expires_ms > ?4",
        )
        .bind(action.as_str())
        .bind(&attempt.id)
        .bind(&attempt.browser)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(begun.rows_affected() == 1)
    }

    /// Ends the way that is under way, which can be done once. Tells whether it was this one.
    ///
    /// # Errors
    /// The database failed, and nothing changed.
    pub async fn use_attempt(
        &self,
        action: &ActionId,
        attempt: &Attempt,
        now_ms: i64,
    ) -> Result<bool, GateError> {
        let mut transaction = self.database.write().await?;
        let used = sqlx::query(
            "UPDATE consents SET attempt = NULL, browser = NULL WHERE action_id = ?1 AND attempt = ?2 AND browser = ?3 \
             AND given = 0 AND expires_ms > ?4",
        )
        .bind(action.as_str())
        .bind(&attempt.id)
        .bind(&attempt.browser)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(used.rows_affected() == 1)
    }

    /// A consent was given, and with it every one of the same user for the same agent and tool.
    ///
    /// # Errors
    /// The database failed, and nothing changed.
    pub async fn give_consent(&self, given: &Consent, now_ms: i64) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "UPDATE consents SET given = 1, attempt = NULL, browser = NULL WHERE given = 0 AND expires_ms > ?4 \
             AND agent = ?1 AND end_user = ?2 AND tool = ?3",
        )
        .bind(given.agent.as_str())
        .bind(&given.user)
        .bind(given.tool.as_str())
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Nobody needs a consent any more.
    ///
    /// # Errors
    /// The database failed, and nothing changed.
    pub async fn expire_consent(&self, action: &ActionId, now_ms: i64) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "UPDATE consents SET expires_ms = ?2, attempt = NULL, browser = NULL WHERE action_id = ?1 AND given = 0 \
             AND expires_ms > ?2",
        )
        .bind(action.as_str())
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<Consent, DatabaseError> {
    use sqlx::Row as _;
    let columns = Columns(row);
    let browser: Option<Vec<u8>> = row.try_get("browser").map_err(failed)?;
    let attempt = columns.maybe_text("attempt")?.zip(browser);
    Ok(Consent {
        action: columns.parsed("action_id")?,
        agent: columns.parsed("agent")?,
        run: columns.parsed("run")?,
        user: columns.text("end_user")?,
        tool: columns.parsed("tool")?,
        given: columns.integer("given")? != 0,
        attempt: attempt.map(|(id, browser)| Attempt { id, browser }),
        created_ms: columns.integer("created_ms")?,
        expires_ms: columns.integer("expires_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(run: &str, user: &str) -> Consent {
        Consent {
            action: ActionId::fresh(),
            agent: "desk".parse().unwrap(),
            run: run.parse().unwrap(),
            user: user.to_owned(),
            tool: "mail".parse().unwrap(),
            given: false,
            attempt: None,
            created_ms: 10,
            expires_ms: 100,
        }
    }

    fn attempt(id: &str) -> Attempt {
        Attempt {
            id: id.to_owned(),
            browser: vec![7],
        }
    }

    async fn stands(gate: &Gate, consent: &Consent, now_ms: i64) -> Consented {
        let kept = gate.consent(&consent.action).await.unwrap().unwrap();
        kept.stands(now_ms)
    }

    #[tokio::test]
    async fn a_way_to_the_provider_is_used_once_and_in_the_browser_that_began_it() {
        let home = tempfile::tempdir().unwrap();
        let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
        let ada = asked("run-1", "ada");
        gate.ask_consent(&ada).await.unwrap();
        assert_eq!(gate.consent(&ada.action).await.unwrap().unwrap(), ada);
        assert!(
            !gate
                .use_attempt(&ada.action, &attempt("a"), 20)
                .await
                .unwrap()
        );
        assert!(
            gate.begin_consent(&ada.action, &attempt("a"), 20)
                .await
                .unwrap()
        );
        assert!(
            gate.begin_consent(&ada.action, &attempt("b"), 20)
                .await
                .unwrap()
        );
        assert!(
            !gate
                .use_attempt(&ada.action, &attempt("a"), 20)
                .await
                .unwrap()
        );
        let elsewhere = Attempt {
            browser: vec![8],
            ..attempt("b")
        };
        assert!(!gate.use_attempt(&ada.action, &elsewhere, 20).await.unwrap());
        assert!(
            !gate
                .use_attempt(&ada.action, &attempt("b"), 100)
                .await
                .unwrap()
        );
        assert!(
            gate.use_attempt(&ada.action, &attempt("b"), 20)
                .await
                .unwrap()
        );
        assert!(
            !gate
                .use_attempt(&ada.action, &attempt("b"), 20)
                .await
                .unwrap()
        );
        assert!(
            !gate
                .begin_consent(&ada.action, &attempt("c"), 100)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_consent_is_its_users_alone_and_counts_for_all_their_runs() {
        let home = tempfile::tempdir().unwrap();
        let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
        let (one, two, eve) = (
            asked("run-1", "ada"),
            asked("run-2", "ada"),
            asked("run-3", "eve"),
        );
        for consent in [&one, &two, &eve] {
            gate.ask_consent(consent).await.unwrap();
        }
        let like = gate.consent_like(&one, 20).await.unwrap();
        assert_eq!(like.unwrap().action, one.action);
        let count = gate.consents_like(&one, 20).await.unwrap();
        assert_eq!((count.all, count.of_user), (3, 2));
        gate.give_consent(&one, 20).await.unwrap();
        assert_eq!(stands(&gate, &one, 20).await, Consented::Given);
        assert_eq!(stands(&gate, &two, 200).await, Consented::Given);
        assert_eq!(stands(&gate, &eve, 20).await, Consented::Pending);
        assert_eq!(stands(&gate, &eve, 100).await, Consented::Expired);
        gate.expire_consent(&eve.action, 30).await.unwrap();
        assert_eq!(stands(&gate, &eve, 30).await, Consented::Expired);
        assert!(gate.consent_like(&one, 20).await.unwrap().is_none());
    }
}
