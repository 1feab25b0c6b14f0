//! What a program writes, read as its config says: pieces for whoever listens, and at its end the answer. Never keeps more of it
//! than it may, whatever comes.

use std::collections::{BTreeMap, VecDeque};

use postern_invoke::Event;
use serde_json::{Value, json};

use super::{
    super::values,
    map::{Map, Meaning},
    settings::Reading,
    text::Decoder,
};

/// What the pieces of one answer may weigh together, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Everything that one run may write on its standard output, in bytes.
pub(in crate::agents) const OUTPUT_BYTES_MAX: u64 = 1 << 30;

/// Events of one run.
const EVENTS_MAX: u64 = 200_000;

/// The longest line that is understood, in bytes; a longer one is passed over.
const LINE_BYTES_MAX: usize = 4 << 20;

/// The longest id of a session that is noted, in bytes.
const SESSION_BYTES_MAX: usize = 128;

/// Calls of tools whose results are still known again.
const CALLS_MAX: usize = 256;

/// The longest part of a line in the log, in characters.
const STRAY_CHARS_MAX: usize = 200;

/// Too much came; the run ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::agents) enum TooMuch {
    #[error("its answer is over the limit of {ANSWER_BYTES_MAX} bytes")]
    Answer,
    #[error("it wrote more than {OUTPUT_BYTES_MAX} bytes")]
    Output,
    #[error("it told more than {EVENTS_MAX} events")]
    Events,
}

/// What a piece of output is.
#[derive(Debug, PartialEq)]
pub(in crate::agents) enum Heard {
    /// Something for whoever listens.
    Said(Event),
    /// A line that is not understood, for the log.
    Stray(String),
}

/// The output of one run.
#[derive(Debug)]
pub(in crate::agents) struct Output {
    manner: Manner,
    /// The pieces so far.
    said: String,
    bytes: u64,
    events: u64,
    /// Something new begins with the next piece.
    breaks: bool,
    calls: Calls,
    answer: Option<Value>,
    error: Option<String>,
    /// It says that nothing more comes.
    is_done: bool,
    strays: u64,
    /// Where its lines have the id of its session.
    session_at: Option<&'static str>,
    session: Option<String>,
}

#[derive(Debug)]
enum Manner {
    Text(Decoder),
    Lines { map: Map, lines: Lines },
}

impl Output {
    /// Lines that are our events already.
    pub(in crate::agents) fn of_our_events() -> Self {
        Self::read_as(&Reading::Lines(Map::of_our_events()))
    }

    /// Whether what has come is a whole: an answer, an error or the end.
    pub(in crate::agents) fn is_over(&self) -> bool {
        self.is_done || self.answer.is_some() || self.error.is_some()
    }

    pub(super) fn read_as(reading: &Reading) -> Self {
        let manner = match reading {
            Reading::Text => Manner::Text(Decoder::default()),
            Reading::Lines(map) => Manner::Lines {
                map: map.clone(),
                lines: Lines::default(),
            },
        };
        Self {
            manner,
            said: String::new(),
            bytes: 0,
            events: 0,
            breaks: false,
            calls: Calls::default(),
            answer: None,
            error: None,
            is_done: false,
            strays: 0,
            session_at: None,
            session: None,
        }
    }

    /// The same, of a program whose lines have the id of its session there.
    pub(super) fn of_a_session(self, at: Option<&'static str>) -> Self {
        Self {
            session_at: at,
            ..self
        }
    }

    /// The session's id, as it was told last.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn note_session(&mut self, line: &Value) {
        let found = self.session_at.and_then(|at| line.pointer(at)?.as_str());
        let found = found.filter(|id| id.len() <= SESSION_BYTES_MAX);
        if let Some(id) = found {
            self.session = Some(id.to_owned());
        }
    }

    /// What the next bytes say.
    pub(in crate::agents) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, TooMuch> {
        self.take(bytes)?;
        match &mut self.manner {
            Manner::Text(decoder) => {
                let text = decoder.read(bytes);
                self.piece(text).map(|said| said.into_iter().collect())
            }
            Manner::Lines { lines, .. } => {
                let lines = lines.read(bytes);
                self.understand(&lines)
            }
        }
    }

    /// What was left when the program had ended.
    pub(super) fn rest(&mut self) -> Result<Vec<Heard>, TooMuch> {
        match &mut self.manner {
            Manner::Text(decoder) => {
                let text = std::mem::take(decoder).end();
                self.piece(text).map(|said| said.into_iter().collect())
            }
            Manner::Lines { lines, .. } => {
                let last = std::mem::take(lines).end();
                self.understand(last.as_slice())
            }
        }
    }

    /// The answer of a program that ended well, or why there is none.
    pub(in crate::agents) fn answer(self) -> Result<Value, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let Some(answer) = self.answer {
            return Ok(answer);
        }
        if self.said.is_empty() && self.strays > 0 {
            let why = format!("none of its {} lines was understood", self.strays);
            return Err(why);
        }
        Ok(json!({ "response": self.said }))
    }

    /// The pieces so far.
    pub(in crate::agents) fn said(&self) -> &str {
        &self.said
    }

    /// What the program itself says went wrong.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn understand(&mut self, lines: &[Line]) -> Result<Vec<Heard>, TooMuch> {
        let mut heard = Vec::new();
        for line in lines {
            let Manner::Lines { map, .. } = &self.manner else {
                break;
            };
            match value(line) {
                Some(Ok(value @ Value::Object(_))) => {
                    let meanings = map.read(&value);
                    self.note_session(&value);
                    for meaning in meanings {
                        heard.extend(self.mean(meaning)?);
                    }
                }
                Some(Ok(other)) => heard.push(self.stray(&other.to_string())?),
                Some(Err(line)) => heard.push(self.stray(&line)?),
                None => {}
            }
        }
        Ok(heard)
    }

    /// The next lines of a program whose lines somebody else understands.
    pub(in crate::agents) fn lines(&mut self, bytes: &[u8]) -> Result<Vec<Line>, TooMuch> {
        self.take(bytes)?;
        match &mut self.manner {
            Manner::Lines { lines, .. } => Ok(lines.read(bytes)),
            Manner::Text(_) => Ok(Vec::new()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        self.bytes += bytes.len() as u64;
        if self.bytes > OUTPUT_BYTES_MAX {
            return Err(TooMuch::Output);
        }
        Ok(())
    }

    /// A line that is not understood; a flood of them is as much work as one of events.
    pub(in crate::agents) fn stray(&mut self, line: &str) -> Result<Heard, TooMuch> {
        self.strays += 1;
        self.count()?;
        let shown = line.chars().take(STRAY_CHARS_MAX).collect();
        Ok(Heard::Stray(shown))
    }

    /// What a program means, within what it may say.
    pub(in crate::agents) fn mean(&mut self, meaning: Meaning) -> Result<Option<Heard>, TooMuch> {
        let event = match meaning {
            Meaning::Content(text) => return self.piece(text),
            Meaning::Break => {
                self.breaks = true;
                return Ok(None);
            }
            Meaning::ToolCall {
                tool,
                arguments,
                id,
            } => {
                self.breaks = true;
                let event = Event::own_tool_call(&tool, &arguments);
                self.calls.made(id, &tool);
                event
            }
            Meaning::ToolResult { tool, result, id } => {
                let tool = tool.or_else(|| self.calls.of(id.as_deref()?));
                Event::own_tool_result(&tool.unwrap_or_default(), &result)
            }
            Meaning::Answer(answer) => {
                self.answer = Some(answer);
                return Ok(None);
            }
            Meaning::Done => {
                self.is_done = true;
                return Ok(None);
            }
            Meaning::Error(error) => {
                self.error = Some(error);
                return Ok(None);
            }
        };
        self.count()?;
        Ok(Some(Heard::Said(event)))
    }

    fn piece(&mut self, text: String) -> Result<Option<Heard>, TooMuch> {
        if text.is_empty() {
            return Ok(None);
        }
        let breaks = std::mem::take(&mut self.breaks) && !self.said.is_empty();
        let delta = if breaks { format!("\n\n{text}") } else { text };
        if self.said.len() + delta.len() > ANSWER_BYTES_MAX {
            return Err(TooMuch::Answer);
        }
        self.count()?;
        self.said.push_str(&delta);
        let delta = Some(delta);
        Ok(Some(Heard::Said(Event::Content { delta })))
    }

    /// As if so many had come before.
    #[cfg(test)]
    pub(in crate::agents) fn has_told(&mut self, events_left: u64) {
        self.events = EVENTS_MAX - events_left;
    }

    /// One more line or event.
    pub(in crate::agents) fn count(&mut self) -> Result<(), TooMuch> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(TooMuch::Events);
        }
        Ok(())
    }
}

/// A line, or the length of one that is too long.
pub(in crate::agents) type Line = Result<Vec<u8>, usize>;

/// What a line is, or what there is to show of it; nothing if it is empty.
pub(in crate::agents) fn value(line: &Line) -> Option<Result<Value, String>> {
    match line {
        Ok(line) if line.trim_ascii().is_empty() => None,
        Ok(line) => Some(values::read(line).map_err(|_| shown(line))),
        Err(length) => Some(Err(format!("a line of {length} bytes"))),
    }
}

fn shown(line: &[u8]) -> String {
    // More than is shown, so that a character at the end may be cut.
    let line = &line[..line.len().min(STRAY_CHARS_MAX * 4)];
    String::from_utf8_lossy(line).into_owned()
}

/// The last calls of tools, by their ids.
#[derive(Debug, Default)]
struct Calls {
    names: BTreeMap<String, String>,
    order: VecDeque<String>,
}

impl Calls {
    fn made(&mut self, id: Option<String>, tool: &str) {
        let Some(id) = id.filter(|id| id.len() <= STRAY_CHARS_MAX) else {
            return;
        };
        if self.order.len() >= CALLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        let tool = tool.chars().take(STRAY_CHARS_MAX).collect();
        self.names.insert(id.clone(), tool);
        self.order.push_back(id);
    }

    fn of(&self, id: &str) -> Option<String> {
        self.names.get(id).cloned()
    }
}

/// Bytes as lines. Of a line that is too long only its length is known.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    /// The length so far of a line that is passed over.
    passed: Option<usize>,
}

impl Lines {
    fn read(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut left = bytes;
        while let Some(at) = left.iter().position(|byte| *byte == b'\n') {
            self.take(&left[..at]);
            left = &left[at + 1..];
            lines.push(self.line());
        }
        self.take(left);
        lines
    }

    fn take(&mut self, bytes: &[u8]) {
        let length = self.begun.len() + self.passed.unwrap_or(0) + bytes.len();
        if length > LINE_BYTES_MAX {
            self.begun = Vec::new();
            self.passed = Some(length);
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn line(&mut self) -> Line {
        match self.passed.take() {
            Some(length) => Err(length),
            None => Ok(std::mem::take(&mut self.begun)),
        }
    }

    fn end(mut self) -> Option<Line> {
        let is_empty = self.begun.is_empty() && self.passed.is_none();
        (!is_empty).then(|| self.line())
    }
}

#[cfg(test)]
mod tests;
