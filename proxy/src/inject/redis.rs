//! A user and a password of a Redis server. Never stands in a request: the gate logs in with it.

use postern_contract::SecretName;
use serde::Deserialize;

use super::{Draft, Kind, Place, Unfit, Values};

/// `{ kind = "redis", user = "NAME", secret = "NAME", plaintext = false }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    secret: SecretName,
    user: String,
    #[serde(default)]
    plaintext: bool,
}

impl Redis {
    /// The password.
    pub(crate) fn secret(&self) -> &SecretName {
        &self.secret
    }

    /// Whom the gate logs in as.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Whether the server is spoken to in the clear.
    pub(crate) fn plaintext(&self) -> bool {
        self.plaintext
    }

    /// Whether its name can be sent: Redis has users without spaces.
    pub(super) fn makes_sense(&self) -> bool {
        let is_odd = |byte: u8| byte.is_ascii_whitespace() || byte == 0;
        !self.user.is_empty() && !self.user.bytes().any(is_odd)
    }
}

impl Kind for Redis {
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
        let redis = |user: &str| -> Redis {
            let text = format!(r#"{{"user":"{user}","secret":"cache"}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let keeper = redis("keeper");
        assert!(keeper.makes_sense() && !keeper.plaintext());
        let secrets = Secrets::of([("cache", "pencil")]);
        let add = |draft: &mut Draft<'_>| keeper.add(&Values::of(&secrets), draft);
        assert!(drafted(HeaderMap::new(), add).is_err());
        for odd in ["", "a b", "a\\nb"] {
            assert!(!redis(odd).makes_sense(), "{odd:?}");
        }
    }
}
