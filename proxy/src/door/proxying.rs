//! The two ways of a forward proxy: a request line with a whole URL, and CONNECT. Never lets two fields name two
//! destinations.

use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use postern_policy::{Authority, CanonicalUrl, Method};

use super::{Unclear, plain_call, routed};
use crate::{
    book::Book,
    call::{Call, Freight},
    identify::Caller,
    record::Record,
    refuse::Refused,
    sealed::Claim,
};

/// `GET http://host/path HTTP/1.1`.
pub(super) fn absolute(
    book: &Book,
    caller: &Caller,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Call, Refused> {
    let (parts, body) = request.into_parts();
    let url = CanonicalUrl::parse(&parts.uri.to_string()).map_err(Unclear::from)?;
    agree(&parts.headers, url.authority())?;
    plain_call(book, caller, (url, parts), body, record)
}

/// `CONNECT host:port HTTP/1.1`: a tunnel whose inside the gate does not see, so nothing is ever added to it.
pub(super) fn connect(
    book: &Book,
    caller: &Caller,
    mut request: Request<Incoming>,
    record: &mut Record,
) -> Result<Call, Refused> {
    let text = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let authority = Authority::parse_connect(&text).map_err(Unclear::from)?;
    agree(request.headers(), &authority)?;
    let url = book.rulebook.tunnel_to(authority);
    let (subject, target) = routed(book, caller.origin.stage(), &url);
    record.destination(&subject, &url, 0);
    if target.login().is_some() {
        return Err(Unclear::LoginInTunnel.into());
    }
    let freight = Freight::Tunnel(hyper::upgrade::on(&mut request));
    Ok(Call {
        method: Method::connect(),
        url,
        subject,
        target,
        headers: HeaderMap::new(),
        freight,
        claim: Claim::default(),
    })
}

/// A `Host` field beside the request line's authority says the same or the request is refused.
fn agree(headers: &HeaderMap, authority: &Authority) -> Result<(), Unclear> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };
    let host = host.to_str().map_err(|_| Unclear::TwoDestinations)?;
    match Authority::parse(authority.scheme(), host) {
        Ok(named) if named == *authority => Ok(()),
        _ => Err(Unclear::TwoDestinations),
    }
}

#[cfg(test)]
mod tests {
    use postern_policy::Scheme;

    use super::*;

    fn agrees(host: &str, scheme: Scheme, authority: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        agree(&headers, &Authority::parse(scheme, authority).unwrap()).is_ok()
    }

    #[test]
    fn host_says_the_same_in_any_spelling() {
        assert!(agrees("A.b:80", Scheme::Http, "a.b"));
        assert!(agrees("a.b.", Scheme::Http, "a.b:80"));
        assert!(agrees("a.b:443", Scheme::Https, "a.b:443"));
        assert!(!agrees("evil.example", Scheme::Http, "a.b"));
        assert!(!agrees("a.b:81", Scheme::Http, "a.b"));
        assert!(!agrees("a.b, evil.example", Scheme::Http, "a.b"));
        assert!(!agrees("", Scheme::Http, "a.b"));
    }
}
