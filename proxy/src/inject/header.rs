//! A header field of the tool's own choice, such as `X-Api-Key: VALUE`. Never one that HTTP or the gate needs.

use http::HeaderValue;
use postern_contract::SecretName;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Draft, Kind, Place, Unfit, Values, field::FieldName};

/// `{ kind = "header", name = "X-Api-Key", secret = "NAME", prefix = "Token " }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    name: FieldName,
    secret: SecretName,
    /// What stands before the value, with its space.
    #[serde(default)]
    prefix: String,
}

impl Kind for Header {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Header(self.name.0.as_str())]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?;
        let text = Zeroizing::new([self.prefix.as_bytes(), secret.expose()].concat());
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        draft.headers.insert(&self.name.0, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{inject::tests::drafted, secret::Secrets};

    #[test]
    fn the_prefix_stands_before_the_value() {
        let text = r#"{"name":"X-Api-Key","secret":"a","prefix":"Token "}"#;
        let header: Header = serde_json::from_str(text).unwrap();
        let secrets = Secrets::of([("a", "k1")]);
        let add = |draft: &mut Draft<'_>| header.add(&Values::of(&secrets), draft);
        assert_eq!(
            drafted(HeaderMap::new(), add).unwrap()["x-api-key"],
            "Token k1"
        );
        assert_eq!(header.places(), [Place::Header("x-api-key")]);
    }

    #[test]
    fn a_field_that_frames_the_message_is_refused() {
        for name in ["Host", "Content-Length", "transfer-encoding", "a b", ""] {
            let text = format!(r#"{{"name":"{name}","secret":"a"}}"#);
            assert!(serde_json::from_str::<Header>(&text).is_err(), "{name}");
        }
    }
}
