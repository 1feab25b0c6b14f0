//! Vault's HTTP API, as far as it is needed: paths, fields, and what answers hold. Never believes more of an answer than it
//! needs, and never repeats one.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use postern_contract::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::Account;
use crate::{
    secret::{
        NoSecret, SECRET_BYTES_MAX,
        errands::{self, Errands, Question, Unanswered},
        file,
    },
    token::Text,
};

/// The largest answer, in bytes: a secret of 1 MiB is the most that Vault keeps, and one field of it is wanted.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The longest life of a token that is believed.
const LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything but what a segment may hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");

/// Vault's own agents and proxies may want it, to tell a client from a browser that was led astray.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Why Vault gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("Vault at {vault}, {step}: {why}")]
pub(crate) struct NoVault {
    vault: String,
    step: Step,
    why: Why,
}

/// What Vault was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    LogIn,
    LookUp,
    Renew,
    /// A secret, named for people.
    Read(String),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LogIn => f.write_str("logging in"),
            Self::LookUp => f.write_str("looking at its token"),
            Self::Renew => f.write_str("renewing its token"),
            Self::Read(place) => write!(f, "reading `{place}`"),
        }
    }
}

/// What was wrong. None of these says a word that came from Vault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it did not answer within `timeout`")]
    Late,
    #[error("it answered {}{}", .0.as_u16(), .1)]
    Status(StatusCode, &'static str),
    #[error("its answer is no JSON as its API has it")]
    NotJson,
    #[error("there is no such `field`, or it is no text, or empty")]
    NoField,
    #[error("the value is larger than {} KiB", SECRET_BYTES_MAX >> 10)]
    TooLarge,
    #[error("the token cannot stand in a request")]
    Unfit,
    #[error("what it is logged in with is no text")]
    NotText,
}

impl Step {
    /// What a status hardly means but this.
    fn hint(&self, status: StatusCode) -> &'static str {
        match (self, status.as_u16()) {
            (_, 503) => ": it is sealed, or not active",
            (_, 429) => ": it is asked too much",
            (Self::LogIn, 400 | 401 | 403) => ": it does not take this login",
            (Self::LogIn, 404) => ": `mount` of the login or `namespace` is another",
            (Self::LookUp, 403) => ": it has ended, or may not look at itself",
            (Self::Read(_), 403) => ": this login may not read it",
            (Self::Read(_), 404) => {
                ": nothing is there, or it was deleted, or `mount` or `namespace` is another"
            }
            _ => "",
        }
    }
}

impl NoSecret {
    /// Whether Vault did not take a token, or did not let it do this.
    pub(super) fn is_forbidden(&self) -> bool {
        let Self::Vault(NoVault { why, .. }) = self else {
            return false;
        };
        matches!(why, Why::Status(status, _) if *status == StatusCode::FORBIDDEN)
    }

    /// Whether Vault answered, and said no; that it is asked too much is no answer.
    pub(super) fn is_refusal(&self) -> bool {
        let Self::Vault(NoVault { why, .. }) = self else {
            return false;
        };
        let refuses = |status: &StatusCode| {
            status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS
        };
        matches!(why, Why::Status(status, _) if refuses(status))
    }
}

/// How Vault is asked.
pub(super) struct Way<'a> {
    pub(super) directory: &'a Path,
    pub(super) errands: &'a Errands,
}

/// One question, beneath `/v1/`.
pub(super) struct Asked<'a> {
    method: Method,
    at: &'a str,
    token: Option<&'a Secret>,
    body: Zeroizing<Vec<u8>>,
}

impl<'a> Asked<'a> {
    pub(super) fn get(at: &'a str) -> Self {
        Self {
            method: Method::GET,
            at,
            token: None,
            body: Zeroizing::default(),
        }
    }

    pub(super) fn post(at: &'a str, body: Zeroizing<Vec<u8>>) -> Self {
        Self {
            method: Method::POST,
            body,
            ..Self::get(at)
        }
    }

    /// The same in the name of this token.
    pub(super) fn with(self, token: &'a Secret) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }
}

impl Account {
    /// The body of an answer that says yes.
    pub(super) async fn ask(
        &self,
        way: &Way<'_>,
        step: Step,
        asked: Asked<'_>,
    ) -> Result<Bytes, NoSecret> {
        let roots = errands::roots(way.directory, self.ca.as_deref()).await?;
        let fields = self.fields(&asked);
        let base = self.url.path().to_string();
        let question = Question {
            authority: self.url.authority(),
            roots: roots.as_ref(),
            method: asked.method,
            target: &format!("{}/v1/{}", base.trim_end_matches('/'), asked.at),
            fields: fields.map_err(|why| self.failed(step.clone(), why))?,
            body: &asked.body,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let (status, body) = match way.errands.ask(question).await {
            Ok(answer) => answer,
            Err(unanswered) => return Err(self.failed(step, unanswered.into())),
        };
        if status.is_success() {
            return Ok(body);
        }
        let hint = step.hint(status);
        Err(self.failed(step, Why::Status(status, hint)))
    }

    fn fields(&self, asked: &Asked<'_>) -> Result<HeaderMap, Why> {
        let mut fields = HeaderMap::new();
        fields.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            let namespace = HeaderValue::from_str(namespace).map_err(|_| Why::Unfit)?;
            fields.insert(NAMESPACE, namespace);
        }
        if let Some(token) = asked.token {
            let mut value = HeaderValue::from_bytes(token.expose()).map_err(|_| Why::Unfit)?;
            value.set_sensitive(true);
            fields.insert(TOKEN, value);
        }
        if !asked.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            fields.insert(http::header::CONTENT_TYPE, json);
        }
        Ok(fields)
    }

    /// That it gave nothing, and why.
    pub(super) fn failed(&self, step: Step, why: Why) -> NoSecret {
        let vault = self.url.authority().to_string();
        NoVault { vault, step, why }.into()
    }
}

/// What a login or a renewal gives.
pub(super) struct Granted {
    pub(super) token: Secret,
    /// `None` for one without an end.
    pub(super) life: Option<Duration>,
    pub(super) renewable: bool,
}

/// The answer to a login or a renewal.
pub(super) fn granted(body: &[u8]) -> Result<Granted, Why> {
    #[derive(Deserialize)]
    struct Written {
        auth: Auth,
    }
    #[derive(Deserialize)]
    struct Auth {
        client_token: Text,
        lease_duration: u64,
        renewable: bool,
    }
    let Written { auth } = serde_json::from_slice(body).map_err(|_| Why::NotJson)?;
    let token = auth.client_token.into_secret();
    let fits = token.expose().iter().all(u8::is_ascii_graphic);
    if token.expose().is_empty() || !fits {
        return Err(Why::Unfit);
    }
    Ok(Granted {
        token,
        life: life(auth.lease_duration),
        renewable: auth.renewable,
    })
}

/// How long a token lives by the answer to its own question, and whether it can be renewed.
pub(super) fn looked_up(body: &[u8]) -> Result<(Option<Duration>, bool), Why> {
    #[derive(Deserialize)]
    struct Written {
        data: Known,
    }
    #[derive(Deserialize)]
    struct Known {
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let Written { data } = serde_json::from_slice(body).map_err(|_| Why::NotJson)?;
    Ok((life(data.ttl), data.renewable))
}

/// A token that never ends has none left.
fn life(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds).min(LIFE_MAX))
}

/// One field of a secret; the others are passed over unread.
pub(super) fn field(body: &[u8], name: &str) -> Result<Secret, Why> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        data: Version<'a>,
    }
    #[derive(Deserialize)]
    struct Version<'a> {
        #[serde(borrow)]
        data: Option<BTreeMap<String, &'a RawValue>>,
    }
    let written: Written<'_> = serde_json::from_slice(body).map_err(|_| Why::NotJson)?;
    let fields = written.data.data.unwrap_or_default();
    let value = fields.get(name).ok_or(Why::NoField)?;
    let value: Text = serde_json::from_str(value.get()).map_err(|_| Why::NoField)?;
    let value = value.into_secret();
    if value.expose().len() as u64 > SECRET_BYTES_MAX {
        return Err(Why::TooLarge);
    }
    Ok(file::without_last_line_break(value.expose().to_vec()))
}

/// A path as it stands in a URL: segments, none of which leads elsewhere.
pub(super) fn encoded(key: &str, path: &str) -> Result<String, String> {
    let segments: Vec<_> = path.split('/').collect();
    let is_odd = |segment: &&str| {
        segment.is_empty() || matches!(*segment, "." | "..") || segment.contains(char::is_control)
    };
    if segments.iter().any(is_odd) {
        return Err(format!(
            "`{key}` is a path such as `apps/stripe`, with no slash before or behind it"
        ));
    }
    let encoded = segments.iter();
    let encoded = encoded.map(|segment| percent_encode(segment.as_bytes(), ENCODED).to_string());
    Ok(encoded.collect::<Vec<_>>().join("/"))
}
