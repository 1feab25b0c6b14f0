//! The public keys of whoever gives tokens out: a JSON Web Key Set in a file or of the gate's, taken anew when it changes. One that is
//! broken changes nothing but the log. Never takes a symmetric key.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use postern_daemon::files;

use crate::link::Link;

/// The largest file, in bytes, and the most keys in it.
const FILE_BYTES_MAX: u64 = 256 << 10;
const KEYS_MAX: usize = 64;

/// How often the file is looked at, or the gate asked.
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
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    keys: RwLock<Vec<Key>>,
    /// A token named one that is not there.
    lacks: AtomicBool,
}

impl Known {
    /// Takes another set, unless it is of no use.
    fn take(&self, text: &[u8]) {
        match read(text) {
            Ok(new) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = new,
            Err(why) => tracing::error!(why, "callers' tokens: the keys stay as they were"),
        }
    }
}

impl Keys {
    pub(super) async fn watch(path: &Path) -> Result<Self, NoKeys> {
        let path = path.to_owned();
        let mut text = files::read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| no_keys(&path, error.to_string()))?;
        let keys = read(&text).map_err(|why| no_keys(&path, why))?;
        let keys = Self(Arc::new(Known {
            keys: RwLock::new(keys),
            lacks: AtomicBool::default(),
        }));
        let shared = Arc::downgrade(&keys.0);
        tokio::spawn(async move {
            while let Some(keys) = look_again(&shared).await {
                let Ok(now) = files::read_bounded(&path, FILE_BYTES_MAX) else {
                    continue;
                };
                if now != text {
                    keys.take(&now);
                    text = now;
                }
            }
        });
        Ok(keys)
    }

    /// Those that the gate is told; none before it was.
    pub(super) fn asked_for(link: Link) -> Self {
        let keys = Self::default();
        let shared = Arc::downgrade(&keys.0);
        tokio::spawn(async move {
            let mut have = None;
            loop {
                let Some(keys) = shared.upgrade() else { return };
                let lacks = keys.lacks.swap(false, Ordering::AcqRel);
                // Where the gate is away, the next one is asked.
                if let Ok(Some(new)) = link.callers_keys(have.clone(), lacks).await {
                    keys.take(new.set.as_bytes());
                    have = Some(new.digest);
                }
                drop(keys);
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        keys
    }

    /// The one key that a token of this algorithm can be signed with: by its id where the token says one, else the only one.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<DecodingKey> {
        let keys = self.0.keys.read();
        let keys = keys.unwrap_or_else(PoisonError::into_inner);
        let mut fitting = keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let Some(first) = fitting.next() else {
            self.0.lacks.store(true, Ordering::Release);
            return None;
        };
        fitting.next().is_none().then(|| first.key.clone())
    }
}

/// The keys once it is time to look again; nothing where nobody has them any more.
async fn look_again(shared: &Weak<Known>) -> Option<Arc<Known>> {
    tokio::time::sleep(LOOK_AGAIN).await;
    shared.upgrade()
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
