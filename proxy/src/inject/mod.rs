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

mod bearer;
mod field;
mod header;
mod postgres;
mod query;

use http::{HeaderMap, HeaderValue, Request, Uri};
use postern_contract::{Secret, SecretName};
use postern_policy::CanonicalUrl;
use serde::Deserialize;

pub use self::postgres::Postgres;
use crate::{body::Body, decide::Permit, dial::VerifiedLeg};

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
    /// A login to a PostgreSQL server.
    Postgres(Postgres),
}

/// What every kind of credential can do.
trait Kind {
    /// The secret that it is made from.
    fn secret(&self) -> &SecretName;

    /// Where it stands in a request. What an agent puts there itself stays behind.
    fn place(&self) -> Place<'_>;

    /// Adds it.
    fn add(&self, secret: &Secret, outbound: &mut Outbound) -> Result<(), Unfit>;
}

/// Where a credential stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    /// In the header field of this name.
    Header(&'a str),
    /// In the query parameter of this name.
    Query(&'a str),
    /// In none: the gate logs in with it.
    Login,
}

/// A value that cannot stand where it should.
#[derive(Debug, thiserror::Error)]
#[error("the credential's value cannot stand in a request")]
pub struct Unfit;

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

/// A credential and its value.
#[derive(Clone, Copy)]
pub struct Addition<'a> {
    pub(crate) credential: &'a Credential,
    pub(crate) secret: &'a Secret,
}

/// A request on its way out, before anything is added: what the agent sent, cleaned.
pub struct Outbound {
    headers: HeaderMap,
    body: Body,
    /// What is appended to the query of the permit's URL, as `name=value`.
    parameter: Option<String>,
}

/// A request that is ready for one leg; only [`apply`] makes one.
pub struct Ready(Request<Body>);

impl Outbound {
    /// What the agent sent, cleaned; exactly what was decided on.
    pub(crate) fn new(headers: HeaderMap, body: Body) -> Self {
        Self {
            headers,
            body,
            parameter: None,
        }
    }
}

impl Ready {
    /// The request itself, for the wire.
    pub(crate) fn into_request(self) -> Request<Body> {
        self.0
    }
}

impl Credential {
    fn kind(&self) -> &dyn Kind {
        match self {
            Self::Bearer(bearer) => bearer,
            Self::Header(header) => header,
            Self::Query(query) => query,
            Self::Postgres(postgres) => postgres,
        }
    }

    /// The login that it is, if it is one.
    pub(crate) fn login(&self) -> Option<&Postgres> {
        match self {
            Self::Postgres(postgres) => Some(postgres),
            Self::Bearer(_) | Self::Header(_) | Self::Query(_) => None,
        }
    }

    /// The secret that it is made from.
    pub(crate) fn secret(&self) -> &SecretName {
        self.kind().secret()
    }

    /// The header field that it stands in, if it stands in one.
    pub(crate) fn header(&self) -> Option<&str> {
        match self.kind().place() {
            Place::Header(name) => Some(name),
            Place::Query(_) | Place::Login => None,
        }
    }

    /// A URL without what the agent itself put where this credential will stand, and how often it had.
    pub(crate) fn vacate(&self, url: CanonicalUrl) -> (CanonicalUrl, u32) {
        let (Place::Query(name), Some(query)) = (self.kind().place(), url.query()) else {
            return (url, 0);
        };
        let (rest, dropped) = query::without(query, name);
        (
            CanonicalUrl::new(url.authority().clone(), url.path().clone(), rest),
            dropped,
        )
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
    mut outbound: Outbound,
) -> Result<Ready, Misdirected> {
    if permit.url().authority() != leg.authority() {
        return Err(Misdirected::Elsewhere);
    }
    if let Some(Addition { credential, secret }) = addition {
        if permit.would_deny().is_some() {
            return Err(Misdirected::Unearned);
        }
        credential.kind().add(secret, &mut outbound)?;
    }
    let mut target = permit.url().target();
    if let Some(parameter) = outbound.parameter {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(&parameter);
    }
    let authority = leg.authority();
    let host = HeaderValue::try_from(authority.to_string()).map_err(http::Error::from)?;
    let url = Uri::builder()
        .scheme(authority.scheme().as_str())
        .authority(host.as_bytes())
        .path_and_query(target)
        .build()?;
    let mut request = Request::builder()
        .method(permit.method().as_str())
        .uri(url)
        .body(outbound.body)?;
    *request.headers_mut() = outbound.headers;
    request.headers_mut().insert(http::header::HOST, host);
    Ok(Ready(request))
}

#[cfg(test)]
mod tests;
