//! The condition on JSON-RPC and MCP: `mcp` of a rule. Never judges a batch, or a message that calls nothing.

use postern_contract::config;

use super::{Call, Judge, Match, Why};
use crate::json::Json;

/// The method that calls a tool.
const CALL: &str = "tools/call";

/// The members of a call.
const MEMBERS: [&str; 4] = ["jsonrpc", "id", "method", "params"];

/// Holds for messages that call one of the methods and, where they call a tool, one of the tools.
#[derive(Debug)]
pub(crate) struct Mcp {
    methods: Vec<String>,
    tools: Vec<String>,
}

impl Mcp {
    pub(crate) fn compile(written: &config::Mcp) -> Self {
        let mut methods = written.methods.clone();
        if methods.is_empty() && !written.tools.is_empty() {
            methods.push(CALL.to_owned());
        }
        Self {
            methods,
            tools: written.tools.clone(),
        }
    }

    fn judge_message(&self, message: &Json) -> Result<bool, Why> {
        let (method, tool) = called(message)?;
        if !self.methods.is_empty() && !self.methods.iter().any(|listed| listed == method) {
            return Ok(false);
        }
        Ok(match tool {
            Some(tool) if !self.tools.is_empty() => self.tools.iter().any(|listed| listed == tool),
            _ => true,
        })
    }
}

impl Judge for Mcp {
    fn judge(&self, call: &Call<'_>) -> Match {
        if call.facts.method.is_connect() {
            return Match::CannotTell(Why::InTunnel);
        }
        let judged = call.body().map_err(Why::Body);
        let judged = judged.and_then(|message| self.judge_message(message));
        judged.map_or_else(Match::CannotTell, Match::from)
    }

    fn needs_body(&self) -> bool {
        true
    }
}

/// The method, and the tool where it is a tool that is called.
fn called(message: &Json) -> Result<(&str, Option<&str>), Why> {
    if matches!(message, Json::List(_)) {
        return Err(Why::Batch);
    }
    let is_known = message.keys().all(|key| MEMBERS.contains(&key));
    let version = message.get("jsonrpc").and_then(Json::text);
    let method = message
        .get("method")
        .and_then(Json::text)
        .ok_or(Why::NoRpc)?;
    if !is_known || version != Some("2.0") {
        return Err(Why::NoRpc);
    }
    if method != CALL {
        return Ok((method, None));
    }
    let tool = message.get("params").and_then(|params| params.get("name"));
    let tool = tool.and_then(Json::text).ok_or(Why::NoRpc)?;
    Ok((method, Some(tool)))
}
