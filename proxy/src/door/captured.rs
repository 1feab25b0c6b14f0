//! A request in the clear on a connection that was captured: for the host that it names, at the port that was meant.
//! Never goes to the address that was meant where a host is named: the gate finds that host by itself.

use http::{Request, header, request::Parts};
use hyper::body::Incoming;
use postern_policy::{Authority, Host, Scheme};

use super::{Unclear, inside};
use crate::{
    book::Book, call::Call, dns::Meant, identify::Caller, record::Record, refuse::Refused,
};

/// The call that such a request stands for.
pub(super) fn call(
    book: &Book,
    caller: &Caller,
    meant: &Meant,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Call, Refused> {
    let (parts, body) = request.into_parts();
    let authority = authority(&parts, meant)?;
    inside::call_at(book, caller, &authority, (parts, body), record)
}

/// The host that the request names, at the port that was meant. Whether the request says the same throughout is asked as
/// of any other request inside a connection.
fn authority(parts: &Parts, meant: &Meant) -> Result<Authority, Unclear> {
    let hosted = parts.headers.get(header::HOST);
    let hosted = hosted.map(|host| host.to_str().map_err(|_| Unclear::NoHost));
    let named = match (parts.uri.authority(), hosted) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host?.to_owned(),
        (None, None) => return Err(Unclear::NoHost),
    };
    let named = Authority::parse(Scheme::Http, &named)?;
    at(Scheme::Http, named.host().clone(), meant)
}

/// A host at the port that was meant, where the address that was meant can be one of that host.
pub(crate) fn at(scheme: Scheme, host: Host, meant: &Meant) -> Result<Authority, Unclear> {
    if !meant.can_be(&host) {
        return Err(match meant.host() {
            Some(inside) => Unclear::Misdirected {
                inside: inside.to_string(),
            },
            None => Unclear::NoName(meant.at.ip()),
        });
    }
    Ok(Authority::new(scheme, host, meant.at.port())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Synthetic;

    fn named_at(meant: &str, uri: &str, host: Option<&str>) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let meant = Synthetic::default().meant(meant.parse().unwrap());
        authority(&parts, &meant)
            .ok()
            .map(|named| named.to_string())
    }

    fn named(uri: &str, host: Option<&str>) -> Option<String> {
        named_at("192.0.2.7:8080", uri, host)
    }

    #[test]
    fn the_host_is_the_requests_and_the_port_the_connections() {
        let wanted = Some("a.example:8080".to_owned());
        assert_eq!(named("/x", Some("a.example:8080")), wanted);
        assert_eq!(named("/x", Some("A.example.")), wanted);
        assert_eq!(named("http://a.example:8080/x", None), wanted);
        assert_eq!(named("/x", None), None);
        assert_eq!(named("/x", Some("a b")), None);
        // An address that could stand for a name and does not.
        assert_eq!(named_at("198.18.0.7:8080", "/x", Some("a.example")), None);
    }
}
