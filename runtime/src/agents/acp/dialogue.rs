//! What is said to an agent and heard of it, as the Agent Client Protocol orders it. Pure: bytes in, moves out. Whatever comes
//! that is no part of the order is passed over, and all of it counts against what a run may say.
//!
//! ```text
//! Greeting ─ protocolVersion 1 ─┬▶ Opening ─ sessionId ───▶ Asking ─ stopReason ─▶ Over
//!    a session to go on with, and │        ▲ error            ▲
//!    an agent that can load it    └▶ Loading ── its history ──┘
//! ```

use serde_json::{Value, json};

use super::{
    permission::{Permission, cancelled},
    update::Updates,
};
use crate::agents::command::{Heard, Meaning, Output, TooMuch, value};

/// The version of the protocol.
const VERSION: u64 = 1;

/// The longest id of a session, and of a request, in bytes.
const ID_BYTES_MAX: usize = 1024;

/// The longest part of an error of the agent's that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 1000;

/// JSON-RPC's word for a method that there is none of.
const NO_SUCH_METHOD: i32 = -32601;

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Move {
    /// Write a line.
    Send(Vec<u8>),
    /// Tell whoever listens.
    Tell(Heard),
    /// Have it decided.
    Decide(Permission),
    /// The run has its answer, or why it has none.
    Over(Result<Value, String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Greeting,
    Loading,
    Opening,
    Asking,
    Over,
}

/// One run's dialogue.
#[derive(Debug)]
pub(super) struct Dialogue {
    step: Step,
    /// The number of our last request: there is one at a time.
    asked: u64,
    cwd: &'static str,
    message: String,
    session: Option<String>,
    /// The session of an earlier run to go on with.
    earlier: Option<String>,
    updates: Updates,
    output: Output,
}

impl Dialogue {
    pub(super) fn about(message: String, cwd: &'static str) -> Self {
        Self {
            step: Step::Greeting,
            asked: 0,
            cwd,
            message,
            session: None,
            earlier: None,
            updates: Updates::default(),
            output: Output::of_our_events(),
        }
    }

    /// The same, going on with the session of an earlier run, if there is one and the agent can.
    pub(super) fn after(self, earlier: Option<String>) -> Self {
        Self { earlier, ..self }
    }

    /// The session, once the agent has the message.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The first line.
    pub(super) fn greeting(&mut self) -> Vec<u8> {
        let params = json!({
            "protocolVersion": VERSION,
            // Nothing of ours: what the agent reads, writes and runs is its sandbox's.
            "clientCapabilities": { "fs": { "readTextFile": false, "writeTextFile": false }, "terminal": false },
            "clientInfo": { "name": "postern", "title": "Postern", "version": env!("CARGO_PKG_VERSION") },
        });
        self.request("initialize", &params)
    }

    /// What ends the work on the message, if there is any.
    pub(super) fn cancel(&self) -> Option<Vec<u8>> {
        let session = self.session.as_ref()?;
        let cancel = json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": { "sessionId": session } });
        (self.step == Step::Asking).then(|| line(&cancel))
    }

    /// Whether the agent has the message.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.step, Step::Asking | Step::Over)
    }

    /// What the next bytes mean.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Move>, TooMuch> {
        let mut moves = Vec::new();
        for line in self.output.lines(bytes)? {
            match value(&line) {
                None => {}
                Some(Ok(message)) if message.is_object() => self.hear(&message, &mut moves)?,
                Some(Ok(other)) => moves.push(Move::Tell(self.output.stray(&other.to_string())?)),
                Some(Err(shown)) => moves.push(Move::Tell(self.output.stray(&shown)?)),
            }
            if self.step == Step::Over {
                break;
            }
        }
        Ok(moves)
    }

    /// The answer to a request for permission.
    pub(super) fn answer(id: &Value, result: &Value) -> Vec<u8> {
        line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    fn hear(&mut self, message: &Value, moves: &mut Vec<Move>) -> Result<(), TooMuch> {
        let (method, id) = (message["method"].as_str(), message.get("id"));
        match (method, id) {
            (Some(method), Some(id)) => self.asked_for(method, id, &message["params"], moves),
            (Some("session/update"), None) => self.updated(&message["params"], moves),
            (None, Some(id)) if *id == json!(self.asked) => {
                self.output.count()?;
                self.replied(message, moves)
            }
            _ => self.output.count(),
        }
    }

    /// The agent asks something of us.
    fn asked_for(
        &mut self,
        method: &str,
        id: &Value,
        params: &Value,
        moves: &mut Vec<Move>,
    ) -> Result<(), TooMuch> {
        self.output.count()?;
        if !is_id(id) {
            return Ok(());
        }
        if method != "session/request_permission" {
            let error = json!({ "code": NO_SUCH_METHOD, "message": "Method not found" });
            let refused = json!({ "jsonrpc": "2.0", "id": id, "error": error });
            moves.push(Move::Send(line(&refused)));
            return Ok(());
        }
        if !self.is_about_us(params) {
            moves.push(Move::Send(Self::answer(id, &cancelled())));
            return Ok(());
        }
        let (tool, meanings) = self.updates.calls.asked_about(&params["toolCall"]);
        self.tell(meanings, moves)?;
        let permission = Permission::read(id.clone(), tool, params);
        moves.push(Move::Decide(permission));
        Ok(())
    }

    fn updated(&mut self, params: &Value, moves: &mut Vec<Move>) -> Result<(), TooMuch> {
        let meanings = if self.is_about_us(params) {
            self.updates.read(&params["update"])
        } else {
            Vec::new()
        };
        if meanings.is_empty() {
            return self.output.count();
        }
        self.tell(meanings, moves)
    }

    /// Whether this is about our session, while it has the message.
    fn is_about_us(&self, params: &Value) -> bool {
        self.step == Step::Asking && params["sessionId"].as_str() == self.session.as_deref()
    }

    fn tell(&mut self, meanings: Vec<Meaning>, moves: &mut Vec<Move>) -> Result<(), TooMuch> {
        for meaning in meanings {
            moves.extend(self.output.mean(meaning)?.map(Move::Tell));
        }
        Ok(())
    }

    /// The agent answers what it was asked last.
    fn replied(&mut self, reply: &Value, moves: &mut Vec<Move>) -> Result<(), TooMuch> {
        let next = match reply.get("error") {
            // It has forgotten that session, or never could.
            Some(error) if !error.is_null() && self.step == Step::Loading => Ok(self.open()),
            Some(error) if !error.is_null() => Err(self.refused(error)),
            _ => self.next(&reply["result"]),
        };
        moves.push(match next {
            Ok(Next::Ask(line)) => Move::Send(line),
            Ok(Next::Answer(value)) => Move::Over(Ok(value)),
            Err(why) => Move::Over(Err(why)),
        });
        if matches!(moves.last(), Some(Move::Over(_))) {
            self.step = Step::Over;
        }
        Ok(())
    }

    fn next(&mut self, result: &Value) -> Result<Next, String> {
        match self.step {
            Step::Greeting => {
                let version = &result["protocolVersion"];
                if version.as_u64() != Some(VERSION) {
                    return Err(format!(
                        "it does not speak version {VERSION} of the Agent Client Protocol"
                    ));
                }
                let can_load = &result["agentCapabilities"]["loadSession"];
                match self.earlier.take().filter(|_| *can_load == true) {
                    Some(session) => Ok(self.load(session)),
                    None => Ok(self.open()),
                }
            }
            // What it told of the earlier runs meanwhile was about nothing that is asked now.
            Step::Loading => {
                let session = self.session.clone().unwrap_or_default();
                Ok(self.prompt(&session))
            }
            Step::Opening => {
                let session = result["sessionId"].as_str();
                let session = session.filter(|id| id.len() <= ID_BYTES_MAX);
                let session = session.ok_or("it gave its session no id that can be used")?;
                self.session = Some(session.to_owned());
                Ok(self.prompt(session))
            }
            Step::Asking => self
                .stopped(result["stopReason"].as_str())
                .map(Next::Answer),
            Step::Over => Err("it answered twice".to_owned()),
        }
    }

    fn open(&mut self) -> Next {
        (self.session, self.step) = (None, Step::Opening);
        let params = json!({ "cwd": self.cwd, "mcpServers": [] });
        Next::Ask(self.request("session/new", &params))
    }

    fn load(&mut self, session: String) -> Next {
        self.step = Step::Loading;
        let params = json!({ "sessionId": session, "cwd": self.cwd, "mcpServers": [] });
        self.session = Some(session);
        Next::Ask(self.request("session/load", &params))
    }

    fn prompt(&mut self, session: &str) -> Next {
        self.step = Step::Asking;
        let text = std::mem::take(&mut self.message);
        let prompt = [json!({ "type": "text", "text": text })];
        let params = json!({ "sessionId": session, "prompt": prompt });
        Next::Ask(self.request("session/prompt", &params))
    }

    /// The answer, as far as it came.
    fn stopped(&self, reason: Option<&str>) -> Result<Value, String> {
        let said = self.output.said();
        match reason {
            Some("refusal") if said.is_empty() => Err("it refused to go on".to_owned()),
            Some(reason @ ("end_turn" | "max_tokens" | "max_turn_requests" | "refusal")) => {
                Ok(json!({ "response": said, "stop_reason": reason }))
            }
            Some("cancelled") => Err("it says that it was cancelled".to_owned()),
            _ => Err("it stopped for no reason that the protocol knows".to_owned()),
        }
    }

    fn refused(&self, error: &Value) -> String {
        let what = match self.step {
            Step::Greeting => "initialize",
            Step::Loading => "session/load",
            Step::Opening => "session/new",
            Step::Asking | Step::Over => "session/prompt",
        };
        let message = error["message"].as_str().unwrap_or("it did not say why");
        let details = match &error["data"] {
            Value::Null => String::new(),
            data => format!(" ({data})"),
        };
        let told = format!("it answered `{what}` with an error: {message}{details}");
        told.chars().take(ERROR_CHARS_MAX).collect()
    }

    fn request(&mut self, method: &str, params: &Value) -> Vec<u8> {
        self.asked += 1;
        line(&json!({ "jsonrpc": "2.0", "id": self.asked, "method": method, "params": params }))
    }
}

enum Next {
    Ask(Vec<u8>),
    Answer(Value),
}

/// Whether a request can be answered by this.
fn is_id(id: &Value) -> bool {
    match id {
        Value::Null | Value::Number(_) => true,
        Value::String(text) => text.len() <= ID_BYTES_MAX,
        _ => false,
    }
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
