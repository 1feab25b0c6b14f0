//! One token for another (RFC 8693): what the gate holds, such as a workload's own token in a file, for what a tool takes.
//! Never exchanges what an agent sends.

use postern_contract::{Secret, SecretName};
use serde::Deserialize;

use super::{
    NoToken,
    grant::{Ask, ClientAuth, Endpoint, Form, Grant, Material},
};

/// `{ kind = "token_exchange", token_url = "URL", subject = "NAME", audience = ["A"] }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExchange {
    token_url: Endpoint,
    client_id: Option<String>,
    client_secret: Option<SecretName>,
    #[serde(default)]
    client_auth: ClientAuth,
    /// The secret that is exchanged.
    subject: SecretName,
    #[serde(default = "access_token")]
    subject_type: String,
    /// Who acts for the subject, where that is somebody else.
    actor: Option<SecretName>,
    #[serde(default = "access_token")]
    actor_type: String,
    requested_type: Option<String>,
    #[serde(default)]
    audience: Vec<String>,
    #[serde(default)]
    resource: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

fn access_token() -> String {
    "access_token".to_owned()
}

/// `jwt` stands for the standard's own name; what has a colon is a name already.
fn kind(text: &str) -> String {
    if text.contains(':') {
        return text.to_owned();
    }
    format!("urn:ietf:params:oauth:token-type:{text}")
}

impl Grant for TokenExchange {
    fn endpoint(&self) -> &Endpoint {
        &self.token_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.token_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        let others = self.actor.iter().chain(&self.client_secret);
        [&self.subject].into_iter().chain(others).collect()
    }

    fn problem(&self) -> Option<&'static str> {
        let lonely = self.client_secret.is_some() && self.client_id.is_none();
        lonely.then_some("a client_secret needs a client_id")
    }

    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let value = |name: &SecretName| -> Result<&Secret, NoToken> { material.value(name) };
        let mut form = Form::granting("urn:ietf:params:oauth:grant-type:token-exchange")
            .with("subject_token", value(&self.subject)?.expose())
            .with("subject_token_type", kind(&self.subject_type).as_bytes());
        if let Some(actor) = &self.actor {
            form = form
                .with("actor_token", value(actor)?.expose())
                .with("actor_token_type", kind(&self.actor_type).as_bytes());
        }
        if let Some(wanted) = &self.requested_type {
            form = form.with("requested_token_type", kind(wanted).as_bytes());
        }
        let secret = self.client_secret.as_ref().map(value).transpose()?;
        let client = self.client_id.as_deref();
        form.with_each("audience", &self.audience)
            .with_each("resource", &self.resource)
            .with_scopes(&self.scopes)
            .ask(client.map(|id| (id, secret, self.client_auth)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tokens_go_with_their_kinds() {
        let text = r#"{"token_url":"https://a.b/t","subject":"s","subject_type":"jwt","actor":"a",
            "audience":["x","y"]}"#;
        let grant: TokenExchange = serde_json::from_str(text).unwrap();
        let secret = Secret::new(b"v".to_vec());
        let material = Material {
            secrets: &|_| Some(&secret),
            successor: None,
            now_s: 0,
            unique: String::new(),
        };
        let ask = grant.ask(&material).ok().unwrap();
        let wanted = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=v\
                      &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&actor_token=v\
                      &actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&audience=x&audience=y";
        assert_eq!(std::str::from_utf8(&ask.body).unwrap(), wanted);
        let lonely = text.replace("\"actor\"", "\"client_secret\"");
        let lonely: TokenExchange = serde_json::from_str(&lonely).unwrap();
        assert!(lonely.problem().is_some());
    }
}
