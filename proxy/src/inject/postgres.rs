//! A user and a password of a PostgreSQL server. Never stands in a request: the gate logs in with it.

use postern_contract::SecretName;
use serde::Deserialize;

use super::{Draft, Kind, Place, Unfit, Values};

/// `{ kind = "postgres", user = "NAME", secret = "NAME", database = "NAME", plaintext = false }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    secret: SecretName,
    user: String,
    database: Option<String>,
    #[serde(default)]
    plaintext: bool,
}

impl Postgres {
    /// The password.
    pub(crate) fn secret(&self) -> &SecretName {
        &self.secret
    }

    /// Whom the gate logs in as.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The one database that sessions are for; without one, the one that a program asks for.
    pub(crate) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Whether the server is spoken to in the clear.
    pub(crate) fn plaintext(&self) -> bool {
        self.plaintext
    }

    /// Whether its names can be sent.
    pub(crate) fn makes_sense(&self) -> bool {
        let names = [Some(self.user.as_str()), self.database()];
        let is_one = |name: &str| !name.is_empty() && !name.contains('\0');
        names.into_iter().flatten().all(is_one)
    }
}

impl Kind for Postgres {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Login]
    }

    fn add(&self, _: &Values<'_>, _: &mut Draft<'_>) -> Result<(), Unfit> {
        Err(Unfit)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{inject::tests::drafted, secret::Secrets};

    #[test]
    fn it_stands_in_no_request() {
        let text = r#"{"user":"app","secret":"db","database":"orders"}"#;
        let postgres: Postgres = serde_json::from_str(text).unwrap();
        assert!(postgres.makes_sense() && !postgres.plaintext());
        let secrets = Secrets::of([("db", "pencil")]);
        let add = |draft: &mut Draft<'_>| postgres.add(&Values::of(&secrets), draft);
        assert!(drafted(HeaderMap::new(), add).is_err());
        let unnamed: Postgres = serde_json::from_str(r#"{"user":"","secret":"db"}"#).unwrap();
        assert!(!unnamed.makes_sense());
    }
}
