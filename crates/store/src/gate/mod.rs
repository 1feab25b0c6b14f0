//! The gate's store: decisions, approvals, consents and sealed tokens; journal and budgets have their place. Never holds a secret that can be read, and never
//! decides anything.

mod approval;
mod consent;
mod decision;
mod granted;
mod token;

pub use approval::{Answered, Bounds, Pending};
pub use consent::{Asked as AskedConsents, Attempt, Consent};
pub use decision::{Decision, DecisionFilter, Ruling};

use std::path::Path;

use sqlx::migrate::Migrator;

use crate::{
    OpenError,
    sqlite::{Database, DatabaseError},
};

/// Why the gate's store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The database itself failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The gate's database. Clones share it.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(crate) database: Database,
}

impl Gate {
    /// Opens the database, making it (mode 0600) and bringing its tables up to date if need be.
    ///
    /// # Errors
    /// The file cannot be made or opened, is no database of ours, or is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        static TABLES: Migrator = sqlx::migrate!("migrations/gate");
        Ok(Self {
            database: Database::open(path, &TABLES).await?,
        })
    }

    /// Writes next to nothing, on the disk when this returns: whether anything could be kept now.
    ///
    /// # Errors
    /// Nothing could: the disk is full, gone, or read-only.
    pub async fn touch(&self) -> Result<(), GateError> {
        Ok(self.database.touch().await?)
    }

    /// Waits for what is under way and closes the file; for an orderly end of the daemon.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod tests;
