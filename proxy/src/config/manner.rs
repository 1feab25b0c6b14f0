//! How tools, providers and the operator's proxy are reached, as the config says it. Never dials; a file of authorities is
//! read here, so that what is wrong with it has its place.

use std::collections::BTreeMap;

use postern_contract::{
    ProviderName, ToolName,
    config::{Egress, Problem, Provider},
};

use super::{Written, authorities::Authorities};
use crate::{
    dial::{self, Manner, Proxy},
    inject::Credentials,
    secret::Secrets,
};

/// How each tool is reached.
pub(super) fn tools(
    document: &Written,
    authorities: &mut Authorities<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<ToolName, Manner> {
    let mut manners = BTreeMap::new();
    for (name, tool) in &document.tools {
        let written = dial::Written {
            timeouts: &tool.timeouts,
            retries: tool.retries,
            limits: &tool.limits,
            ca: tool.ca.as_deref(),
        };
        let manner = Manner::read(format!("tools.{name}"), &written, |file| {
            authorities.read(file)
        });
        match manner {
            Ok(manner) => drop(manners.insert(name.clone(), manner)),
            Err(error) => problems.push(Problem::at(
                ["tools", name.as_str(), error.key()],
                error.to_string(),
            )),
        }
    }
    manners
}

/// How one provider is reached.
pub(super) fn provider(
    name: &ProviderName,
    provider: &Provider<Credentials>,
    authorities: &mut Authorities<'_>,
) -> Result<Manner, Problem> {
    let written = dial::Written {
        timeouts: &provider.timeouts,
        retries: provider.retries,
        limits: &provider.limits,
        ca: provider.ca.as_deref(),
    };
    let name_in_full = format!("providers.{name}");
    let manner = Manner::read(name_in_full, &written, |file| authorities.read(file));
    manner
        .map_err(|error| Problem::at(["providers", name.as_str(), error.key()], error.to_string()))
}

/// The proxy of the operator's network, its password still missing.
pub(super) fn proxy(document: &Written, problems: &mut Vec<Problem>) -> Option<Proxy> {
    let egress = &document.egress;
    if let Some(credential) = &egress.credential
        && !document.secrets.contains_key(credential.secret())
    {
        let secret = credential.secret();
        problems.push(Problem::at(
            ["egress", "credential", "secret"],
            format!("there is no secret `{secret}`: define it as `[secrets.{secret}]`"),
        ));
    }
    Proxy::written(egress).unwrap_or_else(|error| {
        problems.push(Problem::at(["egress", error.key()], error.to_string()));
        None
    })
}

/// The proxy with the password that it asks for.
pub(super) fn with_password(
    proxy: Option<Proxy>,
    egress: &Egress,
    secrets: &Secrets,
) -> Option<Proxy> {
    let proxy = proxy?;
    let credential = egress.credential.as_ref();
    let password = credential.and_then(|credential| secrets.get(credential.secret()));
    match (credential, password) {
        (Some(credential), Some(password)) => Some(proxy.with(credential, password)),
        _ => Some(proxy),
    }
}

/// What of a config is weaker than it could be, in words for its owner.
pub(super) fn weakened(proxy: Option<&Proxy>) -> Vec<String> {
    let by_name = proxy.filter(|proxy| proxy.takes_names());
    let words = "egress.resolve = \"proxy\": the proxy finds the addresses of names, so the gate cannot check that an \
                 allowed name leads outside";
    by_name.map(|_| words.to_owned()).into_iter().collect()
}
