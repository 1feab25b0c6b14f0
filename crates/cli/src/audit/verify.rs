//! `postern audit verify`: whether a log is the one that the gate wrote. Never says that a line is good which nobody
//! vouches for.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use postern_contract::exit;
use postern_proxy::audit::{HEADS_FILE, HeadKey, KEY_FILE};
use serde::Serialize;

use super::{
    chain::{Broken, Chain, Step},
    heads::Heads,
    source::{Log, Raw, directory},
};
use crate::{
    Failure,
    terminal::{complain, say},
};

/// How many calls without an end are named.
const NAMED_MAX: usize = 20;

/// Checks a log: exits with 0 where it is whole, 1 where it is not, 2 where that cannot be told
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    postern audit verify /var/lib/postern-proxy/audit.jsonl\n  \
    journalctl -t postern-audit -o cat > heads; postern audit verify audit.jsonl --heads heads --key audit.key\n\n\
    Lines up to the last head are vouched for; those behind it are the window that nobody can vouch for.")]
pub(crate) struct Args {
    /// The log; with `audit.jsonl`, also what was put aside beside it
    file: PathBuf,
    /// The heads that the gate sent out; `audit.heads` beside the log if not given
    #[arg(long)]
    heads: Option<PathBuf>,
    /// The key of the heads; `audit.key` beside the log if not given
    #[arg(long, conflicts_with = "insecure_trust_heads")]
    key: Option<PathBuf>,
    /// Take the heads as they stand, without the key: only for heads from a place that the log's owner cannot write
    #[arg(long)]
    insecure_trust_heads: bool,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    ok: bool,
    /// How many lines were read, from which to which.
    lines: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// The last line that a head vouches for.
    vouched: Option<u64>,
    /// Lines that no head vouches for yet.
    window: Option<Window>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    /// Calls that may have changed something and whose end is not known.
    begun_not_ended: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Window {
    first: u64,
    last: u64,
    since: Option<String>,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: Option<u64>,
    place: Option<String>,
    what: String,
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        Self {
            line: Some(broken.line),
            place: Some(broken.place),
            what: broken.what,
        }
    }
}

/// Why reading ended early.
enum Stop {
    Unreadable(io::Error),
    Broken(Problem),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Checks.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let cannot = |path: &Path, cause: &dyn std::fmt::Display| {
        Failure::Usage(format!("{}: {cause}", path.display()))
    };
    let beside = |name: &str| directory(&args.file).join(name);
    let log = Log::of(&args.file).map_err(|error| cannot(&args.file, &error))?;
    let key = if args.insecure_trust_heads {
        None
    } else {
        let path = args.key.clone().unwrap_or_else(|| beside(KEY_FILE));
        Some(HeadKey::read(&path).map_err(|error| Failure::Usage(error.to_string()))?)
    };
    let path = args.heads.clone().unwrap_or_else(|| beside(HEADS_FILE));
    let heads = Heads::read(&path, key.as_ref()).map_err(|error| cannot(&path, &error))?;
    if heads.is_empty() && heads.problems.is_empty() {
        return Err(cannot(&path, &"no head of this key is in it"));
    }
    let report = check(&log, &heads).map_err(|error| cannot(&args.file, &error))?;
    if args.json {
        say(&serde_json::to_string(&report).map_err(|error| Failure::Run(error.to_string()))?);
    } else {
        report.tell();
    }
    if report.ok {
        Ok(())
    } else {
        Err(Failure::Told(exit::RUN))
    }
}

/// Holds a log against its heads.
pub(super) fn check(log: &Log, heads: &Heads) -> io::Result<Report> {
    let mut check = Check::new(heads);
    let walked = log.each(|raw| check.take(raw));
    let walked = walked.and_then(|()| Ok(check.chain.end().map_err(Problem::from)?));
    match walked {
        Ok(()) => check.end_of_all(),
        Err(Stop::Broken(problem)) => check.report.problems.push(problem),
        Err(Stop::Unreadable(error)) => return Err(error),
    }
    Ok(check.finished())
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Broken(problem)
    }
}

/// A check under way.
struct Check<'a> {
    heads: &'a Heads,
    chain: Chain,
    report: Report,
    begun: BTreeMap<String, u64>,
    removed: u64,
    since: Option<String>,
}

impl<'a> Check<'a> {
    fn new(heads: &'a Heads) -> Self {
        let mut report = Report::default();
        report
            .problems
            .extend(heads.problems.iter().map(|what| Problem {
                line: None,
                place: None,
                what: what.clone(),
            }));
        if heads.strangers > 0 {
            let count = heads.strangers;
            report
                .notes
                .push(format!("{count} heads are of another key"));
        }
        Self {
            heads,
            chain: Chain::default(),
            report,
            begun: BTreeMap::new(),
            removed: 0,
            since: None,
        }
    }

    fn take(&mut self, raw: Raw) -> Result<(), Stop> {
        let (place, ended) = (format!("{}:{}", raw.file.display(), raw.at), raw.ended);
        let step = self.chain.step(raw).map_err(Problem::from)?;
        if let Some(head) = self.heads.of(step.seq) {
            if head.hash != step.hash {
                return Err(Stop::Broken(Problem {
                    line: Some(step.seq),
                    place: Some(place),
                    what: format!(
                        "this is not line {} as it was when its head was sent, at {}: lines up to it were edited or \
                         made again",
                        step.seq, head.time
                    ),
                }));
            }
            self.report.vouched = Some(step.seq);
            self.since = None;
        } else if self.since.is_none() {
            self.since = step.linked.as_ref().and_then(|linked| linked.time.clone());
        }
        self.report.lines += 1;
        self.report.last = Some(step.seq);
        if !ended {
            let what = "the last line is cut off".to_owned();
            let (line, place) = (Some(step.seq), Some(place));
            return Err(Stop::Broken(Problem { line, place, what }));
        }
        self.note(step);
        Ok(())
    }

    fn note(&mut self, step: Step) {
        let Some(linked) = step.linked else {
            let words = "was cut short by a crash, and the next one names it so";
            self.report.notes.push(format!("line {} {words}", step.seq));
            return;
        };
        match (linked.kind.as_str(), linked.request) {
            ("begun", Some(request)) => drop(self.begun.insert(request, step.seq)),
            ("call", Some(request)) => drop(self.begun.remove(&request)),
            ("deleted", _) => self.removed = self.removed.max(linked.last.unwrap_or(0)),
            _ => {}
        }
    }

    /// What only shows once all lines are read.
    fn end_of_all(&mut self) {
        let last = self.report.last.unwrap_or(0);
        let (first, before) = self.chain.first.clone().unwrap_or_default();
        let mut problem = |line, what| {
            let place = None;
            let line = Some(line);
            self.report.problems.push(Problem { line, place, what });
        };
        if let Some(head) = self.heads.last().filter(|head| head.seq > last) {
            let (from, to, time) = (last + 1, head.seq, &head.time);
            let what =
                format!("lines {from} to {to} were there at {time} and are missing at the end");
            problem(from, what);
        }
        if first > 1 && self.removed < first - 1 {
            let what = format!(
                "lines 1 to {} are missing, and no line says that they were removed by age",
                first - 1
            );
            problem(1, what);
        }
        let named = self.heads.of(first.saturating_sub(1));
        if named.is_some_and(|head| head.hash != before) {
            problem(
                first,
                "the line before this one is not the one whose head was sent".to_owned(),
            );
        }
    }

    fn finished(mut self) -> Report {
        let report = &mut self.report;
        report.first = self.chain.first.map(|(seq, _)| seq);
        let vouched = report
            .vouched
            .or(report.first.map(|first| first.saturating_sub(1)));
        report.window = match (vouched, report.last) {
            (Some(vouched), Some(last)) if vouched < last => Some(Window {
                first: vouched + 1,
                last,
                since: self.since,
            }),
            _ => None,
        };
        report.begun_not_ended = self.begun.into_keys().collect();
        report.ok = report.problems.is_empty();
        self.report
    }
}

impl Report {
    fn tell(&self) {
        for problem in &self.problems {
            let line = problem.line.map(|line| format!("line {line}: "));
            let place = problem.place.as_ref().map(|place| format!(" ({place})"));
            let (line, place) = (line.unwrap_or_default(), place.unwrap_or_default());
            complain(&format!("{line}{}{place}", problem.what));
        }
        let span =
            |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
        say(&format!(
            "lines    {}, from {} to {}",
            self.lines,
            span(self.first),
            span(self.last)
        ));
        say(&format!("vouched  up to line {}", span(self.vouched)));
        if let Some(Window { first, last, since }) = &self.window {
            let since = since.as_ref().map(|since| format!(", since {since}"));
            let since = since.unwrap_or_default();
            say(&format!(
                "window   lines {first} to {last}{since}: no head vouches for them"
            ));
        }
        self.notes
            .iter()
            .for_each(|note| say(&format!("note     {note}")));
        for request in self.begun_not_ended.iter().take(NAMED_MAX) {
            say(&format!(
                "begun    {request}: what came of it is not written"
            ));
        }
        let open = self.begun_not_ended.len();
        if open > NAMED_MAX {
            say(&format!("         and {} more", open - NAMED_MAX));
        }
        say(if self.ok {
            "the log is whole"
        } else {
            "the log is NOT what the gate wrote"
        });
    }
}

#[cfg(test)]
mod tests;
