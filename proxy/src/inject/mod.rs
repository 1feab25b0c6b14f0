//! How a tool's credential is added to a call, one file a kind. Never without a [`Permit`] for the call and a
//! [`VerifiedLeg`] to its authority; never prints or keeps a value.
//!
//! ```
//! // What it takes to add a credential; the types are the order of work.
//! use postern_proxy::{Permit, VerifiedLeg, inject::{Addition, Misdirected, Outbound, apply}};
//! let _: fn(&Permit, &VerifiedLeg, Option<Addition<'_>>, Outbound) -> _ = apply;
//! ```
//!
//! Nothing can be added before a decision: the proof is missing.
//!
//! ```compile_fail
//! use postern_proxy::{VerifiedLeg, inject::{Addition, Outbound, apply}};
//! fn hasty(leg: &VerifiedLeg, addition: Addition<'_>, outbound: Outbound) {
//!     let _ = apply(leg, Some(addition), outbound);
//! }
//! ```
//!
//! Nor can it be added for a destination instead of a verified connection:
//!
//! ```compile_fail
//! use postern_proxy::{Permit, inject::{Addition, Outbound, apply}};
//! fn blind(permit: &Permit, addition: Addition<'_>, outbound: Outbound) {
//!     let _ = apply(permit, permit.url().authority(), Some(addition), outbound);
//! }
//! ```

mod basic;
mod bearer;
mod client_certificate;
mod cookie;
mod credentials;
mod field;
mod header;
mod hmac;
mod look;
mod minted;
mod path;
mod place;
mod postgres;
mod query;
mod redis;
mod sealed;
mod sigv4;
mod skew;
mod template;

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use postern_contract::{Secret, SecretName, config::Protocol};
use postern_policy::Authority;
use serde::Deserialize;

use self::place::{Place, Reads};
pub use self::{credentials::Credentials, postgres::Postgres, redis::Redis};
pub(crate) use self::{
    credentials::{Fields, Identity, Label, NoPlace},
    look::{Unsignable, look},
    sigv4::Signer,
    skew::Skews,
};
use crate::{
    body::Body,
    decide::Permit,
    dial::{Roots, UnreadableRoots, VerifiedLeg},
    sealed::Claim,
    secret::Secrets,
    shown::Shown,
    token::{self, Purse, Token, Wanted},
};

/// `credential = { kind = "…", secret = "NAME", … }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Credential {
    /// `Authorization: Bearer VALUE`.
    Bearer(bearer::Bearer),
    /// A header field of its own.
    Header(header::Header),
    /// A query parameter.
    Query(query::Query),
    /// `Authorization: Basic …`.
    Basic(basic::Basic),
    /// A segment of the path.
    Path(path::Path),
    /// A cookie.
    Cookie(cookie::Cookie),
    /// AWS Signature Version 4.
    Sigv4(sigv4::Sigv4),
    /// A signature by a template.
    Hmac(hmac::Hmac),
    /// A certificate towards the upstream.
    ClientCertificate(client_certificate::ClientCertificate),
    /// A login to a PostgreSQL server.
    Postgres(Postgres),
    /// A login to a Redis server.
    Redis(Redis),
    /// A token of each end user's own.
    AuthorizationCode(minted::Minted<token::AuthorizationCode>),
    /// A token for the gate's own client.
    Oauth2(minted::Minted<token::ClientCredentials>),
    /// A token by a refresh token.
    RefreshToken(minted::Minted<token::RefreshToken>),
    /// A token for another one.
    TokenExchange(minted::Minted<token::TokenExchange>),
    /// A token for signed claims.
    JwtBearer(minted::Minted<token::JwtBearer>),
    /// A token of an installation of a GitHub App.
    GithubApp(minted::Minted<token::GithubApp>),
}

/// What every kind of credential can do.
trait Kind {
    /// The secrets that it is made from.
    fn secrets(&self) -> Vec<&SecretName>;

    /// Those of them whose values stand in a request as they are. What a call is only signed with, or a token asked for with,
    /// has not gone out with it, and nothing that comes back can be its echo.
    fn sent(&self) -> Vec<&SecretName> {
        self.secrets()
    }

    /// Where it stands in a request. What an agent puts there itself stays behind.
    fn places(&self) -> Vec<Place<'_>>;

    /// Whether its values may have several lines, as a key in PEM has; elsewhere a line break is a fault of whoever wrote
    /// the secret down, found when it is read.
    fn takes_lines(&self) -> bool {
        false
    }

    /// The token that it is made of, where somebody is asked for one.
    fn wanted(&self) -> Option<Wanted> {
        None
    }

    /// The file of authorities that it names.
    fn ca(&self) -> Option<&Path> {
        None
    }

    /// Reads that file.
    fn settle(
        &mut self,
        read: &mut dyn FnMut(&Path) -> Result<Roots, UnreadableRoots>,
    ) -> Result<(), Unsettled> {
        let _ = read;
        Ok(())
    }

    /// Whether it signs the request, so that it comes after all that only stands in it.
    fn signs(&self) -> bool {
        false
    }

    /// Whether what is written of it makes sense together.
    fn is_whole(&self) -> bool {
        true
    }

    /// What it must know of the body of a request with these header fields.
    fn reads(&self, headers: &HeaderMap) -> Result<Reads, Unsignable> {
        let _ = headers;
        Ok(Reads::Nothing)
    }

    /// Adds it.
    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit>;
}

/// A value that cannot stand where it should.
#[derive(Debug, thiserror::Error)]
#[error("the credential's value cannot stand in a request")]
pub struct Unfit;

/// A file that a credential names is of no use.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unsettled(#[from] UnreadableRoots);

/// Why a request was not made ready.
#[derive(Debug, thiserror::Error)]
pub enum Misdirected {
    /// The connection leads elsewhere than the decision; a fault of the gate itself.
    #[error("the connection does not lead where the call was allowed to go")]
    Elsewhere,
    /// Enforcement would deny the call, so nothing is added to it; a fault of the gate itself.
    #[error("a call that no rule allows carries no credential")]
    Unearned,
    /// The credential's value was never loaded; a fault of the gate itself.
    #[error("the credential has no value")]
    NoValue,
    /// The credential's value cannot be sent.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The request has no valid form any more.
    #[error("the request has no valid form: {0}")]
    Form(#[from] http::Error),
}

/// What a tool's calls carry, and the values for it.
#[derive(Clone, Copy)]
pub struct Addition<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) values: Values<'a>,
    /// What was minted for them.
    pub(crate) purse: Option<&'a Purse>,
}

impl<'a> Addition<'a> {
    /// The same with what was minted for it.
    pub(crate) fn with(self, purse: &'a Purse) -> Self {
        Self {
            purse: Some(purse),
            ..self
        }
    }
}

/// The values behind the names of secrets.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a>(&'a Secrets, Option<&'a Token>);

impl<'a> Values<'a> {
    pub(crate) fn of(secrets: &'a Secrets) -> Self {
        Self(secrets, None)
    }

    /// The same with what was minted for the credential that they are for.
    pub(crate) fn with(self, token: Option<&'a Token>) -> Self {
        Self(self.0, token)
    }

    /// What was minted.
    pub(crate) fn token(self) -> Option<&'a Token> {
        self.1
    }

    /// A value; [`Credentials::secrets`] were all looked for before.
    pub(crate) fn get(self, name: &SecretName) -> Result<&'a Secret, Unfit> {
        self.0.get(name).map(|value| &**value).ok_or(Unfit)
    }
}

/// A request on its way out, before anything is added: what the agent sent, cleaned.
pub struct Outbound {
    headers: HeaderMap,
    body: Body,
    /// What is known of the body.
    shown: Shown,
    now_ms: i64,
    /// Tokens of the agent's own that go along.
    claim: Claim,
}

/// A request while credentials are added to it. What leads somewhere else than the decision, method and authority, cannot be
/// changed.
struct Draft<'a> {
    method: &'a str,
    authority: &'a Authority,
    /// Path and query as they will be sent.
    target: String,
    headers: HeaderMap,
    body: Body,
    /// What is known of the body.
    shown: Shown,
    /// What time it is for who reads it, in milliseconds of Unix.
    now_ms: i64,
}

impl Draft<'_> {
    /// Puts a field that is nobody's to see in the place of any other of its name.
    fn put(&mut self, name: HeaderName, value: &[u8]) -> Result<(), Unfit> {
        let mut value = HeaderValue::from_bytes(value).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// Appends `name=value`, encoded already, to the query.
    fn append(&mut self, parameter: &str) {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target.push(separator);
        self.target.push_str(parameter);
    }
}

/// A request that is ready for one leg; only [`apply`] makes one.
pub struct Ready(Request<Body>);

impl Outbound {
    /// What the agent sent, cleaned; exactly what was decided on.
    pub(crate) fn new(headers: HeaderMap, body: Body) -> Self {
        Self {
            headers,
            body,
            shown: Shown::Hidden,
            now_ms: 0,
            claim: Claim::default(),
        }
    }

    /// The same with tokens of the agent's own.
    pub(crate) fn claiming(self, claim: Claim) -> Self {
        Self { claim, ..self }
    }

    /// The same; what is signed says that it was at this time, in milliseconds of Unix.
    pub(crate) fn at(self, now_ms: i64) -> Self {
        Self { now_ms, ..self }
    }
}

impl Ready {
    /// The request itself, for the wire.
    pub(crate) fn into_request(self) -> Request<Body> {
        self.0
    }
}

/// What every kind of credential can do, whichever this one is.
macro_rules! behind {
    ($credential:expr) => {
        match $credential {
            Credential::Bearer(kind) => kind,
            Credential::Header(kind) => kind,
            Credential::Query(kind) => kind,
            Credential::Basic(kind) => kind,
            Credential::Path(kind) => kind,
            Credential::Cookie(kind) => kind,
            Credential::Sigv4(kind) => kind,
            Credential::Hmac(kind) => kind,
            Credential::ClientCertificate(kind) => kind,
            Credential::Postgres(kind) => kind,
            Credential::Redis(kind) => kind,
            Credential::AuthorizationCode(kind) => kind,
            Credential::Oauth2(kind) => kind,
            Credential::RefreshToken(kind) => kind,
            Credential::TokenExchange(kind) => kind,
            Credential::JwtBearer(kind) => kind,
            Credential::GithubApp(kind) => kind,
        }
    };
}

impl Credential {
    fn kind(&self) -> &dyn Kind {
        behind!(self)
    }

    fn kind_mut(&mut self) -> &mut dyn Kind {
        behind!(self)
    }

    /// The login that it is, if it is one.
    pub(crate) fn login(&self) -> Option<Login<'_>> {
        match self {
            Self::Postgres(postgres) => Some(Login::Postgres(postgres)),
            Self::Redis(redis) => Some(Login::Redis(redis)),
            _ => None,
        }
    }
}

/// A credential that the gate logs in with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Login<'a> {
    Postgres(&'a Postgres),
    Redis(&'a Redis),
}

impl Login<'_> {
    /// What is spoken where one logs in with it.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Postgres(_) => Protocol::Postgres,
            Self::Redis(_) => Protocol::Redis,
        }
    }

    /// Whether its names can be sent.
    pub(crate) fn makes_sense(self) -> bool {
        match self {
            Self::Postgres(postgres) => postgres.makes_sense(),
            Self::Redis(redis) => redis.makes_sense(),
        }
    }
}

/// Makes a permitted request ready for a verified leg, with the credential if the tool has one. The method, the URL and
/// `Host` come from the permit alone.
///
/// # Errors
/// The leg leads elsewhere, or the credential's value cannot stand in a request.
pub fn apply(
    permit: &Permit,
    leg: &VerifiedLeg,
    addition: Option<Addition<'_>>,
    outbound: Outbound,
) -> Result<Ready, Misdirected> {
    if permit.url().authority() != leg.authority() {
        return Err(Misdirected::Elsewhere);
    }
    let mut draft = Draft {
        method: permit.method().as_str(),
        authority: leg.authority(),
        target: permit.url().target(),
        headers: outbound.headers,
        body: outbound.body,
        shown: outbound.shown,
        now_ms: outbound.now_ms,
    };
    if let Some(Addition {
        credentials,
        values,
        purse,
    }) = addition
    {
        if permit.would_deny().is_some() {
            return Err(Misdirected::Unearned);
        }
        for (place, credential) in credentials.iter().enumerate() {
            let token = purse.and_then(|purse| purse.token(place));
            let values = values.with(token);
            credential.kind().add(&values, &mut draft)?;
        }
    }
    // What enforcement would deny carries nothing.
    if permit.would_deny().is_none() {
        sealed::put(&outbound.claim, &mut draft)?;
    }
    let authority = leg.authority();
    let host = HeaderValue::try_from(authority.to_string()).map_err(http::Error::from)?;
    let url = Uri::builder()
        .scheme(authority.scheme().as_str())
        .authority(host.as_bytes())
        .path_and_query(draft.target)
        .build()?;
    let mut request = Request::builder()
        .method(permit.method().as_str())
        .uri(url)
        .body(draft.body)?;
    *request.headers_mut() = draft.headers;
    request.headers_mut().insert(http::header::HOST, host);
    Ok(Ready(request))
}

#[cfg(test)]
mod tests;
