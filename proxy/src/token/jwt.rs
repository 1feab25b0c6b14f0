//! Signed claims (RFC 7519) with a private key in PEM: RS256 for RSA, ES256 for P-256. Never signs without an end, and never
//! prints a key.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::NoToken;

/// The shortest RSA key that is used, in bytes.
const RSA_BYTES_MIN: usize = 256;

/// A key that signs.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl Signer {
    /// The one private key of a text in PEM: PKCS#8, PKCS#1 or SEC 1.
    pub(super) fn read(pem: &[u8]) -> Result<Self, NoToken> {
        let key = PrivateKeyDer::from_pem_slice(pem);
        let bad = |_| NoToken::Key("it holds no private key in PEM");
        match key.map_err(|_| NoToken::Key("it holds no private key in PEM"))? {
            PrivateKeyDer::Pkcs1(key) => {
                Self::rsa(RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(bad)?)
            }
            PrivateKeyDer::Sec1(key) => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::from_private_key_der(curve, key.secret_sec1_der());
                Ok(Self::P256(key.map_err(bad)?))
            }
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
                    return Self::rsa(key);
                }
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
                let other = |_| NoToken::Key("its key is neither RSA nor P-256");
                Ok(Self::P256(key.map_err(other)?))
            }
            _ => Err(NoToken::Key("its key is of a kind that is not known")),
        }
    }

    fn rsa(key: RsaKeyPair) -> Result<Self, NoToken> {
        if key.public_modulus_len() < RSA_BYTES_MIN {
            return Err(NoToken::Key("its RSA key is shorter than 2048 bits"));
        }
        Ok(Self::Rsa(key))
    }

    /// The claims, signed.
    pub(super) fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<String, NoToken> {
        let algorithm = match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        };
        let mut head = json!({ "alg": algorithm, "typ": "JWT" });
        if let Some(id) = key_id {
            head["kid"] = id.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let random = SystemRandom::new();
        let failed = |_| NoToken::Key("nothing can be signed with it");
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .map_err(failed)?;
                signature
            }
            Self::P256(key) => {
                let signature = key.sign(&random, signed.as_bytes()).map_err(failed)?;
                signature.as_ref().to_vec()
            }
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        },
    };
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn parts(token: &str) -> (String, Vec<u8>, Value) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let head = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap());
        let head = serde_json::from_slice(&head.unwrap()).unwrap();
        (
            signed.to_owned(),
            URL_SAFE_NO_PAD.decode(signature).unwrap(),
            head,
        )
    }

    #[test]
    fn what_is_signed_can_be_verified_with_the_public_key() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = rsa.as_der().unwrap();
        let signer = Signer::read(pem("PRIVATE KEY", der.as_ref()).as_bytes())
            .ok()
            .unwrap();
        let token = signer
            .sign(Some("k1"), &json!({ "iss": "a" }))
            .ok()
            .unwrap();
        let (signed, signature, head) = parts(&token);
        assert_eq!(
            (&head["alg"], &head["kid"]),
            (&"RS256".into(), &"k1".into())
        );
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        let curve = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = curve.to_pkcs8v1().unwrap();
        let signer = Signer::read(pem("PRIVATE KEY", der.as_ref()).as_bytes())
            .ok()
            .unwrap();
        let token = signer.sign(None, &json!({ "iss": "a" })).ok().unwrap();
        let (signed, signature, head) = parts(&token);
        assert_eq!(head["alg"], "ES256");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, curve.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn what_is_no_key_is_told_without_its_text() {
        for bad in [
            "",
            "hunter2",
            &pem("PRIVATE KEY", b"hunter2"),
            &pem("CERTIFICATE", b"hunter2"),
        ] {
            let error = Signer::read(bad.as_bytes()).err().unwrap().to_string();
            assert!(
                error.contains("key") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
