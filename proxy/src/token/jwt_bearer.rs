//! An access token for claims that the gate signs (RFC 7523 section 2.1), with a private key in PEM or with the JSON file of a
//! Google service account. Never lets a claim live longer than it takes to ask.

use postern_contract::SecretName;
use serde::Deserialize;
use serde_json::json;

use super::{
    NoToken,
    answer::Text,
    grant::{Ask, Endpoint, Form, Grant, Material},
    jwt::Signer,
};

/// How long signed claims may be used, in seconds.
const CLAIMS_S: i64 = 600;

/// `{ kind = "jwt_bearer", token_url = "URL", secret = "NAME", scopes = ["URL"] }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtBearer {
    token_url: Endpoint,
    /// A private key in PEM, or the JSON file of a Google service account.
    secret: SecretName,
    /// Who signs; a service account says so itself.
    issuer: Option<String>,
    /// Whom the token is for; the issuer where nothing is said, and nobody for a service account.
    subject: Option<String>,
    /// Whom the claims are for; the endpoint's URL where nothing is said.
    audience: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

/// What is needed of the file of a service account.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: Text,
    private_key_id: Option<String>,
}

impl Grant for JwtBearer {
    fn endpoint(&self) -> &Endpoint {
        &self.token_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.token_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn takes_lines(&self) -> bool {
        true
    }

    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let value = material.value(&self.secret)?.expose();
        let account = value.trim_ascii_start().starts_with(b"{").then(|| {
            serde_json::from_slice::<ServiceAccount>(value)
                .map_err(|_| NoToken::Key("it is no file of a service account"))
        });
        let account = account.transpose()?;
        let (issuer, key_id, pem) = match &account {
            Some(account) => (
                Some(&account.client_email),
                account.private_key_id.as_ref(),
                account.private_key.expose(),
            ),
            None => (None, None, value),
        };
        let issuer = self.issuer.as_ref().or(issuer);
        let issuer = issuer.ok_or(NoToken::Key("a key in PEM needs `issuer` beside it"))?;
        let url = self.token_url.url.to_string();
        let mut claims = json!({
            "iss": issuer,
            "aud": self.audience.as_ref().unwrap_or(&url),
            "iat": material.now_s,
            "exp": material.now_s + CLAIMS_S,
        });
        // Google reads scopes among the claims, takes a subject as an order to act as that user, and knows no `jti`.
        let subject = self.subject.as_ref();
        let subject = subject.or(account.is_none().then_some(issuer));
        if let Some(subject) = subject {
            claims["sub"] = subject.as_str().into();
        }
        if account.is_none() {
            claims["jti"] = material.unique.as_str().into();
        } else if !self.scopes.is_empty() {
            claims["scope"] = self.scopes.join(" ").into();
        }
        let key_id = self.key_id.as_ref().or(key_id).map(String::as_str);
        let assertion = Signer::read(pem)?.sign(key_id, &claims)?;
        let form = Form::granting("urn:ietf:params:oauth:grant-type:jwt-bearer")
            .with("assertion", assertion.as_bytes());
        if account.is_some() {
            return form.ask(None);
        }
        form.with_scopes(&self.scopes).ask(None)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{encoding::AsDer as _, rsa::KeySize, signature::RsaKeyPair};
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use postern_contract::Secret;
    use serde_json::Value;

    use super::*;

    const GOOGLE: &str = "https://oauth2.googleapis.com/token";

    fn pem() -> String {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let body = STANDARD.encode(key.as_der().unwrap().as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    fn asked(written: &str, secret: String) -> Result<(String, Value), NoToken> {
        let grant: JwtBearer = serde_json::from_str(written).unwrap();
        let secret = Secret::new(secret.into_bytes());
        let material = Material {
            secrets: &|_| Some(&secret),
            successor: None,
            now_s: 1000,
            unique: "u1".to_owned(),
        };
        let body = grant.ask(&material)?.body;
        let body = std::str::from_utf8(&body).unwrap().to_owned();
        let assertion = body.split("assertion=").nth(1).unwrap();
        let claims = assertion.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        Ok((body, serde_json::from_slice(&claims).unwrap()))
    }

    #[test]
    fn a_service_account_says_who_it_is() {
        let account = json!({ "type": "service_account", "client_email": "a@p.iam", "private_key": pem(),
            "private_key_id": "k1", "token_uri": GOOGLE });
        let written = r#"{"secret":"sa","scopes":["x","y"],"subject":"ann@example.com",
            "token_url":"https://oauth2.googleapis.com/token"}"#;
        let (body, claims) = asked(written, account.to_string()).ok().unwrap();
        let wanted = json!({ "iss": "a@p.iam", "aud": GOOGLE, "iat": 1000, "exp": 1600, "scope": "x y",
            "sub": "ann@example.com" });
        assert_eq!(claims, wanted);
        assert!(!body.contains("scope="));
    }

    #[test]
    fn a_bare_key_needs_an_issuer() {
        let written = r#"{"secret":"sa","token_url":"https://a.b/t","issuer":"me","scopes":["x"]}"#;
        let (body, claims) = asked(written, pem()).ok().unwrap();
        let wanted = json!({ "iss": "me", "sub": "me", "aud": "https://a.b/t", "iat": 1000, "exp": 1600,
            "jti": "u1" });
        assert_eq!(claims, wanted);
        assert!(body.ends_with("&scope=x"));
        let bare = r#"{"secret":"sa","token_url":"https://a.b/t"}"#;
        let error = asked(bare, pem()).err().unwrap();
        assert!(error.to_string().contains("issuer"), "{error}");
        let error = asked(bare, "{\"hunter2\":1}".to_owned()).err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
