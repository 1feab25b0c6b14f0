//! The form of a request: what its method, request line and path alone say it is. Never looks at a body or a policy.

use std::{net::SocketAddr, sync::Arc};

use http::{Method, Version, header, request::Parts, uri::Authority};
use postern_contract::{GATE_ADDRESS, GATE_PORT};

use super::{Unclear, is_tunnel};
use crate::intercept::Inside;

/// A request that wants out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// CONNECT.
    Connect,
    /// Any request inside a CONNECT that the gate looks into.
    Inside(Arc<Inside>),
    /// A request line with a whole URL.
    Proxy,
    /// `/tools/NAME` and what follows.
    Tool {
        /// The name as written.
        name: String,
        /// Empty, or from the next slash on, as written.
        rest: String,
    },
    /// A chat with a model.
    Chat,
}

/// A request that the gate answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Local {
    /// Is the gate there?
    Health,
    /// Which models may be asked?
    Models,
    /// What an agent reports of a run; comes with a later version.
    Governance,
    /// Known, but not with this method.
    WrongMethod {
        /// The method that it has.
        allow: &'static str,
    },
    /// Nothing.
    Nowhere,
}

/// Sorts a request that arrived on a listener with this address of its own.
pub(crate) fn sort(parts: &Parts, own: Option<SocketAddr>) -> Result<Result<Form, Local>, Unclear> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Unclear::TwoHosts);
    }
    if is_tunnel(&parts.method) {
        return if parts.version == Version::HTTP_2 {
            Err(Unclear::TunnelInHttp2)
        } else {
            Ok(Ok(Form::Connect))
        };
    }
    match parts.uri.authority() {
        Some(authority) if !is_ours(authority, own) => Ok(Ok(Form::Proxy)),
        Some(authority) => {
            let same = host.is_none_or(|host| host.as_bytes() == authority.as_str().as_bytes());
            if same {
                Ok(by_path(parts))
            } else {
                Err(Unclear::TwoDestinations)
            }
        }
        None => Ok(by_path(parts)),
    }
}

/// Whether a URL names this very listener: HTTP/2 always sends an authority, and so do clients that take the gate for
/// the proxy to itself.
fn is_ours(authority: &Authority, own: Option<SocketAddr>) -> bool {
    let text = authority.as_str();
    text == format!("{GATE_ADDRESS}:{GATE_PORT}") || own.is_some_and(|own| text == own.to_string())
}

fn by_path(parts: &Parts) -> Result<Form, Local> {
    let path = parts.uri.path();
    if let Some(rest) = path.strip_prefix("/tools/") {
        let end = rest.find('/').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        return Ok(Form::Tool {
            name: name.to_owned(),
            rest: rest.to_owned(),
        });
    }
    if path == "/governance" || path.starts_with("/governance/") {
        return Err(Local::Governance);
    }
    // Clients append `/v1/…` to a base that ends in `/v1` already.
    let path = path
        .strip_prefix("/v1")
        .filter(|rest| rest.starts_with("/v1"))
        .unwrap_or(path);
    let (allow, found) = match path {
        "/v1" | "/v1/" | "/v1/chat/completions" => ("POST", Ok(Form::Chat)),
        "/v1/models" => ("GET", Err(Local::Models)),
        "/healthz" | "/v1/healthz" => ("GET", Err(Local::Health)),
        _ => return Err(Local::Nowhere),
    };
    let fits = parts.method == allow || (allow == "GET" && parts.method == Method::HEAD);
    if fits {
        found
    } else {
        Err(Local::WrongMethod { allow })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn sorted(method: &str, uri: &str, hosts: &[&str]) -> Result<Result<Form, Local>, Unclear> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        sort(&request.body(()).unwrap().into_parts().0, None)
    }

    #[track_caller]
    fn at(method: &str, uri: &str) -> Result<Form, Local> {
        sorted(method, uri, &[]).unwrap()
    }

    #[test]
    fn every_door() {
        assert_eq!(at("CONNECT", "db.example:5432"), Ok(Form::Connect));
        assert_eq!(at("GET", "http://a.b/tools/x"), Ok(Form::Proxy));
        let tool = |rest: &str| {
            Ok(Form::Tool {
                name: "crm".into(),
                rest: rest.into(),
            })
        };
        assert_eq!(at("GET", "/tools/crm"), tool(""));
        assert_eq!(at("GET", "/tools/crm/a%2Fb/../c"), tool("/a%2Fb/../c"));
        for path in [
            "/v1",
            "/v1/",
            "/v1/chat/completions",
            "/v1/v1/chat/completions",
            "/v1/v1",
        ] {
            assert_eq!(at("POST", path), Ok(Form::Chat), "{path}");
        }
        assert_eq!(at("GET", "/v1/models"), Err(Local::Models));
        assert_eq!(at("GET", "/v1/v1/models"), Err(Local::Models));
        assert_eq!(at("GET", "/healthz"), Err(Local::Health));
        assert_eq!(at("HEAD", "/v1/healthz"), Err(Local::Health));
        assert_eq!(
            at("POST", "/governance/runs/r/tool-result"),
            Err(Local::Governance)
        );
    }

    #[test]
    fn everything_else_is_nowhere() {
        for path in [
            "/",
            "/tools",
            "/v2",
            "/v1beta",
            "/v1/v1/v1/models",
            "/healthz/",
            "/V1",
        ] {
            assert_eq!(at("GET", path), Err(Local::Nowhere), "{path}");
        }
        assert_eq!(
            at("GET", "/v1/chat/completions"),
            Err(Local::WrongMethod { allow: "POST" })
        );
        assert_eq!(at("OPTIONS", "*"), Err(Local::Nowhere));
    }

    #[test]
    fn the_gates_own_address_is_no_destination() {
        let own = format!("http://{GATE_ADDRESS}:{GATE_PORT}/healthz");
        assert_eq!(at("GET", &own), Err(Local::Health));
        assert!(matches!(
            sorted("GET", &own, &["evil.example"]),
            Err(Unclear::TwoDestinations)
        ));
    }

    #[test]
    fn two_hosts_are_one_too_many() {
        let twice = sorted("GET", "/tools/crm/", &["a", "a"]);
        assert!(matches!(twice, Err(Unclear::TwoHosts)));
    }
}
