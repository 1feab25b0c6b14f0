//! Follows a log's chain, line after line, and stops at the first that is not the one it should be. Never guesses what a
//! line said.

use postern_proxy::audit::{NOTHING_BEFORE, line_hash};
use serde::Deserialize;

use super::source::Raw;

/// What is read of every line.
#[derive(Debug, Deserialize)]
pub(super) struct Linked {
    pub(super) seq: u64,
    before: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) time: Option<String>,
    #[serde(default)]
    pub(super) request: Option<String>,
    /// Of a line that says what was removed.
    #[serde(default)]
    pub(super) last: Option<u64>,
}

/// A line in its place.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) seq: u64,
    pub(super) hash: String,
    /// What it says; `None` for one that a crash cut short.
    pub(super) linked: Option<Linked>,
}

/// A line that is not the one it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    /// The line's number in the log.
    pub(super) line: u64,
    /// The file and the number in it where this shows.
    pub(super) place: String,
    pub(super) what: String,
}

/// The chain so far.
#[derive(Debug, Default)]
pub(super) struct Chain {
    last: Option<(u64, String)>,
    /// A line that cannot be read: the next one must vouch for it.
    unread: Option<Raw>,
    /// The number of the first line and what it names as the one before.
    pub(super) first: Option<(u64, String)>,
}

impl Chain {
    /// Takes the next line.
    pub(super) fn step(&mut self, raw: Raw) -> Result<Step, Broken> {
        let hash = line_hash(&raw.bytes);
        let expected = self.last.as_ref().map(|(seq, _)| seq + 1);
        let Ok(linked) = serde_json::from_slice::<Linked>(&raw.bytes) else {
            return self.unreadable(raw, hash, expected);
        };
        let wrong = |line, what: String| Err(broken(line, &raw, what));
        if let Some(unread) = self.unread.take() {
            let vouched = Some(linked.seq) == expected
                && self
                    .last
                    .as_ref()
                    .is_some_and(|(_, hash)| *hash == linked.before);
            if !vouched {
                let line = expected.map_or(1, |seq| seq - 1);
                let what = "this is no line of the gate's, and the next does not name it";
                return Err(broken(line, &unread, what.to_owned()));
            }
        }
        match (&self.last, expected) {
            (Some(_), Some(expected)) if linked.seq > expected => {
                let until = linked.seq - 1;
                return wrong(
                    expected,
                    format!("lines {expected} to {until} are missing here"),
                );
            }
            (Some(_), Some(expected)) if linked.seq < expected => {
                let seq = linked.seq;
                return wrong(
                    expected,
                    format!("line {seq} stands where {expected} should"),
                );
            }
            (Some((seq, hash)), _) if *hash != linked.before => {
                let what = format!(
                    "line {seq} is not what line {} was written behind",
                    linked.seq
                );
                return wrong(*seq, what);
            }
            (None, _) if linked.seq == 1 && linked.before != NOTHING_BEFORE => {
                return wrong(1, "the first line names one before it".to_owned());
            }
            _ => {}
        }
        self.first
            .get_or_insert((linked.seq, linked.before.clone()));
        self.last = Some((linked.seq, hash.clone()));
        Ok(Step {
            seq: linked.seq,
            hash,
            linked: Some(linked),
        })
    }

    /// Whether the chain may end here.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        match self.unread.take() {
            Some(unread) => {
                let line = self.last.as_ref().map_or(1, |(seq, _)| *seq);
                Err(broken(line, &unread, "the last line is cut off".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// A line that a crash cut counts as one, if the next names it.
    fn unreadable(
        &mut self,
        raw: Raw,
        hash: String,
        expected: Option<u64>,
    ) -> Result<Step, Broken> {
        let seq = expected.unwrap_or(1);
        if self.unread.is_some() {
            let what = "this is no line of the gate's".to_owned();
            return Err(broken(seq, &raw, what));
        }
        self.unread = Some(raw);
        self.last = Some((seq, hash.clone()));
        Ok(Step {
            seq,
            hash,
            linked: None,
        })
    }
}

fn broken(line: u64, raw: &Raw, what: String) -> Broken {
    let place = format!("{}:{}", raw.file.display(), raw.at);
    Broken { line, place, what }
}
