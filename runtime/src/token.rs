//! Tokens of callers: signed by somebody else's private key, checked with the public ones of a file, or of what the gate was told where
//! the config says. Never takes a key or an address out of a token, and never holds what could make one.

mod keys;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::link::Link;
use keys::Keys;
pub(crate) use keys::NoKeys;

/// The longest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8192;

/// The longest name of an end user, in bytes.
const USER_BYTES_MAX: usize = 255;

/// What a token must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Who gives them out.
    pub(crate) issuer: String,
    /// Whom they are for.
    pub(crate) audience: String,
    /// Where the issuer's public keys are.
    pub(crate) jwks: Jwks,
    /// Which claim names the end user.
    pub(crate) user_claim: String,
    /// How they may be signed.
    pub(crate) algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be off.
    pub(crate) leeway: Duration,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Jwks {
    /// In a file.
    File(PathBuf),
    /// Somewhere in the world, where the gate asks.
    Gate,
}

/// Why a token does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token is no signed JSON Web Token")]
    Malformed,
    #[error("the token is not signed in a way that is taken")]
    Algorithm,
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    #[error("the token's claim `{0}` names no end user")]
    NoUser(String),
}

/// Checks tokens. Clones share the keys.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    terms: Arc<Terms>,
    keys: Keys,
}

impl Tokens {
    /// Reads the keys, and watches over them from then on. Until the gate has some, no token counts.
    ///
    /// # Errors
    /// The file holds no key that can be used.
    pub(crate) async fn watch(terms: Terms, link: &Link) -> Result<Self, NoKeys> {
        let keys = match &terms.jwks {
            Jwks::File(path) => Keys::watch(path).await?,
            Jwks::Gate => Keys::asked_for(link.clone()),
        };
        Ok(Self::with(terms, keys))
    }

    fn with(terms: Terms, keys: Keys) -> Self {
        let terms = Arc::new(terms);
        Self { terms, keys }
    }

    /// The end user whom a token names.
    pub(crate) fn user(&self, token: &[u8]) -> Result<String, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let header = decode_header(token).map_err(|_| BadToken::Malformed)?;
        // What must be understood and is not, and what would have to be decrypted or unpacked.
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(BadToken::Malformed);
        }
        if !self.terms.algorithms.contains(&header.alg) {
            return Err(BadToken::Algorithm);
        }
        let key = self.keys.find(header.alg, header.kid.as_deref());
        let key = key.ok_or(BadToken::UnknownKey)?;
        let claims = decode::<Map<String, Value>>(token, &key, &self.validation(header.alg))
            .map_err(|error| BadToken::Invalid(keys::in_words(&error)))?
            .claims;
        let user = claims.get(&self.terms.user_claim).and_then(Value::as_str);
        user.filter(|user| is_a_user(user))
            .map(str::to_owned)
            .ok_or_else(|| BadToken::NoUser(self.terms.user_claim.clone()))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.terms.audience]);
        validation.set_issuer(&[&self.terms.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = self.terms.leeway.as_secs();
        validation
    }
}

/// As the header that a caller with the key sends.
fn is_a_user(user: &str) -> bool {
    let visible = user.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    visible && (1..=USER_BYTES_MAX).contains(&user.len())
}

#[cfg(test)]
mod tests;
