//! `Authorization: Basic …` (RFC 7617). Never with a user whose name holds the colon that ends it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::AUTHORIZATION};
use postern_contract::SecretName;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Draft, Kind, Place, Unfit, Values};

/// `{ kind = "basic", user = "NAME", secret = "NAME" }`; without `user` the secret is the user, and the password empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    user: Option<User>,
    secret: SecretName,
}

/// A user's name: anything but what would end it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct User(String);

#[derive(Debug, thiserror::Error)]
#[error("a user's name has no colon and no control character")]
struct NoUser;

impl TryFrom<String> for User {
    type Error = NoUser;

    fn try_from(text: String) -> Result<Self, NoUser> {
        if text.chars().any(|c| c == ':' || c.is_control()) {
            Err(NoUser)
        } else {
            Ok(Self(text))
        }
    }
}

impl Kind for Basic {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Header(AUTHORIZATION.as_str())]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?.expose();
        let pair = Zeroizing::new(match &self.user {
            Some(User(user)) => [user.as_bytes(), b":", secret].concat(),
            None if secret.contains(&b':') => return Err(Unfit),
            None => [secret, b":"].concat(),
        });
        let encoded = Zeroizing::new(STANDARD.encode(&*pair));
        let text = Zeroizing::new(["Basic ", &encoded].concat());
        let mut value = HeaderValue::from_str(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        draft.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{inject::tests::drafted, secret::Secrets};

    fn sent(text: &str, value: &str) -> Option<String> {
        let basic: Basic = serde_json::from_str(text).unwrap();
        let secrets = Secrets::of([("a", value)]);
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic mine"));
        let fields = drafted(headers, |draft| basic.add(&Values::of(&secrets), draft)).ok()?;
        let all: Vec<_> = fields.get_all(AUTHORIZATION).iter().collect();
        assert!(all.len() == 1 && all[0].is_sensitive());
        Some(all[0].to_str().unwrap().to_owned())
    }

    #[test]
    fn user_and_password_are_one_pair_and_the_agents_own_is_gone() {
        // RFC 7617 section 2.
        let aladdin = sent(r#"{"user":"Aladdin","secret":"a"}"#, "open sesame");
        assert_eq!(aladdin.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let colon = sent(r#"{"user":"u","secret":"a"}"#, "p:q");
        assert_eq!(colon.unwrap(), "Basic dTpwOnE=");
    }

    #[test]
    fn a_key_may_be_the_user_with_no_password() {
        assert_eq!(sent(r#"{"secret":"a"}"#, "sk_1").unwrap(), "Basic c2tfMTo=");
        assert!(sent(r#"{"secret":"a"}"#, "sk:1").is_none());
    }

    #[test]
    fn a_user_with_a_colon_is_refused() {
        for user in ["a:b", "a\\n"] {
            let text = format!(r#"{{"user":"{user}","secret":"a"}}"#);
            assert!(serde_json::from_str::<Basic>(&text).is_err(), "{user}");
        }
    }
}
