//! The shapes of bodies: what a caller may send, and what it gets. Says no more of an answer than what holds for every kind of
//! agent.

use postern_invoke::request::{
    CONVERSATION_CHARS_MAX, HISTORY_ENTRIES_MAX, TOOL_CACHE_ENTRIES_MAX,
};
use serde_json::{Value, json};

/// What an id of a run looks like.
pub(super) const RUN_ID: &str = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$";

/// All named shapes.
pub(super) fn all() -> Value {
    json!({
        "Document": { "type": "object", "required": ["openapi", "info", "paths"] },
        "RunId": { "type": "string", "pattern": RUN_ID },
        "Nothing": {
            "description": "What counts as left out.",
            "enum": [null, false, 0, "", [], {}],
        },
        "Something": something(),
        "Invocation": invocation(),
        "HistoryEntry": history_entry(),
        "CachedCall": cached_call(),
        "Resumption": resumption(),
        "Answer": answer(),
        "Event": event(),
        "Cancelled": cancelled(),
        "Logs": logs(),
        "Line": line(),
        "LineEvent": line_event(),
        "Alive": alive(),
        "Readiness": readiness(),
        "Started": started(),
        "Refusal": refusal(),
    })
}

pub(super) fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn something() -> Value {
    json!({
        "description": "Any JSON that is not empty.",
        "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "number", "not": { "const": 0 } },
            { "const": true },
            { "type": "array", "minItems": 1 },
            { "type": "object", "minProperties": 1 },
        ],
    })
}

fn or_nothing(shape: &Value) -> Value {
    json!({ "anyOf": [shape, named("Nothing")] })
}

fn list_or_null(of: &str, most: usize) -> Value {
    json!({ "type": ["array", "null"], "items": named(of), "maxItems": most })
}

fn invocation() -> Value {
    json!({
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": named("Something"),
            "conversation_id": { "type": ["string", "null"], "maxLength": CONVERSATION_CHARS_MAX },
            "history": list_or_null("HistoryEntry", HISTORY_ENTRIES_MAX),
            "run_id": or_nothing(&named("RunId")),
            "tool_cache": list_or_null("CachedCall", TOOL_CACHE_ENTRIES_MAX),
        },
    })
}

fn history_entry() -> Value {
    let roles = json!({ "enum": ["system", "developer", "user", "assistant", "tool"] });
    json!({
        "type": "object",
        "description": "What went before. Entries that say nothing, and those of tools, are left out.",
        "properties": { "role": or_nothing(&roles), "content": {} },
    })
}

fn cached_call() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "description": "A result that the caller of a `builtin` agent has already.",
        "required": ["function_name", "arguments", "result"],
        "properties": { "function_name": text, "arguments": text, "result": text },
    })
}

fn resumption() -> Value {
    json!({
        "type": "object",
        "description": "Which run waited, where the header does not say.",
        "properties": { "run_id": named("RunId") },
    })
}

fn answer() -> Value {
    json!({
        "type": "object",
        "description": "What the agent answered; of agents with code, whatever keys it returned besides.",
        "required": ["model", "usage", "tool_calls_made", "request_id", "run_id"],
        "properties": {
            "response": { "description": "The answer, mostly a text." },
            "tool_calls_made": { "type": "array", "items": { "type": "object" } },
            "duration_ms": { "type": "integer", "minimum": 0 },
            "request_id": { "type": "string" },
            "run_id": named("RunId"),
            "handler": { "const": "user", "description": "There where it was code." },
            "approval_required": {
                "type": "object",
                "description": "There where the run waits for a human.",
                "required": ["action_id"],
                "properties": { "action_id": { "type": "string" } },
            },
            "consent_required": {
                "type": "object",
                "description": "There where the run waits for the end user's consent.",
                "required": ["authorization_url", "resume_id"],
                "properties": {
                    "authorization_url": { "type": "string", "format": "uri" },
                    "resume_id": { "type": "string" },
                },
            },
        },
    })
}

fn event() -> Value {
    json!({
        "type": "object",
        "description": "One event of the stream, by its fields.",
        "required": ["data"],
        "properties": {
            "id": { "type": "string", "description": "What `Last-Event-ID` takes." },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "An object with a `type`; at the end `[DONE]`.",
            },
        },
    })
}

fn cancelled() -> Value {
    json!({
        "type": "object",
        "required": ["run_id", "status"],
        "properties": {
            "run_id": named("RunId"),
            "status": { "enum": ["COMPLETED", "FAILED"] },
            "code": { "type": "string" },
        },
    })
}

fn logs() -> Value {
    json!({
        "type": "object",
        "required": ["run_id", "dropped", "lines"],
        "properties": {
            "run_id": named("RunId"),
            "dropped": { "type": "integer", "minimum": 0, "description": "Lines before these that are not kept." },
            "lines": { "type": "array", "items": named("Line") },
        },
    })
}

fn line() -> Value {
    json!({
        "type": "object",
        "required": ["seq", "at", "stream", "text"],
        "properties": {
            "seq": { "type": "integer", "minimum": 1 },
            "at": { "type": "string", "format": "date-time" },
            "stream": { "enum": ["stdout", "stderr"] },
            "text": { "type": "string" },
        },
    })
}

fn line_event() -> Value {
    json!({
        "type": "object",
        "description": "One event of the stream, by its fields.",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "A `Line`; at the end `[DONE]`.",
            },
        },
    })
}

fn alive() -> Value {
    json!({
        "type": "object",
        "required": ["status", "agent", "model", "tools", "user_code"],
        "additionalProperties": false,
        "properties": {
            "status": { "const": "ok" },
            "agent": { "type": "string" },
            "model": { "type": "string" },
            "tools": { "type": "integer", "minimum": 0 },
            "user_code": { "type": "boolean" },
        },
    })
}

fn readiness() -> Value {
    json!({
        "type": "object",
        "required": ["status", "llm_gateway", "parts"],
        "properties": {
            "status": { "enum": ["ready", "not ready", "stopping"] },
            "llm_gateway": { "type": "string" },
            "parts": { "type": "object", "required": ["gate", "stores", "agents"] },
            "installing": {
                "type": "object",
                "description": "While agents are installed at a start: how far each is.",
                "additionalProperties": {
                    "type": "object",
                    "required": ["stage", "seconds"],
                    "properties": {
                        "stage": { "enum": ["unpack", "fetch", "setup"] },
                        "seconds": { "type": "number", "minimum": 0 },
                        "bytes": { "type": "integer", "minimum": 0 },
                        "of_bytes": { "type": "integer", "minimum": 0 },
                        "percent": { "type": "integer", "minimum": 0, "maximum": 100 },
                    },
                },
            },
        },
    })
}

fn started() -> Value {
    json!({
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": { "enum": ["started", "starting"] },
            "agents": { "type": "array", "items": { "type": "string" } },
        },
    })
}

fn refusal() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": { "type": "string", "description": "For people; may change." },
            "code": { "type": "string", "pattern": "^[A-Z_]+$", "description": "For programs; stable." },
            "detail": { "description": "What the model's provider said." },
            "request_id": { "type": "string" },
            "run_id": named("RunId"),
        },
    })
}
