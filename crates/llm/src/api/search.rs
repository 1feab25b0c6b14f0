//! Looks for what a question would make a provider do, object by object. A name that is not known is judged by what it
//! carries and how it reads; a spelling that some servers take for another name is refused. Never looks into what is only
//! handed through: arguments, schemas, metadata.

use crate::{
    RequestError,
    act::{Act, Found},
    json::{Json, shown},
};

/// Where `data:` stands if it stands anywhere: base64 has no colon.
const SCHEME_BYTES_MAX: usize = 64;

/// What was found so far: the first place of each act.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: Vec<Found>,
}

/// A field that has no form that is known.
pub(super) fn wrong(field: impl Into<String>, why: &'static str) -> RequestError {
    RequestError::Field {
        field: field.into(),
        why,
    }
}

impl Search {
    pub(super) fn into_found(self) -> Vec<Found> {
        self.found
    }

    /// The provider would do this.
    pub(super) fn note(&mut self, act: Act, at: impl Into<String>) {
        if !self.found.iter().any(|found| found.act == act) {
            self.found.push(Found { act, at: at.into() });
        }
    }

    /// All members of an object but those that are known to be harmless or looked into elsewhere.
    pub(super) fn others(
        &mut self,
        object: &Json<'_>,
        at: &str,
        known: &[&str],
    ) -> Result<(), RequestError> {
        for (key, value) in object.members() {
            let place = if at.is_empty() {
                shown(key)
            } else {
                format!("{at}.{}", shown(key))
            };
            // Servers exist that read `Model` and `ſtore` as `model` and `store`.
            if !key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-$".contains(&b))
            {
                return Err(wrong(
                    place,
                    "is no name of a field here: they are lower case",
                ));
            }
            if !known.contains(&&**key) {
                self.named(key, value, place);
            }
        }
        Ok(())
    }

    /// One member that nobody knows to be harmless.
    fn named(&mut self, key: &str, value: &Json<'_>, at: String) {
        let act = match (key, value) {
            (_, Json::Null | Json::Bool(false)) => return,
            ("web_search_options" | "search_parameters", _) => Act::WebSearch,
            (_, value) if value.is_empty() => return,
            ("store" | "background", _) => Act::StoredState,
            ("conversation" | "prompt" | "container" | "thread", _) => Act::StateIds,
            ("mcp_servers", _) => Act::Mcp,
            _ if ends(key, &["_id", "_ids"]) => Act::StateIds,
            _ if ends(key, &["url", "urls", "uri"]) => Act::UrlInputs,
            _ if key.contains("search") || key.contains("brows") => Act::WebSearch,
            ("deferred" | "async", _) => Act::StoredState,
            ("preset", _) => Act::StateIds,
            (_, Json::Number) => return,
            (_, Json::Bool(_)) if FLAGS.contains(&key) => return,
            (_, Json::Text(_)) if TEXTS.contains(&key) => return,
            (_, Json::Text(text)) if text.contains("://") => Act::UrlInputs,
            (_, Json::Text(text)) if text.is_empty() => return,
            _ => Act::UnknownKinds,
        };
        self.note(act, at);
    }

    /// A list of tools.
    pub(super) fn tools(
        &mut self,
        tools: Option<&Json<'_>>,
        at: &str,
        untyped: Option<&str>,
    ) -> Result<(), RequestError> {
        let Some(tools) = tools else { return Ok(()) };
        let Json::List(list) = tools else {
            return Err(wrong(at, "must be a list"));
        };
        for (position, tool) in list.iter().enumerate() {
            self.tool(tool, &format!("{at}[{position}]"), untyped)?;
        }
        Ok(())
    }

    fn tool(
        &mut self,
        tool: &Json<'_>,
        at: &str,
        untyped: Option<&str>,
    ) -> Result<(), RequestError> {
        let kind = match (tool, tool.get("type"), untyped) {
            (Json::Object(_), Some(Json::Text(kind)), _) => kind,
            (Json::Object(_), None, Some(kind)) => kind,
            _ => return Err(wrong(at, "must be an object with a type")),
        };
        self.others(tool, at, TOOL)?;
        if kind == "namespace" {
            return self.tools(tool.get("tools"), &format!("{at}.tools"), untyped);
        }
        let is_local = tool
            .get("environment")
            .and_then(|place| place.text_of("type"))
            == Some("local");
        match Act::of_tool(kind) {
            Some(_) if kind == "shell" && is_local => {}
            Some(act) => {
                self.note(act, at);
                self.deep(tool, at);
            }
            None => {}
        }
        Ok(())
    }

    /// A URL where content could stand: fetched, unless it carries the content itself.
    pub(super) fn url(&mut self, url: Option<&Json<'_>>, at: &str) {
        match url {
            None => {}
            Some(Json::Text(url)) if url.starts_with("data:") => {}
            Some(_) => self.note(Act::UrlInputs, at),
        }
    }

    /// Content itself, which some servers let a URL stand for.
    pub(super) fn data(&mut self, data: Option<&Json<'_>>, at: &str) {
        let text = data.and_then(Json::text).unwrap_or_default();
        let head = &text.as_bytes()[..text.len().min(SCHEME_BYTES_MAX)];
        if head.contains(&b':') && !text.starts_with("data:") {
            self.note(Act::UrlInputs, at);
        }
    }

    /// Something that the provider keeps.
    pub(super) fn kept(&mut self, id: Option<&Json<'_>>, at: &str) {
        if id.is_some_and(|id| !id.is_empty()) {
            self.note(Act::StateIds, at);
        }
    }

    /// Ids and URLs anywhere inside, for what has many forms.
    pub(super) fn deep(&mut self, value: &Json<'_>, at: &str) {
        for (key, inner) in value.members() {
            let place = || format!("{at}.{}", shown(key));
            match (&**key, inner) {
                (key, Json::Text(_)) if ends(key, &["_id"]) || key == "container" => {
                    self.note(Act::StateIds, place());
                }
                (key, Json::List(_)) if ends(key, &["_ids", "skills"]) => {
                    self.kept(Some(inner), &place());
                }
                ("server_url", _) => {}
                (key, Json::Text(_)) if ends(key, &["url"]) => self.url(Some(inner), &place()),
                _ => self.deep(inner, &place()),
            }
        }
        for (position, item) in value.items().iter().enumerate() {
            self.deep(item, &format!("{at}[{position}]"));
        }
    }
}

/// What may be true anywhere: how tokens are counted, shown and joined, and nothing that anybody would do.
const FLAGS: &[&str] = &[
    "add_generation_prompt",
    "add_special_tokens",
    "cache_prompt",
    "continue_final_message",
    "disable_parallel_tool_use",
    "echo",
    "enable_thinking",
    "end_turn",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "is_error",
    "logprobs",
    "normalize",
    "parallel_tool_calls",
    "partial",
    "prefix",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "safe_prompt",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "truncate",
    "truncation",
    "use_beam_search",
];

/// What may be any text anywhere: names of things in the question itself, who asks, how the answer looks, and what was
/// said before.
const TEXTS: &[&str] = &[
    "anthropic_version",
    "embedding_type",
    "encoding_format",
    "guided_grammar",
    "guided_regex",
    "id",
    "index",
    "inference_geo",
    "input_type",
    "keep_alive",
    "output_dtype",
    "phase",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_mode",
    "reasoning",
    "reasoning_content",
    "reasoning_effort",
    "reasoning_format",
    "reasoning_text",
    "safety_identifier",
    "service_tier",
    "signature",
    "speed",
    "status",
    "system_fingerprint",
    "task",
    "task_type",
    "thinking",
    "thought_signature",
    "title",
    "tool_name",
    "truncate",
    "truncation",
    "type",
    "user",
    "verbosity",
];

/// Members of tools: what they say of themselves, and settings of those that the provider runs, which count as a whole.
const TOOL: &[&str] = &[
    "type",
    "name",
    "description",
    "function",
    "parameters",
    "input_schema",
    "output_schema",
    "format",
    "strict",
    "custom",
    "cache_control",
    "allowed_callers",
    "defer_loading",
    "input_examples",
    "eager_input_streaming",
    "environment",
    "tools",
    "container",
    "filters",
    "user_location",
    "vector_store_ids",
    "ranking_options",
    "input_image_mask",
    "server_url",
    "server_label",
    "server_description",
    "connector_id",
    "tunnel_id",
    "authorization",
    "headers",
    "allowed_tools",
    "require_approval",
    "allowed_domains",
    "blocked_domains",
    "citations",
    "mcp_server_name",
    "configs",
    "default_config",
    "display_width_px",
    "display_height_px",
    "display_number",
    "enable_zoom",
    "search_context_size",
    "search_content_types",
    "execution",
    "external_web_access",
    "action",
    "background",
    "input_fidelity",
    "model",
    "moderation",
    "output_format",
    "quality",
    "size",
    "use_cache",
    "max_uses",
];

fn ends(key: &str, with: &[&str]) -> bool {
    with.iter().any(|end| key.ends_with(end))
}
