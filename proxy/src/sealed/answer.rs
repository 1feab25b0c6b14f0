//! What a token endpoint answers to an agent, with a stand-in for each token. It is there whole before the agent sees any of it; what
//! cannot be read as it was declared is refused. Never repeats a word of such an answer, and never passes on a token.
//!
//! ```text
//! answer ─▶ no redirect ─▶ decoded, whole ─▶ JSON ─▶ every token kept, its stand-in put in ─▶ once more looked through ─▶ agent
//! ```

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Response, StatusCode, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    Claim,
    vault::{Fresh, Held, Kind, Token},
};
use crate::{
    body::{self, Body},
    identify::Caller,
    mask::{self, Scanners},
    record::Record,
    refuse::Refused,
    relay::Relayed,
    shown,
};

/// The largest answer, in bytes, decoded.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What is made room for where an answer does not say how long it is, in bytes.
const ANSWER_BYTES: usize = 16 << 10;

/// The largest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The longest that an answer may take to come whole.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// The longest life of a token that is believed.
const LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What says of a body how it was, and is not true any more, or would keep a session of the agent's open.
const DROPPED: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::ETAG,
    header::SET_COOKIE,
    header::TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Why an answer's tokens cannot be kept, so that the agent has none of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsealed {
    #[error("the token endpoint answered {0}, which the gate does not follow")]
    Redirect(u16),
    #[error("the token endpoint wanted to speak another protocol")]
    Switched,
    #[error("the token endpoint's answer is in an encoding that the gate does not read")]
    Encoded,
    #[error("the token endpoint's answer broke off, or is not in the encoding that it says")]
    Broken,
    #[error("the token endpoint's answer did not come whole within {WHOLE_MAX:?}")]
    Late,
    #[error("the token endpoint's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    #[error("the token endpoint answered {0} with something else than a JSON object")]
    NotJson(u16),
    #[error("the token endpoint answered {0} without an `access_token`")]
    NoToken(u16),
    #[error("the token endpoint's answer has a token that is no text, or none that could be sent")]
    Unfit,
    #[error("the gate could not make a stand-in for a token")]
    NoStandIn,
}

/// An answer as the agent may see it.
pub(crate) async fn answer(
    relayed: Relayed,
    claim: &Claim,
    caller: &Caller,
    record: &mut Record,
) -> Result<Relayed, Refused> {
    if !claim.is_at_endpoint() {
        return Ok(relayed);
    }
    let Relayed::Answer(response) = relayed else {
        return Err(Unsealed::Switched.into());
    };
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    if status.is_redirection() {
        return Err(Unsealed::Redirect(status.as_u16()).into());
    }
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && body.is_end_stream() {
        // What went along may come back in its fields.
        let spent = scanners(claim.spent());
        mask::in_fields(&mut parts.headers, &spent);
        retire(&mut parts);
        return Ok(Relayed::Answer(Response::from_parts(parts, body)));
    }
    let body = mask::decoded(&mut parts.headers, body).map_err(|_| Unsealed::Encoded)?;
    let reading = timeout(WHOLE_MAX, whole(body, caller, record));
    let bytes = reading.await.map_err(|_| Unsealed::Late)??;
    if let Some(cut) = record.cut_now() {
        return Err(cut.refused());
    }
    let now = record.now();
    let (text, kept) = seal(&bytes, status, claim, now)?;
    record.line.tokens_sealed = Some(u32::try_from(kept.len()).unwrap_or(u32::MAX));
    let spent = claim.spent().cloned();
    let tokens: Vec<_> = kept.into_iter().chain(spent).collect();
    Ok(Relayed::Answer(rewritten(parts, text, &tokens)))
}

/// The answer with this text, and without any of these tokens elsewhere in it.
fn rewritten(mut parts: Parts, mut text: Vec<u8>, tokens: &[Arc<Token>]) -> Response<Body> {
    let scanners = scanners(tokens);
    scanners.mask(&mut text);
    mask::in_fields(&mut parts.headers, &scanners);
    retire(&mut parts);
    let length = HeaderValue::from(text.len());
    parts.headers.insert(header::CONTENT_LENGTH, length);
    Response::from_parts(parts, body::full(text))
}

fn scanners<'a>(tokens: impl IntoIterator<Item = &'a Arc<Token>>) -> Scanners {
    let scanners = tokens
        .into_iter()
        .filter_map(|token| token.scanner().cloned());
    scanners.collect()
}

fn retire(parts: &mut Parts) {
    for name in &DROPPED {
        parts.headers.remove(name);
    }
}

/// All of a body, out of the sandbox's share.
async fn whole(
    body: Body,
    caller: &Caller,
    record: &mut Record,
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let room = said.clamp(ANSWER_BYTES, ANSWER_BYTES_MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unsealed::Broken)?;
        let Ok(data) = frame.into_data() else { break };
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(Unsealed::Long.into());
        }
        shown::hold(bytes.len(), data.len(), caller, record)?;
        if bytes.len() + data.len() > bytes.capacity() {
            // A vector that grows by itself leaves its old place as it was.
            let mut larger = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The text of an answer with a stand-in for each token, and the tokens, which are kept.
fn seal(
    bytes: &[u8],
    status: StatusCode,
    claim: &Claim,
    now: Instant,
) -> Result<(Vec<u8>, Vec<Arc<Token>>), Unsealed> {
    let not_json = || Unsealed::NotJson(status.as_u16());
    let mut value: Value = serde_json::from_slice(bytes).map_err(|_| not_json())?;
    let Value::Object(members) = &mut value else {
        return Err(not_json());
    };
    if status.is_success() && !members.iter().any(|(name, value)| is_access(name, value)) {
        return Err(Unsealed::NoToken(status.as_u16()));
    }
    let lives = Lives::of(members, now);
    let kept = claim.vault().change(now, |held| {
        let mut sealing = Sealing {
            held,
            claim,
            lives,
            kept: Vec::new(),
        };
        sealing.object(members)?;
        sealing.follow();
        Ok(sealing.kept)
    })?;
    let text = serde_json::to_vec(&value).map_err(|_| not_json())?;
    Ok((text, kept))
}

fn is_access(name: &str, value: &Value) -> bool {
    kind(name) == Some(Kind::Access) && value.as_str().is_some_and(|text| !text.is_empty())
}

/// What kind of token a member is, as servers spell it: `access_token`, `accessToken`.
fn kind(name: &str) -> Option<Kind> {
    let letters = name.chars().filter(char::is_ascii_alphabetic);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    match name.as_str() {
        "accesstoken" => Some(Kind::Access),
        "refreshtoken" => Some(Kind::Refresh),
        "idtoken" => Some(Kind::Id),
        _ => None,
    }
}

/// When tokens of an answer end; absent means that nobody said.
struct Lives {
    access: Option<Instant>,
    refresh: Option<Instant>,
}

impl Lives {
    fn of(members: &Map<String, Value>, now: Instant) -> Self {
        let ends = |names: &[&str]| {
            let said = names.iter().find_map(|name| members.get(*name))?;
            let seconds = match said {
                Value::Number(number) => number.as_f64()?,
                Value::String(text) => text.parse().ok()?,
                _ => return None,
            };
            let life = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LIFE_MAX);
            now.checked_add(life.min(LIFE_MAX))
        };
        Self {
            access: ends(&["expires_in", "expiresIn"]),
            refresh: ends(&["refresh_expires_in", "refresh_token_expires_in"]),
        }
    }

    fn ends(&self, kind: Kind) -> Option<Instant> {
        match kind {
            Kind::Access | Kind::Id => self.access,
            Kind::Refresh => self.refresh,
        }
    }
}

/// An answer whose tokens are being kept.
struct Sealing<'a> {
    held: &'a mut Held,
    claim: &'a Claim,
    lives: Lives,
    kept: Vec<Arc<Token>>,
}

impl Sealing<'_> {
    fn object(&mut self, members: &mut Map<String, Value>) -> Result<(), Unsealed> {
        for (name, value) in members.iter_mut() {
            match kind(name) {
                Some(kind) => self.token(kind, value)?,
                None => self.value(value)?,
            }
        }
        Ok(())
    }

    /// Tokens may lie deeper too, as a second one for another user does at some.
    fn value(&mut self, value: &mut Value) -> Result<(), Unsealed> {
        match value {
            Value::Object(members) => self.object(members),
            Value::Array(values) => values.iter_mut().try_for_each(|value| self.value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn token(&mut self, kind: Kind, value: &mut Value) -> Result<(), Unsealed> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) if text.is_empty() => return Ok(()),
            Value::String(text) => std::mem::take(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(Unsealed::Unfit);
            }
        };
        if text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            drop(Zeroizing::new(text));
            return Err(Unsealed::Unfit);
        }
        let fresh = Fresh {
            tool: self.claim.tool().ok_or(Unsealed::NoStandIn)?,
            owner: self.claim.owner(),
            kind,
            real: text,
            ends: self.lives.ends(kind),
        };
        let token = self.held.keep(fresh).map_err(|_| Unsealed::NoStandIn)?;
        *value = Value::String(token.stand_in().to_owned());
        self.kept.push(token);
        Ok(())
    }

    /// A refresh token that another one has followed is of no use any more.
    fn follow(&mut self) {
        let Some(spent) = self.claim.refresh() else {
            return;
        };
        let is_new = |token: &&Arc<Token>| token.is_refresh() && !Arc::ptr_eq(token, spent);
        let is_same = |token: &Arc<Token>| Arc::ptr_eq(token, spent);
        if self.kept.iter().any(|token| is_new(&token)) && !self.kept.iter().any(is_same) {
            self.held.drop_one(spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &str = "gho_16C7e42F292c6912E7710c838347Ae178B4a";

    fn sealed(status: u16, text: &str) -> Result<(String, usize), String> {
        let claim = Claim::at("idp");
        let now = postern_daemon::Clock::system().now();
        let status = StatusCode::from_u16(status).unwrap();
        let sealed = seal(text.as_bytes(), status, &claim, now);
        let (text, kept) = sealed.map_err(|unsealed| unsealed.to_string())?;
        Ok((String::from_utf8(text).unwrap(), kept.len()))
    }

    #[test]
    fn every_token_has_a_stand_in_wherever_it_lies() {
        let (text, kept) = sealed(
            200,
            &format!(
                r#"{{"access_token":"{ACCESS}","expires_in":"60","refresh_token":"1/abcdefghijklmnopqrst",
                "scope":"a b","user":{{"accessToken":"xoxp-0123456789abcdefghijkl"}},"more":[{{"id_token":"a.b"}}],"x":null}}"#
            ),
        )
        .unwrap();
        assert_eq!(kept, 4);
        for real in [&ACCESS[4..], "abcdefghij", "0123456789", "a.b"] {
            assert!(!text.contains(real), "{text}");
        }
        for stays in [r#""access_token":"gho_"#, r#""scope":"a b""#, "xoxp-"] {
            assert!(text.contains(stays), "{text}");
        }
        // Of two members of one name the agent would have seen either.
        let twice = format!(r#"{{"access_token":"{ACCESS}","access_token":"Other-0123456789"}}"#);
        let (text, kept) = sealed(200, &twice).unwrap();
        assert!(kept == 1 && !text.contains(ACCESS) && !text.contains("Other-"));
    }

    #[test]
    fn an_answer_that_is_not_as_declared_is_none() {
        for (status, text, words) in [
            (200, "", "JSON"),
            (200, "access_token=abc&scope=x", "JSON"),
            (200, "[]", "JSON"),
            (200, "{}", "without an `access_token`"),
            (200, r#"{"access_token":""}"#, "without an `access_token`"),
            (200, r#"{"access_token":7}"#, "without an `access_token`"),
            (201, r#"{"token":"x"}"#, "without an `access_token`"),
            (
                200,
                r#"{"access_token":"a","id_token":{"a":"b"}}"#,
                "no text",
            ),
            (200, r#"{"access_token":"a\nb"}"#, "none that could be sent"),
            (503, "<html>", "answered 503"),
        ] {
            let error = sealed(status, text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let (text, kept) = sealed(400, r#"{"error":"invalid_grant"}"#).unwrap();
        assert_eq!((text.as_str(), kept), (r#"{"error":"invalid_grant"}"#, 0));
        let (text, kept) = sealed(400, r#"{"refresh_token":"abcdefghijkl"}"#).unwrap();
        assert!(kept == 1 && !text.contains("abcdefghijkl"));
    }
}
