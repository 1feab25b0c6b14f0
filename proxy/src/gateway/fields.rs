//! The header fields of a model call: a provider gets what an answer depends on and nothing else. Never passes on a
//! credential, an account, or what an SDK tells of the machine that it runs on.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use postern_llm::{Act, Family, Meter};

use crate::headers;

/// What every provider gets. `Accept-Encoding` is not among them: answers come as they are, so that their usage can be read.
/// Neither are OpenAI's organisation and project, which say who pays, nor `x-stainless-*`, which tells of the sandbox.
const ALL: [HeaderName; 3] = [
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("idempotency-key"),
];

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Beginnings of Anthropic's beta features that make it act. What they allow is asked for in the body as well, so a feature
/// that may not be used is left out in silence.
const ACTING: [(&str, Act); 8] = [
    ("mcp-", Act::Mcp),
    ("code-execution", Act::CodeExecution),
    ("skills", Act::CodeExecution),
    ("web-search", Act::WebSearch),
    ("web-fetch", Act::WebFetch),
    ("computer-use", Act::ComputerUse),
    ("files-api", Act::StateIds),
    ("managed-agents", Act::StateIds),
];

/// What a provider is told.
pub(super) fn towards_provider(headers: &HeaderMap, family: Family, allow: &[Act]) -> HeaderMap {
    let mut kept = headers.clone();
    match family {
        Family::OpenAi => headers::keep_only(&mut kept, &ALL),
        Family::Anthropic => {
            let [accept, agent, key] = ALL;
            headers::keep_only(&mut kept, &[accept, agent, key, VERSION]);
            if let Some(betas) = betas(headers, allow) {
                kept.insert(BETA, betas);
            }
        }
    }
    kept.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    kept
}

fn betas(headers: &HeaderMap, allow: &[Act]) -> Option<HeaderValue> {
    let values = headers
        .get_all(BETA)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    let acts = |name: &str| {
        let lower = name.to_ascii_lowercase();
        ACTING
            .iter()
            .find(|(begin, _)| lower.starts_with(begin))
            .map(|(_, act)| *act)
    };
    let kept: Vec<_> = names
        .filter(|name| !name.is_empty() && acts(name).is_none_or(|act| allow.contains(&act)))
        .collect();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_str(&kept.join(",")).ok()
}

/// How the usage of an answer with this head is read; not at all where it is compressed or something else.
pub(crate) fn meter(headers: &HeaderMap) -> Option<Meter> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => Some(Meter::stream()),
        "application/json" => Some(Meter::whole()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beta_that_makes_the_provider_act_needs_the_configs_word() {
        let mut headers = HeaderMap::new();
        headers.append(
            BETA,
            HeaderValue::from_static("context-1m-2025-08-07, mcp-client-2025-04-04"),
        );
        headers.append(
            BETA,
            HeaderValue::from_static("Files-API-2025-04-14,web-fetch-2025-09-10"),
        );
        assert_eq!(betas(&headers, &[]).unwrap(), "context-1m-2025-08-07");
        assert_eq!(
            betas(&headers, &[Act::WebFetch]).unwrap(),
            "context-1m-2025-08-07,web-fetch-2025-09-10"
        );
        let openai = towards_provider(&headers, Family::OpenAi, &[]);
        assert_eq!(openai.len(), 1, "{openai:?}");
    }
}
