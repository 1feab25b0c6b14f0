//! OAuth 2.0 client credentials (RFC 6749 section 4.4): the gate asks in its own name. Never asks for more than the config
//! says.

use postern_contract::SecretName;
use serde::Deserialize;

use super::{
    NoToken,
    grant::{Ask, ClientAuth, Endpoint, Form, Grant, Material},
};

/// `{ kind = "oauth2", token_url = "URL", client_id = "ID", client_secret = "NAME", scopes = ["a"] }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    token_url: Endpoint,
    client_id: String,
    client_secret: SecretName,
    #[serde(default)]
    client_auth: ClientAuth,
    #[serde(default)]
    scopes: Vec<String>,
    /// Whom the token is for, where the server wants to be told (Auth0 and others).
    audience: Option<String>,
    /// The same as RFC 8707 has it.
    #[serde(default)]
    resource: Vec<String>,
}

impl Grant for ClientCredentials {
    fn endpoint(&self) -> &Endpoint {
        &self.token_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.token_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.client_secret]
    }

    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let secret = material.value(&self.client_secret)?;
        let audience: Vec<_> = self.audience.iter().cloned().collect();
        Form::granting("client_credentials")
            .with_scopes(&self.scopes)
            .with_each("audience", &audience)
            .with_each("resource", &self.resource)
            .ask(Some((&self.client_id, Some(secret), self.client_auth)))
    }
}

#[cfg(test)]
mod tests {
    use postern_contract::Secret;

    use super::*;

    #[test]
    fn it_asks_for_what_the_config_says_and_no_more() {
        let text = r#"{"token_url":"https://a.b/t","client_id":"app","client_secret":"s","client_auth":"post",
            "scopes":["x","y"],"audience":"api","resource":["https://r/1"]}"#;
        let grant: ClientCredentials = serde_json::from_str(text).unwrap();
        let secret = Secret::new(b"hunter2".to_vec());
        let material = Material {
            secrets: &|name| (name.as_str() == "s").then_some(&secret),
            successor: None,
            now_s: 0,
            unique: String::new(),
        };
        let ask = grant.ask(&material).ok().unwrap();
        let wanted = "grant_type=client_credentials&scope=x%20y&audience=api&resource=https%3A%2F%2Fr%2F1\
                      &client_id=app&client_secret=hunter2";
        assert_eq!(std::str::from_utf8(&ask.body).unwrap(), wanted);
        assert!(!format!("{grant:?}").contains("hunter2"));
        assert!(
            serde_json::from_str::<ClientCredentials>(&text.replace("scopes", "scope")).is_err()
        );
    }
}
