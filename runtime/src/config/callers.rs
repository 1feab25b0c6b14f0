//! `[callers]` as posternd means it. Never reads a key.

use std::{path::Path, time::Duration};

use jsonwebtoken as jwt;
use postern_contract::config::{Algorithm, Callers as Written, Jwt, Problem};

use crate::token::{Jwks, Terms};

/// The most that an issuer's clock may be off.
const LEEWAY_MAX: Duration = Duration::from_secs(300);

/// Who may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Callers {
    /// Nobody may who shows neither the callers' key nor a token.
    pub(crate) required: bool,
    /// What tokens must be like, if there are any.
    pub(crate) tokens: Option<Terms>,
}

impl Callers {
    pub(super) fn mean(written: &Written, directory: &Path) -> Result<Self, Vec<Problem>> {
        let tokens = written.jwt.as_ref();
        let tokens = tokens.map(|jwt| terms(jwt, directory)).transpose()?;
        Ok(Self {
            required: written.required.unwrap_or(tokens.is_some()),
            tokens,
        })
    }
}

fn terms(written: &Jwt, directory: &Path) -> Result<Terms, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut say = |key: &str, message: &str| {
        problems.push(Problem::at(["callers", "jwt", key], message));
    };
    for (key, text) in [
        ("issuer", &written.issuer),
        ("audience", &written.audience),
        ("user_claim", &written.user_claim),
    ] {
        if text.is_empty() {
            say(key, "say what a token has there");
        }
    }
    if written.algorithms.is_empty() {
        say("algorithms", "name at least one");
    }
    if written.leeway.0 > LEEWAY_MAX {
        say("leeway", "say a time up to 5m");
    }
    let jwks = match (&written.jwks_file, &written.jwks_url) {
        (Some(file), None) => Jwks::File(directory.join(file)),
        (None, Some(_)) => Jwks::Gate,
        _ => {
            let words = "say where the issuer's public keys are: this or `jwks_url`";
            problems.push(Problem::at(["callers", "jwt", "jwks_file"], words));
            return Err(problems);
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Terms {
        issuer: written.issuer.clone(),
        audience: written.audience.clone(),
        jwks,
        user_claim: written.user_claim.clone(),
        algorithms: written.algorithms.iter().copied().map(meant).collect(),
        leeway: written.leeway.0,
    })
}

fn meant(algorithm: Algorithm) -> jwt::Algorithm {
    match algorithm {
        Algorithm::RS256 => jwt::Algorithm::RS256,
        Algorithm::ES256 => jwt::Algorithm::ES256,
        Algorithm::EdDSA => jwt::Algorithm::EdDSA,
    }
}
