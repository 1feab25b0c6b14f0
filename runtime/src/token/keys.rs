//! The public keys of whoever gives tokens out: a JSON Web Key Set in a file, read anew when it changes. A file that is broken changes
//! nothing but the log. Never takes a symmetric key.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use postern_daemon::files;

/// The largest file, in bytes, and the most keys in it.
const FILE_BYTES_MAX: u64 = 256 << 10;
const KEYS_MAX: usize = 64;

/// How often the file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub(crate) struct NoKeys {
    path: PathBuf,
    why: String,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {:?}", self.algorithm, self.id)
    }
}

/// All of them. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Keys(Arc<RwLock<Vec<Key>>>);

impl Keys {
    pub(super) async fn watch(path: &Path) -> Result<Self, NoKeys> {
        let path = path.to_owned();
        let mut text = files::read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| no_keys(&path, error.to_string()))?;
        let keys = read(&text).map_err(|why| no_keys(&path, why))?;
        let keys = Self(Arc::new(RwLock::new(keys)));
        let shared = Arc::downgrade(&keys.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_AGAIN).await;
                let Some(keys) = shared.upgrade() else {
                    return;
                };
                let Ok(now) = files::read_bounded(&path, FILE_BYTES_MAX) else {
                    continue;
                };
                if now == text {
                    continue;
                }
                match read(&now) {
                    Ok(new) => *keys.write().unwrap_or_else(PoisonError::into_inner) = new,
                    Err(why) => {
                        tracing::error!(path = %path.display(), why, "the keys stay as they were");
                    }
                }
                text = now;
            }
        });
        Ok(keys)
    }

    /// The one key that a token of this algorithm can be signed with: by its id where the token says one, else the only one.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<DecodingKey> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let first = fitting.next()?;
        fitting.next().is_none().then(|| first.key.clone())
    }
}

fn no_keys(path: &Path, why: String) -> NoKeys {
    NoKeys {
        path: path.to_owned(),
        why,
    }
}

fn read(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(text)
        .map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("it has more than {KEYS_MAX} keys"));
    }
    let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
    if keys.is_empty() {
        return Err("it has no key for RS256, ES256 or EdDSA signatures".to_owned());
    }
    Ok(keys)
}

/// A key that signs in one of the ways that there are; others of the set are for others.
fn usable(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_it = common
        .key_algorithm
        .is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    let signs = !matches!(&common.public_key_use, Some(other) if *other != PublicKeyUse::Signature);
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (is_for_it && signs).then(|| Key {
        id: common.key_id.clone(),
        algorithm,
        key,
    })
}

/// What is wrong with a token, for whoever brought it.
pub(super) fn in_words(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "its time has not come yet",
        ErrorKind::InvalidIssuer => "it is not by the issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "it lacks `exp`, `iss` or `aud`",
        _ => "it cannot be read",
    }
}
