//! The course of an agent without code: ask the model, call what it wants one after the other, tell it the results, until it
//! answers. Never lets a model's mistake end the run: what it got wrong is told to it in words.

use std::{
    collections::{HashSet, VecDeque},
    iter,
};

use postern_contract::{ActionId, GATE_ADDRESS, GATE_PORT};
use postern_llm::{Chat, Completion, Function, Message, Role, ToolCall, ToolChoice, Usage};
use serde_json::{Value, json};

use super::{Action, Input, Step};
use crate::{
    call,
    checkpoint::{Awaits, Checkpoint, TurnCheckpoint},
    event::Event,
    outcome::{self, CallMade, Ending, Failure, Halt, Pause},
    plan::{Builtin, ToolFunction, ToolRequest},
    request::{CachedCall, HistoryEntry, Request},
};

/// How many calls of one turn go out, the first ones; the model is told about the rest.
const CALLS_PER_TURN_MAX: usize = 32;

/// The longest call id of a model that is kept, in bytes: it travels in a header.
const CALL_ID_BYTES_MAX: usize = 128;

/// A builtin agent's run.
#[derive(Debug)]
pub(super) struct Conversation {
    functions: Vec<ToolFunction>,
    cache: Vec<CachedCall>,
    iterations_max: u32,
    /// The question as it stands: it only grows.
    chat: Chat,
    iterations: u32,
    /// Calls of this turn that went out.
    sent: usize,
    model: String,
    usage: Usage,
    calls_made: Vec<CallMade>,
    /// What a human said yes to, for the calls of a resumed turn.
    action: Option<ActionId>,
    /// By which the run goes on again if it fails on its way.
    resumed_by: Option<ActionId>,
    /// What it waits for, or has waited for.
    awaits: Awaits,
    place: Place,
}

/// Where the run stands.
#[derive(Debug)]
enum Place {
    New,
    AskingModel {
        has_said: bool,
    },
    /// A pause is over, and these calls are to be made.
    Paused(Vec<ToolCall>),
    CallingTool {
        wanted: ToolCall,
        made: CallMade,
        rest: VecDeque<ToolCall>,
    },
}

impl Conversation {
    pub(super) fn new(agent: Builtin, request: Request) -> Self {
        let mut messages = Vec::new();
        if !agent.system_prompt.is_empty() {
            messages.push(Message::text(Role::System, agent.system_prompt));
        }
        for HistoryEntry { role, content } in request.history {
            messages.push(Message::text(role, as_text(content)));
        }
        messages.push(Message::text(Role::User, as_text(request.message)));
        let tools: Vec<Function> = agent.tools.iter().map(offered).collect();
        let tool_choice = (!tools.is_empty()).then_some(ToolChoice::Auto);
        Self {
            model: agent.model.clone(),
            chat: Chat {
                model: agent.model,
                messages,
                tools,
                tool_choice,
                // The plain answer is the stream, folded: both ask the same way.
                stream: true,
                include_usage: true,
                ..Chat::default()
            },
            functions: agent.tools,
            cache: request.tool_cache,
            iterations_max: agent.max_iterations.max(1),
            iterations: 0,
            sent: 0,
            usage: Usage::default(),
            calls_made: Vec::new(),
            action: None,
            resumed_by: None,
            awaits: Awaits::default(),
            place: Place::New,
        }
    }

    pub(super) fn resume(agent: Builtin, checkpoint: TurnCheckpoint, action: ActionId) -> Self {
        let nothing_asked = Request {
            message: Value::Null,
            history: Vec::new(),
            run_id: None,
            tool_cache: checkpoint.cache,
            conversation_id: None,
        };
        let fresh = Self::new(agent, nothing_asked);
        Self {
            chat: Chat {
                messages: checkpoint.messages,
                ..fresh.chat
            },
            iterations: checkpoint.iterations,
            sent: checkpoint.sent,
            model: checkpoint.model,
            usage: checkpoint.usage,
            calls_made: checkpoint.calls_made,
            action: Some(action.clone()),
            resumed_by: Some(action),
            awaits: checkpoint.awaits,
            place: Place::Paused(checkpoint.pending),
            ..fresh
        }
    }

    pub(super) fn on(&mut self, input: Input, step: &mut Step) {
        match (input, &mut self.place) {
            (Input::Start, Place::New) => self.ask(step),
            (Input::Start, Place::Paused(pending)) => {
                let pending = std::mem::take(pending);
                self.go_on(pending.into(), step);
            }
            (Input::ModelSaid(text), Place::AskingModel { has_said }) => {
                *has_said = true;
                step.emit(Event::Content { delta: Some(text) });
            }
            (Input::ModelReplied(reply), Place::AskingModel { has_said }) => {
                let has_said = *has_said;
                self.replied(reply, has_said, step);
            }
            (Input::ModelFailed { status, detail }, Place::AskingModel { .. }) => {
                let failure = match status {
                    Some(status) => Failure::ModelStatus { status, detail },
                    None => Failure::ModelUnreachable(detail),
                };
                self.fail(failure, step);
            }
            (
                Input::ToolReturned {
                    call_id,
                    status,
                    body,
                },
                _,
            ) => {
                let result = if status >= 400 {
                    json!({ "error": format!("HTTP {status}"), "detail": body }).to_string()
                } else {
                    body
                };
                self.returned(&call_id, result, step);
            }
            (Input::ToolFailed { call_id, detail }, _) => {
                let result = json!({ "error": "the tool could not be reached", "detail": detail });
                self.returned(&call_id, result.to_string(), step);
            }
            (
                Input::ToolPaused {
                    call_id,
                    action,
                    awaits,
                    detail,
                },
                _,
            ) => {
                self.awaits = awaits;
                self.pause(&call_id, (action, detail), step);
            }
            _ => {}
        }
    }

    fn ask(&mut self, step: &mut Step) {
        self.action = None;
        self.place = Place::AskingModel { has_said: false };
        step.act(Action::CallModel(Box::new(self.chat.clone())));
    }

    fn replied(&mut self, reply: Completion, has_said: bool, step: &mut Step) {
        self.iterations = self.iterations.saturating_add(1);
        self.sent = 0;
        if let Some(usage) = reply.usage {
            self.usage = sum(self.usage, usage);
        }
        if !reply.model.is_empty() {
            self.model = reply.model;
        }
        if reply.tool_calls.is_empty() {
            if !has_said {
                step.emit(Event::Content {
                    delta: reply.content.clone(),
                });
            }
            self.answer(reply.content, step);
            return;
        }
        let calls = with_sound_ids(reply.tool_calls, self.iterations);
        self.chat
            .messages
            .push(Message::assistant(reply.content, calls.clone()));
        self.go_on(calls.into(), step);
    }

    /// Works off the turn up to the next call that has to go out; then asks the model again, unless it was asked too often.
    fn go_on(&mut self, mut rest: VecDeque<ToolCall>, step: &mut Step) {
        while let Some(wanted) = rest.pop_front() {
            let (tool, arguments) = (wanted.name.clone(), wanted.arguments.clone());
            step.emit(Event::ToolCall { tool, arguments });
            match self.prepare(&wanted) {
                Prepared::Answer(result) => self.tell(&wanted.id, &wanted.name, result, step),
                Prepared::Call(request) => {
                    self.place = Place::CallingTool {
                        wanted,
                        made: made(&request),
                        rest,
                    };
                    step.act(Action::CallTool(request));
                    return;
                }
            }
        }
        if self.iterations < self.iterations_max {
            self.ask(step);
            return;
        }
        let text = format!(
            "No final answer: after {} rounds of tool calls the limit of this agent was reached.",
            self.iterations
        );
        step.emit(Event::Content {
            delta: Some(text.clone()),
        });
        self.answer(Some(text), step);
    }

    fn prepare(&mut self, wanted: &ToolCall) -> Prepared {
        let refuse = |why: String| Prepared::Answer(json!({ "error": why }).to_string());
        let Some(function) = self
            .functions
            .iter()
            .find(|function| function.name == wanted.name)
        else {
            let names: Vec<_> = self
                .functions
                .iter()
                .map(|function| function.name.as_str())
                .collect();
            return refuse(format!(
                "there is no such function; there are: [{}]",
                names.join(", ")
            ));
        };
        let turn = self.iterations.saturating_sub(1);
        let request = match call::request(function, wanted, turn) {
            Ok(request) => ToolRequest {
                action: self.action.clone(),
                ..request
            },
            Err(why) => return refuse(why),
        };
        let is_same =
            |c: &&CachedCall| c.function_name == wanted.name && c.arguments == wanted.arguments;
        if let Some(cached) = self.cache.iter().find(is_same) {
            self.calls_made.push(made(&request));
            return Prepared::Answer(cached.result.clone());
        }
        if self.sent >= CALLS_PER_TURN_MAX {
            return refuse(format!(
                "not called: at most {CALLS_PER_TURN_MAX} calls are made in one turn"
            ));
        }
        self.sent += 1;
        Prepared::Call(Box::new(request))
    }

    fn returned(&mut self, returned_id: &str, result: String, step: &mut Step) {
        match std::mem::replace(&mut self.place, Place::New) {
            Place::CallingTool { wanted, made, rest } if wanted.id == returned_id => {
                self.calls_made.push(made);
                self.tell(&wanted.id, &wanted.name, result, step);
                self.go_on(rest, step);
            }
            other => self.place = other,
        }
    }

    /// Ends for now, with all that is needed to go on: the call that waits is the first that is made then.
    fn pause(&mut self, paused_id: &str, (action, detail): (ActionId, Value), step: &mut Step) {
        let (wanted, rest) = match std::mem::replace(&mut self.place, Place::New) {
            Place::CallingTool { wanted, rest, .. } if wanted.id == paused_id => (wanted, rest),
            other => return self.place = other,
        };
        match self.awaits {
            Awaits::Approval => step.emit(Event::ApprovalRequired {
                tool: wanted.name.clone(),
                detail: detail.clone(),
            }),
            Awaits::Consent => {
                let tool = detail.get("tool").and_then(Value::as_str);
                step.emit(Event::ConsentRequired {
                    tool: tool.unwrap_or(&wanted.name).to_owned(),
                    detail: detail.clone(),
                });
                step.emit(Event::Content {
                    delta: Some(outcome::consent_in_words(&detail)),
                });
            }
        }
        // The call that waits was counted and did not go out.
        self.sent = self.sent.saturating_sub(1);
        let checkpoint = self.checkpoint(iter::once(wanted).chain(rest).collect());
        step.end(Ending::Paused(Box::new(Pause {
            action,
            detail,
            said: None,
            model: std::mem::take(&mut self.model),
            usage: self.usage,
            tool_calls_made: std::mem::take(&mut self.calls_made),
            checkpoint,
        })));
    }

    /// Ends with this failure. A run that went on after a human's yes goes on again if nothing but its model was asked: all that
    /// the yes was for stands in its conversation, or has not gone out yet.
    pub(super) fn fail(&mut self, failure: Failure, step: &mut Step) {
        let left = match std::mem::replace(&mut self.place, Place::New) {
            Place::AskingModel { .. } => Some(Vec::new()),
            Place::Paused(pending) => Some(pending),
            Place::New | Place::CallingTool { .. } => None,
        };
        let goes_on = self.resumed_by.take().zip(left);
        // What nobody wants any more is over.
        let goes_on = goes_on.filter(|_| !matches!(failure, Failure::Cancelled));
        let Some((action, pending)) = goes_on else {
            return step.fail(failure);
        };
        let checkpoint = self.checkpoint(pending);
        step.end(Ending::Halted(Box::new(Halt {
            action,
            failure,
            checkpoint,
        })));
    }

    fn checkpoint(&mut self, pending: Vec<ToolCall>) -> Checkpoint {
        Checkpoint::Turn(Box::new(TurnCheckpoint {
            messages: std::mem::take(&mut self.chat.messages),
            pending,
            iterations: self.iterations,
            sent: self.sent,
            model: self.model.clone(),
            usage: self.usage,
            calls_made: self.calls_made.clone(),
            cache: std::mem::take(&mut self.cache),
            awaits: self.awaits,
        }))
    }

    /// Tells the model and the caller what a call brought.
    fn tell(&mut self, call_id: &str, function: &str, result: String, step: &mut Step) {
        step.emit(Event::tool_result(function, &result));
        self.chat
            .messages
            .push(Message::tool_result(call_id, result));
    }

    fn answer(&mut self, response: Option<String>, step: &mut Step) {
        step.end(Ending::Answered {
            response,
            model: std::mem::take(&mut self.model),
            usage: self.usage,
            tool_calls_made: std::mem::take(&mut self.calls_made),
        });
    }
}

/// What becomes of a wanted call.
enum Prepared {
    /// It is answered at once.
    Answer(String),
    /// It goes out.
    Call(Box<ToolRequest>),
}

fn offered(function: &ToolFunction) -> Function {
    let any_object = || json!({ "type": "object", "properties": {} });
    Function {
        name: function.name.clone(),
        description: function.description.clone(),
        parameters: function.parameters.clone().unwrap_or_else(any_object),
        strict: None,
    }
}

fn made(request: &ToolRequest) -> CallMade {
    CallMade {
        function: request.function.clone(),
        method: request.method.clone(),
        url: format!(
            "http://{GATE_ADDRESS}:{GATE_PORT}/tools/{}{}",
            request.tool, request.path
        ),
    }
}

/// Call ids as the model gave them, but for those that could not travel in a header or stand twice in one turn.
fn with_sound_ids(mut calls: Vec<ToolCall>, iteration: u32) -> Vec<ToolCall> {
    let mut seen = HashSet::new();
    for (position, call) in calls.iter_mut().enumerate() {
        let is_plain = !call.id.is_empty() && call.id.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain || call.id.len() > CALL_ID_BYTES_MAX || seen.contains(&call.id) {
            call.id = format!("call_{iteration}_{position}");
        }
        while seen.contains(&call.id) {
            call.id.push('_');
        }
        seen.insert(call.id.clone());
    }
    calls
}

fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn sum(one: Usage, two: Usage) -> Usage {
    Usage {
        prompt_tokens: one.prompt_tokens.saturating_add(two.prompt_tokens),
        completion_tokens: one.completion_tokens.saturating_add(two.completion_tokens),
        total_tokens: one.total_tokens.saturating_add(two.total_tokens),
    }
}
