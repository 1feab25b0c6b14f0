//! AWS Signature Version 4: what the agent signed with a key of its own, or did not sign, is signed anew as it goes out. Never
//! believes the agent about region and service, and never passes on a signature that it did not make.
//!
//! Written here and not taken from `aws-sigv4`: that crate brings a part of AWS's SDK runtime along, and signs no chunks of a
//! body that somebody else streams.

mod canonical;
mod chunks;
mod own;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_contract::SecretName;
use serde::Deserialize;

pub(crate) use self::own::Signer;
use self::{
    canonical::{ALGORITHM, Fields, Scope},
    chunks::Chain,
};
use super::{Draft, Kind, Place, Reads, Unfit, Unsignable, Values};
use crate::{body, shown::Shown};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Words in the place of a digest.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const CHUNKS_AND_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// The largest body that is read to be signed, in bytes.
const SIGNED_BYTES_MAX: usize = 8 << 20;

/// Where a signature stands. What an agent signed in its URL is signed anew in the header.
const PLACES: [Place<'_>; 11] = [
    Place::Header("authorization"),
    Place::Header("x-amz-date"),
    Place::Header("x-amz-security-token"),
    Place::Header("x-amz-region-set"),
    Place::Query("X-Amz-Algorithm"),
    Place::Query("X-Amz-Credential"),
    Place::Query("X-Amz-Date"),
    Place::Query("X-Amz-Expires"),
    Place::Query("X-Amz-Security-Token"),
    Place::Query("X-Amz-Signature"),
    Place::Query("X-Amz-SignedHeaders"),
];

/// `{ kind = "sigv4", access_key = "NAME", secret_key = "NAME", session_token = "NAME", region = "eu-central-1", service = "s3", permits = ["copy"] }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigv4 {
    access_key: SecretName,
    secret_key: SecretName,
    session_token: Option<SecretName>,
    region: Word,
    service: Word,
    /// What S3 may be told to do beyond the URL that was decided on.
    #[serde(default)]
    permits: Vec<Beyond>,
}

/// What a field of a request to S3 does that its method and URL do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Beyond {
    /// Reads another object, which no rule has seen.
    Copy,
    /// Gives an object to others.
    Acl,
}

impl Beyond {
    /// What a field does, if it does such a thing, and how it begins.
    fn of(name: &HeaderName) -> Option<(Self, &'static str)> {
        let all = [
            (Self::Copy, "x-amz-copy-source"),
            (Self::Acl, "x-amz-acl"),
            (Self::Acl, "x-amz-grant-"),
        ];
        let plain = name.as_str().replace('_', "-");
        all.into_iter().find(|(_, start)| plain.starts_with(start))
    }
}

/// A region or service: lower-case letters, digits and hyphens.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Word(String);

#[derive(Debug, thiserror::Error)]
#[error("a region or service has letters, digits and hyphens")]
struct NoWord;

impl TryFrom<String> for Word {
    type Error = NoWord;

    fn try_from(text: String) -> Result<Self, NoWord> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_fit) {
            Err(NoWord)
        } else {
            Ok(Self(text))
        }
    }
}

/// What the agent says of its body.
enum Said<'a> {
    /// It is not signed, or each chunk of it is not.
    Unsigned(&'static str),
    /// Each chunk of it is, and its trailers are too.
    Chunks(bool),
    /// This is its digest, which whoever reads the body holds against it.
    Digest(&'a str),
    /// Nothing that counts.
    Nothing,
    /// It is signed in a way that cannot be made anew.
    Otherwise,
}

fn said(headers: &HeaderMap) -> Said<'_> {
    let Some(word) = headers.get(DIGEST) else {
        return Said::Nothing;
    };
    match word.to_str().unwrap_or_default() {
        UNSIGNED => Said::Unsigned(UNSIGNED),
        UNSIGNED_CHUNKS => Said::Unsigned(UNSIGNED_CHUNKS),
        CHUNKS => Said::Chunks(false),
        CHUNKS_AND_TRAILER => Said::Chunks(true),
        digest if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Said::Digest(digest)
        }
        _ => Said::Otherwise,
    }
}

impl Sigv4 {
    /// S3 wants digests in the open, signs paths as they are, and takes bodies that are not signed.
    fn is_s3(&self) -> bool {
        self.service.0.starts_with("s3")
    }

    /// What is signed in the place of the body.
    fn payload(&self, draft: &Draft<'_>) -> Result<String, Unfit> {
        Ok(match (said(&draft.headers), &draft.shown) {
            (Said::Unsigned(word), _) => word.to_owned(),
            (Said::Chunks(true), _) => CHUNKS_AND_TRAILER.to_owned(),
            (Said::Chunks(false), _) => CHUNKS.to_owned(),
            (Said::Digest(digest), _) => digest.to_owned(),
            (Said::Nothing, Shown::Absent) => canonical::digest_of(b""),
            (Said::Nothing, Shown::Whole(bytes)) => canonical::digest_of(bytes),
            (Said::Nothing, Shown::TooLong) if self.is_s3() => UNSIGNED.to_owned(),
            (Said::Nothing | Said::Otherwise, _) => return Err(Unfit),
        })
    }

    /// Path and query as they are sent, and as they are signed. Both mean what they meant.
    fn target(&self, target: &str) -> (String, String, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = canonical::spelt(query);
        let (sent, signed) = if self.is_s3() {
            (canonical::strictly(path), canonical::strictly(path))
        } else {
            (path.to_owned(), canonical::escaped_again(path))
        };
        let sent = if query.is_empty() {
            sent
        } else {
            format!("{sent}?{query}")
        };
        (sent, signed, query)
    }
}

impl Kind for Sigv4 {
    fn secrets(&self) -> Vec<&SecretName> {
        let both = [&self.access_key, &self.secret_key].into_iter();
        both.chain(&self.session_token).collect()
    }

    fn sent(&self) -> Vec<&SecretName> {
        self.session_token.iter().collect()
    }

    fn places(&self) -> Vec<Place<'_>> {
        PLACES.to_vec()
    }

    fn signs(&self) -> bool {
        true
    }

    fn reads(&self, headers: &HeaderMap) -> Result<Reads, Unsignable> {
        let mut beyond = headers.keys().filter_map(Beyond::of);
        if let Some((_, name)) = beyond.find(|(beyond, _)| !self.permits.contains(beyond)) {
            return Err(Unsignable::Beyond(name));
        }
        match said(headers) {
            Said::Unsigned(_) | Said::Digest(_) => Ok(Reads::Nothing),
            Said::Chunks(_) => Ok(Reads::Pieces(chunks::CHUNK_BYTES_MAX)),
            Said::Nothing => Ok(Reads::Whole {
                bytes_max: SIGNED_BYTES_MAX,
                or_not: self.is_s3(),
            }),
            Said::Otherwise => Err(Unsignable::Stream),
        }
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let key_id = std::str::from_utf8(values.get(&self.access_key)?.expose());
        let key_id = key_id.map_err(|_| Unfit)?;
        if !key_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Unfit);
        }
        let scope = Scope::at(draft.now_ms, &self.region.0, &self.service.0).ok_or(Unfit)?;
        let payload = self.payload(draft)?;
        let (sent, path, query) = self.target(&draft.target);
        draft.target = sent;
        draft.put(DATE, scope.stamp.as_bytes())?;
        if let Some(token) = &self.session_token {
            draft.put(TOKEN, values.get(token)?.expose())?;
        }
        if self.is_s3() {
            draft.put(DIGEST, payload.as_bytes())?;
        }
        let fields = fields(draft)?;
        let request = canonical::request(draft.method, (&path, &query), &fields, &payload);
        let key = scope.key(values.get(&self.secret_key)?.expose());
        let signature = canonical::signature(&key, &scope.text(&request));
        let (words, names) = (&scope.words, canonical::names(&fields));
        let text = format!(
            "{ALGORITHM} Credential={key_id}/{words}, SignedHeaders={names}, Signature={signature}"
        );
        draft.put(header::AUTHORIZATION, text.as_bytes())?;
        if let Said::Chunks(has_trailers) = said(&draft.headers) {
            let chunks = std::mem::replace(&mut draft.body, body::empty());
            draft.body = chunks::resigned(chunks, Chain::new(key, scope, signature), has_trailers);
        }
        Ok(())
    }
}

/// What is signed of the header: where it goes, what it is, and all that AWS itself reads.
fn fields(draft: &Draft<'_>) -> Result<Fields, Unfit> {
    let host = HeaderValue::try_from(draft.authority.to_string()).map_err(|_| Unfit)?;
    let mut fields: Fields = vec![("host".to_owned(), host.as_bytes().to_vec())];
    let is_signed = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-amz-") || matches!(name, "content-type" | "content-md5")
    };
    for name in draft.headers.keys().filter(|name| is_signed(name)) {
        let values = draft.headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| canonical::plain(value.as_bytes()))
            .collect();
        fields.push((name.as_str().to_owned(), values.join(&b',')));
    }
    fields.sort_unstable();
    Ok(fields)
}

#[cfg(test)]
mod tests;
