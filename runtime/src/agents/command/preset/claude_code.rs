//! Claude Code (npm `@anthropic-ai/claude-code`, tried with 2.1.197). Its own questions before it uses a tool are off: nobody
//! could answer them, and what it may do is the sandbox's and the gate's to say.

use super::{MODEL, PLAIN, Preset, SESSION, Session, Shape};
use crate::config::BecomesWritten as Becomes;

pub(super) const PRESET: Preset = Preset {
    program: "claude",
    arguments: &[
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--dangerously-skip-permissions",
        "--model",
        MODEL,
    ],
    env: &[
        // Whatever it asks besides, it asks the same model.
        ("ANTHROPIC_MODEL", MODEL),
        ("ANTHROPIC_SMALL_FAST_MODEL", MODEL),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", MODEL),
        ("ANTHROPIC_DEFAULT_SONNET_MODEL", MODEL),
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", MODEL),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
    ],
    session: Session {
        id: "/session_id",
        instead_of: 0,
        words: &["--resume", SESSION],
    },
    shapes: &[
        Shape {
            when: &[
                ("/type", "stream_event"),
                ("/parent_tool_use_id", "null"),
                ("/event/type", "message_start"),
            ],
            ..PLAIN
        },
        Shape {
            when: &[
                ("/type", "stream_event"),
                ("/parent_tool_use_id", "null"),
                ("/event/delta/type", "text_delta"),
            ],
            becomes: Becomes::Content,
            text: Some("/event/delta/text"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "assistant")],
            each: Some("/message/content"),
            with: &[("/type", "tool_use")],
            becomes: Becomes::ToolCall,
            text: Some("/input"),
            tool: Some("/name"),
            id: Some("/id"),
        },
        Shape {
            when: &[("/type", "user")],
            each: Some("/message/content"),
            with: &[("/type", "tool_result")],
            becomes: Becomes::ToolResult,
            text: Some("/content"),
            id: Some("/tool_use_id"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "result"), ("/is_error", "false")],
            becomes: Becomes::Answer,
            text: Some("/result"),
            ..PLAIN
        },
        // What went wrong in one word, unless it says more.
        Shape {
            when: &[("/type", "result"), ("/is_error", "true")],
            becomes: Becomes::Error,
            text: Some("/subtype"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "result"), ("/is_error", "true")],
            becomes: Becomes::Error,
            text: Some("/result"),
            ..PLAIN
        },
    ],
};
