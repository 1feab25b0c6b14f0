//! A Vault as its HTTP API is documented: logins, tokens with leases that end and are renewed, and secrets of the key/value
//! engine's second version. Knows the time only from whoever makes it, and never forgives a token that has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

/// A Vault. All its clones are the same one.
#[derive(Clone)]
pub struct Vault(Arc<Mutex<State>>);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// What a login gives.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Seconds; none is no end.
    pub ttl: u64,
    /// How long renewals may stretch it, in seconds from the login.
    pub ttl_max: u64,
    /// Whether it can be renewed.
    pub renewable: bool,
}

impl Lease {
    /// One of so many seconds that can be renewed for long.
    #[must_use]
    pub fn of(ttl: u64) -> Self {
        Self {
            ttl,
            ttl_max: 1_000_000,
            renewable: true,
        }
    }
}

struct Token {
    lease: Lease,
    /// By the clock of whoever made this.
    began: Duration,
    ends: Option<Duration>,
}

struct State {
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    namespace: String,
    is_sealed: bool,
    /// What a login is sent to, with what it must hold.
    logins: BTreeMap<String, (Value, Lease)>,
    tokens: BTreeMap<String, Token>,
    given: u64,
    /// By engine and path, as in `secret/data/apps/stripe`.
    secrets: BTreeMap<String, (Value, u64)>,
    /// What no policy lets anybody read.
    forbidden: BTreeSet<String>,
    requests: Vec<String>,
}

type Answer = (u16, Value);

impl Vault {
    /// One that is unsealed and empty, with this clock.
    #[must_use]
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Box::new(now),
            namespace: String::new(),
            is_sealed: false,
            logins: BTreeMap::new(),
            tokens: BTreeMap::new(),
            given: 0,
            secrets: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            requests: Vec::new(),
        })))
    }

    /// Speaks to one client, until either has enough.
    pub async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| {
            let vault = self.clone();
            async move { Ok::<_, Infallible>(vault.answered(request).await) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        drop(serving.await);
    }

    /// Keeps one field under `ENGINE/data/PATH`, as a new version.
    pub fn put(&self, at: &str, field: &str, value: &str) {
        let mut state = self.state();
        let version = state.secrets.get(at).map_or(0, |(_, version)| *version) + 1;
        let fields = json!({ field: value, "unwanted": "another field" });
        state.secrets.insert(at.to_owned(), (fields, version));
    }

    /// Lets everybody in who sends these fields to `auth/MOUNT/login`.
    pub fn let_in(&self, mount: &str, fields: Value, lease: Lease) {
        let at = format!("auth/{mount}/login");
        self.state().logins.insert(at, (fields, lease));
    }

    /// Gives out a token that somebody keeps.
    pub fn know(&self, token: &str, lease: Lease) {
        let mut state = self.state();
        let token_given = state.token(lease);
        state.tokens.insert(token.to_owned(), token_given);
    }

    /// Ends every token there is.
    pub fn revoke_all(&self) {
        self.state().tokens.clear();
    }

    /// Lets nobody read this.
    pub fn forbid(&self, at: &str) {
        self.state().forbidden.insert(at.to_owned());
    }

    /// Has requests that name another namespace find nothing.
    pub fn only_in(&self, namespace: &str) {
        namespace.clone_into(&mut self.state().namespace);
    }

    /// Closes it, or opens it again.
    pub fn seal(&self, is_sealed: bool) {
        self.state().is_sealed = is_sealed;
    }

    /// `METHOD TARGET` of every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How many requests so far end like this.
    #[must_use]
    pub fn count(&self, end: &str) -> usize {
        let state = self.state();
        let like = state.requests.iter().filter(|line| line.ends_with(end));
        like.count()
    }

    /// Every token that a login was given so far.
    #[must_use]
    pub fn given(&self) -> Vec<String> {
        let given = self.state().given;
        (1..=given).map(named).collect()
    }

    async fn answered(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or(Value::Null);
        let field = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (status, answer) = self.state().answer(
            (head.method.as_str(), head.uri.path()),
            (&field("x-vault-token"), &field("x-vault-namespace")),
            &body,
        );
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("cache-control", "no-store")
            .body(Full::from(answer.to_string()))
            .unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(
        &mut self,
        (method, path): (&str, &str),
        (token, namespace): (&str, &str),
        body: &Value,
    ) -> Answer {
        self.requests.push(format!("{method} {path}"));
        let Some(at) = path.strip_prefix("/v1/") else {
            return (404, errors(&[]));
        };
        if self.is_sealed {
            return (503, errors(&["Vault is sealed"]));
        }
        if namespace.trim_end_matches('/') != self.namespace {
            let words = format!("no handler for route \"{at}\". route entry not found.");
            return (404, errors(&[&words]));
        }
        if let Some((wanted, lease)) = self.logins.get(at).cloned() {
            return match (method, *body == wanted) {
                ("POST" | "PUT", true) => self.logged_in(lease),
                ("POST" | "PUT", false) => (400, errors(&["invalid role or secret ID"])),
                _ => (405, errors(&[])),
            };
        }
        let now = (self.now)();
        let alive = |token: &&mut Token| token.ends.is_none_or(|ends| now < ends);
        let Some(known) = self.tokens.get_mut(token).filter(alive) else {
            return (403, errors(&["permission denied", "invalid token"]));
        };
        match (method, at) {
            ("GET", at) if self.forbidden.contains(at) => (403, errors(&["permission denied"])),
            ("GET", "auth/token/lookup-self") => looked_up(known, now),
            ("POST" | "PUT", "auth/token/renew-self") => renewed((token, known), now),
            ("GET", at) => self.read(at),
            _ => (405, errors(&["unsupported operation"])),
        }
    }

    fn token(&self, lease: Lease) -> Token {
        let began = (self.now)();
        Token {
            lease,
            began,
            ends: (lease.ttl > 0).then(|| began + Duration::from_secs(lease.ttl)),
        }
    }

    fn logged_in(&mut self, lease: Lease) -> Answer {
        self.given += 1;
        let (name, token) = (named(self.given), self.token(lease));
        self.tokens.insert(name.clone(), token);
        (200, auth(&name, lease, lease.ttl))
    }

    fn read(&self, at: &str) -> Answer {
        let Some((fields, version)) = self.secrets.get(at) else {
            return (404, errors(&[]));
        };
        let metadata = json!({
            "created_time": "2026-01-02T03:04:05.678Z", "custom_metadata": null, "deletion_time": "", "destroyed": false,
            "version": version,
        });
        let data = json!({ "data": fields, "metadata": metadata });
        (200, whole(&data, &Value::Null))
    }
}

fn named(number: u64) -> String {
    format!("hvs.CAESIfake{number:08}")
}

fn looked_up(token: &Token, now: Duration) -> Answer {
    let ttl = token.ends.map_or(0, |ends| (ends - now).as_secs());
    let data = json!({
        "accessor": "8609694a", "creation_ttl": token.lease.ttl, "display_name": "approle", "meta": null, "num_uses": 0,
        "orphan": true, "path": "auth/approle/login", "policies": ["default"], "renewable": token.lease.renewable,
        "ttl": ttl, "type": "service",
    });
    (200, whole(&data, &Value::Null))
}

fn renewed((name, token): (&str, &mut Token), now: Duration) -> Answer {
    if !token.lease.renewable {
        return (400, errors(&["lease is not renewable"]));
    }
    let last = token.began + Duration::from_secs(token.lease.ttl_max);
    let ends = last.min(now + Duration::from_secs(token.lease.ttl));
    token.ends = Some(ends);
    (200, auth(name, token.lease, (ends - now).as_secs()))
}

fn auth(token: &str, lease: Lease, seconds: u64) -> Value {
    let auth = json!({
        "client_token": token, "accessor": "8609694a", "policies": ["default"], "token_policies": ["default"],
        "metadata": { "role_name": "postern" }, "lease_duration": seconds, "renewable": lease.renewable,
        "entity_id": "", "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0,
    });
    whole(&Value::Null, &auth)
}

fn whole(data: &Value, auth: &Value) -> Value {
    json!({
        "request_id": "0b2c", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data, "wrap_info": null,
        "warnings": null, "auth": auth, "mount_type": "kv",
    })
}

fn errors(words: &[&str]) -> Value {
    json!({ "errors": words })
}
