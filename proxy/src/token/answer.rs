//! What a token endpoint answers, read with a limit on everything. Never believes more of an answer than it needs, and never
//! repeats a word of one that is not on a list.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use postern_contract::Secret;
use serde::Deserialize;

use super::{NoToken, grant::UNSAID};

/// The largest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Errors that have a name (RFC 6749 section 5.2, RFC 8693 section 2.2.2): an endpoint's own words are repeated to nobody.
const ERRORS: [&str; 8] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
];

/// What an endpoint gave.
pub(crate) struct Minted {
    pub(crate) token: Secret,
    pub(crate) life: Duration,
    /// What the refresh token has become.
    pub(crate) successor: Option<Secret>,
}

/// Whether the head of an answer says yes, and in a form that can be read.
pub(super) fn head(status: StatusCode, fields: &HeaderMap) -> Result<(), NoToken> {
    if status.is_redirection() {
        return Err(NoToken::Redirected);
    }
    if status.is_success() && !is_json(fields) {
        return Err(NoToken::NotJson);
    }
    Ok(())
}

fn is_json(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Why an endpoint said no.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> NoToken {
    #[derive(Deserialize)]
    struct Written {
        error: String,
    }
    let written = serde_json::from_slice::<Written>(body).ok();
    let word = written.and_then(|written| {
        let known = ERRORS.into_iter();
        known.clone().find(|known| *known == written.error)
    });
    NoToken::Refused {
        status: status.as_u16(),
        word,
    }
}

/// An answer of OAuth 2.0 (RFC 6749 section 5.1).
pub(super) fn oauth(body: &[u8]) -> Result<Minted, NoToken> {
    #[derive(Deserialize)]
    struct Written {
        access_token: Text,
        token_type: Option<String>,
        expires_in: Option<Seconds>,
        refresh_token: Option<Text>,
    }
    let written: Written = serde_json::from_slice(body).map_err(|_| NoToken::NotJson)?;
    let kind = written.token_type.as_deref().unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(NoToken::Kind);
    }
    let life = match written.expires_in {
        None => UNSAID,
        Some(seconds) => seconds.life()?,
    };
    Ok(Minted {
        token: fit(written.access_token)?,
        life,
        successor: written.refresh_token.map(fit).transpose()?,
    })
}

/// A life of this many seconds.
pub(super) fn life(seconds: i64) -> Result<Duration, NoToken> {
    match u64::try_from(seconds) {
        Ok(0) | Err(_) => Err(NoToken::Expired),
        Ok(seconds) => Ok(Duration::from_secs(seconds).min(LIFE_MAX)),
    }
}

/// A token that can stand in a header field, and nothing but one.
pub(super) fn fit(text: Text) -> Result<Secret, NoToken> {
    let secret = text.0;
    let bytes = secret.expose();
    let fits = !bytes.is_empty()
        && bytes.len() <= TOKEN_BYTES_MAX
        && bytes.iter().all(u8::is_ascii_graphic);
    if fits {
        Ok(secret)
    } else {
        Err(NoToken::Unfit)
    }
}

/// A text that is a secret from the moment it is read.
pub(crate) struct Text(Secret);

impl Text {
    /// The bytes themselves.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The secret.
    pub(crate) fn into_secret(self) -> Secret {
        self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Secret::new(text.into_bytes())))
    }
}

/// A number of seconds; some servers write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Whole(i64),
    Broken(f64),
    Text(String),
}

impl Seconds {
    fn life(self) -> Result<Duration, NoToken> {
        let seconds = match self {
            Self::Whole(seconds) => Some(seconds),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and is bounded next"
            )]
            Self::Broken(seconds) => Some(seconds as i64),
            Self::Text(text) => text.parse().ok(),
        };
        life(seconds.ok_or(NoToken::NotJson)?)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn error(body: &str) -> String {
        oauth(body.as_bytes()).err().unwrap().to_string()
    }

    #[test]
    fn a_good_answer_is_read_as_the_standard_has_it() {
        let body = br#"{"access_token":"a.b-c~1","token_type":"bEARER","expires_in":3600,
            "refresh_token":"r2","scope":"x","id_token":"ignored"}"#;
        let minted = oauth(body).ok().unwrap();
        assert!(minted.token.is(b"a.b-c~1") && minted.successor.unwrap().is(b"r2"));
        assert_eq!(minted.life, Duration::from_secs(3600));
        let life = |seconds: &str| {
            let body = format!(r#"{{"access_token":"a","expires_in":{seconds}}}"#);
            oauth(body.as_bytes()).ok().map(|minted| minted.life)
        };
        assert_eq!(life("\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(life("59.9"), Some(Duration::from_secs(59)));
        assert_eq!(life("null"), Some(UNSAID));
        assert_eq!(life("9223372036854775807"), Some(LIFE_MAX));
        assert_eq!(life("1e300"), Some(LIFE_MAX));
        for bad in ["0", "-5", "\"x\"", "[]"] {
            assert_eq!(life(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_answer_says_what_is_bad_and_nothing_that_was_in_it() {
        for (body, wanted) in [
            ("nonsense", "no JSON"),
            ("{}", "no JSON"),
            (r#"{"access_token":""}"#, "cannot stand"),
            (r#"{"access_token":"hunter2\r\nx: y"}"#, "cannot stand"),
            (r#"{"access_token":"hunter2 "}"#, "cannot stand"),
            (r#"{"access_token":7}"#, "no JSON"),
            (r#"{"access_token":"hunter2","token_type":"mac"}"#, "Bearer"),
            (
                r#"{"access_token":"hunter2","access_token":"b"}"#,
                "no JSON",
            ),
            (
                r#"{"access_token":"a","refresh_token":"hunter2\n"}"#,
                "cannot stand",
            ),
        ] {
            let error = error(body);
            assert!(error.contains(wanted), "{body}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let long = format!(
            r#"{{"access_token":"{}"}}"#,
            "a".repeat(TOKEN_BYTES_MAX + 1)
        );
        assert!(error(&long).contains("cannot stand"));
    }

    #[test]
    fn only_words_of_the_standards_are_repeated() {
        let told = |body: &str| refusal(StatusCode::BAD_REQUEST, body.as_bytes()).to_string();
        assert!(told(r#"{"error":"invalid_grant"}"#).contains("400 (invalid_grant)"));
        for odd in [
            r#"{"error":"hunter2"}"#,
            "hunter2",
            r#"{"error":["hunter2"]}"#,
        ] {
            assert!(!told(odd).contains("hunter2") && told(odd).contains("400"));
        }
    }

    #[test]
    fn a_redirect_is_not_followed_and_only_json_is_read() {
        let mut fields = HeaderMap::new();
        assert!(matches!(
            head(StatusCode::FOUND, &fields),
            Err(NoToken::Redirected)
        ));
        assert!(matches!(
            head(StatusCode::OK, &fields),
            Err(NoToken::NotJson)
        ));
        for (kind, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.github+json", true),
            ("text/html", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(head(StatusCode::OK, &fields).is_ok(), good, "{kind}");
        }
    }
}
