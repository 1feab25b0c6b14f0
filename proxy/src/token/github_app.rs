//! An installation token of a GitHub App: claims signed with the app's key, exchanged for a token of an hour, perhaps for less
//! than the app may do. Never uses the app's own claims towards a tool.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use postern_contract::SecretName;
use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::{
    NoToken,
    answer::{self, Minted},
    grant::{Ask, Endpoint, Grant, Material, field, sensitive},
    jwt::Signer,
};

/// How long the claims may be used, in seconds; GitHub takes at most ten minutes.
const CLAIMS_S: i64 = 540;

/// How far the clocks may differ, in seconds, as GitHub recommends.
const SKEW_S: i64 = 60;

/// `{ kind = "github_app", api_url = "https://api.github.com", app = "ID", installation = NUMBER, secret = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubApp {
    /// The app's client id or number.
    app: String,
    installation: u64,
    /// The app's private key in PEM.
    secret: SecretName,
    /// Where the API is: `https://api.github.com`, or a GitHub Enterprise Server's `https://HOST/api/v3`.
    api_url: Endpoint,
    /// Names of the only repositories that the token is for.
    #[serde(default)]
    repositories: Vec<String>,
    /// The only things that the token is for, such as `contents = "read"`.
    #[serde(default)]
    permissions: BTreeMap<String, String>,
}

impl Grant for GithubApp {
    fn endpoint(&self) -> &Endpoint {
        &self.api_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.api_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn takes_lines(&self) -> bool {
        true
    }

    fn problem(&self) -> Option<&'static str> {
        let has_query = self.api_url.url.query().is_some();
        has_query.then_some("an api_url has no query")
    }

    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let signer = Signer::read(material.value(&self.secret)?.expose())?;
        let claims = json!({
            "iss": self.app,
            "iat": material.now_s - SKEW_S,
            "exp": material.now_s + CLAIMS_S,
        });
        let claims = Zeroizing::new(format!("Bearer {}", signer.sign(None, &claims)?));
        let mut fields = HeaderMap::new();
        fields.insert(header::AUTHORIZATION, sensitive(claims.as_bytes())?);
        let accept = HeaderValue::from_static("application/vnd.github+json");
        fields.insert(header::ACCEPT, accept);
        fields.extend([field("x-github-api-version", "2022-11-28")]);
        let kind = HeaderValue::from_static("application/json");
        fields.insert(header::CONTENT_TYPE, kind);
        let mut wanted = json!({});
        if !self.repositories.is_empty() {
            wanted["repositories"] = json!(self.repositories);
        }
        if !self.permissions.is_empty() {
            wanted["permissions"] = json!(self.permissions);
        }
        Ok(Ask {
            beneath: format!("/app/installations/{}/access_tokens", self.installation),
            fields,
            body: Zeroizing::new(wanted.to_string().into_bytes()),
        })
    }

    fn read(&self, body: &[u8], now_s: i64) -> Result<Minted, NoToken> {
        #[derive(Deserialize)]
        struct Written {
            token: answer::Text,
            expires_at: String,
        }
        let written: Written = serde_json::from_slice(body).map_err(|_| NoToken::NotJson)?;
        let end = OffsetDateTime::parse(&written.expires_at, &Rfc3339);
        let end = end.map_err(|_| NoToken::NotJson)?.unix_timestamp();
        Ok(Minted {
            token: answer::fit(written.token)?,
            life: answer::life(end.saturating_sub(now_s))?,
            successor: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grant() -> GithubApp {
        let text = r#"{"api_url":"https://api.github.com","app":"Iv1.a","installation":42,"secret":"k","repositories":["r"],
            "permissions":{"contents":"read"}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_answer_ends_when_it_says() {
        let body = br#"{"token":"ghs_a","expires_at":"1970-01-01T01:00:00Z","permissions":{}}"#;
        let minted = grant().read(body, 60).ok().unwrap();
        assert!(minted.token.is(b"ghs_a"));
        assert_eq!(minted.life, Duration::from_secs(3540));
        assert!(matches!(grant().read(body, 3600), Err(NoToken::Expired)));
        assert!(matches!(grant().read(b"{}", 0), Err(NoToken::NotJson)));
    }
}
