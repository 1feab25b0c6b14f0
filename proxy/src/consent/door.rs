//! The listener for end users' browsers: a page that asks, its form, and where the provider sends the browser back to. There is no
//! other route. Never shows or logs a code, a state or a token, and never says more to a browser than whose consent is asked for.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use postern_contract::{ActionId, consent::Consented};
use postern_daemon::{
    Shutdown, files,
    serve::{Limits, Listener, serve},
};
use postern_policy::Holder;
use postern_store::gate::{Attempt, Consent};
use tokio::net::TcpListener;

use super::{
    Consents,
    login::{self, Expected},
    page::{self, Question},
    signed::Browser,
};
use crate::{
    book::Book,
    gate::Gate,
    token::{Coming, Going, Owner, Wanted, claims},
};

/// Browsers come one page at a time.
const LIMITS: Limits = Limits {
    connections_max: 256,
    head: Duration::from_secs(10),
    unread: Duration::from_secs(10),
    drain: Duration::from_millis(200),
};

/// The largest form, in bytes.
const FORM_BYTES_MAX: usize = 4096;

/// The longest code of a provider, in bytes.
const CODE_BYTES_MAX: usize = 4096;

/// How much randomness is in the name of one way to the provider, in bytes.
const ATTEMPT_BYTES: usize = 16;

/// How long a browser keeps its secret, in seconds.
const COOKIE_S: u32 = 24 * 3600;

/// The listener, bound and not served yet.
pub(crate) struct Door(TcpListener);

impl Door {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it is, with its port.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until the task is ended.
    pub(crate) async fn serve(self, gate: Weak<Gate>) {
        let router = Router::new()
            .route("/consent/{page}", get(asks).post(agreed))
            .route("/callback", get(back))
            .fallback(nothing)
            .method_not_allowed_fallback(nothing)
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .layer(map_response(guarded))
            .with_state(gate);
        serve(Listener::Tcp(self.0), router, LIMITS, Shutdown::manual()).await;
    }
}

/// Why a browser is sent away, in words for whoever sits before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    Nothing,
    Forged,
    Over,
    Answered,
    Used,
    AnotherBrowser,
    NoForm,
    AnotherProvider,
    Declined,
    NotGiven,
    AnotherUser,
    Broken,
}

impl Away {
    fn status(self) -> StatusCode {
        match self {
            Self::Nothing => StatusCode::NOT_FOUND,
            Self::Forged | Self::AnotherProvider => StatusCode::BAD_REQUEST,
            Self::Over => StatusCode::GONE,
            Self::Answered | Self::Used => StatusCode::CONFLICT,
            Self::AnotherBrowser | Self::NoForm | Self::Declined | Self::AnotherUser => {
                StatusCode::FORBIDDEN
            }
            Self::NotGiven => StatusCode::BAD_GATEWAY,
            Self::Broken => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A title, and what to do.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Nothing => ("Nothing here", "There is no such page."),
            Self::Forged => (
                "Not a link of ours",
                "This link was not made here, or was changed on its way. Open the one that the agent gave you.",
            ),
            Self::Over => (
                "Too late",
                "Nobody waits for this any more. Ask the agent again.",
            ),
            Self::Answered => (
                "Done already",
                "You have said yes to this. You can close this page.",
            ),
            Self::Used => (
                "Used already",
                "This login was used once, or another was begun after it. Open the agent's link again.",
            ),
            Self::AnotherBrowser => (
                "Another browser",
                "This login was begun in another browser. Open the agent's link in this one.",
            ),
            Self::NoForm => (
                "Not from here",
                "This was not sent by the page that asks. Open the agent's link again; it needs cookies.",
            ),
            Self::AnotherProvider => (
                "Another provider",
                "The answer does not come from the provider that was asked. Nothing was granted here.",
            ),
            Self::Declined => (
                "Not granted",
                "The provider says that access was not granted. Open the agent's link again if you want to.",
            ),
            Self::NotGiven => (
                "No answer",
                "The provider did not give what was granted. Open the agent's link again, or ask whoever runs this.",
            ),
            Self::AnotherUser => (
                "Another user",
                "Whoever is logged in at the provider is not known to be the user who was asked. Nothing was kept.",
            ),
            Self::Broken => (
                "Not now",
                "This cannot be written down now. Try again later.",
            ),
        }
    }
}

impl IntoResponse for Away {
    fn into_response(self) -> Response {
        let (title, words) = self.words();
        page::says(self.status(), title, words)
    }
}

/// What no page of ours answers is kept and framed nowhere either.
async fn guarded(mut response: Response) -> Response {
    if !response
        .headers()
        .contains_key(header::CONTENT_SECURITY_POLICY)
    {
        page::guard(&mut response, None);
    }
    response
}

async fn nothing() -> Away {
    Away::Nothing
}

/// The page: it only shows, whoever opens it.
async fn asks(
    State(gate): State<Weak<Gate>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Away> {
    let gate = gate.upgrade().ok_or(Away::Broken)?;
    let consents = &gate.consents;
    let consent = consents.opened(&name).await?;
    let book = gate.book();
    let wanted = wanted(&book, &consent)?;
    let grant = wanted.grant.consent().ok_or(Away::Over)?;
    let browser = match consents.browser(&headers) {
        Some(browser) => browser,
        None => Browser::fresh().map_err(|_| Away::Broken)?,
    };
    let mut response = page::asks(&Question {
        agent: consent.agent.as_str(),
        tool: consent.tool.as_str(),
        user: &consent.user,
        provider: &grant.origin(),
        scopes: grant.scopes(),
        form: &consents.signer.form(&consent.action, &browser),
    });
    consents.give(&browser, &mut response);
    Ok(response)
}

/// The form of the page: from here the browser goes to the provider.
async fn agreed(
    State(gate): State<Weak<Gate>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Away> {
    let gate = gate.upgrade().ok_or(Away::Broken)?;
    let consents = &gate.consents;
    let consent = consents.opened(&name).await?;
    let browser = consents.browser(&headers).ok_or(Away::NoForm)?;
    let said = std::str::from_utf8(&body).ok().and_then(parameters);
    let said = said.ok_or(Away::NoForm)?;
    let form = said.get("form").map_or(&b""[..], Vec::as_slice);
    if !consents.signer.is_form(&consent.action, &browser, form) {
        return Err(Away::NoForm);
    }
    let book = gate.book();
    let wanted = wanted(&book, &consent)?;
    let grant = wanted.grant.consent().ok_or(Away::Over)?;
    let attempt = Attempt {
        id: files::random_hex(ATTEMPT_BYTES).map_err(|_| Away::Broken)?,
        browser: browser.digest(),
    };
    let (action, signer) = (&consent.action, &consents.signer);
    let begun = consents
        .store
        .begin_consent(action, &attempt, consents.clock.unix_ms());
    if !begun.await.map_err(broken)? {
        return Err(Away::Over);
    }
    let location = grant.page(&Going {
        redirect_uri: &consents.redirect_uri().ok_or(Away::Broken)?,
        state: &signer.state(action, &attempt.id),
        challenge: &signer.challenge(action, &attempt.id),
        nonce: &signer.nonce(action, &attempt.id),
    });
    let mut response = StatusCode::SEE_OTHER.into_response();
    page::guard(&mut response, None);
    let location = HeaderValue::try_from(location).map_err(|_| Away::Broken)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The browser is back.
async fn back(
    State(gate): State<Weak<Gate>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Away> {
    let gate = gate.upgrade().ok_or(Away::Broken)?;
    let answer = parameters(query.as_deref().unwrap_or_default()).ok_or(Away::Forged)?;
    let (consent, attempt) = gate.consents.returned(&answer, &headers).await?;
    let book = gate.book();
    let wanted = wanted(&book, &consent)?;
    let grant = wanted.grant.consent().ok_or(Away::Over)?;
    if let Some(issuer) = grant.issuer()
        && answer.get("iss").map(Vec::as_slice) != Some(issuer.as_bytes())
    {
        return Err(Away::AnotherProvider);
    }
    let consents = &gate.consents;
    let now = consents.clock.unix_ms();
    let used = consents.store.use_attempt(&consent.action, &attempt, now);
    if !used.await.map_err(broken)? {
        return Err(Away::Used);
    }
    if answer
        .get("error")
        .is_some_and(|said| said == b"access_denied")
    {
        consents.declined(&consent.action).await;
    }
    let code = answer.get("code").filter(|_| !answer.contains_key("error"));
    let code = code.filter(|code| !code.is_empty() && code.len() <= CODE_BYTES_MAX);
    let code = code.ok_or(Away::Declined)?;
    let given = take(&gate, (&book, &wanted), (&consent, &attempt), code).await;
    if let Err(away) = &given {
        tracing::warn!(action = %consent.action, agent = %consent.agent, tool = %consent.tool, ?away, "a consent came to nothing");
    }
    given?;
    tracing::info!(action = %consent.action, agent = %consent.agent, tool = %consent.tool, "an end user gave their consent");
    let words = "The agent goes on with what you asked it. You can close this page.";
    Ok(page::says(StatusCode::OK, "Thank you", words))
}

/// What a code is worth, checked and kept.
async fn take(
    gate: &Gate,
    (book, wanted): (&Book, &Wanted),
    (consent, attempt): (&Consent, &Attempt),
    code: &[u8],
) -> Result<(), Away> {
    let (consents, action) = (&gate.consents, &consent.action);
    let verifier = consents.signer.verifier(action, &attempt.id);
    let coming = Coming {
        code,
        verifier: verifier.as_bytes(),
        redirect_uri: &consents.redirect_uri().ok_or(Away::Broken)?,
    };
    let redeemed = gate.tokens.redeem(book, wanted, &coming).await;
    let redeemed = redeemed.map_err(|why| {
        tracing::warn!(%why, "a code gave no token");
        Away::NotGiven
    })?;
    let grant = wanted.grant.consent().ok_or(Away::Over)?;
    if let Some(login) = grant.login() {
        let expected = Expected {
            login,
            user: &consent.user,
            issuer: grant.issuer().unwrap_or_default(),
            client_id: grant.client_id(),
            nonce: &consents.signer.nonce(action, &attempt.id),
            now_s: consents.clock.unix_ms() / 1000,
        };
        let checked = login::check(claims(&redeemed.answer).as_ref(), &expected);
        checked.map_err(|why| {
            tracing::warn!(%action, %why, "a login does not count");
            Away::AnotherUser
        })?;
    }
    let owner = Owner {
        tool: consent.tool.clone(),
        agent: consent.agent.clone(),
        user: consent.user.clone(),
    };
    let kept = gate
        .tokens
        .consented(book, (wanted, &owner, action), &redeemed);
    kept.await.map_err(|_| Away::Broken)?;
    let given = consents
        .store
        .give_consent(consent, consents.clock.unix_ms());
    given.await.map_err(broken)?;
    consents.given.fetch_add(1, Ordering::Release);
    consents.held.touch();
    Ok(())
}

impl Consents {
    /// The consent that a page is about, if it is still asked for.
    async fn opened(&self, name: &str) -> Result<Consent, Away> {
        let action = self.signer.read_page(name).map_err(|_| Away::Forged)?;
        self.pending(&action).await
    }

    async fn pending(&self, action: &ActionId) -> Result<Consent, Away> {
        let consent = self.store.consent(action).await.map_err(broken)?;
        let consent = consent.ok_or(Away::Over)?;
        match consent.stands(self.clock.unix_ms()) {
            Consented::Pending => Ok(consent),
            Consented::Given => Err(Away::Answered),
            Consented::Expired | Consented::Unknown => Err(Away::Over),
        }
    }

    /// The consent and the way to the provider that a browser came back on, which it was itself that began it.
    async fn returned(
        &self,
        answer: &BTreeMap<String, Vec<u8>>,
        headers: &HeaderMap,
    ) -> Result<(Consent, Attempt), Away> {
        let state = answer.get("state").ok_or(Away::Forged)?;
        let state = std::str::from_utf8(state).map_err(|_| Away::Forged)?;
        let (action, id) = self.signer.read_state(state).map_err(|_| Away::Forged)?;
        let consent = self.pending(&action).await?;
        let attempt = consent.attempt.clone().filter(|attempt| attempt.id == id);
        let attempt = attempt.ok_or(Away::Used)?;
        let browser = self.browser(headers).map(|browser| browser.digest());
        if browser.as_ref() != Some(&attempt.browser) {
            return Err(Away::AnotherBrowser);
        }
        Ok((consent, attempt))
    }

    /// Where providers send browsers back to.
    fn redirect_uri(&self) -> Option<String> {
        self.at.as_ref().map(|at| format!("{}/callback", at.url))
    }

    fn is_secure(&self) -> bool {
        let at = self.at.as_ref();
        at.is_some_and(|at| at.url.starts_with("https://"))
    }

    fn cookie_name(&self) -> &'static str {
        if self.is_secure() {
            "__Host-postern_consent"
        } else {
            "postern_consent"
        }
    }

    /// The browser, by its cookie.
    fn browser(&self, headers: &HeaderMap) -> Option<Browser> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs.find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            Browser::read(value).filter(|_| name == self.cookie_name())
        })
    }

    /// Gives a browser its secret.
    fn give(&self, browser: &Browser, response: &mut Response) {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let cookie = format!(
            "{}={}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}",
            self.cookie_name(),
            browser.cookie()
        );
        if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
}

/// What the config of now says of whose consent it is; nothing where the agent has no such tool any more.
fn wanted(book: &Book, consent: &Consent) -> Result<Wanted, Away> {
    let holder = Holder {
        agent: &consent.agent,
        stage: None,
    };
    let own = book.grants(holder).ok_or(Away::Over)?;
    if !own.tools.contains(&consent.tool) {
        return Err(Away::Over);
    }
    let target = book.tools.get(&consent.tool).ok_or(Away::Over)?;
    let credential = target.credential.as_ref().ok_or(Away::Over)?;
    credential.users().next().ok_or(Away::Over)
}

/// A query or a form; nothing where it says something twice or is no text of that kind.
fn parameters(text: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain =
            |part: &str| -> Vec<u8> { percent_decode_str(&part.replace('+', " ")).collect() };
        let name = String::from_utf8(plain(name)).ok()?;
        if all.insert(name, plain(value)).is_some() {
            return None;
        }
    }
    Some(all)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "handed to `map_err` as it is"
)]
fn broken(error: postern_store::gate::GateError) -> Away {
    tracing::error!(%error, "a consent cannot be read or kept");
    Away::Broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_twice_is_said_by_nobody() {
        let all = parameters("code=a%2Bb+c&state=s.1&&x").unwrap();
        assert_eq!(all["code"], b"a+b c");
        assert_eq!(all["x"], b"");
        assert!(parameters("state=a&state=b").is_none());
        assert!(parameters("st%61te=a&state=b").is_none());
    }
}
