//! Gemini CLI (npm `@google/gemini-cli`, tried with 0.61.0). It asks Google itself, which is a tool of its agent's, and finds a dummy in the
//! place of its key: the gate has no model format of Google's.

use super::{PLAIN, Preset, SESSION, Session, Shape};
use crate::config::BecomesWritten as Becomes;

pub(super) const PRESET: Preset = Preset {
    program: "gemini",
    arguments: &[
        "--output-format",
        "stream-json",
        "--approval-mode",
        "yolo",
        // The workspace is the sandbox's, and nobody could say that they trust it.
        "--skip-trust",
    ],
    env: &[],
    session: Session {
        id: "/session_id",
        instead_of: 0,
        words: &["--resume", SESSION],
    },
    shapes: &[
        Shape {
            when: &[("/type", "tool_use")],
            ..PLAIN
        },
        Shape {
            when: &[("/type", "tool_use")],
            becomes: Becomes::ToolCall,
            text: Some("/parameters"),
            tool: Some("/tool_name"),
            id: Some("/tool_id"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "tool_result"), ("/status", "success")],
            becomes: Becomes::ToolResult,
            text: Some("/output"),
            id: Some("/tool_id"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "tool_result"), ("/status", "error")],
            becomes: Becomes::ToolResult,
            text: Some("/error/message"),
            id: Some("/tool_id"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "message"), ("/role", "assistant")],
            becomes: Becomes::Content,
            text: Some("/content"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "result"), ("/status", "error")],
            becomes: Becomes::Error,
            text: Some("/error/message"),
            ..PLAIN
        },
    ],
};
