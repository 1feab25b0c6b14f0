//! A signature over parts of the request by a template, as webhooks and exchanges want it: HMAC with a shared key. Signs what
//! goes out, after everything else is added, and never anything but that.

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use postern_contract::SecretName;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::{
    Draft, Kind, Place, Reads, Unfit, Unsignable, Values,
    field::FieldName,
    query::{Parameter, encoded},
    template::{Part, Template},
};
use crate::{headers, shown::Shown};

/// The largest body that is read to be signed, in bytes.
const SIGNED_BYTES_MAX: usize = 8 << 20;

/// `{ kind = "hmac", secret = "NAME", sign = "{timestamp}.{body}", header = "X-Signature", value = "v1={signature}" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    secret: SecretName,
    /// How the secret is written down.
    #[serde(default)]
    secret_encoding: SecretEncoding,
    /// What is signed.
    sign: Template,
    #[serde(default)]
    algorithm: Algorithm,
    #[serde(default)]
    encoding: Encoding,
    /// Where the signature stands: one of the two.
    header: Option<FieldName>,
    query: Option<Parameter>,
    /// What stands there.
    #[serde(default = "Template::signature")]
    value: Template,
    #[serde(default)]
    timestamp: Timestamp,
    /// Where the time stands besides.
    timestamp_header: Option<FieldName>,
    timestamp_query: Option<Parameter>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretEncoding {
    #[default]
    Text,
    Base64,
    Hex,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    /// For what still wants it.
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    Hex,
    Base64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Timestamp {
    #[default]
    Seconds,
    Milliseconds,
    Rfc3339,
}

impl Timestamp {
    fn of(self, now_ms: i64) -> Result<String, Unfit> {
        let seconds = now_ms.div_euclid(1000);
        match self {
            Self::Seconds => Ok(seconds.to_string()),
            Self::Milliseconds => Ok(now_ms.to_string()),
            Self::Rfc3339 => {
                let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Unfit)?;
                time.format(&Rfc3339).map_err(|_| Unfit)
            }
        }
    }
}

impl Algorithm {
    fn of(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl Hmac {
    fn key(&self, secret: &[u8]) -> Result<hmac::Key, Unfit> {
        let bytes = Zeroizing::new(match self.secret_encoding {
            SecretEncoding::Text => secret.to_vec(),
            SecretEncoding::Base64 => STANDARD.decode(secret).map_err(|_| Unfit)?,
            SecretEncoding::Hex => hex::decode(secret).map_err(|_| Unfit)?,
        });
        Ok(hmac::Key::new(self.algorithm.of(), &bytes))
    }

    fn encode(&self, bytes: &[u8]) -> String {
        match self.encoding {
            Encoding::Hex => hex::encode(bytes),
            Encoding::Base64 => STANDARD.encode(bytes),
        }
    }

    /// Whether it says where the signature stands, in one place.
    pub(super) fn makes_sense(&self) -> bool {
        let has_signature = self.value.parts().any(|part| *part == Part::Signature);
        let is_circular = self.sign.parts().any(|part| *part == Part::Signature);
        self.header.is_some() != self.query.is_some() && has_signature && !is_circular
    }
}

/// What a template is filled from.
struct Filling<'a> {
    draft: &'a Draft<'a>,
    body: &'a [u8],
    timestamp: &'a str,
    signature: &'a str,
}

impl Filling<'_> {
    fn fill(&self, template: &Template) -> Result<Vec<u8>, Unfit> {
        let mut bytes = Vec::new();
        for part in template.parts() {
            self.put(part, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn put(&self, part: &Part, bytes: &mut Vec<u8>) -> Result<(), Unfit> {
        let (path, query) = self
            .draft
            .target
            .split_once('?')
            .unwrap_or((&self.draft.target, ""));
        let digest = || digest::digest(&digest::SHA256, self.body);
        match part {
            Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Part::Method => bytes.extend_from_slice(self.draft.method.as_bytes()),
            Part::Host => bytes.extend_from_slice(self.draft.authority.to_string().as_bytes()),
            Part::Path => bytes.extend_from_slice(path.as_bytes()),
            Part::Query => bytes.extend_from_slice(query.as_bytes()),
            Part::Target => bytes.extend_from_slice(self.draft.target.as_bytes()),
            Part::Body => bytes.extend_from_slice(self.body),
            Part::BodyHex => bytes.extend_from_slice(hex::encode(digest()).as_bytes()),
            Part::BodyBase64 => bytes.extend_from_slice(STANDARD.encode(digest()).as_bytes()),
            Part::Timestamp => bytes.extend_from_slice(self.timestamp.as_bytes()),
            Part::Signature => bytes.extend_from_slice(self.signature.as_bytes()),
            Part::Field(name) => {
                // A field that is not there, or there twice, would be signed as what the other side does not see.
                let mut values = self.draft.headers.get_all(name).iter();
                let (Some(value), None) = (values.next(), values.next()) else {
                    return Err(Unfit);
                };
                bytes.extend_from_slice(value.as_bytes());
            }
        }
        Ok(())
    }
}

impl Kind for Hmac {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn sent(&self) -> Vec<&SecretName> {
        Vec::new()
    }

    fn places(&self) -> Vec<Place<'_>> {
        let fields = [&self.header, &self.timestamp_header].into_iter().flatten();
        let parameters = [&self.query, &self.timestamp_query].into_iter().flatten();
        let fields = fields.map(|field| Place::Header(field.0.as_str()));
        fields
            .chain(parameters.map(|name| Place::Query(&name.0)))
            .collect()
    }

    fn signs(&self) -> bool {
        true
    }

    fn is_whole(&self) -> bool {
        self.makes_sense()
    }

    fn reads(&self, _: &HeaderMap) -> Result<Reads, Unsignable> {
        let of_body = |part: &Part| matches!(part, Part::Body | Part::BodyHex | Part::BodyBase64);
        Ok(if self.sign.parts().any(of_body) {
            Reads::Whole {
                bytes_max: SIGNED_BYTES_MAX,
                or_not: false,
            }
        } else {
            Reads::Nothing
        })
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let timestamp = self.timestamp.of(draft.now_ms)?;
        for part in self.sign.parts().chain(self.value.parts()) {
            // The other side must see this field as it is signed.
            if let Part::Field(name) = part {
                headers::remove_twins(&mut draft.headers, name);
            }
        }
        if let Some(field) = &self.timestamp_header {
            draft.put(field.0.clone(), timestamp.as_bytes())?;
        }
        if let Some(name) = &self.timestamp_query {
            draft.append(&format!("{}={}", encoded(&name.0), encoded(&timestamp)));
        }
        let body = match &draft.shown {
            Shown::Whole(bytes) => bytes.clone(),
            Shown::Absent | Shown::Hidden => bytes::Bytes::new(),
            Shown::TooLong => return Err(Unfit),
        };
        let mut filling = Filling {
            draft,
            body: &body,
            timestamp: &timestamp,
            signature: "",
        };
        let key = self.key(values.get(&self.secret)?.expose())?;
        let signature = self.encode(hmac::sign(&key, &filling.fill(&self.sign)?).as_ref());
        filling.signature = &signature;
        let value = filling.fill(&self.value)?;
        if let Some(field) = &self.header {
            draft.put(field.0.clone(), &value)?;
        }
        if let Some(name) = &self.query {
            let value = String::from_utf8(value).map_err(|_| Unfit)?;
            draft.append(&format!("{}={}", encoded(&name.0), encoded(&value)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};
    use postern_policy::CanonicalUrl;

    use super::*;
    use crate::{body, secret::Secrets};

    fn sent(
        tool: (&str, &str),
        asked: (&str, &str, &'static str),
    ) -> Result<(String, HeaderMap), Unfit> {
        sent_with(HeaderMap::new(), tool, asked)
    }

    fn sent_with(
        headers: HeaderMap,
        (text, secret): (&str, &str),
        (method, target, body): (&str, &str, &'static str),
    ) -> Result<(String, HeaderMap), Unfit> {
        let kind: Hmac = serde_json::from_str(text).unwrap();
        assert!(kind.makes_sense());
        let url: CanonicalUrl = "https://api.example".parse().unwrap();
        let secrets = Secrets::of([("a", secret)]);
        let mut draft = Draft {
            method,
            authority: url.authority(),
            target: target.to_owned(),
            headers,
            body: body::empty(),
            shown: Shown::Whole(Bytes::from(body)),
            now_ms: 1_499_827_319_559,
        };
        kind.add(&Values::of(&secrets), &mut draft)?;
        Ok((draft.target, draft.headers))
    }

    #[test]
    fn a_webhook_is_signed_as_github_does() {
        // The example of GitHub's documents ("Validating webhook deliveries").
        let text = r#"{"secret":"a","sign":"{body}","header":"X-Hub-Signature-256","value":"sha256={signature}"}"#;
        let (_, fields) = sent(
            (text, "It's a Secret to Everybody"),
            ("POST", "/", "Hello, World!"),
        )
        .unwrap();
        assert_eq!(
            fields["x-hub-signature-256"],
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
        assert!(fields["x-hub-signature-256"].is_sensitive());
    }

    #[test]
    fn an_order_is_signed_as_binance_does() {
        // The example of Binance's documents: parameters in the query, the signature behind them.
        let secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
        let text = r#"{"secret":"a","sign":"{query}{body}","query":"signature"}"#;
        let query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559";
        let (target, _) = sent(
            (text, secret),
            ("POST", &format!("/api/v3/order?{query}"), ""),
        )
        .unwrap();
        let signature = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
        assert_eq!(
            target,
            format!("/api/v3/order?{query}&signature={signature}")
        );
        let text = r#"{"secret":"a","sign":"{query}","query":"signature","timestamp":"milliseconds","timestamp_query":"timestamp"}"#;
        let before = query.strip_suffix("&timestamp=1499827319559").unwrap();
        let (target, _) = sent((text, secret), ("GET", &format!("/o?{before}"), "")).unwrap();
        assert!(target.ends_with(&format!("&timestamp=1499827319559&signature={signature}")));
    }

    #[test]
    fn time_method_path_and_body_are_signed_together() {
        let text = r#"{"secret":"a","secret_encoding":"base64","encoding":"base64","sign":"{timestamp}{method}{target}{body_sha256}",
            "header":"X-Sign","value":"t={timestamp},v1={signature}","timestamp_header":"X-Time"}"#;
        let (_, fields) = sent((text, "a2V5"), ("PUT", "/a?b=1", "x")).unwrap();
        let body = hex::encode(digest::digest(&digest::SHA256, b"x"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let wanted = hmac::sign(&key, format!("1499827319PUT/a?b=1{body}").as_bytes());
        let wanted = format!("t=1499827319,v1={}", STANDARD.encode(wanted));
        assert_eq!(fields["x-sign"], wanted.as_str());
        assert_eq!(fields["x-time"], "1499827319");
        assert!(sent((text, "no base64!"), ("PUT", "/", "")).is_err());
    }

    #[test]
    fn a_field_that_is_signed_goes_out_in_one_spelling() {
        let text = r#"{"secret":"a","sign":"{header:x-order-id}","header":"X-Sign"}"#;
        let fields = |names: &[&'static str]| -> HeaderMap {
            let value = HeaderValue::from_static("7");
            let names = names.iter().map(|name| HeaderName::from_static(name));
            names.map(|name| (name, value.clone())).collect()
        };
        let twins = fields(&["x-order-id", "x_order_id", "x-order_id", "x-order-ids"]);
        let (_, sent) = sent_with(twins, (text, "k"), ("GET", "/", "")).unwrap();
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-order-id", "x-order-ids", "x-sign"]);
        let alone = fields(&["x_order_id"]);
        assert!(sent_with(alone, (text, "k"), ("GET", "/", "")).is_err());
    }

    #[test]
    fn what_says_nothing_or_two_things_is_seen() {
        for text in [
            r#"{"secret":"a","sign":"x"}"#,
            r#"{"secret":"a","sign":"x","header":"A","query":"b"}"#,
            r#"{"secret":"a","sign":"{signature}","header":"A"}"#,
            r#"{"secret":"a","sign":"x","header":"A","value":"y"}"#,
        ] {
            let kind: Hmac = serde_json::from_str(text).unwrap();
            assert!(!kind.makes_sense(), "{text}");
        }
        for sign in ["{", "}", "{what}", "{header:a b}", ""] {
            let text = format!(r#"{{"secret":"a","sign":"{sign}","header":"A"}}"#);
            assert!(serde_json::from_str::<Hmac>(&text).is_err(), "{sign}");
        }
        let field = r#"{"secret":"a","sign":"{header:x-id}","header":"A"}"#;
        assert!(sent((field, "k"), ("GET", "/", "")).is_err());
    }
}
