//! What agents report of their runs, as the gate passes it on, and what the gate says of them itself: tools that they say they called become events of the run, and what
//! they say they need to go on is kept with it. Nothing of it is believed, and no run goes on by it.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use postern_contract::{
    RunId,
    report::{About, Outcome, Report, Reported},
};
use postern_daemon::channel::Channel;
use postern_store::runs::{EventType, NewEvent, RunsError};
use serde_json::{Map, Value, json};

use crate::runs::RunDesk;

/// Tools of one run that are written down.
const RESULTS_PER_RUN_MAX: u32 = 1000;

/// Runs of one sandbox whose reports are counted at once; of one that began before, they are counted anew.
const RUNS_MAX: usize = 256;

/// The longest text of a report that is kept, in characters.
const TEXT_CHARS_MAX: usize = 4000;

/// The longest name and id, in characters.
const WORD_CHARS_MAX: usize = 200;

/// Where reports are kept.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    runs: RunDesk,
}

impl Desk {
    pub(super) fn new(runs: &RunDesk) -> Self {
        Self { runs: runs.clone() }
    }

    /// The gate's end of a socket for one sandbox; our end is served until nobody has that one any more.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let (channel, theirs) = Channel::pair()?;
        let desk = self.clone();
        tokio::spawn(async move { desk.serve(&channel).await });
        Ok(theirs)
    }

    async fn serve(&self, channel: &Channel) {
        let mut counts = BTreeMap::new();
        while let Ok(Some((report, _))) = channel.receive::<Report>().await {
            let (re, run) = (report.seq, report.run.clone());
            let outcome = self.take(report, &mut counts).await;
            let outcome = outcome.unwrap_or_else(|error| {
                tracing::warn!(%run, %error, "what an agent reports was not kept");
                Outcome::Failed
            });
            if let Err(error) = channel.send(&Reported { re, outcome }, &[]).await {
                return tracing::debug!(%error, "nobody hears what became of a report");
            }
        }
    }

    async fn take(
        &self,
        report: Report,
        counts: &mut BTreeMap<RunId, u32>,
    ) -> Result<Outcome, RunsError> {
        let run = report.run;
        let (store, clock) = (self.runs.store(), self.runs.clock());
        match report.about {
            About::ToolResult(told) => {
                if !is_within(counts, &run) {
                    return Ok(Outcome::Enough);
                }
                let event = NewEvent {
                    kind: EventType::ToolResponse,
                    actor: "agent".to_owned(),
                    data: tool_called(&told),
                    at_ms: clock.unix_ms(),
                };
                store.append_event(&run, &event).await?;
                Ok(Outcome::Kept)
            }
            About::Checkpoint { action, state } => {
                let at_ms = clock.unix_ms();
                let kept = store.keep_reported(&run, (&action, &state), at_ms);
                Ok(if kept.await? {
                    Outcome::Kept
                } else {
                    Outcome::Enough
                })
            }
            About::Wanted { action } => {
                let found = store.reported(&run, &action).await?;
                Ok(found.map_or(Outcome::Absent, Outcome::Found))
            }
            About::ConsentAsked(asks) => Ok(match self.runs.consent_asked(&run, &asks).await? {
                true => Outcome::Kept,
                false => Outcome::Absent,
            }),
            About::ConsentOver { action } => {
                self.runs.consent_over(&run, &action);
                Ok(Outcome::Kept)
            }
        }
    }
}

/// Whether one more of a run's is written down.
fn is_within(counts: &mut BTreeMap<RunId, u32>, run: &RunId) -> bool {
    if counts.len() >= RUNS_MAX && !counts.contains_key(run) {
        counts.clear();
    }
    let count = counts.entry(run.clone()).or_default();
    *count += 1;
    *count <= RESULTS_PER_RUN_MAX
}

/// A tool that an agent says it called, in the words of the dialect's own reports, cut, and marked as its word.
fn tool_called(told: &Value) -> Value {
    let text = |key: &str, chars_max: usize| {
        let text = match &told[key] {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let cut: String = text.chars().take(chars_max).collect();
        Some((key.to_owned(), Value::String(cut)))
    };
    let words = ["tool_call_id", "tool_id"].into_iter();
    let texts = ["arguments", "result"].into_iter();
    let words = words.filter_map(|key| text(key, WORD_CHARS_MAX));
    let mut data: Map<String, Value> = words
        .chain(texts.filter_map(|key| text(key, TEXT_CHARS_MAX)))
        .collect();
    if let Some((_, function)) = text("function_name", WORD_CHARS_MAX) {
        data.insert("tool".to_owned(), function);
    }
    if let Some(turn) = told["turn"].as_i64() {
        data.insert("turn".to_owned(), json!(turn));
    }
    data.insert("source".to_owned(), json!("agent"));
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_an_agent_says_it_called_is_cut_and_marked() {
        let told = json!({
            "tool_call_id": "c1", "function_name": "calc__add", "arguments": { "a": 1 }, "result": "x".repeat(10_000),
            "tool_id": 7, "turn": 2, "source": "gate", "actor": "gate",
        });
        let data = tool_called(&told);
        assert_eq!(data["result"].as_str().unwrap().len(), TEXT_CHARS_MAX);
        assert_eq!(
            (
                &data["tool"],
                &data["arguments"],
                &data["turn"],
                &data["source"]
            ),
            (
                &json!("calc__add"),
                &json!(r#"{"a":1}"#),
                &json!(2),
                &json!("agent")
            )
        );
        assert_eq!(data.get("actor"), None);
        assert_eq!(tool_called(&json!({})), json!({ "source": "agent" }));
    }

    #[test]
    fn a_run_reports_so_much_and_no_more() {
        let mut counts = BTreeMap::new();
        let run: RunId = "run-1".parse().unwrap();
        let taken = (0..2 * RESULTS_PER_RUN_MAX).filter(|_| is_within(&mut counts, &run));
        assert_eq!(taken.count() as u32, RESULTS_PER_RUN_MAX);
        for number in 0..10_000 {
            let run = format!("other-{number}").parse().unwrap();
            assert!(is_within(&mut counts, &run));
            assert!(counts.len() <= RUNS_MAX);
        }
    }
}
