//! What the programs really wrote, shortened, and what it is to us.

use serde_json::{Value, json};

use super::*;
use crate::agents::command::map::{Map, Meaning};

fn read(name: PresetName, lines: &str) -> Vec<Meaning> {
    let map = Map::mean(&Preset::named(name).rules()).unwrap_or_else(|_| panic!());
    let lines = lines.lines().filter(|line| !line.is_empty());
    let values = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    values.flat_map(|line| map.read(&line)).collect()
}

fn call(tool: &str, arguments: &str, id: &str) -> Meaning {
    Meaning::ToolCall {
        tool: tool.to_owned(),
        arguments: arguments.to_owned(),
        id: Some(id.to_owned()),
    }
}

#[test]
fn claude_code() {
    let lines = r#"
{"type":"system","subtype":"init","cwd":"/workspace","tools":["Bash"]}
{"type":"stream_event","event":{"type":"message_start","message":{"content":[]}},"parent_tool_use_id":null}
{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}},"parent_tool_use_id":null}
{"type":"assistant","message":{"content":[{"type":"text","text":"told before"},{"type":"tool_use","id":"toolu_1","name":"Write","input":{"a":1}}]},"parent_tool_use_id":null}
{"type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_1","type":"tool_result","content":"File created"}]},"parent_tool_use_id":null}
{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"of another"}},"parent_tool_use_id":"toolu_9"}
{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It "}},"parent_tool_use_id":null}
{"type":"result","subtype":"success","is_error":false,"result":"It is.","session_id":"s"}
"#;
    let expected = [
        Meaning::Break,
        call("Write", "{\"a\":1}", "toolu_1"),
        Meaning::ToolResult {
            tool: None,
            result: "File created".to_owned(),
            id: Some("toolu_1".to_owned()),
        },
        Meaning::Content("It ".to_owned()),
        Meaning::Answer(json!("It is.")),
    ];
    assert_eq!(read(PresetName::ClaudeCode, lines), expected);
    let failed = r#"{"type":"result","subtype":"error_max_turns","is_error":true}"#;
    let error = Meaning::Error("error_max_turns".to_owned());
    assert_eq!(read(PresetName::ClaudeCode, failed), [error]);
}

#[test]
fn codex() {
    let lines = r#"
{"type":"thread.started","thread_id":"t"}
{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata not found."}}
{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"cat x","aggregated_output":"","status":"in_progress"}}
{"type":"item.completed","item":{"id":"item_1","type":"command_execution","command":"cat x","aggregated_output":"hello\n","exit_code":0}}
{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"It is done"}}
{"type":"turn.completed","usage":{"input_tokens":6}}
{"type":"turn.failed","error":{"message":"404"}}
"#;
    let expected = [
        call("command_execution", "cat x", "item_1"),
        Meaning::ToolResult {
            tool: None,
            result: "hello\n".to_owned(),
            id: Some("item_1".to_owned()),
        },
        Meaning::Break,
        Meaning::Content("It is done".to_owned()),
        Meaning::Answer(json!("It is done")),
        Meaning::Error("404".to_owned()),
    ];
    assert_eq!(read(PresetName::Codex, lines), expected);
}

#[test]
fn opencode() {
    let lines = r#"
{"type":"step_start","part":{"type":"step-start"}}
{"type":"tool_use","part":{"type":"tool","tool":"write","callID":"c1","state":{"status":"completed","input":{"a":1},"output":"Wrote file."}}}
{"type":"text","part":{"type":"text","text":"It is done"}}
{"type":"error","error":{"name":"APIError","data":{"message":"Not Found"}}}
"#;
    let expected = [
        call("write", "{\"a\":1}", "c1"),
        Meaning::ToolResult {
            tool: Some("write".to_owned()),
            result: "Wrote file.".to_owned(),
            id: None,
        },
        Meaning::Break,
        Meaning::Content("It is done".to_owned()),
        Meaning::Answer(json!("It is done")),
        Meaning::Error("APIError".to_owned()),
        Meaning::Error("Not Found".to_owned()),
    ];
    assert_eq!(read(PresetName::Opencode, lines), expected);
}

#[test]
fn gemini() {
    let lines = r#"
{"type":"init","session_id":"s","model":"gemini-2.5-pro"}
{"type":"message","role":"user","content":"write notes\n"}
{"type":"tool_use","tool_name":"run_shell_command","tool_id":"t1","parameters":{"a":1}}
{"type":"tool_result","tool_id":"t1","status":"success","output":"hi"}
{"type":"tool_result","tool_id":"t2","status":"success"}
{"type":"tool_result","tool_id":"t3","status":"error","error":{"type":"x","message":"no"}}
{"type":"message","role":"assistant","content":"It is ","delta":true}
{"type":"message","role":"assistant","content":"written.","delta":true}
{"type":"result","status":"success","stats":{}}
{"type":"result","status":"error","error":{"type":"x","message":"quota"}}
"#;
    let result = |id: &str, result: &str| Meaning::ToolResult {
        tool: None,
        result: result.to_owned(),
        id: Some(id.to_owned()),
    };
    let expected = [
        Meaning::Break,
        call("run_shell_command", "{\"a\":1}", "t1"),
        result("t1", "hi"),
        result("t2", ""),
        result("t3", "no"),
        Meaning::Content("It is ".to_owned()),
        Meaning::Content("written.".to_owned()),
        Meaning::Error("quota".to_owned()),
    ];
    assert_eq!(read(PresetName::Gemini, lines), expected);
}
