//! A token that an end user's consent gives (RFC 6749 section 4.1, RFC 7636): each end user of an agent has one of their own. Never
//! asks without the proof of whoever began (PKCE), and never takes a login for the end user's that names somebody else.

use std::collections::BTreeMap;

use postern_contract::SecretName;
use postern_policy::{CanonicalUrl, Scheme};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    NoToken,
    grant::{Ask, ClientAuth, Endpoint, Form, Grant, Material},
};

/// What the gate itself says to the provider, and nothing in the config may.
const OURS: [&str; 9] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];

/// `{ kind = "authorization_code", authorization_url = "URL", token_url = "URL", client_id = "ID", … }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationCode {
    authorization_url: Page,
    token_url: Endpoint,
    client_id: String,
    /// None for a public client.
    client_secret: Option<SecretName>,
    #[serde(default)]
    client_auth: ClientAuth,
    #[serde(default)]
    scopes: Vec<String>,
    /// What the provider wants to be told besides.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// What the provider calls itself (RFC 9207): where it is said, its answer must say the same.
    issuer: Option<String>,
    /// Which claim of the login is the end user, where the provider tells who logged in.
    login: Option<Login>,
}

/// Which claim of an ID token names the end user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    /// The provider's own name for them.
    Sub,
    /// Their address, where the provider has verified it.
    Email,
}

/// A page for browsers: `https://` with no fragment, or `http://` on this host's own addresses.
#[derive(Clone)]
pub(crate) struct Page(CanonicalUrl);

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let url = CanonicalUrl::parse(&text)
            .map_err(|error| D::Error::custom(format!("this page is no URL: {error}")))?;
        let authority = url.authority();
        let is_here = authority.host().to_string() == "127.0.0.1";
        match authority.scheme() {
            Scheme::Https => Ok(Self(url)),
            Scheme::Http if is_here => Ok(Self(url)),
            _ => Err(D::Error::custom(
                "browsers are sent to this page with the state of a login: say https",
            )),
        }
    }
}

/// What a browser is sent to the provider with.
pub(crate) struct Going<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: &'a str,
    pub(crate) challenge: &'a str,
    pub(crate) nonce: &'a str,
}

/// What a browser came back with, and the proof of whoever sent it there.
pub(crate) struct Coming<'a> {
    pub(crate) code: &'a [u8],
    pub(crate) verifier: &'a [u8],
    pub(crate) redirect_uri: &'a str,
}

impl AuthorizationCode {
    /// Where a browser goes to log in.
    pub(crate) fn page(&self, going: &Going<'_>) -> String {
        let mut query = Form::default()
            .with("response_type", b"code")
            .with("client_id", self.client_id.as_bytes())
            .with("redirect_uri", going.redirect_uri.as_bytes())
            .with_scopes(&self.scopes)
            .with("state", going.state.as_bytes())
            .with("code_challenge", going.challenge.as_bytes())
            .with("code_challenge_method", b"S256");
        if self.login.is_some() {
            query = query.with("nonce", going.nonce.as_bytes());
        }
        for (name, value) in &self.parameters {
            query = query.with(name, value.as_bytes());
        }
        let page = self.authorization_url.0.to_string();
        let glue = if self.authorization_url.0.query().is_some() {
            '&'
        } else {
            '?'
        };
        format!("{page}{glue}{}", query.text())
    }

    /// Scheme, host and port of that page.
    pub(crate) fn origin(&self) -> String {
        let authority = self.authorization_url.0.authority();
        format!("{}://{authority}", authority.scheme())
    }

    /// What would be granted, in the provider's words.
    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// What the provider calls itself.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Who the gate is to it.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Which claim is the end user.
    pub(crate) fn login(&self) -> Option<Login> {
        self.login
    }

    /// What tells its tokens from all others: a change of anything here asks the end users again.
    pub(super) fn stable(&self) -> Vec<Vec<u8>> {
        let texts = [
            self.authorization_url.0.to_string(),
            self.token_url.url.to_string(),
            self.client_id.clone(),
            self.scopes.join(" "),
            format!("{:?}", self.parameters),
        ];
        texts.into_iter().map(String::into_bytes).collect()
    }

    /// The question that gives a token for a code.
    pub(super) fn redeem(
        &self,
        coming: &Coming<'_>,
        material: &Material<'_>,
    ) -> Result<Ask, NoToken> {
        let form = Form::granting("authorization_code")
            .with("code", coming.code)
            .with("redirect_uri", coming.redirect_uri.as_bytes())
            .with("code_verifier", coming.verifier);
        self.asked(form, material)
    }

    fn asked(&self, form: Form, material: &Material<'_>) -> Result<Ask, NoToken> {
        let client = self.client_secret.as_ref();
        let client = client.map(|name| material.value(name)).transpose()?;
        form.ask(Some((&self.client_id, client, self.client_auth)))
    }
}

impl Grant for AuthorizationCode {
    fn endpoint(&self) -> &Endpoint {
        &self.token_url
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.token_url
    }

    fn secrets(&self) -> Vec<&SecretName> {
        self.client_secret.iter().collect()
    }

    fn problem(&self) -> Option<&'static str> {
        if self
            .parameters
            .keys()
            .any(|name| OURS.contains(&name.as_str()))
        {
            return Some(
                "`parameters` holds what the gate itself tells the provider: leave that out",
            );
        }
        let is_openid = self.scopes.iter().any(|scope| scope == "openid");
        if self.login.is_some() && !(is_openid && self.issuer.is_some()) {
            return Some(
                "`login` is read from an ID token: say `issuer` and the scope `openid` too",
            );
        }
        None
    }

    fn consent(&self) -> Option<&AuthorizationCode> {
        Some(self)
    }

    /// By the refresh token that the user's consent gave.
    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken> {
        let refresh = material.successor.ok_or(NoToken::NoConsent)?;
        let form = Form::granting("refresh_token").with("refresh_token", refresh.expose());
        self.asked(form, material)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"{"authorization_url":"https://a.b/authorize?tenant=1","token_url":"https://a.b/t",
        "client_id":"a&b","scopes":["read","write"],"parameters":{"prompt":"consent"}}"#;

    fn grant(text: &str) -> AuthorizationCode {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_browser_is_sent_with_everything_that_the_answer_is_bound_to() {
        let going = Going {
            redirect_uri: "https://c.d/callback",
            state: "s.1",
            challenge: "c-1",
            nonce: "n",
        };
        assert_eq!(
            grant(WRITTEN).page(&going),
            "https://a.b/authorize?tenant=1&response_type=code&client_id=a%26b&redirect_uri=https%3A%2F%2Fc.d%2Fcallback\
             &scope=read%20write&state=s.1&code_challenge=c-1&code_challenge_method=S256&prompt=consent"
        );
        assert_eq!(grant(WRITTEN).origin(), "https://a.b");
    }

    #[test]
    fn a_code_goes_with_its_proof_and_a_refresh_token_alone() {
        let grant = grant(WRITTEN);
        let refresh = postern_contract::Secret::new(b"r1".to_vec());
        let material = |successor| Material {
            secrets: &|_| None,
            successor,
            now_s: 0,
            unique: String::new(),
        };
        let coming = Coming {
            code: b"co de",
            verifier: b"v",
            redirect_uri: "https://c.d/callback",
        };
        let text = |ask: Ask| String::from_utf8(ask.body.to_vec()).unwrap();
        let asked = text(grant.redeem(&coming, &material(None)).ok().unwrap());
        let wanted = "grant_type=authorization_code&code=co%20de&redirect_uri=https%3A%2F%2Fc.d%2Fcallback&code_verifier=v\
                      &client_id=a%26b";
        assert_eq!(asked, wanted);
        let asked = text(grant.ask(&material(Some(&refresh))).ok().unwrap());
        assert_eq!(
            asked,
            "grant_type=refresh_token&refresh_token=r1&client_id=a%26b"
        );
        assert!(matches!(
            grant.ask(&material(None)),
            Err(NoToken::NoConsent)
        ));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(grant(WRITTEN).problem(), None);
        let ours = WRITTEN.replace("prompt", "state");
        assert!(grant(&ours).problem().is_some());
        let login = WRITTEN.replace("\"scopes\"", "\"login\":\"sub\",\"scopes\"");
        assert!(grant(&login).problem().is_some());
        let whole = login
            .replace("\"read\"", "\"openid\"")
            .replace("\"scopes\"", "\"issuer\":\"https://a.b\",\"scopes\"");
        assert_eq!(grant(&whole).problem(), None);
        for page in ["http://a.b/authorize", "tcp://a.b:1", "nonsense"] {
            let odd = WRITTEN.replace("https://a.b/authorize?tenant=1", page);
            assert!(
                serde_json::from_str::<AuthorizationCode>(&odd).is_err(),
                "{page}"
            );
        }
    }
}
