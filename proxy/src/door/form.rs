//! The form of a request: what its method, request line and path alone say it is. Never looks at a body or a policy.

use std::{net::SocketAddr, sync::Arc};

use http::{Method, Version, header, request::Parts, uri::Authority};
use postern_contract::{GATE_ADDRESS, GATE_PORT};
use postern_llm::{Api, Family};

use super::{Unclear, is_tunnel};
use crate::{dns::Meant, intercept::Inside};

/// A request that wants out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// CONNECT.
    Connect,
    /// Any request inside a CONNECT that the gate looks into.
    Inside(Arc<Inside>),
    /// Any request in the clear on a connection by address: the one that was meant.
    Captured(Arc<Meant>),
    /// A request line with a whole URL.
    Proxy,
    /// `/tools/NAME` and what follows.
    Tool {
        /// The name as written.
        name: String,
        /// Empty, or from the next slash on, as written.
        rest: String,
    },
    /// A question to a model.
    Model(Route),
}

/// Which way of asking models a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// What is asked for.
    pub(crate) api: Api,
    /// The provider whose models alone are meant, as written.
    pub(crate) provider: Option<String>,
}

/// A request that the gate answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Local {
    /// Is the gate there?
    Health,
    /// Which models may be asked?
    Models(Catalogue),
    /// What an agent reports of a run.
    Report(Told),
    /// Known, but not with this method.
    WrongMethod {
        /// The method that it has.
        allow: &'static str,
    },
    /// Nothing.
    Nowhere,
}

/// What an agent reports, or asks of what it has reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The run, as written.
    pub(crate) run: String,
    pub(crate) about: ToldAbout,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToldAbout {
    /// A tool that was called.
    ToolResult,
    /// What it needs to go on.
    Checkpoint,
    /// What it needs to go on after this action, as written.
    Wanted(String),
}

/// A look at the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// In whose words.
    pub(crate) family: Family,
    /// The provider whose models alone are meant, as written.
    pub(crate) provider: Option<String>,
    /// The one model that is meant, as written.
    pub(crate) model: Option<String>,
}

/// By this header field Anthropic's clients are known.
const ANTHROPIC_VERSION: &str = "anthropic-version";

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
    if let Some(rest) = path.strip_prefix("/governance/") {
        return Err(report(parts, rest).unwrap_or(Local::Nowhere));
    }
    let (allow, found) = match gateway(path) {
        _ if path == "/healthz" => ("GET", Err(Local::Health)),
        Some((_, "/healthz")) => ("GET", Err(Local::Health)),
        Some((provider, rest)) => of_gateway(parts, provider, rest).ok_or(Local::Nowhere)?,
        None => return Err(Local::Nowhere),
    };
    let fits = parts.method == allow || (allow == "GET" && parts.method == Method::HEAD);
    if fits {
        found
    } else {
        Err(Local::WrongMethod { allow })
    }
}

/// What an agent reports of a run, by its path and method. Names are as written: no escape is undone.
fn report(parts: &Parts, path: &str) -> Option<Local> {
    let mut segments = path.strip_prefix("runs/")?.split('/');
    let (run, kind) = (segments.next()?, segments.next()?);
    let (allow, about) = match (kind, segments.next(), segments.next()) {
        ("tool-result", None, None) => ("POST", ToldAbout::ToolResult),
        ("checkpoint", None, None) => ("POST", ToldAbout::Checkpoint),
        ("checkpoint", Some(action), None) => ("GET", ToldAbout::Wanted(action.to_owned())),
        _ => return None,
    };
    if parts.method != allow {
        return Some(Local::WrongMethod { allow });
    }
    let run = run.to_owned();
    Some(Local::Report(Told { run, about }))
}

/// A path of the model gateway: the provider that it names, and what follows. Clients append `/v1/…` to a base that ends
/// in `/v1` or `/v1/p/NAME` already.
fn gateway(path: &str) -> Option<(Option<String>, &str)> {
    let rest = after(path, "/v1")?;
    let rest = after(rest, "/v1").unwrap_or(rest);
    let Some(named) = rest.strip_prefix("/p/") else {
        return Some((None, rest));
    };
    let end = named.find('/').unwrap_or(named.len());
    let (provider, rest) = named.split_at(end);
    let rest = after(rest, "/v1").unwrap_or(rest);
    Some((Some(provider.to_owned()), rest))
}

/// What follows whole segments.
fn after<'a>(path: &'a str, segments: &str) -> Option<&'a str> {
    path.strip_prefix(segments)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a path of the gateway means, and its method.
fn of_gateway(
    parts: &Parts,
    provider: Option<String>,
    rest: &str,
) -> Option<(&'static str, Result<Form, Local>)> {
    let rest = if matches!(rest, "" | "/") {
        Api::Chat.path()
    } else {
        rest
    };
    if let Some(api) = Api::of_path(rest) {
        return Some(("POST", Ok(Form::Model(Route { api, provider }))));
    }
    let model = match after(rest, "/models")? {
        "" | "/" => None,
        model => Some(model[1..].to_owned()),
    };
    let family = if parts.headers.contains_key(ANTHROPIC_VERSION) {
        Family::Anthropic
    } else {
        Family::OpenAi
    };
    let catalogue = Catalogue {
        family,
        provider,
        model,
    };
    Some(("GET", Err(Local::Models(catalogue))))
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
        let asks = |api, provider: Option<&str>| {
            let provider = provider.map(str::to_owned);
            Ok(Form::Model(Route { api, provider }))
        };
        for path in [
            "/v1",
            "/v1/",
            "/v1/chat/completions",
            "/v1/v1/chat/completions",
            "/v1/v1",
        ] {
            assert_eq!(at("POST", path), asks(Api::Chat, None), "{path}");
        }
        for path in ["/v1/messages", "/v1/v1/messages"] {
            assert_eq!(at("POST", path), asks(Api::Messages, None), "{path}");
        }
        assert_eq!(at("POST", "/v1/responses"), asks(Api::Responses, None));
        assert_eq!(at("POST", "/v1/p/x"), asks(Api::Chat, Some("x")));
        for path in ["/v1/p/x/v1/messages", "/v1/v1/p/x/messages"] {
            assert_eq!(at("POST", path), asks(Api::Messages, Some("x")), "{path}");
        }
        let list = |provider: Option<&str>, model: Option<&str>| {
            Err(Local::Models(Catalogue {
                family: Family::OpenAi,
                provider: provider.map(str::to_owned),
                model: model.map(str::to_owned),
            }))
        };
        assert_eq!(at("GET", "/v1/models"), list(None, None));
        assert_eq!(at("GET", "/v1/v1/models"), list(None, None));
        assert_eq!(at("GET", "/v1/p/x/models/y"), list(Some("x"), Some("y")));
        assert_eq!(at("GET", "/healthz"), Err(Local::Health));
        assert_eq!(at("HEAD", "/v1/healthz"), Err(Local::Health));
    }

    #[test]
    fn what_is_reported_of_a_run_is_told_by_its_path() {
        let told = |about| {
            let run = "r".to_owned();
            Err(Local::Report(Told { run, about }))
        };
        let post = |path: &str| at("POST", &format!("/governance/runs/{path}"));
        assert_eq!(post("r/tool-result"), told(ToldAbout::ToolResult));
        assert_eq!(post("r/checkpoint"), told(ToldAbout::Checkpoint));
        let wanted = at("GET", "/governance/runs/r/checkpoint/a");
        assert_eq!(wanted, told(ToldAbout::Wanted("a".to_owned())));
        for nowhere in [
            "",
            "r",
            "r/",
            "r/checkpoint/a/b",
            "../../zz/tool-result",
            "r/x",
            "r/tool-result/",
        ] {
            assert_eq!(post(nowhere), Err(Local::Nowhere), "{nowhere}");
        }
        let get = at("GET", "/governance/runs/r/tool-result");
        assert_eq!(get, Err(Local::WrongMethod { allow: "POST" }));
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
