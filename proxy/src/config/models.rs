//! Models and the providers behind them as the gate means them: every route with its URL, every permission with its word
//! known. Never asks a provider anything.

use std::{collections::BTreeMap, sync::Arc};

use postern_contract::{
    ModelName, ProviderName,
    config::{self, Problem, Provider},
};
use postern_llm::{Act, Api, Format};
use postern_policy::CanonicalUrl;

use super::{Written, authorities::Authorities, manner};
use crate::{
    book::{Endpoint, Model, Target},
    dial::Speaks,
    inject::Credentials,
};

/// A provider: what it speaks, and where it is unless the gate answers itself.
type Found = (Format, Option<Arc<Endpoint>>);

/// Every model of the file whose provider makes sense; what makes none is told.
pub(super) fn of(
    document: &Written,
    authorities: &mut Authorities<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<ModelName, Arc<Model>> {
    let mut providers: BTreeMap<&ProviderName, Found> = BTreeMap::new();
    for (name, provider) in &document.providers {
        match found(name, provider, authorities) {
            Ok(found) => drop(providers.insert(name, found)),
            Err(problem) => problems.push(problem),
        }
    }
    let mut models = BTreeMap::new();
    for (name, model) in &document.models {
        let allow = allowed(name, model, problems);
        // A provider that is missing is told by the check of references.
        let Some((format, endpoint)) = providers.get(&model.provider) else {
            continue;
        };
        let meant = Model {
            name: name.clone(),
            upstream: model.upstream.clone(),
            provider: model.provider.clone(),
            format: *format,
            allow,
            endpoint: endpoint.clone(),
        };
        models.insert(name.clone(), Arc::new(meant));
    }
    models
}

fn allowed(name: &ModelName, model: &config::Model, problems: &mut Vec<Problem>) -> Vec<Act> {
    let mut allow = Vec::new();
    for (position, word) in model.allow.iter().enumerate() {
        match Act::from_word(word) {
            Some(act) => allow.push(act),
            None => {
                let path = ["models", name.as_str(), "allow", &position.to_string()];
                problems.push(Problem::at(path, unknown(word)));
            }
        }
    }
    allow
}

fn unknown(word: &str) -> String {
    if [Act::FileSearch, Act::StateIds]
        .iter()
        .any(|act| act.word() == word)
    {
        return format!(
            "`{word}` cannot be allowed: whose files and states a provider keeps is not known to the gate"
        );
    }
    let known = Act::ALLOWABLE
        .map(|act| format!("`{}`", act.word()))
        .join(", ");
    format!("there is no `{word}`: known are {known}")
}

fn found(
    name: &ProviderName,
    provider: &Provider<Credentials>,
    authorities: &mut Authorities<'_>,
) -> Result<Found, Problem> {
    let at = |key, words: String| Problem::at(["providers", name.as_str(), key], words);
    let format = Format::from_name(&provider.format).ok_or_else(|| {
        let known = Format::ALL
            .map(|format| format!("`{}`", format.name()))
            .join(", ");
        let words = format!(
            "there is no format `{}`: known are {known}",
            provider.format
        );
        at("format", words)
    })?;
    match (&provider.url, format.is_embedded()) {
        (None, true) if provider.credential.is_none() => Ok((format, None)),
        (None, true) => Err(at(
            "credential",
            "the gate answers itself here: leave it out".to_owned(),
        )),
        (Some(_), true) => Err(at(
            "url",
            "the gate answers itself here: leave it out".to_owned(),
        )),
        (None, false) => Err(at(
            "format",
            "a provider of this format needs a `url`".to_owned(),
        )),
        (Some(base), false) => {
            let urls = urls(format, base).map_err(|words| at("url", words))?;
            let target = Target {
                credential: provider.credential.clone(),
                private: provider.private,
                speaks: Speaks::Either,
                forward_identity: false,
                answers: provider.answers,
                on_rotation: provider.on_rotation,
                tokens: Default::default(),
                manner: manner::provider(name, provider, authorities)?,
            };
            let target = Arc::new(target);
            Ok((format, Some(Arc::new(Endpoint { urls, target }))))
        }
    }
}

fn urls(format: Format, base: &str) -> Result<BTreeMap<Api, CanonicalUrl>, String> {
    let trimmed = base.trim_end_matches('/');
    let begins = format.begins();
    if !begins.is_empty() && trimmed.ends_with(begins) {
        return Err(format!(
            "`{base}`: leave out the `{begins}`, providers of format `{}` have it in every path",
            format.name()
        ));
    }
    let routes = Api::ALL
        .into_iter()
        .filter_map(|api| Some((api, format.path(api)?)));
    let url = |(api, path)| {
        let url = format!("{trimmed}{path}").parse();
        Ok((api, url.map_err(|error| format!("`{base}`: {error}"))?))
    };
    routes.map(url).collect()
}
