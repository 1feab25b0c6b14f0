//! OpenCode (npm `opencode-ai`, tried with 1.18.33), with the gate as a provider that speaks OpenAI's chat completions.

use super::{PLAIN, Preset, SESSION, Session, Shape};
use crate::config::BecomesWritten as Becomes;

pub(super) const PRESET: Preset = Preset {
    program: "opencode",
    arguments: &[
        "run",
        "--format",
        "json",
        "--auto",
        "--model",
        "gate/{model}",
    ],
    env: &[
        (
            "OPENCODE_CONFIG_CONTENT",
            r#"{"autoupdate":false,"share":"disabled","small_model":"gate/{model}","provider":{"gate":{"npm":"@ai-sdk/openai-compatible","options":{"baseURL":"http://127.127.0.1:4180/v1","apiKey":"platform-managed"},"models":{"{model}":{}}}}}"#,
        ),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
    ],
    session: Session {
        id: "/sessionID",
        instead_of: 0,
        words: &["--session", SESSION],
    },
    shapes: &[
        Shape {
            when: &[("/type", "tool_use")],
            becomes: Becomes::ToolCall,
            text: Some("/part/state/input"),
            tool: Some("/part/tool"),
            id: Some("/part/callID"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "tool_use")],
            becomes: Becomes::ToolResult,
            text: Some("/part/state/output"),
            tool: Some("/part/tool"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "text")],
            ..PLAIN
        },
        Shape {
            when: &[("/type", "text")],
            becomes: Becomes::Content,
            text: Some("/part/text"),
            ..PLAIN
        },
        // The last one counts.
        Shape {
            when: &[("/type", "text")],
            becomes: Becomes::Answer,
            text: Some("/part/text"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "error")],
            becomes: Becomes::Error,
            text: Some("/error/name"),
            ..PLAIN
        },
        Shape {
            when: &[("/type", "error")],
            becomes: Becomes::Error,
            text: Some("/error/data/message"),
            ..PLAIN
        },
    ],
};
