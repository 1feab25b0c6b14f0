//! A request inside a CONNECT: for the authority of the CONNECT and for no other. Never lets the inside say where it goes.

use http::{HeaderMap, Request, Uri, header, request::Parts};
use hyper::body::Incoming;
use postern_policy::{Authority, CanonicalUrl};

use super::{Unclear, is_tunnel, plain_call};
use crate::{
    book::Book, call::Call, identify::Caller, intercept::Inside, record::Record, refuse::Refused,
};

/// The call that a request inside stands for.
pub(super) fn call(
    book: &Book,
    caller: &Caller,
    inside: &Inside,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Call, Refused> {
    call_at(
        book,
        caller,
        &inside.authority,
        request.into_parts(),
        record,
    )
}

/// The same, wherever the one authority comes from.
pub(super) fn call_at(
    book: &Book,
    caller: &Caller,
    authority: &Authority,
    (parts, body): (Parts, Incoming),
    record: &mut Record,
) -> Result<Call, Refused> {
    let url = url(&parts, authority)?;
    plain_call(book, caller, (url, parts), body, record)
}

fn url(parts: &Parts, authority: &Authority) -> Result<CanonicalUrl, Unclear> {
    if is_tunnel(&parts.method) {
        return Err(Unclear::TunnelInTunnel);
    }
    let named = in_target(&parts.uri, authority)?;
    let hosted = in_host(&parts.headers, authority)?;
    if !named && !hosted {
        return Err(Unclear::NoHost);
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    Ok(CanonicalUrl::from_target(authority.clone(), target)?)
}

/// Whether the request line (or `:authority`) names a destination, which is the right one then.
fn in_target(uri: &Uri, authority: &Authority) -> Result<bool, Unclear> {
    let scheme = uri.scheme_str();
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(authority.scheme().as_str())) {
        return Err(misdirected(authority));
    }
    match uri.authority() {
        None => Ok(false),
        Some(named) => same(named.as_str(), authority).map(|()| true),
    }
}

/// Whether there is a `Host` field, which names the right one then.
fn in_host(headers: &HeaderMap, authority: &Authority) -> Result<bool, Unclear> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(false);
    };
    if hosts.next().is_some() {
        return Err(Unclear::TwoHosts);
    }
    let host = host.to_str().map_err(|_| misdirected(authority))?;
    same(host, authority).map(|()| true)
}

fn same(named: &str, authority: &Authority) -> Result<(), Unclear> {
    match Authority::parse(authority.scheme(), named) {
        Ok(named) if named == *authority => Ok(()),
        _ => Err(misdirected(authority)),
    }
}

fn misdirected(authority: &Authority) -> Unclear {
    let inside = authority.to_string();
    Unclear::Misdirected { inside }
}

#[cfg(test)]
mod tests {
    use postern_policy::Scheme;

    use super::*;

    #[track_caller]
    fn asked(method: &str, uri: &str, hosts: &[&str]) -> Result<String, Unclear> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let authority = Authority::parse(Scheme::Https, "a.example").unwrap();
        url(&parts, &authority).map(|url| url.to_string())
    }

    #[test]
    fn every_spelling_of_the_one_authority() {
        for (uri, hosts) in [
            ("/b?c", &["a.example"][..]),
            ("/b?c", &["A.example.:443"]),
            ("https://a.example/b?c", &[]),
            ("https://a.example:443/b?c", &["a.example"]),
            ("/x/../b?c", &["a.example"]),
        ] {
            assert_eq!(asked("GET", uri, hosts).unwrap(), "https://a.example/b?c");
        }
    }

    #[test]
    fn another_authority_is_misdirected() {
        for (uri, hosts) in [
            ("/", &["b.example"][..]),
            ("/", &["a.example:444"]),
            ("/", &["a.example, b.example"]),
            ("/", &["user@a.example"]),
            ("/", &[""]),
            ("https://b.example/", &["a.example"]),
            ("https://a.example/", &["b.example"]),
            ("http://a.example/", &["a.example"]),
            ("https://a.example@b.example/", &[]),
        ] {
            let error = asked("GET", uri, hosts).unwrap_err();
            assert!(
                matches!(error, Unclear::Misdirected { .. }),
                "{uri}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_request_to_anybody() {
        let nobody = asked("GET", "/", &[]);
        assert!(matches!(nobody, Err(Unclear::NoHost)));
        let two = asked("GET", "/", &["a.example", "a.example"]);
        assert!(matches!(two, Err(Unclear::TwoHosts)));
        let tunnel = asked("CONNECT", "a.example:443", &["a.example"]);
        assert!(matches!(tunnel, Err(Unclear::TunnelInTunnel)));
        let star = asked("OPTIONS", "*", &["a.example"]);
        assert!(matches!(star, Err(Unclear::Url(_))));
    }
}
