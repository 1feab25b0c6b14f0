//! `Authorization: Bearer VALUE` (RFC 6750 section 2.1). Never sends two.

use http::{HeaderValue, header::AUTHORIZATION};
use postern_contract::{Secret, SecretName};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Kind, Outbound, Place, Unfit};

/// `{ kind = "bearer", secret = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    secret: SecretName,
}

impl Kind for Bearer {
    fn secret(&self) -> &SecretName {
        &self.secret
    }

    fn place(&self) -> Place<'_> {
        Place::Header(AUTHORIZATION.as_str())
    }

    fn add(&self, secret: &Secret, outbound: &mut Outbound) -> Result<(), Unfit> {
        let text = Zeroizing::new([b"Bearer ", secret.expose()].concat());
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        outbound.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn there_is_one_and_it_is_the_gates() {
        let bearer: Bearer = serde_json::from_str(r#"{"secret":"stripe"}"#).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic mine"));
        let mut outbound = Outbound::new(headers, crate::body::empty());
        bearer
            .add(&Secret::new(b"sk_1".to_vec()), &mut outbound)
            .unwrap();
        let values: Vec<_> = outbound.headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer sk_1"]);
        assert!(values[0].is_sensitive());
    }
}
