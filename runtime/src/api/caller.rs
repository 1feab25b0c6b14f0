//! Who calls and for whom: a token names its end user itself, whoever shows the callers' key may name one, and nobody else is
//! believed. Where the config wants it, nobody else is served either.

use axum::http::{HeaderMap, header};

use super::Refused;
use crate::{app::App, operator, token::BadToken};

const END_USER_ID: &str = "x-end-user-id";

/// The longest name of an end user, in bytes.
const USER_BYTES_MAX: usize = 255;

/// Why a caller is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stranger {
    /// Nothing was shown.
    #[error("this call needs a token, or the callers' key")]
    Unnamed,
    /// What was shown is nothing that counts.
    #[error("what this call shows is not the callers' key")]
    Unknown,
    /// A token does not count.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// Two things were shown, and nobody can say which one counts.
    #[error("`Authorization` and `X-RunAgents-Api-Key` come once")]
    Twice,
}

impl Stranger {
    /// What `WWW-Authenticate` says (RFC 6750 section 3).
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Unnamed => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        }
    }
}

/// Who calls.
enum Caller {
    /// Nobody in particular.
    Anybody,
    /// Somebody with the callers' key.
    FrontEnd,
    /// An end user, by a token.
    User(String),
}

/// The end user that the call is for, if the caller may name one or is one.
pub(super) fn end_user(app: &App, headers: &HeaderMap) -> Result<Option<String>, Refused> {
    match identified(app, headers)? {
        Caller::User(user) => {
            let mut named = headers.get_all(END_USER_ID).iter();
            if named.all(|named| named.as_bytes() == user.as_bytes()) {
                return Ok(Some(user));
            }
            Err(Refused::Header {
                header: "X-End-User-Id",
                why: "is another than the token's user",
            })
        }
        Caller::FrontEnd => named_user(headers),
        Caller::Anybody => {
            if headers.contains_key(END_USER_ID) {
                app.note_ignored_end_user();
            }
            Ok(None)
        }
    }
}

fn identified(app: &App, headers: &HeaderMap) -> Result<Caller, Stranger> {
    let knows_callers = app.requires_callers() || app.tokens().is_some();
    let twice = |name| headers.get_all(name).iter().nth(1).is_some();
    if knows_callers && (twice(header::AUTHORIZATION) || twice(operator::KEY_HEADER)) {
        return Err(Stranger::Twice);
    }
    match (operator::shown(headers), app.tokens()) {
        (Some(shown), _) if app.believes(shown) => Ok(Caller::FrontEnd),
        (Some(shown), Some(tokens)) => Ok(Caller::User(tokens.user(shown)?)),
        (Some(_), None) if app.requires_callers() => Err(Stranger::Unknown),
        (None, _) if app.requires_callers() => Err(Stranger::Unnamed),
        _ => Ok(Caller::Anybody),
    }
}

fn named_user(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut all = headers.get_all(END_USER_ID).iter();
    let Some(named) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        // A front end that adds its own beside its client's has not said which.
        return Err(Refused::Header {
            header: "X-End-User-Id",
            why: "comes once",
        });
    }
    match named.to_str() {
        Ok(user) if (1..=USER_BYTES_MAX).contains(&user.len()) => Ok(Some(user.to_owned())),
        _ => Err(Refused::Header {
            header: "X-End-User-Id",
            why: "is 1 to 255 visible ASCII characters",
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use postern_contract::Secret;

    use super::*;
    use crate::runs::tests::bench;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn headers(key: Option<&str>, user: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(END_USER_ID, HeaderValue::from_str(user).unwrap());
        if let Some(key) = key {
            let shown = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
            headers.insert("authorization", shown);
        }
        headers
    }

    #[tokio::test]
    async fn a_user_is_named_by_whoever_shows_the_key_and_by_nobody_else() {
        let app = bench(0).await.app.believing(Secret::new(KEY.into()));
        let named = |key, user| end_user(&app, &headers(key, user));
        assert_eq!(named(Some(KEY), "ada").unwrap().as_deref(), Some("ada"));
        for wrong in [None, Some(""), Some("0123456789abcdef")] {
            assert_eq!(named(wrong, "ada").unwrap(), None);
        }
        assert!(named(Some(KEY), "").is_err());
        assert!(named(Some(KEY), &"a".repeat(USER_BYTES_MAX + 1)).is_err());
        assert_eq!(end_user(&app, &HeaderMap::new()).unwrap(), None);
        let mut two = headers(Some(KEY), "eve");
        two.append(END_USER_ID, HeaderValue::from_static("ada"));
        assert!(end_user(&app, &two).is_err());
    }
}
