//! `postern policy test`: a table of calls and the decisions that are expected. Never stops at the first difference.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use postern_contract::{config::Stage, exit};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    book::Book,
    call::{Judged, Written},
};
use crate::{Failure, terminal::say};

/// Runs a table of calls and expected decisions; exits with 0 where all are as expected and 1 where one is not
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  postern policy test policy-tests.toml\n\n\
    The file:\n  config = \"postern.toml\"          # from the file's own directory\n\n  \
    [[cases]]\n  name = \"a large refund is asked for\"\n  method = \"POST\"\n  url = \"/tools/stripe/refunds\"\n  \
    body = '{\"amount\": 20000}'\n  expect = \"ask\"                  # or allow, deny; of a CONNECT also \"look inside\"\n  \
    rule = \"large refunds\"           # and, where you like, agent, stage (of an install), headers, run, user")]
pub(crate) struct Args {
    /// The table
    file: PathBuf,
    /// Another config than the table names
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The config, from the table's own directory.
    config: Option<PathBuf>,
    cases: Vec<Case>,
}

/// One call and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    agent: Option<String>,
    /// The sandbox of the agent's install whose call it is.
    stage: Option<Stage>,
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    run: Option<String>,
    user: Option<String>,
    expect: Expected,
    /// The rule that decides.
    rule: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    /// In the word of verdicts, or of configs.
    #[serde(alias = "approval_required")]
    Ask,
    Deny,
    #[serde(rename = "look inside")]
    LookInside,
}

impl Expected {
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
            Self::LookInside => "look inside",
        }
    }
}

impl Case {
    fn judge(&self, book: &Book) -> Result<Judged, Failure> {
        let fields = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let written = Written {
            agent: self.agent.as_deref(),
            stage: self.stage,
            method: &self.method,
            url: &self.url,
            fields: fields.collect(),
            body: self.body.as_deref().map(str::as_bytes),
            run: self.run.as_deref(),
            user: self.user.as_deref(),
        };
        written.judge(book)
    }

    fn is_met(&self, judged: &Judged) -> bool {
        let rule = self.rule.as_deref();
        judged.word() == self.expect.word() && rule.is_none_or(|rule| rule == judged.rule())
    }
}

/// Runs the table.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let table = postern_daemon::config::read::<Table>(&args.file);
    let table = table.map_err(|error| Failure::Config(error.to_string()))?;
    let directory = table.source.directory().to_owned();
    let table = table.document;
    let book = Book::read(&config(args, &table, &directory)?)?;
    let mut told = Vec::with_capacity(table.cases.len());
    let mut missed = 0;
    for case in &table.cases {
        let judged = case.judge(&book)?;
        let met = case.is_met(&judged);
        missed += usize::from(!met);
        if args.json {
            told.push(as_json(case, &judged, met));
        } else {
            tell(case, &judged, met);
        }
    }
    let cases = table.cases.len();
    if args.json {
        let all = json!({ "ok": missed == 0, "cases": told, "missed": missed });
        say(&all.to_string());
    } else {
        say(&format!("{} of {cases} as expected", cases - missed));
    }
    match missed {
        0 => Ok(()),
        _ => Err(Failure::Told(exit::RUN)),
    }
}

fn config(args: &Args, table: &Table, directory: &Path) -> Result<PathBuf, Failure> {
    let named = table.config.as_ref().map(|config| directory.join(config));
    args.config.clone().or(named).ok_or_else(|| {
        let file = args.file.display();
        Failure::Usage(format!(
            "{file}: name a `config` in it, or give one by --config"
        ))
    })
}

fn as_json(case: &Case, judged: &Judged, met: bool) -> Value {
    json!({
        "name": case.name,
        "ok": met,
        "expected": { "verdict": case.expect.word(), "rule": case.rule },
        "found": judged.as_json(),
    })
}

fn tell(case: &Case, judged: &Judged, met: bool) {
    if met {
        return say(&format!("ok    {}", case.name));
    }
    say(&format!("DIFF  {}", case.name));
    let rule = case.rule.as_ref().map(|rule| format!(" by rule `{rule}`"));
    say(&format!(
        "      expected {}{}",
        case.expect.word(),
        rule.unwrap_or_default()
    ));
    say(&format!(
        "      found {} by rule `{}`",
        judged.word(),
        judged.rule()
    ));
    if let Some(message) = judged.message() {
        say(&format!("      {message}"));
    }
}
