//! SCRAM-SHA-256 (RFC 5802, RFC 7677) from the client's side: proves that it knows a password without saying it, and has the
//! server prove the same. Pure; never sends anything.
//!
//! ```text
//! First ── server's nonce, salt and count ─▶ proof, Final ── server's signature ─▶ it knows the password too
//! ```

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// How often a server may have a password hashed: fewer are too easily guessed from what a listener hears (RFC 7677), more
/// only keep the gate busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=200_000;

/// The header that says that nothing binds the exchange to a TLS channel, in Base64.
const NO_BINDING: &str = "biws";

/// Bytes of a SHA-256.
const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// What a server said that is no part of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadServer {
    #[error("the server's part of the exchange is not understood")]
    Form,
    #[error("the server answers another exchange than the gate's")]
    Nonce,
    #[error("the server wants the password hashed too seldom or too often")]
    Iterations,
    #[error("the server does not know the password that it asks for")]
    Signature,
}

/// The exchange before the server has said anything.
#[derive(Debug)]
pub(super) struct First {
    nonce: String,
    bare: String,
}

/// The exchange once the proof is made.
pub(super) struct Final {
    signature: [u8; HASH_BYTES],
}

impl First {
    /// Begins with a nonce that nobody could foresee, for a user whom the protocol around names already or not.
    pub(super) fn new(user: &str, nonce: String) -> Self {
        let bare = format!("n={user},r={nonce}");
        Self { nonce, bare }
    }

    /// What the client says first.
    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The proof for what the server said, and what its own must be.
    pub(super) fn prove(self, said: &str, password: &[u8]) -> Result<(String, Final), BadServer> {
        let mut parts = said.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(count)) = (part("r="), part("s="), part("i=")) else {
            return Err(BadServer::Form);
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(BadServer::Nonce);
        }
        let salt = STANDARD.decode(salt).map_err(|_| BadServer::Form)?;
        let count: u32 = count.parse().map_err(|_| BadServer::Form)?;
        let count = NonZeroU32::new(count).filter(|count| ITERATIONS.contains(&count.get()));
        let count = count.ok_or(BadServer::Iterations)?;
        let mut salted = Zeroizing::new([0; HASH_BYTES]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            count,
            &salt,
            password,
            &mut salted[..],
        );
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let exchange = format!("{},{said},{without_proof}", self.bare);
        let client_key = Zeroizing::new(signed(&salted[..], b"Client Key"));
        let stored_key = digest::digest(&digest::SHA256, &client_key[..]);
        let signature = signed(stored_key.as_ref(), exchange.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = Zeroizing::new(signed(&salted[..], b"Server Key"));
        let last = Final {
            signature: signed(&server_key[..], exchange.as_bytes()),
        };
        Ok((
            format!("{without_proof},p={}", STANDARD.encode(proof)),
            last,
        ))
    }
}

impl Final {
    /// Whether the server has proved that it knows the password.
    pub(super) fn check(&self, said: &str) -> Result<(), BadServer> {
        let given = said.split(',').next();
        let given = given.and_then(|part| part.strip_prefix("v="));
        let given = STANDARD.decode(given.ok_or(BadServer::Form)?);
        let given = given.map_err(|_| BadServer::Form)?;
        constant_time::verify_slices_are_equal(&given, &self.signature)
            .map_err(|_| BadServer::Signature)
    }
}

fn signed(key: &[u8], text: &[u8]) -> [u8; HASH_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(tag.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SAID: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn first() -> First {
        First::new("user", NONCE.to_owned())
    }

    #[test]
    fn the_exchange_is_that_of_the_standard() {
        assert_eq!(first().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proof, last) = first().prove(SAID, b"pencil").unwrap();
        assert_eq!(
            proof,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let own = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(last.check(own), Ok(()));
        for other in [
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
            "v=AAAA",
            "e=no",
            "v=",
            "",
        ] {
            assert!(last.check(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_server_that_says_anything_else_gets_no_proof() {
        use BadServer::{Form, Iterations, Nonce};
        for (from, to, why) in [
            ("r=rOpr", "r=xOpr", Nonce),
            ("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "", Nonce),
            ("i=4096", "i=4095", Iterations),
            ("i=4096", "i=1", Iterations),
            ("i=4096", "i=4000000", Iterations),
            ("i=4096", "i=-1", Form),
            ("s=W22", "s=!", Form),
            ("r=rOpr", "m=x,r=rOpr", Form),
        ] {
            let proof = first().prove(&SAID.replacen(from, to, 1), b"pencil");
            assert_eq!(proof.map(|_| ()), Err(why), "{to}");
        }
    }
}
