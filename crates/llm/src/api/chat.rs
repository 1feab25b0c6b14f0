//! Chat completions, as OpenAI has them and many others speak them.

use super::search::{Search, wrong};
use crate::{RequestError, act::Act, json::Json};

/// Members of the body that make a provider do nothing but answer, or that are looked into by themselves.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "tools",
    "stream",
    "audio",
    "chat_template_kwargs",
    "function_call",
    "functions",
    "guided_choice",
    "guided_json",
    "logit_bias",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_options",
    "reasoning",
    "response_format",
    "stop",
    "stop_token_ids",
    "stream_options",
    "thinking",
    "tool_choice",
    "structured_outputs",
];

const MESSAGE: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "function_call",
    "annotations",
    "reasoning_details",
    "audio",
    "cache_control",
    "thinking_blocks",
];

const PART: &[&str] = &[
    "type",
    "text",
    "refusal",
    "cache_control",
    "image_url",
    "input_audio",
    "file",
    "video_url",
    "audio_url",
    "thinking",
];

pub(super) fn look(body: &Json<'_>, search: &mut Search) -> Result<(), RequestError> {
    search.others(body, "", KNOWN)?;
    search.tools(body.get("tools"), "tools", None)?;
    if let Some(audio) = body.get("audio") {
        search.kept(
            audio.get("voice").and_then(|voice| voice.get("id")),
            "audio.voice.id",
        );
    }
    for (position, message) in super::messages(body)?.iter().enumerate() {
        look_at_message(message, &format!("messages[{position}]"), search)?;
    }
    Ok(())
}

fn look_at_message(message: &Json<'_>, at: &str, search: &mut Search) -> Result<(), RequestError> {
    search.others(message, at, MESSAGE)?;
    if let Some(audio) = message.get("audio") {
        search.kept(audio.get("id"), &format!("{at}.audio.id"));
    }
    let at = format!("{at}.content");
    for (position, part) in super::parts(message.get("content"), &at)?
        .iter()
        .enumerate()
    {
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
    for member in ["image_url", "video_url", "audio_url"] {
        look_at_url(part.get(member), &format!("{at}.{member}"), search)?;
    }
    let audio = part.get("input_audio");
    search.data(audio.and_then(|audio| audio.get("data")), at);
    if let Some(file) = part.get("file") {
        let at = format!("{at}.file");
        search.others(file, &at, &["file_data", "filename", "file_id", "format"])?;
        search.kept(file.get("file_id"), &format!("{at}.file_id"));
        search.data(file.get("file_data"), &format!("{at}.file_data"));
    }
    match kind {
        "text" | "refusal" | "thinking" | "input_audio" => {}
        "image_url" | "video_url" | "audio_url" | "file" if part.get(kind).is_some() => {}
        "image_url" | "video_url" | "audio_url" | "file" => {
            return Err(wrong(format!("{at}.{kind}"), "is required"));
        }
        _ => search.note(Act::UnknownKinds, at),
    }
    Ok(())
}

fn look_at_url(url: Option<&Json<'_>>, at: &str, search: &mut Search) -> Result<(), RequestError> {
    match url {
        Some(object @ Json::Object(_)) => {
            search.others(object, at, &["url", "detail", "format"])?;
            search.url(object.get("url"), at);
        }
        url => search.url(url, at),
    }
    Ok(())
}
