//! Codex (npm `@openai/codex`, tried with 0.169.0). Its own sandbox and questions are off: it is in one already, and nobody could
//! answer.

use super::{MODEL, PLAIN, Preset, SESSION, Session, Shape};
use crate::config::BecomesWritten as Becomes;

pub(super) const PRESET: Preset = Preset {
    program: "codex",
    arguments: &[
        "exec",
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "--model",
        MODEL,
        "-c",
        "model_provider=\"gate\"",
        "-c",
        "model_providers.gate={name=\"gate\",base_url=\"http://127.127.0.1:4180/v1\",env_key=\"OPENAI_API_KEY\",wire_api=\"responses\"}",
        // What its provider would do by itself, and what no other provider knows.
        "-c",
        "web_search=\"disabled\"",
        "--disable",
        "multi_agent",
        "-c",
        "check_for_update_on_startup=false",
        "-c",
        "analytics.enabled=false",
        "-",
    ],
    env: &[],
    session: Session {
        id: "/thread_id",
        // The message on its standard input.
        instead_of: 1,
        words: &["resume", SESSION, "-"],
    },
    shapes: &[
        Shape {
            when: &[
                ("/type", "item.started"),
                ("/item/type", "command_execution"),
            ],
            becomes: Becomes::ToolCall,
            text: Some("/item/command"),
            tool: Some("/item/type"),
            id: Some("/item/id"),
            ..PLAIN
        },
        Shape {
            when: &[
                ("/type", "item.completed"),
                ("/item/type", "command_execution"),
            ],
            becomes: Becomes::ToolResult,
            text: Some("/item/aggregated_output"),
            id: Some("/item/id"),
            ..PLAIN
        },
        Shape {
            when: MESSAGE,
            ..PLAIN
        },
        Shape {
            when: MESSAGE,
            becomes: Becomes::Content,
            text: Some("/item/text"),
            ..PLAIN
        },
        // The last one counts.
        Shape {
            when: MESSAGE,
            becomes: Becomes::Answer,
            text: Some("/item/text"),
            ..PLAIN
        },
        // Its `error` may be followed by another attempt.
        Shape {
            when: &[("/type", "turn.failed")],
            becomes: Becomes::Error,
            text: Some("/error/message"),
            ..PLAIN
        },
    ],
};

const MESSAGE: &[(&str, &str)] = &[("/type", "item.completed"), ("/item/type", "agent_message")];
