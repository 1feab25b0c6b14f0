//! `Authorization: Bearer TOKEN` with a token that the gate asks somebody for; the kinds of grants are in `token/`. Never asks
//! by itself: the token is there before anything is dialled.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::AUTHORIZATION};
use postern_contract::SecretName;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Draft, Kind, Place, Unfit, Unsettled, Values, field::FieldName};
use crate::{
    dial::{Roots, UnreadableRoots},
    token::{Grant, Wanted},
};

/// A grant as it is written, with the field that its token stands in: `header = "X-Token"` and `prefix = ""`, where it is not
/// `Authorization` and `Bearer `; or `user = "x-access-token"`, where a server takes the token as that user's password, as git's do.
#[derive(Debug, Clone)]
pub struct Minted<G> {
    grant: Arc<G>,
    header: FieldName,
    manner: Manner,
    identity: [u8; 32],
}

/// What a token stands in a field as.
#[derive(Debug, Clone)]
enum Manner {
    /// Behind this text.
    After(String),
    /// As the password of this user.
    PasswordOf(String),
}

impl Manner {
    /// What is written of it; both at once make no sense.
    fn written(prefix: Option<String>, user: Option<String>) -> Result<Self, &'static str> {
        match (prefix, user) {
            (Some(_), Some(_)) => {
                Err("a token stands behind a prefix or as the password of a user")
            }
            (None, Some(user)) if user.is_empty() || user.contains(':') => {
                Err("a user has a name, and no colon in it")
            }
            (None, Some(user)) => Ok(Self::PasswordOf(user)),
            (Some(prefix), None) => Ok(Self::After(prefix)),
            (None, None) => Ok(Self::After("Bearer ".to_owned())),
        }
    }

    fn text(&self, token: &[u8]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::After(prefix) => Zeroizing::new([prefix.as_bytes(), token].concat()),
            Self::PasswordOf(user) => {
                let pair = Zeroizing::new([user.as_bytes(), b":", token].concat());
                Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)).into_bytes())
            }
        }
    }
}

impl<'de, G: Grant + de::DeserializeOwned> Deserialize<'de> for Minted<G> {
    fn deserialize<D: Deserializer<'de>>(written: D) -> Result<Self, D::Error> {
        let mut table = Map::<String, Value>::deserialize(written)?;
        let header = table.remove("header");
        let mut text = |key: &str| {
            let written = table.remove(key).map(String::deserialize);
            written.transpose().map_err(de::Error::custom)
        };
        let manner = Manner::written(text("prefix")?, text("user")?).map_err(de::Error::custom)?;
        let header = match header {
            Some(name) => serde_json::from_value(name).map_err(de::Error::custom)?,
            None => FieldName(AUTHORIZATION),
        };
        let grant = G::deserialize(Value::Object(table)).map_err(de::Error::custom)?;
        if let Some(problem) = grant.problem() {
            return Err(de::Error::custom(problem));
        }
        Ok(Self {
            identity: identity(&grant),
            grant: Arc::new(grant),
            header,
            manner,
        })
    }
}

/// What tells a grant from every other: everything that is written of it, and its kind.
fn identity<G: Grant>(grant: &G) -> [u8; 32] {
    let text = format!("{} {grant:?}", std::any::type_name::<G>());
    Sha256::digest(text).into()
}

impl<G: Grant + Clone + 'static> Kind for Minted<G> {
    fn secrets(&self) -> Vec<&SecretName> {
        self.grant.secrets()
    }

    fn sent(&self) -> Vec<&SecretName> {
        Vec::new()
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Header(self.header.0.as_str())]
    }

    fn takes_lines(&self) -> bool {
        self.grant.takes_lines()
    }

    fn wanted(&self) -> Option<Wanted> {
        let grant = Arc::clone(&self.grant);
        Some(Wanted {
            grant,
            identity: self.identity,
        })
    }

    fn ca(&self) -> Option<&Path> {
        self.grant.endpoint().ca.as_deref()
    }

    fn settle(
        &mut self,
        read: &mut dyn FnMut(&Path) -> Result<Roots, UnreadableRoots>,
    ) -> Result<(), Unsettled> {
        let endpoint = Arc::make_mut(&mut self.grant).endpoint_mut();
        endpoint.roots = endpoint.ca.as_deref().map(read).transpose()?;
        self.identity = identity(&*self.grant);
        Ok(())
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let token = values.token().ok_or(Unfit)?;
        let text = self.manner.text(token.value().expose());
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        draft.headers.insert(&self.header.0, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        inject::tests::drafted,
        secret::Secrets,
        token::{ClientCredentials, Token},
    };

    const WRITTEN: &str = r#"{"token_url":"https://a.b/t","client_id":"app","client_secret":"s"}"#;

    fn minted(text: &str) -> Result<Minted<ClientCredentials>, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_stands_where_the_config_says_and_without_one_nothing_does() {
        let secrets = Secrets::of([("s", "hunter2")]);
        let token = Token::known("t1");
        let sent = |text: &str, token: Option<&Token>| {
            let minted = minted(text).unwrap();
            let values = Values::of(&secrets).with(token);
            drafted(HeaderMap::new(), |draft| minted.add(&values, draft))
        };
        assert_eq!(
            sent(WRITTEN, Some(&token)).unwrap()[AUTHORIZATION],
            "Bearer t1"
        );
        let named = WRITTEN.replace('}', r#","header":"X-Token","prefix":""}"#);
        assert_eq!(sent(&named, Some(&token)).unwrap()["x-token"], "t1");
        let git = WRITTEN.replace('}', r#","user":"x-access-token"}"#);
        // `x-access-token:t1`.
        let basic = "Basic eC1hY2Nlc3MtdG9rZW46dDE=";
        assert_eq!(sent(&git, Some(&token)).unwrap()[AUTHORIZATION], basic);
        assert!(sent(WRITTEN, None).is_err());
    }

    #[test]
    fn what_is_written_otherwise_is_another_grant() {
        let of = |text: &str| minted(text).unwrap().identity;
        assert_eq!(of(WRITTEN), of(WRITTEN));
        assert_ne!(of(WRITTEN), of(&WRITTEN.replace("app", "apq")));
        assert_ne!(of(WRITTEN), of(&WRITTEN.replace("b/t", "b/u")));
    }

    #[test]
    fn unknown_keys_and_fields_of_http_are_refused() {
        for (odd, wanted) in [
            (r#""heder":"X""#, "heder"),
            (r#""header":"Host""#, "no header field"),
            (r#""user":"a","prefix":"b""#, "behind a prefix"),
            (r#""user":"a:b""#, "no colon"),
        ] {
            let error = minted(&WRITTEN.replace('}', &format!(",{odd}}}"))).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
