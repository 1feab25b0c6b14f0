//! An OAuth 2.0 provider as the standards have it: authorization codes with PKCE, refresh tokens that rotate, ID tokens. Whoever
//! comes to its login page is logged in as whom the test says. Never forgives: a code is for one client, one redirect URI, one
//! proof and one use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Answer, Recorded, Upstream};

/// Who the gate is here.
pub const CLIENT: &str = "postern-test";

/// A provider. It ends with this value.
pub struct Provider {
    server: Option<Upstream>,
    url: String,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider(..)")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let server = self.server.take();
        drop(thread::spawn(move || drop(server)).join());
    }
}

struct State {
    /// The secret that its client must show.
    secret: Option<String>,
    /// Who is logged in.
    user: String,
    /// What it calls itself in its answers.
    issuer: String,
    /// Whether its users say no.
    declines: bool,
    /// How long a token lives, in seconds.
    life: u64,
    /// What was given and not used.
    codes: BTreeMap<String, Code>,
    refreshes: BTreeMap<String, String>,
    given: BTreeSet<String>,
    count: u64,
    refused: Vec<String>,
}

struct Code {
    user: String,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
}

impl Provider {
    /// One whose client has this secret, or none.
    #[must_use]
    pub fn start(secret: Option<&str>) -> Self {
        let state = Arc::new(Mutex::new(State {
            secret: secret.map(str::to_owned),
            user: String::new(),
            issuer: "https://login.test".to_owned(),
            declines: false,
            life: 3600,
            codes: BTreeMap::new(),
            refreshes: BTreeMap::new(),
            given: BTreeSet::new(),
            count: 0,
            refused: Vec::new(),
        }));
        let served = Arc::clone(&state);
        let serve = move || Upstream::start(move |request| lock(&served).answer(request));
        // A test of tasks cannot wait for a server to begin, or to end.
        let server = thread::spawn(serve).join();
        let server = server.unwrap_or_else(|_| panic!("no provider"));
        let url = server.url();
        Self {
            server: Some(server),
            url,
            state,
        }
    }

    /// Its address, with `http://` before it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Whoever comes from now on is this user.
    pub fn logged_in(&self, user: &str) {
        user.clone_into(&mut lock(&self.state).user);
    }

    /// It calls itself so from now on.
    pub fn calls_itself(&self, issuer: &str) {
        issuer.clone_into(&mut lock(&self.state).issuer);
    }

    /// Whether its users say no from now on.
    pub fn declines(&self, declines: bool) {
        lock(&self.state).declines = declines;
    }

    /// Tokens live so many seconds from now on.
    pub fn tokens_live(&self, seconds: u64) {
        lock(&self.state).life = seconds;
    }

    /// Forgets every refresh token, as if all users had taken their consent back.
    pub fn revoke(&self) {
        lock(&self.state).refreshes.clear();
    }

    /// What was asked of it that it should not have been.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        lock(&self.state).refused.clone()
    }

    /// Every token that it has given, of both kinds.
    #[must_use]
    pub fn given(&self) -> Vec<String> {
        lock(&self.state).given.iter().cloned().collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Recorded) -> Answer {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let answered = match (request.method.as_str(), path) {
            ("GET", "/authorize") => self.authorize(&pairs(query)),
            ("POST", "/token") => self.token(request),
            _ => Err(("invalid_request", format!("{} {path}", request.method))),
        };
        answered.unwrap_or_else(|(word, why)| {
            self.refused.push(why);
            Answer::json(&json!({ "error": word })).with_status(400)
        })
    }

    /// The login page, where somebody is logged in already and says yes.
    fn authorize(&mut self, asked: &BTreeMap<String, String>) -> Result<Answer, Wrong> {
        let said = |name: &str| asked.get(name).cloned().unwrap_or_default();
        for (name, wanted) in [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("code_challenge_method", "S256"),
        ] {
            if said(name) != wanted {
                return Err(("invalid_request", format!("{name} is {:?}", said(name))));
            }
        }
        if said("code_challenge").len() != 43 || said("state").is_empty() {
            return Err(("invalid_request", "no challenge or no state".to_owned()));
        }
        let mut back = format!("{}?state={}", said("redirect_uri"), said("state"));
        let issuer = self.issuer.replace(':', "%3A").replace('/', "%2F");
        if self.declines {
            back.push_str("&error=access_denied");
        } else {
            self.count += 1;
            let code = format!("code+{}", self.count);
            let given = Code {
                user: self.user.clone(),
                redirect_uri: said("redirect_uri"),
                challenge: said("code_challenge"),
                nonce: asked.get("nonce").cloned(),
            };
            self.codes.insert(code.clone(), given);
            back.push_str(&format!("&code={}", code.replace('+', "%2B")));
        }
        back.push_str(&format!("&iss={issuer}"));
        let mut answer = Answer::json(&json!({})).with_status(302);
        answer.headers.push(("location".to_owned(), back));
        Ok(answer)
    }

    fn token(&mut self, request: &Recorded) -> Result<Answer, Wrong> {
        let form = pairs(&String::from_utf8_lossy(&request.body));
        let said = |name: &str| form.get(name).cloned().unwrap_or_default();
        self.require_client(request, &form)?;
        let (user, nonce) = match said("grant_type").as_str() {
            "authorization_code" => {
                let code = self.codes.remove(&said("code"));
                let code = code.ok_or(("invalid_grant", "a code twice, or none".to_owned()))?;
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(said("code_verifier")));
                if challenge != code.challenge {
                    return Err(("invalid_grant", "another verifier".to_owned()));
                }
                if said("redirect_uri") != code.redirect_uri {
                    return Err(("invalid_grant", "another redirect URI".to_owned()));
                }
                (code.user, code.nonce)
            }
            "refresh_token" => {
                let user = self.refreshes.remove(&said("refresh_token"));
                let user = user.ok_or(("invalid_grant", "an old refresh token".to_owned()))?;
                (user, None)
            }
            other => return Err(("unsupported_grant_type", other.to_owned())),
        };
        Ok(Answer::json(&self.give(&user, nonce.as_deref())))
    }

    fn require_client(
        &self,
        request: &Recorded,
        form: &BTreeMap<String, String>,
    ) -> Result<(), Wrong> {
        let is_client = match &self.secret {
            None => form.get("client_id").map(String::as_str) == Some(CLIENT),
            Some(secret) => {
                use base64::engine::general_purpose::STANDARD;
                let wanted = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{secret}")));
                request.values("authorization") == [wanted.as_str()]
            }
        };
        if is_client {
            return Ok(());
        }
        Err(("invalid_client", "another client".to_owned()))
    }

    fn give(&mut self, user: &str, nonce: Option<&str>) -> Value {
        self.count += 1;
        let access = format!("access-token-of-{user}-number-{}", self.count);
        let refresh = format!("refresh-token-of-{user}-number-{}", self.count);
        self.refreshes.insert(refresh.clone(), user.to_owned());
        self.given.extend([access.clone(), refresh.clone()]);
        let claims = json!({
            "iss": self.issuer, "aud": CLIENT, "sub": user, "exp": 4_000_000_000_u64, "nonce": nonce,
        });
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        json!({
            "access_token": access, "token_type": "Bearer", "expires_in": self.life,
            "refresh_token": refresh, "id_token": format!("e30.{claims}.c2ln"),
        })
    }
}

/// The standard's word, and what is wrong for whoever reads the test's failure.
type Wrong = (&'static str, String);

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.map(char::from));
                let digit = |at: usize| digits[at].and_then(|digit: char| digit.to_digit(16));
                let value = digit(0).zip(digit(1)).map(|(high, low)| high * 16 + low);
                value
                    .and_then(|value| u8::try_from(value).ok())
                    .unwrap_or(b'%')
            }
            plain => plain,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
