//! Which way a request came in, by its form alone, and the one [`Call`] that every way leads to. Never decides and never
//! dials.
//!
//! ```text
//! CONNECT host:port ────────┐  and each request inside one (inside.rs)
//! GET http://host/path ─────┤
//! /tools/NAME/… ────────────┼─▶ canonical URL ─▶ route ─▶ headers cleaned ─▶ Call
//! POST /v1/messages, … ─────┘
//! /healthz, /v1/healthz, /v1/models: answered here      anything else: 404 with this list
//! ```

mod captured;
mod form;
mod inside;
pub(crate) mod local;
mod proxying;
mod tool;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use postern_contract::config::Stage;
use postern_llm::Family;
use postern_policy::CanonicalUrl;

pub(crate) use self::{
    captured::at,
    form::{Catalogue, Form, Local, Route, Told, ToldAbout, sort},
};
use crate::{
    audit::Door,
    body::{self, Body, Paced},
    book::{Book, Target},
    call::{Call, Freight, Subject},
    dummy::{Asked, Misplaced},
    gateway,
    headers::{self, CONNECTION_NAMES_MAX, Managed},
    identify::Caller,
    inject::{Credentials, Fields, NoPlace},
    mask,
    record::Record,
    refuse::Refused,
    sealed::Claim,
    websocket::{Handshake, NoHandshake},
};

/// Why a request says nothing that could be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unclear {
    #[error("the request has more than one Host field")]
    TwoHosts,
    #[error("Host and the request line name different destinations")]
    TwoDestinations,
    #[error("the destination is not understood: {0}")]
    Url(#[from] postern_policy::BadUrl),
    #[error("the destination is not understood: {0}")]
    Authority(#[from] postern_policy::BadAuthority),
    #[error("the method is not understood: {0}")]
    Method(#[from] postern_policy::NotAMethod),
    #[error("the body is in a transfer coding besides chunked")]
    Coding,
    #[error("the request names more than {CONNECTION_NAMES_MAX} fields in Connection")]
    Hops,
    #[error("the WebSocket is not understood: {0}")]
    Socket(#[from] NoHandshake),
    #[error("CONNECT cannot be asked for inside HTTP/2 here")]
    TunnelInHttp2,
    #[error(
        "the gate logs in to this tool, which a CONNECT hides: connect to its host and port by name"
    )]
    LoginInTunnel,
    #[error("CONNECT cannot be asked for inside a CONNECT")]
    TunnelInTunnel,
    #[error(transparent)]
    Place(#[from] NoPlace),
    #[error(
        "with another key in its path this URL would not be this tool's: the place of the key lies outside of it"
    )]
    Elsewhere,
    #[error("the request names no host")]
    NoHost,
    #[error("{0} stands for no name here: look up the name, and connect to what it has")]
    NoName(IpAddr),
    #[error(
        "the connection is to {inside}, and the request names another destination: open a connection of its own for it"
    )]
    Misdirected { inside: String },
}

/// Turns a request into a call, whichever way it came. What is learnt on the way is in the record even if this fails.
pub(crate) async fn call(
    book: &Book,
    caller: &Caller,
    (form, request): (Form, Request<Incoming>),
    record: &mut Record,
) -> Result<Call, Refused> {
    record.line.door = Some(form.door());
    if !headers::is_framed_plainly(request.headers()) {
        return Err(Unclear::Coding.into());
    }
    if !headers::names_few_hops(request.headers()) {
        return Err(Unclear::Hops.into());
    }
    match form {
        Form::Connect => proxying::connect(book, caller, request, record),
        Form::Inside(inside) => inside::call(book, caller, &inside, request, record),
        Form::Captured(meant) => captured::call(book, caller, &meant, request, record),
        Form::Proxy => proxying::absolute(book, caller, request, record),
        Form::Tool { name, rest } => tool::call(book, caller, (&name, &rest), (request, record)),
        Form::Model(route) => {
            Box::pin(gateway::call(book, caller, (&route, request), record)).await
        }
    }
}

/// What the two kinds of proxying and the tool addresses share once the URL is canonical.
fn plain_call(
    book: &Book,
    caller: &Caller,
    (url, mut parts): (CanonicalUrl, Parts),
    body: Incoming,
    record: &mut Record,
) -> Result<Call, Refused> {
    let method = parts.method.as_str().parse().map_err(Unclear::from)?;
    let stage = caller.origin.stage();
    let (subject, target) = routed(book, stage, &url);
    let asked = url.clone();
    let (url, in_query) = match &target.credential {
        Some(credentials) => credentials.vacate(url).map_err(Unclear::from)?,
        None => (url, 0),
    };
    if asked.path() != url.path() && routed(book, stage, &url).0 != subject {
        return Err(Unclear::Elsewhere.into());
    }
    let credentials = target.credential.as_ref();
    let shown = parts.headers.get_all(header::COOKIE).iter();
    let shown: Vec<_> = shown.cloned().collect();
    let (cookies, in_cookies) =
        credentials.map_or((None, 0), |all| all.take_cookies(&mut parts.headers));
    let taken = if parts.headers.contains_key(header::COOKIE) {
        &[]
    } else {
        shown.as_slice()
    };
    let tokens = (subject.tool(), &target.tokens);
    let meant = (url.path().as_str(), &mut parts.headers);
    let (claim, known) = Claim::of(caller, tokens, meant, record.now());
    let fields = (&parts.headers, taken, cookies.as_ref());
    let dummies = dummies(caller, (&subject, &target), (&asked, &url), fields);
    let handshake = Handshake::asked(&mut parts, book.patience.tunnel).map_err(Unclear::from)?;
    let mut headers = parts.headers;
    let own = own_fields(book, &subject);
    let managed = managed(&subject, stage, own.as_deref());
    let dropped = headers::clean_request(&mut headers, managed) + in_query + in_cookies;
    headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
    if book.masks.wants(&target) || claim.is_any() {
        mask::ask_plainly(&mut headers, target.answers.encoding);
    }
    record.traced(&mut headers);
    record.destination(&subject, &url, dropped);
    record.dummies(dummies.map(|exchanged| exchanged + u32::from(claim.access().is_some())))?;
    known?;
    let freight = match handshake {
        Some(handshake) => {
            handshake.dress(&mut headers);
            Freight::Socket(handshake)
        }
        None => {
            let body = (body, own, claim.is_at_endpoint());
            Freight::Request(watched(book, caller, body, record))
        }
    };
    Ok(Call {
        method,
        url,
        subject,
        target,
        headers,
        freight,
        claim,
    })
}

/// A body on its way out, looked through for dummies; one that is read whole, not for what stands for tokens.
fn watched(
    book: &Book,
    caller: &Caller,
    (body, own, is_read): (Incoming, Option<Fields>, bool),
    record: &Record,
) -> Body {
    if body.is_end_stream() {
        return body::empty();
    }
    let count = record.up.clone();
    let body = Paced::body_without(body, own, count, book.patience.silence);
    caller.dummies.watched(body, &record.alarm, is_read)
}

/// Whether what a request shows of itself may pass.
fn managed<'o>(subject: &Subject, stage: Option<Stage>, own: Option<&'o [String]>) -> Managed<'o> {
    match (subject, stage) {
        // A setup was given nothing that it could show.
        (Subject::Host, None | Some(Stage::Fetch)) => Managed::No,
        (Subject::Host, Some(Stage::Setup)) | (Subject::Tool(_) | Subject::Model(_), _) => {
            Managed::Yes(own.unwrap_or_default())
        }
    }
}

/// The fields that a tool's credential stands in, whether the call has it or not.
fn own_fields(book: &Book, subject: &Subject) -> Option<Arc<[String]>> {
    let credential = book.tools.get(subject.tool()?)?.credential.as_ref();
    credential.map(Credentials::fields).cloned()
}

/// How many dummies stand where the credential will, or the one that stands anywhere else.
fn dummies(
    caller: &Caller,
    (subject, target): (&Subject, &Target),
    (url, rest): (&CanonicalUrl, &CanonicalUrl),
    (headers, taken, cookies): (&HeaderMap, &[HeaderValue], Option<&HeaderValue>),
) -> Result<u32, Misplaced> {
    let own = target.credential.as_ref().map(Credentials::fields);
    let mut exchanged = 0;
    for (known, has_place) in caller.dummies.known() {
        let asked = Asked {
            tool: subject.tool().filter(|_| has_place),
            url,
            rest,
            headers,
            cookies: taken,
        };
        known.judge_cookies(cookies)?;
        exchanged += known.judge(&asked, |name| {
            own.is_some_and(|own| headers::is_own(name, own) || headers::shows_a_key(name))
        })?;
    }
    Ok(exchanged)
}

/// What a URL belongs to, from the URL alone, and what a call of that stage to it needs.
pub(crate) fn routed(
    book: &Book,
    stage: Option<Stage>,
    url: &CanonicalUrl,
) -> (Subject, Arc<Target>) {
    let found = book.rulebook.route(url).and_then(|route| {
        let target = book.tool(route.tool(), stage)?;
        Some((Subject::Tool(route.tool().clone()), target))
    });
    found.unwrap_or_else(|| (Subject::Host, Arc::default()))
}

/// Whether a method makes a tunnel.
fn is_tunnel(method: &Method) -> bool {
    *method == Method::CONNECT
}

impl Form {
    /// Whose clients ask so, where it is a question to a model.
    pub(crate) fn family(&self) -> Option<Family> {
        match self {
            Self::Model(route) => Some(route.api.family()),
            _ => None,
        }
    }

    fn door(&self) -> Door {
        match self {
            Self::Connect => Door::Connect,
            Self::Inside(inside) => inside.door,
            Self::Captured(_) => Door::Captured,
            Self::Proxy => Door::Proxy,
            Self::Tool { .. } => Door::Tool,
            Self::Model(_) => Door::Gateway,
        }
    }
}
