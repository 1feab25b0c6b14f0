//! `postern approvals`: calls that wait for a human, shown and answered through the operator API. Never decides whose key
//! counts: the gate does.
//!
//! ```text
//! shown.rs   a request in lines for people: nothing in it can move a cursor or turn the reading direction
//! ```

mod shown;

pub(crate) use shown::plain;

use std::{net::SocketAddr, path::PathBuf};

use http::{HeaderName, Method, StatusCode};
use http_body_util::Full;
use postern_contract::{ActionId, AgentName, Period, Secret};
use postern_daemon::files;
use serde_json::{Value, json};

use crate::{
    Failure,
    ask::{self, Answer},
    terminal::say,
};

/// Where posternd's operator API listens unless the config says otherwise.
pub(crate) const OPERATOR: &str = "127.0.0.1:8092";

/// Where requests are.
const REQUESTS: &str = "/api/v1/approvals/requests";

/// How a key is shown.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-runagents-api-key");

/// The largest file of a key, in bytes.
pub(crate) const KEY_BYTES_MAX: u64 = 1024;

/// Shows calls that wait for a human, and answers them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern approvals list --key-file ada.key\n  postern approvals approve act_0199… --key-file ada.key --payload-hash 7c9e…"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Lists what waits and what was answered, newest first
    #[command(
        after_help = "Example:\n  postern approvals list --key-file ada.key\n  postern approvals list --key-file ada.key --status APPROVED --agent desk"
    )]
    List(Listing),
    /// Shows all that one call would send
    #[command(after_help = "Example:\n  postern approvals show act_0199… --key-file ada.key")]
    Show(One),
    /// Lets one call go on, once, as it was shown; with `--scope` also others like it
    #[command(
        after_help = "Example:\n  postern approvals approve act_0199… --key-file ada.key --payload-hash 7c9e…\n  postern approvals approve act_0199… --key-file ada.key --payload-hash 7c9e… --scope run"
    )]
    Approve(Approving),
    /// Takes a yes to more than one call back
    #[command(after_help = "Example:\n  postern approvals revoke act_0199… --key-file ada.key")]
    Revoke(One),
    /// Refuses one call
    #[command(
        after_help = "Example:\n  postern approvals reject act_0199… --key-file ada.key --reason \"too much\""
    )]
    Reject(Answering),
}

#[derive(Debug, clap::Args)]
struct Listing {
    #[command(flatten)]
    place: Place,
    /// Of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// For this end user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// In this state
    #[arg(long, value_parser = ["PENDING", "APPROVED", "REJECTED", "EXPIRED"])]
    status: Option<String>,
    /// Those that come after this one, the last of the list before
    #[arg(long, value_name = "ID")]
    after: Option<ActionId>,
}

impl Listing {
    /// As a query, encoded.
    fn query(&self) -> String {
        let agent = self.agent.as_ref().map(AgentName::as_str);
        let after = self.after.as_ref().map(ActionId::as_str);
        let parts = [
            ("agent_id", agent),
            ("user_id", self.user.as_deref()),
            ("status", self.status.as_deref()),
            ("after", after),
        ];
        query(&parts)
    }
}

/// What is said of this, as a query, encoded.
pub(crate) fn query(parts: &[(&str, Option<&str>)]) -> String {
    let said = parts.iter().filter_map(|(key, value)| {
        let value: String = (*value)?.bytes().map(encoded).collect();
        Some(format!("{key}={value}"))
    });
    format!("?{}", said.collect::<Vec<_>>().join("&"))
}

/// A byte as it may stand in a query whatever it is.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        return char::from(byte).to_string();
    }
    format!("%{byte:02X}")
}

#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Where posternd's operator API listens
    #[arg(long, default_value = OPERATOR, value_name = "ADDRESS:PORT")]
    operator: SocketAddr,
    /// The file with your key; the operator's shows requests, an approver's answers them too
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The request's id
    #[arg(value_name = "ID")]
    action: ActionId,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Approving {
    #[command(flatten)]
    answering: Answering,
    /// What the yes is for: `once`, the same rule, tool, method and path in this `run`, or for this agent and user (`agent_user_ttl`)
    #[arg(long, value_name = "SCOPE", value_parser = ["once", "run", "agent_user_ttl"])]
    scope: Option<String>,
    /// How long it holds with `--scope agent_user_ttl`, such as `1h`; a day at most
    #[arg(long = "for", value_name = "PERIOD")]
    duration: Option<Period>,
}

#[derive(Debug, clap::Args)]
struct Answering {
    #[command(flatten)]
    one: One,
    /// Why; an agent that is refused reads it
    #[arg(long)]
    reason: Option<String>,
    /// The `payload_hash` of what you read: another call is not answered by mistake
    #[arg(long, value_name = "HASH")]
    payload_hash: Option<String>,
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.work {
        Work::List(listing) => {
            let place = &listing.place;
            let all = get(place, &listing.query())?;
            tell(place, &all, || shown::list(&all));
        }
        Work::Show(one) => {
            let whole = get(&one.place, &format!("/{}", one.action))?;
            tell(&one.place, &whole, || shown::whole(&whole));
        }
        Work::Approve(Approving { answering, .. }) if answering.payload_hash.is_none() => {
            let action = &answering.one.action;
            return Err(Failure::Usage(format!(
                "read it first with `postern approvals show {action}`, and say which call you mean with `--payload-hash`"
            )));
        }
        Work::Approve(approving) => {
            let duration = approving.duration.map(|period| period.to_string());
            let more = json!({ "scope": approving.scope, "duration": duration });
            answer(&approving.answering, "approve", more)?;
        }
        Work::Reject(answering) => answer(answering, "reject", json!({}))?,
        Work::Revoke(One { action, place }) => {
            let path = format!("{REQUESTS}/{action}/revoke");
            let revoked = call(place, Method::POST, (&path, String::new()))?;
            tell(place, &revoked, || shown::line(&revoked));
        }
    }
    Ok(())
}

fn answer(answering: &Answering, verb: &str, mut said: Value) -> Result<(), Failure> {
    let One { action, place } = &answering.one;
    said["reason"] = json!(answering.reason);
    said["payload_hash"] = json!(answering.payload_hash);
    let path = format!("{REQUESTS}/{action}/{verb}");
    let answered = call(place, Method::POST, (&path, said.to_string()))?;
    tell(place, &answered, || shown::line(&answered));
    Ok(())
}

fn get(place: &Place, path: &str) -> Result<Value, Failure> {
    call(
        place,
        Method::GET,
        (&format!("{REQUESTS}{path}"), String::new()),
    )
}

/// Says an answer, as it is or in lines.
pub(crate) fn tell(place: &Place, value: &Value, lines: impl Fn() -> String) {
    if place.json {
        say(&value.to_string());
    } else {
        say(&lines());
    }
}

/// One call of the operator API.
pub(crate) fn call(
    place: &Place,
    method: Method,
    (path, body): (&str, String),
) -> Result<Value, Failure> {
    let key = files::read_bounded(&place.key_file, KEY_BYTES_MAX)
        .map_err(|error| Failure::path(&place.key_file, error))?;
    let key = Secret::new(key.trim_ascii().to_vec());
    let request = ask::request(place.operator)
        .method(method)
        .uri(path)
        .header(KEY, key.expose())
        .body(Full::new(body.into()))
        .map_err(|_| Failure::path(&place.key_file, "is no key"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
    let answer = runtime.block_on(ask::ask(place.operator, request));
    let answer = answer.map_err(|error| {
        Failure::Run(format!("the operator API at {}: {error}", place.operator))
    })?;
    understood(&answer)
}

fn understood(answer: &Answer) -> Result<Value, Failure> {
    let body = answer.json();
    if answer.status == StatusCode::OK {
        return Ok(body);
    }
    let why = plain(body["error"].as_str().unwrap_or("no reason was given"));
    let hint = match answer.status {
        StatusCode::UNAUTHORIZED => {
            ": the key in --key-file is no approver's (`[approvals.approvers]`)"
        }
        _ => "",
    };
    Err(Failure::Run(format!("{}: {why}{hint}", answer.status)))
}
