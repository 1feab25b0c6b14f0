//! The course of an agent with code: ask its worker once, pass on what it says, make its value an answer, or a question that a human
//! is asked. Never believes a worker about tools of the gate, usage, consents or the id of a pause: those come from elsewhere.

use postern_contract::{
    ActionId,
    approval::{DETAIL_BYTES_MAX, WORDS_BYTES_MAX},
};
use postern_llm::Usage;
use serde_json::{Map, Value, json};

use super::{Action, Input, Step};
use crate::{
    checkpoint::{Asks, Checkpoint, HandlerCheckpoint, ResumeMode, UserRequest},
    event::{Event, Teller, cut},
    outcome::{Ending, Failure, Pause},
    plan::{Resume, Resumes, RunFacts, Worker, WorkerRequest},
    request::{Request, is_empty},
};

/// Words by which a caller would take an answer for a pause.
const PAUSE_CODES: [&str; 2] = [APPROVAL, "CONSENT_REQUIRED"];

/// Keys by which a handler asks for a pause, or a caller would take an answer for one.
const PAUSE_KEYS: [&str; 2] = [ASKS, "consent_required"];

const APPROVAL: &str = "APPROVAL_REQUIRED";
const ASKS: &str = "approval_required";

/// The most that a handler may want to be told when it is called again, in bytes of JSON.
const STATE_BYTES_MAX: usize = 1 << 20;

/// The longest name of a tool that a handler says it asks for, in characters.
const TOOL_CHARS_MAX: usize = 200;

/// What a human reads where a handler says nothing.
const NO_WORDS: &str = "The agent asks a human before it goes on.";

/// A worker's run.
#[derive(Debug)]
pub(super) struct Errand {
    agent: Worker,
    request: UserRequest,
    resume: Option<Resume>,
    is_asked: bool,
    has_said: bool,
    /// What a human is about to be asked.
    question: Option<Question>,
}

/// A pause that a handler asks for.
#[derive(Debug)]
struct Question {
    /// What the caller is told.
    said: Option<String>,
    /// What it says it asks for.
    tool: String,
    asks: Asks,
    state: Value,
}

impl Errand {
    pub(super) fn new(agent: Worker, request: Request) -> Self {
        let history = request.history.into_iter();
        let history = history.map(|e| json!({ "role": e.role.word(), "content": e.content }));
        let request = UserRequest {
            message: request.message,
            history: history.collect(),
            conversation_id: request.conversation_id,
        };
        Self {
            agent,
            request,
            resume: None,
            is_asked: false,
            has_said: false,
            question: None,
        }
    }

    pub(super) fn resume(agent: Worker, kept: HandlerCheckpoint, action: ActionId) -> Self {
        Self {
            agent,
            request: kept.user_request,
            resume: Some(Resume {
                action_id: action,
                state: kept.resume_state,
                approved: true,
            }),
            is_asked: false,
            has_said: false,
            question: None,
        }
    }

    pub(super) fn on(&mut self, input: Input, facts: &RunFacts, step: &mut Step) {
        match input {
            Input::Start => self.ask(facts, step),
            _ if !self.is_asked => {}
            Input::Asked(action) => self.pause(action, facts, step),
            // It has come back.
            _ if self.question.is_some() => {}
            Input::WorkerSaid(said @ Event::Content { .. }) => {
                self.has_said = true;
                step.emit(said);
            }
            Input::WorkerSaid(said @ (Event::OwnToolCall { .. } | Event::OwnToolResult { .. })) => {
                step.emit(said);
            }
            Input::WorkerReturned(value) => self.returned(value, step),
            Input::WorkerFailed { detail } => step.fail(Failure::Worker(detail)),
            _ => {}
        }
    }

    fn ask(&mut self, facts: &RunFacts, step: &mut Step) {
        if std::mem::replace(&mut self.is_asked, true) {
            return;
        }
        step.act(Action::CallWorker(Box::new(WorkerRequest {
            message: self.request.message.clone(),
            history: self.request.history.clone(),
            request_id: facts.request_id.clone(),
            run_id: facts.run.clone(),
            user_id: facts.user.clone(),
            conversation_id: self.request.conversation_id.clone(),
            resume: self.resume.take(),
        })));
    }

    fn returned(&mut self, value: Value, step: &mut Step) {
        if asks_for_pause(&value) {
            match self.question_of(value) {
                Ok(question) => {
                    self.question = Some(question);
                    step.act(Action::Ask);
                }
                Err(failure) => step.fail(failure),
            }
            return;
        }
        let value = normalised(value);
        if !self.has_said {
            let delta = value.get("response").and_then(as_text);
            step.emit(Event::Content { delta });
        }
        step.end(Ending::Returned {
            value,
            model: std::mem::take(&mut self.agent.model),
        });
    }

    /// What a human is to be asked. The ids are the handler's no longer, and a consent is nobody's to ask for but the gate's.
    fn question_of(&self, mut value: Value) -> Result<Question, Failure> {
        let is_consent = value.get("code").and_then(Value::as_str) == Some(PAUSE_CODES[1])
            || value.get(PAUSE_KEYS[1]).is_some_and(|v| !is_empty(v));
        let Some(Value::Object(mut detail)) = value.get_mut(ASKS).map(Value::take) else {
            return Err(Failure::PauseNotKept);
        };
        let has_state = value.get("resume").is_some_and(Value::is_object);
        let can_go_on = match self.agent.resumes {
            Resumes::Never => false,
            Resumes::WithState => has_state,
            Resumes::Always => true,
        };
        if is_consent || !can_go_on {
            return Err(Failure::PauseNotKept);
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let said = text(value.get("response")).or_else(|| text(value.get("output")));
        let said = said.filter(|said| !said.is_empty());
        for ours in ["action_id", "run_id", "code", "error"] {
            detail.remove(ours);
        }
        let words = text(detail.get("message")).or_else(|| said.clone());
        let words = words.unwrap_or_else(|| NO_WORDS.to_owned());
        let tool = text(detail.get("tool")).unwrap_or_default();
        let asks = Asks {
            words: words[..words.floor_char_boundary(WORDS_BYTES_MAX)].to_owned(),
            detail: Value::Object(detail).to_string(),
        };
        let state = value.get_mut("resume").map(Value::take);
        let state = state.filter(Value::is_object).unwrap_or_else(|| json!({}));
        if asks.detail.len() > DETAIL_BYTES_MAX {
            let most = DETAIL_BYTES_MAX >> 10;
            let why =
                format!("the agent asks a human about more than {most} KiB, which cannot be shown");
            return Err(Failure::Worker(why));
        }
        if state.to_string().len() > STATE_BYTES_MAX {
            let most = STATE_BYTES_MAX >> 10;
            let why = format!("the agent wants to be told more than {most} KiB when it goes on");
            return Err(Failure::Worker(why));
        }
        Ok(Question {
            said,
            tool: cut(&tool, TOOL_CHARS_MAX),
            asks,
            state,
        })
    }

    fn pause(&mut self, action: ActionId, facts: &RunFacts, step: &mut Step) {
        let Some(question) = self.question.take() else {
            return;
        };
        let Question {
            said,
            tool,
            asks,
            state,
        } = question;
        let detail = json!({
            "code": APPROVAL,
            "error": APPROVAL,
            "action_id": action,
            "run_id": facts.run,
            "tool": tool,
            "message": asks.words,
            "source": Teller::Agent,
        });
        if !self.has_said && said.is_some() {
            step.emit(Event::Content {
                delta: said.clone(),
            });
        }
        step.emit(Event::ApprovalRequired {
            tool,
            detail: detail.clone(),
        });
        let request = UserRequest {
            message: self.request.message.take(),
            history: std::mem::take(&mut self.request.history),
            conversation_id: self.request.conversation_id.take(),
        };
        step.end(Ending::Paused(Box::new(Pause {
            action,
            detail,
            said,
            model: std::mem::take(&mut self.agent.model),
            usage: Usage::default(),
            tool_calls_made: Vec::new(),
            checkpoint: Checkpoint::Handler(Box::new(HandlerCheckpoint {
                resume_mode: ResumeMode::UserHandler,
                user_request: request,
                resume_state: state,
                asks,
            })),
        })));
    }
}

/// Whether a handler's value is a pause, or what a caller would take for one.
fn asks_for_pause(value: &Value) -> bool {
    // The dialect's documents look for either.
    let has_word = ["code", "error"].into_iter().any(|key| {
        let word = value.get(key).and_then(Value::as_str);
        word.is_some_and(|word| PAUSE_CODES.contains(&word))
    });
    has_word
        || PAUSE_KEYS
            .iter()
            .any(|key| value.get(*key).is_some_and(|v| !is_empty(v)))
}

/// A handler's value as an object with a `response`: an object is kept and lacks nothing but perhaps that, anything else is
/// its text.
fn normalised(value: Value) -> Map<String, Value> {
    let mut fields = match value {
        Value::Object(fields) => fields,
        other => {
            let response = json!(as_text(&other).unwrap_or_default());
            return Map::from_iter([("response".to_owned(), response)]);
        }
    };
    if !fields.contains_key("response") {
        let response = fields.get("output").cloned();
        let response = response.unwrap_or_else(|| json!(Value::Object(fields.clone()).to_string()));
        fields.insert("response".to_owned(), response);
    }
    fields
}

/// A value as text: texts as they are, null as nothing, the rest as JSON.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
