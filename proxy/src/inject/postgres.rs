//! A user and a password of a PostgreSQL server. Never stands in a request: the gate logs in with it.

use postern_contract::{Secret, SecretName};
use serde::Deserialize;

use super::{Kind, Outbound, Place, Unfit};

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
    fn secret(&self) -> &SecretName {
        &self.secret
    }

    fn place(&self) -> Place<'_> {
        Place::Login
    }

    fn add(&self, _: &Secret, _: &mut Outbound) -> Result<(), Unfit> {
        Err(Unfit)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn it_stands_in_no_request() {
        let text = r#"{"user":"app","secret":"db","database":"orders"}"#;
        let postgres: Postgres = serde_json::from_str(text).unwrap();
        assert!(postgres.makes_sense() && !postgres.plaintext());
        let mut outbound = Outbound::new(HeaderMap::new(), crate::body::empty());
        let added = postgres.add(&Secret::new(b"pencil".to_vec()), &mut outbound);
        assert!(added.is_err() && outbound.headers.is_empty());
        let unnamed: Postgres = serde_json::from_str(r#"{"user":"","secret":"db"}"#).unwrap();
        assert!(!unnamed.makes_sense());
    }
}
