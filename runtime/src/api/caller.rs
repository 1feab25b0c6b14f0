//! For whom a call is: an end user is believed only from a caller who shows the callers' key. Never tells who an ordinary
//! caller is.

use axum::http::HeaderMap;

use super::Refused;
use crate::{app::App, operator};

const END_USER_ID: &str = "x-end-user-id";

/// The longest name of an end user, in bytes.
const USER_BYTES_MAX: usize = 255;

/// The end user that the call is for, if the caller may name one.
pub(super) fn end_user(app: &App, headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut all = headers.get_all(END_USER_ID).iter();
    let Some(named) = all.next() else {
        return Ok(None);
    };
    if !operator::shown(headers).is_some_and(|shown| app.believes(shown)) {
        app.note_ignored_end_user();
        return Ok(None);
    }
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
