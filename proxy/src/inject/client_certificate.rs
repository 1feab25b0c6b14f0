//! A certificate of the gate's towards an upstream (mutual TLS). Never stands in a request: the connection carries it, and only
//! one that has verified the upstream first.

use std::sync::Arc;

use postern_contract::SecretName;
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde::Deserialize;

use super::{Draft, Kind, Place, Unfit, Values};

/// The longest chain, in certificates.
const CHAIN_MAX: usize = 16;

/// `{ kind = "client_certificate", certificate = "NAME", key = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The chain in PEM, the gate's own certificate first.
    certificate: SecretName,
    /// Its key in PEM.
    key: SecretName,
}

impl ClientCertificate {
    /// What is shown to an upstream that asks; its key proves that it is the gate's.
    pub(super) fn shown(&self, values: &Values<'_>) -> Result<Arc<SingleCertAndKey>, Unfit> {
        let chain = CertificateDer::pem_slice_iter(values.get(&self.certificate)?.expose());
        let chain = chain.take(CHAIN_MAX + 1).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| Unfit)?;
        if chain.is_empty() || chain.len() > CHAIN_MAX {
            return Err(Unfit);
        }
        let key = PrivateKeyDer::from_pem_slice(values.get(&self.key)?.expose());
        let key = any_supported_type(&key.map_err(|_| Unfit)?).map_err(|_| Unfit)?;
        let certified = CertifiedKey::new(chain, key);
        // A key of another certificate would be found out by nobody but the upstream.
        certified.keys_match().map_err(|_| Unfit)?;
        Ok(Arc::new(SingleCertAndKey::from(certified)))
    }
}

impl Kind for ClientCertificate {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.certificate, &self.key]
    }

    fn sent(&self) -> Vec<&SecretName> {
        Vec::new()
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Connection]
    }

    fn takes_lines(&self) -> bool {
        true
    }

    fn add(&self, _: &Values<'_>, _: &mut Draft<'_>) -> Result<(), Unfit> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::secret::Secrets;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["gate.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        (
            pem("CERTIFICATE", certificate.der()),
            pem("PRIVATE KEY", &key.serialize_der()),
        )
    }

    #[test]
    fn a_certificate_goes_with_its_own_key_and_no_other() {
        let text = r#"{"certificate":"chain","key":"key"}"#;
        let kind: ClientCertificate = serde_json::from_str(text).unwrap();
        let ((chain, key), (_, other)) = (pair(), pair());
        let shown = |chain: &str, key: &str| {
            let secrets = Secrets::of([("chain", chain), ("key", key)]);
            kind.shown(&Values::of(&secrets)).is_ok()
        };
        assert!(shown(&chain, &key));
        assert!(!shown(&chain, &other));
        assert!(!shown("no certificate", &key));
        assert!(!shown(&chain, "no key"));
        assert!(!shown(&chain.repeat(CHAIN_MAX + 1), &key));
    }
}
