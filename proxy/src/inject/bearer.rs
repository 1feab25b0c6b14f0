//! `Authorization: Bearer VALUE` (RFC 6750 section 2.1). Never sends two.

use http::{HeaderValue, header::AUTHORIZATION};
use postern_contract::SecretName;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Draft, Kind, Place, Unfit, Values};

/// `{ kind = "bearer", secret = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    secret: SecretName,
}

impl Kind for Bearer {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Header(AUTHORIZATION.as_str())]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?;
        let text = Zeroizing::new([b"Bearer ", secret.expose()].concat());
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        draft.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{inject::tests::drafted, secret::Secrets};

    #[test]
    fn there_is_one_and_it_is_the_gates() {
        let bearer: Bearer = serde_json::from_str(r#"{"secret":"stripe"}"#).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic mine"));
        let secrets = Secrets::of([("stripe", "sk_1")]);
        let draft = drafted(headers, |draft| bearer.add(&Values::of(&secrets), draft)).unwrap();
        let values: Vec<_> = draft.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer sk_1"]);
        assert!(values[0].is_sensitive());
    }
}
