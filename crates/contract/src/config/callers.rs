//! `[callers]` as written: who may call the public API, and whose word about end users counts. Never reads a key.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::Period;

/// `[callers]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callers {
    /// Whether calls, but for probes, need the callers' key or a token; default where there is `jwt`.
    pub required: Option<bool>,
    /// Tokens that somebody else gives out.
    pub jwt: Option<Jwt>,
}

/// `[callers.jwt]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Who gives them out: `iss`.
    pub issuer: String,
    /// Whom they are for: one of `aud`.
    pub audience: String,
    /// The file that its public keys are in: a JSON Web Key Set, read anew when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Or the URL that has them: the gate asks there, from time to time and where a token names a key that is not known.
    pub jwks_url: Option<String>,
    /// The only authorities (PEM) that are believed about that URL; absent means those of the system.
    pub jwks_ca: Option<PathBuf>,
    /// Which claim names the end user; default `sub`.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// How tokens may be signed; default all of them.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be off; default 30 s.
    #[serde(default = "default_leeway")]
    pub leeway: Period,
}

/// How a token is signed: with a private key, so that whoever can check it cannot make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// ECDSA over P-256, SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

fn default_user_claim() -> String {
    "sub".to_owned()
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
}

fn default_leeway() -> Period {
    Period(Duration::from_secs(30))
}
