//! A cookie, for tools that know their callers by a session (RFC 6265 section 4.2). The agent's own cookie of that name stays
//! behind, however it is spelt; its others pass. Never a second cookie of the name.

use http::{HeaderMap, HeaderValue, header::COOKIE};
use percent_encoding::percent_decode_str;
use postern_contract::SecretName;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Draft, Kind, Place, Unfit, Values};

/// `{ kind = "cookie", name = "session", secret = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    name: CookieName,
    secret: SecretName,
}

/// A cookie's name: a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct CookieName(String);

#[derive(Debug, thiserror::Error)]
#[error("a cookie's name has letters, digits and some of `!#$&'*+-.^_|~`")]
struct NoName;

impl TryFrom<String> for CookieName {
    type Error = NoName;

    fn try_from(text: String) -> Result<Self, NoName> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_|~".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_fit) {
            Err(NoName)
        } else {
            Ok(Self(text))
        }
    }
}

impl Kind for Cookie {
    fn secrets(&self) -> Vec<&SecretName> {
        vec![&self.secret]
    }

    fn places(&self) -> Vec<Place<'_>> {
        vec![Place::Cookie(&self.name.0)]
    }

    fn add(&self, values: &Values<'_>, draft: &mut Draft<'_>) -> Result<(), Unfit> {
        let secret = values.get(&self.secret)?.expose();
        // A value that ends early would leave its rest to be read as another cookie.
        if secret.iter().any(|byte| b"; \t,".contains(byte)) {
            return Err(Unfit);
        }
        let mut text = Zeroizing::new([self.name.0.as_bytes(), b"=", secret].concat());
        if let Some(others) = draft.headers.get(COOKIE) {
            let rest = [b"; ", others.as_bytes()].concat();
            text.extend_from_slice(&rest);
        }
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| Unfit)?;
        value.set_sensitive(true);
        draft.headers.insert(COOKIE, value);
        Ok(())
    }
}

/// Takes the cookies out of a request: those that none of `names` is, and how many the others were. What is no text is
/// nobody's cookie.
pub(super) fn take(headers: &mut HeaderMap, names: &[&str]) -> (Option<HeaderValue>, u32) {
    let fields = headers.get_all(COOKIE).iter();
    let texts: Vec<&str> = fields.filter_map(|value| value.to_str().ok()).collect();
    let pairs = texts.iter().flat_map(|text| text.split(';')).map(str::trim);
    let (own, others): (Vec<&str>, Vec<&str>) = pairs
        .filter(|pair| !pair.is_empty())
        .partition(|pair| names.iter().any(|name| is_named(pair, name)));
    let dropped = u32::try_from(own.len()).unwrap_or(u32::MAX);
    let rest = HeaderValue::try_from(others.join("; ")).ok();
    headers.remove(COOKIE);
    (rest.filter(|rest| !rest.is_empty()), dropped)
}

/// Whether some server could read a cookie of this name from it: PHP decodes names, takes `[` for the beginning of a list,
/// and `.` and a space for `_`; older ones end a cookie at a comma.
fn is_named(pair: &str, name: &str) -> bool {
    pair.split(',').any(|part| {
        let key = part.split('=').next().unwrap_or(part).replace('+', " ");
        let key = percent_decode_str(&key).decode_utf8_lossy().into_owned();
        let key = key.trim_matches(|c: char| c.is_whitespace() || c == '"');
        let whole = key.split('[').next().unwrap_or(key);
        [key, whole].iter().any(|key| plainly(key) == plainly(name))
    })
}

fn plainly(name: &str) -> String {
    name.to_ascii_lowercase().replace(['.', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inject::tests::drafted, secret::Secrets};

    fn request(cookies: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        headers
    }

    #[test]
    fn it_stands_before_the_agents_others() {
        let cookie: Cookie = serde_json::from_str(r#"{"name":"sid","secret":"a"}"#).unwrap();
        let secrets = Secrets::of([("a", "s3cret")]);
        let add = |draft: &mut Draft<'_>| cookie.add(&Values::of(&secrets), draft);
        let alone = drafted(HeaderMap::new(), add).unwrap();
        assert_eq!(alone[COOKIE], "sid=s3cret");
        let beside = drafted(request(&["lang=de; a=1"]), add).unwrap();
        assert_eq!(beside[COOKIE], "sid=s3cret; lang=de; a=1");
        assert!(beside[COOKIE].is_sensitive());
    }

    #[test]
    fn the_agents_own_cookie_stays_behind_however_it_is_spelt() {
        for own in [
            "sid=mine",
            "SID=mine",
            " sid = mine",
            "%73id=mine",
            "sid[]=mine",
            "sid",
            "x=\"; sid=mine\"",
            "x=1,sid=mine",
        ] {
            let mut headers = request(&[]);
            headers.append(COOKIE, HeaderValue::from_static("lang=de"));
            headers.append(COOKIE, HeaderValue::from_str(own).unwrap());
            let (rest, dropped) = take(&mut headers, &["sid"]);
            let rest = rest.unwrap();
            assert!(rest.to_str().unwrap().starts_with("lang=de"), "{own}");
            assert!(!rest.to_str().unwrap().contains("mine"), "{own}: {rest:?}");
            assert_eq!((dropped, headers.len()), (1, 0), "{own}");
        }
        let (rest, dropped) = take(&mut request(&["sid=1; sid=2"]), &["sid"]);
        assert_eq!((rest, dropped), (None, 2));
        let (rest, dropped) = take(&mut request(&["side=1;s=2"]), &["sid"]);
        assert_eq!(
            (rest.unwrap().to_str().unwrap(), dropped),
            ("side=1; s=2", 0)
        );
    }

    #[test]
    fn a_value_that_would_be_two_cookies_is_not_sent() {
        let cookie: Cookie = serde_json::from_str(r#"{"name":"sid","secret":"a"}"#).unwrap();
        for value in ["a; admin=1", "a b", "a,b"] {
            let secrets = Secrets::of([("a", value)]);
            let add = |draft: &mut Draft<'_>| cookie.add(&Values::of(&secrets), draft);
            assert!(drafted(HeaderMap::new(), add).is_err(), "{value}");
        }
        for name in ["", "a b", "a=b", "a;b"] {
            let text = format!(r#"{{"name":"{name}","secret":"a"}}"#);
            assert!(serde_json::from_str::<Cookie>(&text).is_err(), "{name}");
        }
    }
}
