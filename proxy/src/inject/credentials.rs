//! What is added to the calls of one tool or provider: one credential, or several of different kinds. Never knows a value.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use postern_contract::{SecretName, ToolName};
use postern_policy::CanonicalUrl;
use rustls::sign::SingleCertAndKey;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use sha2::{Digest as _, Sha256};

use super::{
    Credential, Login, Place, Reads, Unfit, Unsettled, Unsignable, Values,
    client_certificate::ClientCertificate, cookie, path, query,
};
use crate::{
    dial::{Roots, UnreadableRoots},
    secret::Secrets,
    token::Wanted,
};

/// The most credentials of one tool.
const CREDENTIALS_MAX: usize = 8;

/// What credentials are called that are made of no secret of the config.
const NAMELESS: &str = "consent";

/// `credential = { … }`, or `credential = [{ … }, { … }]` for a tool that wants several at once. There is at least one.
#[derive(Debug, Clone)]
pub struct Credentials {
    all: Vec<Credential>,
    label: Label,
    fields: Fields,
    /// All of them as they are written.
    written: [u8; 32],
}

/// The header fields that credentials stand in, spelt as a careless server reads them.
pub(crate) type Fields = Arc<[String]>;

/// What a tool's credentials are called in the audit and by the pool of connections: the names of their secrets, in order,
/// with `+` between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Label(Arc<str>);

impl Label {
    /// A label that is known already.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.into())
    }

    /// What a token is called that an agent was given by the endpoint of a tool.
    pub(crate) fn of_sealed(tool: &ToolName) -> Self {
        Self(format!("sealed:{tool}").into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A certificate towards an upstream, and the values for it.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    certificate: &'a ClientCertificate,
    values: Values<'a>,
}

impl Identity<'_> {
    /// What is shown to an upstream that asks.
    pub(crate) fn shown(&self) -> Result<Arc<SingleCertAndKey>, Unfit> {
        self.certificate.shown(&self.values)
    }
}

/// A URL has no room for the value that belongs into its path.
#[derive(Debug, thiserror::Error)]
#[error("the URLs of this tool begin with the place of its key, as in `{0}`")]
pub(crate) struct NoPlace(String);

/// Why a list is none.
#[derive(Debug, thiserror::Error)]
enum NoList {
    #[error("a list of credentials is not empty: leave it out")]
    Empty,
    #[error("a tool has at most {CREDENTIALS_MAX} credentials")]
    Long,
    #[error("two credentials stand in the same place: {0}")]
    Twice(String),
    #[error("a login stands alone")]
    Login,
    #[error("a signature stands in `header` or in `query`, and `value` alone has `{{signature}}`")]
    Signature,
}

impl Credentials {
    fn new(mut all: Vec<Credential>) -> Result<Self, NoList> {
        if all.is_empty() {
            return Err(NoList::Empty);
        }
        if all.len() > CREDENTIALS_MAX {
            return Err(NoList::Long);
        }
        if all.len() > 1 && all.iter().any(|one| one.login().is_some()) {
            return Err(NoList::Login);
        }
        if !all.iter().all(|one| one.kind().is_whole()) {
            return Err(NoList::Signature);
        }
        // What is signed is all that goes out.
        all.sort_by_key(|one| one.kind().signs());
        let mut taken = BTreeSet::new();
        for place in all.iter().flat_map(|one| one.kind().places()) {
            if !taken.insert(place.in_words()) {
                return Err(NoList::Twice(place.in_words()));
            }
        }
        let is_cookie = |place: &Place<'_>| matches!(place, Place::Cookie(_));
        let mut places = all.iter().flat_map(|one| one.kind().places());
        if places.any(|place| is_cookie(&place)) && taken.contains("header `cookie`") {
            return Err(NoList::Twice("header `cookie`".to_owned()));
        }
        let names: Vec<&str> = all
            .iter()
            .flat_map(|one| one.kind().secrets())
            .map(SecretName::as_str)
            .collect();
        let label = if names.is_empty() {
            Label(NAMELESS.into())
        } else {
            Label(names.join("+").into())
        };
        let fields = all.iter().flat_map(|one| one.kind().places());
        let fields = fields.filter_map(Place::field).collect();
        let written = Sha256::digest(format!("{all:?}")).into();
        Ok(Self {
            all,
            label,
            fields,
            written,
        })
    }

    /// Whether others are these, by what is written and whom they are asked of; the same secrets may be behind different ones.
    pub(crate) fn are(&self, others: &Self) -> bool {
        let identities = |all: &Self| -> Vec<_> {
            let wanted = all.wanted();
            wanted.map(|one| one.map(|one| one.identity)).collect()
        };
        self.written == others.written && identities(self) == identities(others)
    }

    /// Whether one of them signs.
    pub(crate) fn sign(&self) -> bool {
        self.all.iter().any(|one| one.kind().signs())
    }

    /// Each of them, in the order in which they are added.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.all.iter()
    }

    /// What they are called.
    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    /// Every secret that they are made from.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.all.iter().flat_map(|one| one.kind().secrets())
    }

    /// Those of them whose values stand in a request as they are.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &SecretName> {
        self.all.iter().flat_map(|one| one.kind().sent())
    }

    /// All of them as they are written, in short.
    pub(crate) fn written(&self) -> [u8; 32] {
        self.written
    }

    /// The secrets of kinds whose values may have several lines.
    pub(crate) fn with_lines(&self) -> impl Iterator<Item = &SecretName> {
        let kinds = self.all.iter().map(Credential::kind);
        kinds
            .filter(|kind| kind.takes_lines())
            .flat_map(|kind| kind.secrets())
    }

    /// The token that each of them is made of, where it is made of one.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Option<Wanted>> {
        self.all.iter().map(|one| one.kind().wanted())
    }

    /// The tokens among them that are each end user's own.
    pub(crate) fn users(&self) -> impl Iterator<Item = Wanted> {
        self.wanted().flatten().filter(Wanted::is_users)
    }

    /// The files of authorities that they name.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().filter_map(|one| one.kind().ca())
    }

    /// Reads these files.
    pub(crate) fn settle(
        &mut self,
        read: &mut dyn FnMut(&Path) -> Result<Roots, UnreadableRoots>,
    ) -> Result<(), Unsettled> {
        let mut kinds = self.all.iter_mut().map(Credential::kind_mut);
        kinds.try_for_each(|kind| kind.settle(read))
    }

    /// The login that they are, if they are one.
    pub(crate) fn login(&self) -> Option<Login<'_>> {
        self.all.iter().find_map(Credential::login)
    }

    /// The header fields that they stand in.
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// A URL without what the agent itself put where these credentials will stand, and how often it had.
    pub(crate) fn vacate(&self, mut url: CanonicalUrl) -> Result<(CanonicalUrl, u32), NoPlace> {
        let mut dropped = 0_u32;
        for place in self.places() {
            match (place, url.query()) {
                (Place::Query(name), Some(query)) => {
                    let (rest, count) = query::without(query, name);
                    dropped = dropped.saturating_add(count);
                    url = CanonicalUrl::new(url.authority().clone(), url.path().clone(), rest);
                }
                (Place::Path(spots), _) => {
                    let found = path::without(url.path(), spots);
                    let (path, was_there) = found.ok_or_else(|| {
                        let spots = spots.iter().map(path::Spot::in_words);
                        NoPlace(spots.collect::<Vec<_>>().join("` or `"))
                    })?;
                    dropped = dropped.saturating_add(u32::from(was_there));
                    let query = url.query().cloned();
                    url = CanonicalUrl::new(url.authority().clone(), path, query);
                }
                _ => {}
            }
        }
        Ok((url, dropped))
    }

    /// Takes the agent's cookies out of its request, where one of these is a cookie: what may pass beside it, and how many
    /// may not. Elsewhere none passes, which is not for here.
    pub(crate) fn take_cookies(&self, headers: &mut HeaderMap) -> (Option<HeaderValue>, u32) {
        if !headers.contains_key(COOKIE) {
            return (None, 0);
        }
        let names = self.places().filter_map(|place| match place {
            Place::Cookie(name) => Some(name),
            _ => None,
        });
        match names.collect::<Vec<_>>().as_slice() {
            [] => (None, 0),
            names => cookie::take(headers, names),
        }
    }

    /// What they must know of the body of a request with these header fields.
    pub(super) fn reads(&self, headers: &HeaderMap) -> Result<Reads, Unsignable> {
        let mut kinds = self.all.iter().map(Credential::kind);
        kinds.try_fold(Reads::Nothing, |reads, kind| {
            Ok(reads.and(kind.reads(headers)?))
        })
    }

    /// The certificate that is one of them, with these values.
    pub(crate) fn identity<'a>(&'a self, secrets: &'a Secrets) -> Option<Identity<'a>> {
        let certificate = self.all.iter().find_map(|one| match one {
            Credential::ClientCertificate(certificate) => Some(certificate),
            _ => None,
        })?;
        let values = Values::of(secrets);
        Some(Identity {
            certificate,
            values,
        })
    }

    /// Whether one of them needs a connection with TLS.
    pub(crate) fn need_tls(&self) -> bool {
        self.places().any(|place| place == Place::Connection)
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.all.iter().flat_map(|one| one.kind().places())
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(written: D) -> Result<Self, D::Error> {
        written.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Credentials;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "a credential, as in { kind = \"bearer\", secret = \"NAME\" }, or a list of them",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, one: A) -> Result<Credentials, A::Error> {
        let one = Credential::deserialize(MapAccessDeserializer::new(one))?;
        Credentials::new(vec![one]).map_err(de::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Credentials, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Credentials::new(all).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tool_has_one_or_several_in_different_places() {
        let one = read(r#"{"kind":"bearer","secret":"a"}"#).unwrap();
        assert_eq!(one.label().as_str(), "a");
        assert_eq!(&**one.fields(), ["authorization"]);
        let two = r#"[{"kind":"header","name":"DD_API_KEY","secret":"a"},{"kind":"query","name":"key","secret":"b"}]"#;
        let two = read(two).unwrap();
        assert_eq!(two.label().as_str(), "a+b");
        assert_eq!(&**two.fields(), ["dd-api-key"]);
        let url = "https://t.example/x?key=mine&a=1".parse().unwrap();
        let (url, dropped) = two.vacate(url).unwrap();
        assert_eq!(
            (url.to_string().as_str(), dropped),
            ("https://t.example/x?a=1", 1)
        );
    }

    #[test]
    fn the_same_secrets_may_be_behind_other_credentials() {
        let bearer = r#"{"kind":"bearer","secret":"a"}"#;
        let header = r#"{"kind":"header","name":"X-Key","secret":"a"}"#;
        let (bearer, header) = (read(bearer).unwrap(), read(header).unwrap());
        assert!(bearer.are(&bearer.clone()) && !bearer.are(&header));
        assert_eq!(bearer.label(), header.label());
    }

    #[test]
    fn lists_that_say_nothing_or_two_things_are_refused() {
        let bearer = r#"{"kind":"bearer","secret":"a"}"#;
        let login = r#"{"kind":"postgres","user":"u","secret":"a"}"#;
        let long = [bearer; CREDENTIALS_MAX + 1].join(",");
        for (text, words) in [
            ("[]".to_owned(), "not empty"),
            (format!("[{bearer},{bearer}]"), "header `authorization`"),
            (format!("[{bearer},{login}]"), "stands alone"),
            (format!("[{long}]"), "at most 8"),
            ("7".to_owned(), "a credential, as in"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
