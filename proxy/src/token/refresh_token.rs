//! An access token by a refresh token (RFC 6749 section 6) that somebody once got for the operator. Where the server gives a
//! new refresh token with each answer, that one counts from then on. Never uses an access token whose refresh token is not
//! kept yet.

use postern_contract::SecretName;
use serde::Deserialize;

use super::{
    NoToken,
    grant::{Ask, ClientAuth, Endpoint, Form, Grant, Material},
};

/// `{ kind = "refresh_token", token_url = "URL", client_id = "ID", client_secret = "NAME", refresh_token = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshToken {
    token_url: Endpoint,
    client_id: String,
    /// None for a public client.
    client_secret: Option<SecretName>,
    #[serde(default)]
    client_auth: ClientAuth,
    refresh_token: SecretName,
    #[serde(default)]
    scopes: Vec<String>,
}

impl Grant for RefreshToken {
    fn endpoint(&self) -> &Endpoint {
        &self.token_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.token_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        let client = self.client_secret.iter();
        [&self.refresh_token].into_iter().chain(client).collect()
    }

    fn rotates(&self) -> Option<&SecretName> {
        Some(&self.refresh_token)
    }

    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let written = material.value(&self.refresh_token)?;
        let refresh = material.successor.unwrap_or(written);
        let client = self.client_secret.as_ref();
        let client = client.map(|name| material.value(name)).transpose()?;
        Form::granting("refresh_token")
            .with("refresh_token", refresh.expose())
            .with_scopes(&self.scopes)
            .ask(Some((&self.client_id, client, self.client_auth)))
    }
}

#[cfg(test)]
mod tests {
    use postern_contract::Secret;

    use super::*;

    #[test]
    fn what_the_refresh_token_has_become_counts() {
        let text = r#"{"token_url":"https://a.b/t","client_id":"app","refresh_token":"r"}"#;
        let grant: RefreshToken = serde_json::from_str(text).unwrap();
        let (first, second) = (Secret::new(b"r1".to_vec()), Secret::new(b"r2".to_vec()));
        let sent = |successor| {
            let material = Material {
                secrets: &|_| Some(&first),
                successor,
                now_s: 0,
                unique: String::new(),
            };
            let ask = grant.ask(&material).ok().unwrap();
            std::str::from_utf8(&ask.body).unwrap().to_owned()
        };
        let form = |token| format!("grant_type=refresh_token&refresh_token={token}&client_id=app");
        assert_eq!(sent(None), form("r1"));
        assert_eq!(sent(Some(&second)), form("r2"));
    }
}
