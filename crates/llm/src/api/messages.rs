//! Anthropic's messages, and the counting of their tokens.

use super::search::{Search, wrong};
use crate::{RequestError, act::Act, json::Json};

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "stream",
    "cache_control",
    "compaction",
    "container",
    "context_management",
    "metadata",
    "output_config",
    "output_format",
    "stop_sequences",
    "thinking",
    "tool_choice",
];

const MESSAGE: &[&str] = &["role", "content"];

/// Members of blocks; the ids name what stands in the same conversation.
const BLOCK: &[&str] = &[
    "type",
    "text",
    "citations",
    "cache_control",
    "source",
    "title",
    "context",
    "id",
    "name",
    "input",
    "caller",
    "tool_use_id",
    "content",
    "is_error",
    "thinking",
    "signature",
    "data",
    "tool_name",
    "encrypted_content",
    "server_name",
];

const SOURCE: &[&str] = &["type", "media_type", "data", "content", "url", "file_id"];

pub(super) fn look(body: &Json<'_>, search: &mut Search) -> Result<(), RequestError> {
    search.others(body, "", KNOWN)?;
    search.tools(body.get("tools"), "tools", Some("custom"))?;
    match body.get("container") {
        Some(container @ Json::Object(_)) => {
            search.others(container, "container", &["id", "skills"])?;
            search.kept(container.get("id"), "container.id");
            if container
                .get("skills")
                .is_some_and(|skills| !skills.is_empty())
            {
                search.note(Act::CodeExecution, "container.skills");
                search.note(Act::StateIds, "container.skills");
            }
        }
        container => search.kept(container, "container"),
    }
    look_at_blocks(body.get("system"), "system", search)?;
    for (position, message) in super::messages(body)?.iter().enumerate() {
        let at = format!("messages[{position}]");
        search.others(message, &at, MESSAGE)?;
        look_at_blocks(message.get("content"), &format!("{at}.content"), search)?;
    }
    Ok(())
}

fn look_at_blocks(
    content: Option<&Json<'_>>,
    at: &str,
    search: &mut Search,
) -> Result<(), RequestError> {
    for (position, block) in super::parts(content, at)?.iter().enumerate() {
        look_at_block(block, &format!("{at}[{position}]"), search)?;
    }
    Ok(())
}

fn look_at_block(block: &Json<'_>, at: &str, search: &mut Search) -> Result<(), RequestError> {
    search.others(block, at, BLOCK)?;
    let Some(kind) = block.text_of("type") else {
        return Err(wrong(at, "must have a type"));
    };
    match kind {
        // What a search result names as its source is shown to the reader and not fetched.
        "text"
        | "thinking"
        | "redacted_thinking"
        | "tool_use"
        | "tool_reference"
        | "search_result"
        | "tool_search_tool_result"
        | "compaction" => {}
        "image" | "document" => {
            return look_at_source(block.get("source"), &format!("{at}.source"), search);
        }
        "tool_result" => {
            return look_at_blocks(block.get("content"), &format!("{at}.content"), search);
        }
        "server_tool_use" => {
            if let Some(act) = Act::of_tool(block.text_of("name").unwrap_or_default()) {
                search.note(act, at);
            }
        }
        "mcp_tool_use" | "mcp_tool_result" => search.note(Act::Mcp, at),
        "container_upload" => search.note(Act::StateIds, at),
        _ => {
            let act = kind.strip_suffix("_tool_result").and_then(Act::of_tool);
            search.note(act.unwrap_or(Act::UnknownKinds), at);
        }
    }
    Ok(())
}

fn look_at_source(
    source: Option<&Json<'_>>,
    at: &str,
    search: &mut Search,
) -> Result<(), RequestError> {
    let Some(source) = source else {
        return Err(wrong(at, "is required"));
    };
    search.others(source, at, SOURCE)?;
    match source.text_of("type").unwrap_or_default() {
        "base64" | "text" => {}
        "content" => {
            return look_at_blocks(source.get("content"), &format!("{at}.content"), search);
        }
        "url" => search.note(Act::UrlInputs, at),
        "file" => search.note(Act::StateIds, at),
        _ => search.note(Act::UnknownKinds, at),
    }
    Ok(())
}
