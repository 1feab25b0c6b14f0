//! `postern policy learn`: a short list of rules that allow what an audit log shows to have passed. Never proposes what a
//! rule or a guard refused, and never puts anything in force: it prints.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{Failure, audit::source::Log, terminal::say};

/// The longest path that is learnt from, in bytes: the audit cuts longer ones off.
const PATH_BYTES_MAX: usize = 2047;

/// How many hexadecimal digits make a segment a number of somebody's and no word.
const HEX_DIGITS_MIN: usize = 16;

/// Proposes a short list of rules from an audit log: they allow what passed, and nothing that was refused for a reason;
/// exits with 2 where the log cannot be read
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern policy learn /var/lib/postern-proxy/audit.jsonl --agent desk"
)]
pub(crate) struct Args {
    /// The audit log; with `audit.jsonl`, also what was put aside beside it
    audit: PathBuf,
    /// Only for this agent
    #[arg(long)]
    agent: Option<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Where an agent's calls went: scheme, host and port.
type Place = (String, String);

/// Forms of paths, and the methods that were used there.
type Learnt = BTreeMap<String, BTreeSet<String>>;

/// One rule to be.
#[derive(Debug, PartialEq, Eq)]
struct Proposal {
    agent: String,
    authority: String,
    methods: BTreeSet<String>,
    /// Empty for a whole host.
    paths: Vec<String>,
}

/// Proposes.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Usage(format!("{}: {error}", args.audit.display()));
    let agent = args.agent.as_deref();
    let mut seen = Seen::default();
    let walked = Log::of(&args.audit).map_err(cannot)?.each(|raw| {
        match serde_json::from_slice::<Value>(&raw.bytes) {
            Ok(line) if agent.is_none_or(|agent| line["agent"] == agent) => seen.take(&line),
            Ok(_) => {}
            // A line that a crash cut short is none.
            Err(error) if error.is_eof() => {}
            Err(error) => {
                return Err(Unread::NoLine(format!(
                    "{}:{}: {error}",
                    raw.file.display(),
                    raw.at
                )));
            }
        }
        Ok(())
    });
    walked.map_err(|unread| match unread {
        Unread::File(error) => cannot(error),
        Unread::NoLine(why) => Failure::Usage(format!("this is no line of an audit log: {why}")),
    })?;
    let proposals = seen.proposals();
    if args.json {
        say(&in_json(&proposals).to_string());
    } else if proposals.is_empty() {
        say("# Nothing passed that a rule could allow.");
    } else {
        say(in_toml(&proposals).trim_end());
    }
    Ok(())
}

/// Why a log cannot be learnt from.
enum Unread {
    File(io::Error),
    NoLine(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// What the lines so far have shown.
#[derive(Debug, Default)]
struct Seen {
    passed: BTreeMap<Place, Learnt>,
    /// For a reason: where, in which form, and how.
    refused: BTreeSet<(Place, String, String)>,
}

impl Seen {
    /// One more line.
    fn take(&mut self, line: &Value) {
        if line["kind"] != "call" || !line["model"].is_null() {
            return;
        }
        let Some((place, path, method)) = call(line) else {
            return;
        };
        if line["decision"] == "allowed" {
            let paths = self.passed.entry(place).or_default();
            paths.entry(path).or_default().insert(method);
        } else if line["decision"] == "refused" && is_for_a_reason(line) {
            self.refused.insert((place, path, method));
        }
    }

    /// What passed, as rules.
    fn proposals(mut self) -> Vec<Proposal> {
        for (place, path, method) in self.refused {
            let paths = self.passed.get_mut(&place);
            if let Some(methods) = paths.and_then(|paths| paths.get_mut(&path)) {
                methods.remove(&method);
            }
        }
        let passed = self.passed.into_iter();
        passed
            .flat_map(|(place, paths)| gathered(&place, paths))
            .collect()
    }
}

/// Paths of one place that were used alike make one rule.
fn gathered((agent, authority): &Place, paths: Learnt) -> Vec<Proposal> {
    let mut alike: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for (path, mut methods) in paths {
        if methods.remove("CONNECT") {
            let tunnel = BTreeSet::from(["CONNECT".to_owned()]);
            alike.insert(tunnel, Vec::new());
        }
        if !methods.is_empty() {
            alike.entry(methods).or_default().push(path);
        }
    }
    let alike = alike.into_iter();
    let proposals = alike.map(|(methods, paths)| Proposal {
        agent: agent.clone(),
        authority: authority.clone(),
        methods,
        paths,
    });
    proposals.collect()
}

/// Whose call it was, where it went, in which form, and how.
fn call(line: &Value) -> Option<(Place, String, String)> {
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    let path = text("path")?;
    let place = (text("agent")?, text("authority")?);
    (path.len() <= PATH_BYTES_MAX).then(|| Some((place, form(&path), text("method")?)))?
}

/// Refused by a rule or a guard, and not for want of a rule or because something broke.
fn is_for_a_reason(line: &Value) -> bool {
    let by_rule = line["rule"].as_str().is_some_and(|rule| rule != "default");
    by_rule || line["reason"] == "CAPABILITY_DENIED" || line["reason"] == "DESTINATION_BLOCKED"
}

/// A path with `*` for every segment that stands for one thing of many.
fn form(path: &str) -> String {
    let segments = path.split('/');
    let segments = segments.map(|segment| {
        if is_one_of_many(segment) {
            "*"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Numbers, UUIDs, long hexadecimal words, and what the language of rules has no letter for.
fn is_one_of_many(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let is_uuid =
        segment.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && segment.split('-').all(hex);
    let is_long = bytes.len() >= HEX_DIGITS_MIN && hex(segment);
    is_number || is_uuid || is_long || segment.contains('*')
}

impl Proposal {
    /// What it is about, as a rule says it.
    fn resource(&self) -> String {
        if self.authority.starts_with("tcp://") {
            self.authority.clone()
        } else {
            format!("{}/*", self.authority)
        }
    }

    fn name(&self, number: usize) -> String {
        let methods: Vec<_> = self.methods.iter().map(String::as_str).collect();
        let host = self.authority.split("://").last().unwrap_or_default();
        format!("learned {number}: {} {host}", methods.join(" "))
    }
}

/// Rules for the config, a policy for each agent. JSON's texts and lists are TOML's too.
fn in_toml(proposals: &[Proposal]) -> String {
    let mut out = String::new();
    for (number, proposal) in proposals.iter().enumerate() {
        let name = proposal.name(number + 1);
        out += &format!(
            "[[policies.learned-{}.rules]]\nname = {}\npermission = \"allow\"\nresource = {}\n",
            proposal.agent,
            json!(name),
            json!(proposal.resource()),
        );
        if !proposal.paths.is_empty() {
            out += &format!("paths = {}\n", json!(proposal.paths));
        }
        out += &format!("operations = {}\n\n", json!(proposal.methods));
    }
    out
}

fn in_json(proposals: &[Proposal]) -> Value {
    let rules = proposals.iter().enumerate().map(|(number, proposal)| {
        json!({
            "policy": format!("learned-{}", proposal.agent),
            "agent": proposal.agent,
            "name": proposal.name(number + 1),
            "permission": "allow",
            "resource": proposal.resource(),
            "paths": proposal.paths,
            "operations": proposal.methods,
        })
    });
    json!({ "rules": rules.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests;
