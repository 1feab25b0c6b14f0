//! OpenAI's responses. They are kept by the provider unless the question says otherwise.

use super::search::{Search, wrong};
use crate::{RequestError, act::Act, json::Json};

const KNOWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "stream",
    "client_metadata",
    "context_management",
    "include",
    "metadata",
    "prompt_cache_options",
    "reasoning",
    "stream_options",
    "text",
    "tool_choice",
];

/// Members of items that carry nothing but what was said; ids of items and calls name what stands beside them.
const ITEM: &[&str] = &[
    "type",
    "role",
    "content",
    "id",
    "call_id",
    "name",
    "namespace",
    "arguments",
    "input",
    "output",
    "action",
    "actions",
    "summary",
    "encrypted_content",
    "status",
    "phase",
    "operation",
    "tools",
    "result",
    "results",
    "queries",
    "code",
    "outputs",
    "container_id",
    "caller",
    "acknowledged_safety_checks",
    "pending_safety_checks",
    "environment",
    "approval_request_id",
    "approve",
    "reason",
    "error",
    "server_label",
    "internal_chat_message_metadata_passthrough",
];

const PART: &[&str] = &[
    "type",
    "text",
    "refusal",
    "annotations",
    "logprobs",
    "image_url",
    "file_id",
    "file_url",
    "file_data",
    "filename",
    "detail",
    "input_audio",
    "cache_control",
    "prompt_cache_breakpoint",
];

pub(super) fn look(body: &Json<'_>, search: &mut Search) -> Result<(), RequestError> {
    search.others(body, "", KNOWN)?;
    search.tools(body.get("tools"), "tools", None)?;
    for field in ["input", "instructions"] {
        for (position, item) in super::parts(body.get(field), field)?.iter().enumerate() {
            look_at_item(item, &format!("{field}[{position}]"), search)?;
        }
    }
    Ok(())
}

fn look_at_item(item: &Json<'_>, at: &str, search: &mut Search) -> Result<(), RequestError> {
    search.others(item, at, ITEM)?;
    let kind = match item.get("type") {
        Some(kind) => kind.text().unwrap_or_default(),
        None if item.get("role").is_some() => "message",
        // Without a type, an id alone is a reference.
        None => "item_reference",
    };
    match kind {
        "message" => return look_at_parts(item.get("content"), &format!("{at}.content"), search),
        "function_call_output" | "custom_tool_call_output" => {
            return look_at_parts(item.get("output"), &format!("{at}.output"), search);
        }
        "function_call"
        | "custom_tool_call"
        | "local_shell_call"
        | "local_shell_call_output"
        | "shell_call"
        | "shell_call_output"
        | "apply_patch_call"
        | "apply_patch_call_output"
        | "compaction"
        | "compaction_summary"
        | "compaction_trigger"
        | "tool_search_call" => {}
        "tool_search_output" | "additional_tools" => {
            return search.tools(item.get("tools"), &format!("{at}.tools"), None);
        }
        "reasoning" => {
            let says = |key| match item.get(key) {
                Some(Json::Text(text)) => !text.is_empty(),
                Some(said) => !said.is_empty(),
                None => false,
            };
            if !says("encrypted_content") && !says("content") {
                search.kept(item.get("id"), at);
            }
        }
        "item_reference" => search.note(Act::StateIds, at),
        "image_generation_call" => {
            search.note(Act::ImageGeneration, at);
            if item.get("result").is_none() {
                search.note(Act::StateIds, at);
            }
        }
        "computer_call" | "computer_call_output" => {
            search.note(Act::ComputerUse, at);
            if let Some(output) = item.get("output") {
                search.deep(output, at);
            }
        }
        "web_search_call" => search.note(Act::WebSearch, at),
        "file_search_call" => search.note(Act::FileSearch, at),
        "code_interpreter_call" | "program" | "program_output" => {
            search.note(Act::CodeExecution, at);
        }
        "mcp_list_tools" | "mcp_call" | "mcp_approval_request" | "mcp_approval_response" => {
            search.note(Act::Mcp, at);
        }
        _ => search.note(Act::UnknownKinds, at),
    }
    Ok(())
}

fn look_at_parts(
    content: Option<&Json<'_>>,
    at: &str,
    search: &mut Search,
) -> Result<(), RequestError> {
    for (position, part) in super::parts(content, at)?.iter().enumerate() {
        look_at_part(part, &format!("{at}[{position}]"), search)?;
    }
    Ok(())
}

fn look_at_part(part: &Json<'_>, at: &str, search: &mut Search) -> Result<(), RequestError> {
    search.others(part, at, PART)?;
    let Some(kind) = part.text_of("type") else {
        return Err(wrong(at, "must have a type"));
    };
    // Whatever its type says: there are servers that go by what is there.
    search.url(part.get("image_url"), &format!("{at}.image_url"));
    search.url(part.get("file_url"), &format!("{at}.file_url"));
    search.data(part.get("file_data"), &format!("{at}.file_data"));
    search.kept(part.get("file_id"), &format!("{at}.file_id"));
    match kind {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" | "refusal"
        | "encrypted_content" | "input_image" | "input_file" | "input_audio" => {}
        _ => search.note(Act::UnknownKinds, at),
    }
    Ok(())
}
