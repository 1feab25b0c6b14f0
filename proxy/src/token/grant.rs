//! What every kind of minted credential can do: say where it is asked for and with which secrets, write the question, and
//! read the answer. Pure: no kind here dials, waits or knows the time by itself.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_contract::{Secret, SecretName};
use postern_policy::{CanonicalUrl, Scheme};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use zeroize::Zeroizing;

use super::{
    NoToken,
    answer::{self, Minted},
    authorization_code::AuthorizationCode,
};
use crate::dial::Roots;

/// What every grant can do.
pub(crate) trait Grant: fmt::Debug + Send + Sync {
    /// Where it is asked for.
    fn endpoint(&self) -> &Endpoint;

    /// The same, for whoever reads the file of authorities that it names.
    fn endpoint_mut(&mut self) -> &mut Endpoint;

    /// The secrets that it is asked for with, always in the same order.
    fn secrets(&self) -> Vec<&SecretName>;

    /// Whether its secrets may have several lines.
    fn takes_lines(&self) -> bool {
        false
    }

    /// What is wrong with it as it is written.
    fn problem(&self) -> Option<&'static str> {
        None
    }

    /// The secret that the answer may give a successor to, if there is one.
    fn rotates(&self) -> Option<&SecretName> {
        None
    }

    /// The same where each end user has a token of their own, which their consent gives.
    fn consent(&self) -> Option<&AuthorizationCode> {
        None
    }

    /// The question.
    fn ask(&self, material: &Material<'_>) -> Result<Ask, NoToken>;

    /// What an answer that says yes holds.
    fn read(&self, body: &[u8], now_s: i64) -> Result<Minted, NoToken> {
        let _ = now_s;
        answer::oauth(body)
    }
}

/// What a question is made of.
pub(crate) struct Material<'a> {
    /// The values, by name.
    pub(crate) secrets: &'a dyn Fn(&SecretName) -> Option<&'a Secret>,
    /// What the secret that rotates has become since.
    pub(crate) successor: Option<&'a Secret>,
    /// Seconds since 1970 (UTC).
    pub(crate) now_s: i64,
    /// A name that nothing else has.
    pub(crate) unique: String,
}

impl<'a> Material<'a> {
    /// The value of a secret.
    pub(crate) fn value(&self, name: &SecretName) -> Result<&'a Secret, NoToken> {
        (self.secrets)(name).ok_or(NoToken::NoSecret)
    }
}

/// A question to an endpoint: always a POST.
pub(crate) struct Ask {
    /// What is behind the endpoint's URL.
    pub(crate) beneath: String,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Where tokens come from: `"URL"`, or `{ url = "URL", private = true, ca = "FILE", plaintext = true }`.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: CanonicalUrl,
    /// Whether its address may be a private one.
    pub(crate) private: bool,
    /// The file of the authorities that alone are believed about it.
    pub(crate) ca: Option<PathBuf>,
    /// What was in it.
    pub(crate) roots: Option<Roots>,
}

// What tells one grant from another is made of this, so it says what was read from the file too.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = (&self.ca, self.roots.as_ref().map(Roots::digest));
        write!(f, "{} {} {ca:?}", self.url, self.private)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    #[serde(default)]
    private: bool,
    ca: Option<PathBuf>,
    #[serde(default)]
    plaintext: bool,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = deserializer.deserialize_any(TextOrTable)?;
        Self::meant(written).map_err(D::Error::custom)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL, or a table with url, private and ca")
    }

    fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<Written, E> {
        Ok(Written {
            url: url.to_owned(),
            private: false,
            ca: None,
            plaintext: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
        Written::deserialize(MapAccessDeserializer::new(map))
    }
}

impl Endpoint {
    fn meant(written: Written) -> Result<Self, String> {
        let url = CanonicalUrl::parse(&written.url)
            .map_err(|error| format!("this endpoint is no URL: {error}"))?;
        match (url.authority().scheme(), written.plaintext) {
            (Scheme::Https, false) | (Scheme::Http, true) => {}
            (Scheme::Https, true) => return Err("plaintext is for http".to_owned()),
            (Scheme::Http, false) => {
                return Err(
                    "secrets go to this endpoint: say https, or add plaintext = true in a table with its url".to_owned(),
                );
            }
            (Scheme::Tcp, _) => return Err("tokens are asked for at https".to_owned()),
        }
        if written.plaintext && written.ca.is_some() {
            return Err("ca is for https".to_owned());
        }
        Ok(Self {
            url,
            private: written.private,
            ca: written.ca,
            roots: None,
        })
    }
}

/// How the gate says which client it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// `Authorization: Basic`, as every server must take it.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
}

/// A form as it is sent, wiped when dropped.
#[derive(Default)]
pub(crate) struct Form(Zeroizing<Vec<u8>>);

impl Form {
    /// One that asks for this kind of grant.
    pub(crate) fn granting(kind: &str) -> Self {
        Self::default().with("grant_type", kind.as_bytes())
    }

    /// The same with one more pair.
    pub(crate) fn with(mut self, name: &str, value: &[u8]) -> Self {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        escape(name.as_bytes(), &mut self.0);
        self.0.push(b'=');
        escape(value, &mut self.0);
        self
    }

    /// The same with a pair for each text.
    pub(crate) fn with_each(self, name: &str, values: &[String]) -> Self {
        let add = |form: Self, value: &String| form.with(name, value.as_bytes());
        values.iter().fold(self, add)
    }

    /// The same with the scopes, if there are any.
    pub(crate) fn with_scopes(self, scopes: &[String]) -> Self {
        if scopes.is_empty() {
            return self;
        }
        self.with("scope", scopes.join(" ").as_bytes())
    }

    /// The same as the query of a URL that is no secret.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The question that it makes, of this client if the server wants to know one.
    pub(crate) fn ask(
        self,
        client: Option<(&str, Option<&Secret>, ClientAuth)>,
    ) -> Result<Ask, NoToken> {
        let mut fields = HeaderMap::new();
        let form = match client {
            None => self,
            Some((id, None, _)) => self.with("client_id", id.as_bytes()),
            Some((id, Some(secret), ClientAuth::Post)) => self
                .with("client_id", id.as_bytes())
                .with("client_secret", secret.expose()),
            Some((id, Some(secret), ClientAuth::Basic)) => {
                fields.insert(header::AUTHORIZATION, basic(id, secret)?);
                self
            }
        };
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        fields.insert(header::CONTENT_TYPE, kind);
        Ok(Ask {
            beneath: String::new(),
            fields,
            body: form.0,
        })
    }
}

/// RFC 6749 section 2.3.1: both halves are escaped as in a form before they are joined.
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, NoToken> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut pair = Zeroizing::new(Vec::with_capacity(id.len() + secret.expose().len() * 3 + 1));
    escape(id.as_bytes(), &mut pair);
    pair.push(b':');
    escape(secret.expose(), &mut pair);
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
    sensitive(text.as_bytes())
}

/// A field's value that is printed nowhere.
pub(crate) fn sensitive(bytes: &[u8]) -> Result<HeaderValue, NoToken> {
    let mut value = HeaderValue::from_bytes(bytes).map_err(|_| NoToken::Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A field that a question has beside those of every question.
pub(crate) fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )
}

/// A space as `%20`: some servers read both halves of a Basic pair as parts of a URL, where `+` is itself.
fn escape(bytes: &[u8], into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => into.push(*byte),
            _ => into.extend([
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
}

/// How long a token lives whose server does not say so.
pub(crate) const UNSAID: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Endpoint, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_is_a_text_or_a_table_and_never_in_the_clear_by_accident() {
        let plain = endpoint(r#""https://login.example/token""#).unwrap();
        assert_eq!(plain.url.to_string(), "https://login.example/token");
        assert!(!plain.private);
        let table = r#"{"url":"http://127.0.0.1:9/t","private":true,"plaintext":true}"#;
        assert!(endpoint(table).unwrap().private);
        for (bad, why) in [
            (r#""http://login.example/token""#, "plaintext = true"),
            (r#""tcp://login.example:1""#, "no URL"),
            (r#""nonsense""#, "no URL"),
            (r#"{"url":"https://a.b","plaintext":true}"#, "is for http"),
            (r#"{"url":"https://a.b","privat":true}"#, "privat"),
            ("7", "a URL, or"),
        ] {
            let error = endpoint(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_form_carries_every_byte_and_a_client_says_who_it_is_in_one_place() {
        let secret = Secret::new("p:w +ü".as_bytes().to_vec());
        let form = || Form::granting("client_credentials").with_scopes(&["a b".into(), "c".into()]);
        let ask = form()
            .ask(Some(("app:1", Some(&secret), ClientAuth::Basic)))
            .unwrap();
        let sent = std::str::from_utf8(&ask.body).unwrap();
        assert_eq!(sent, "grant_type=client_credentials&scope=a%20b%20c");
        // base64 of `app%3A1:p%3Aw%20%2B%C3%BC`.
        let field = &ask.fields[header::AUTHORIZATION];
        assert_eq!(field, "Basic YXBwJTNBMTpwJTNBdyUyMCUyQiVDMyVCQw==");
        assert!(field.is_sensitive());
        let ask = form()
            .ask(Some(("app", Some(&secret), ClientAuth::Post)))
            .unwrap();
        let sent = std::str::from_utf8(&ask.body).unwrap();
        assert!(sent.ends_with("&client_id=app&client_secret=p%3Aw%20%2B%C3%BC"));
        assert!(!ask.fields.contains_key(header::AUTHORIZATION));
    }
}
