//! Whether whoever logged in at the provider is the end user who was asked. Pure. Never takes silence for a yes.

use serde_json::{Map, Value};

use crate::token::Login;

/// How far the provider's clock may be behind, in seconds.
const LEEWAY_S: i64 = 60;

/// What an ID token must say.
pub(super) struct Expected<'a> {
    pub(super) login: Login,
    pub(super) user: &'a str,
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now_s: i64,
}

/// Why a login does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Other {
    #[error("the provider did not say who logged in")]
    Unsaid,
    #[error("what the provider says of the login is not for this")]
    Misplaced,
    #[error("somebody else is logged in at the provider")]
    SomebodyElse,
}

/// Whether these claims are of the end user's login, for us, now.
pub(super) fn check(
    claims: Option<&Map<String, Value>>,
    expected: &Expected<'_>,
) -> Result<(), Other> {
    let claims = claims.ok_or(Other::Unsaid)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is_for_us = match claims.get("aud") {
        Some(Value::String(audience)) => audience == expected.client_id,
        Some(Value::Array(all)) => {
            let ours = all
                .iter()
                .any(|one| one.as_str() == Some(expected.client_id));
            ours && (all.len() == 1 || text("azp") == Some(expected.client_id))
        }
        _ => false,
    };
    let ends = claims.get("exp").and_then(Value::as_i64);
    let is_now = ends.is_some_and(|ends| ends.saturating_add(LEEWAY_S) > expected.now_s);
    let is_ours = text("iss") == Some(expected.issuer) && text("nonce") == Some(expected.nonce);
    if !(is_for_us && is_now && is_ours) {
        return Err(Other::Misplaced);
    }
    let who = match expected.login {
        Login::Sub => text("sub"),
        Login::Email if claims.get("email_verified") == Some(&Value::Bool(true)) => text("email"),
        Login::Email => None,
    };
    match who.ok_or(Other::Unsaid)? {
        who if who == expected.user => Ok(()),
        _ => Err(Other::SomebodyElse),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(login: Login, change: (&str, Value)) -> Result<(), Other> {
        let mut claims = json!({
            "iss": "https://a.b", "aud": "app", "exp": 1000, "nonce": "n", "sub": "ada", "email": "ada@x",
            "email_verified": true,
        });
        claims[change.0] = change.1;
        let expected = Expected {
            login,
            user: match login {
                Login::Sub => "ada",
                Login::Email => "ada@x",
            },
            issuer: "https://a.b",
            client_id: "app",
            nonce: "n",
            now_s: 1000,
        };
        check(claims.as_object(), &expected)
    }

    #[test]
    fn only_the_end_users_own_login_for_us_counts() {
        assert_eq!(checked(Login::Sub, ("x", json!(1))), Ok(()));
        assert_eq!(checked(Login::Email, ("x", json!(1))), Ok(()));
        assert_eq!(checked(Login::Sub, ("aud", json!(["app"]))), Ok(()));
        for (name, value) in [
            ("iss", json!("https://evil")),
            ("aud", json!("other")),
            ("aud", json!(["app", "other"])),
            ("exp", json!(900)),
            ("exp", json!(null)),
            ("nonce", json!("m")),
        ] {
            assert_eq!(
                checked(Login::Sub, (name, value)),
                Err(Other::Misplaced),
                "{name}"
            );
        }
        assert_eq!(
            checked(Login::Sub, ("sub", json!("eve"))),
            Err(Other::SomebodyElse)
        );
        assert_eq!(
            checked(Login::Email, ("email", json!("eve@x"))),
            Err(Other::SomebodyElse)
        );
        assert_eq!(
            checked(Login::Email, ("email_verified", json!("true"))),
            Err(Other::Unsaid)
        );
        assert_eq!(
            checked(Login::Sub, ("sub", json!(null))),
            Err(Other::Unsaid)
        );
    }

    #[test]
    fn a_provider_that_says_nothing_vouches_for_nobody() {
        let expected = Expected {
            login: Login::Sub,
            user: "ada",
            issuer: "i",
            client_id: "c",
            nonce: "n",
            now_s: 0,
        };
        assert_eq!(check(None, &expected), Err(Other::Unsaid));
    }
}
