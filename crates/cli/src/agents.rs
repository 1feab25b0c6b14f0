//! `postern agents`: what is installed of each agent, through the operator API; installs what the config says now, and goes back.
//! Never touches an installed file: posternd does.

mod watch;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::{Method, StatusCode};
use http_body_util::Full;
use postern_contract::{AgentName, Secret};
use postern_daemon::files;
use serde_json::{Value, json};

use crate::{
    Failure,
    approvals::{KEY, KEY_BYTES_MAX, OPERATOR, plain},
    ask,
    terminal::say,
};

/// How long an install may take: as long as all of its stages, and longer.
const INSTALL_MAX: Duration = Duration::from_secs(3600);

/// How much of a version's name people are shown.
const VERSION_CHARS: usize = 12;

/// Shows what is installed of each agent, installs it anew, and goes back
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern agents --key-file operator.key\n  postern agents install desk --renew --key-file operator.key\n  postern agents rollback desk --key-file operator.key"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    work: Option<Work>,
    /// Where posternd's operator API listens
    #[arg(long, global = true, default_value = OPERATOR, value_name = "ADDRESS:PORT")]
    operator: SocketAddr,
    /// The file with the operator's key
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Installs what the config says now; sandboxes that are made from then on have it
    #[command(
        after_help = "Example:\n  postern agents install desk --key-file operator.key\n  postern agents install desk --renew --key-file operator.key"
    )]
    Install {
        /// The agent
        #[arg(value_name = "NAME")]
        agent: AgentName,
        /// Fetch or unpack it even if it is there, such as a branch that has gone on
        #[arg(long)]
        renew: bool,
    },
    /// Makes the version before the live one; once more goes forward again
    #[command(after_help = "Example:\n  postern agents rollback desk --key-file operator.key")]
    Rollback {
        /// The agent
        #[arg(value_name = "NAME")]
        agent: AgentName,
    },
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let body = match &args.work {
        None => call(args, Method::GET, (String::new(), String::new()))?,
        Some(Work::Install { agent, renew }) => {
            let said = json!({ "renew": renew }).to_string();
            call(args, Method::POST, (format!("/{agent}/install"), said))?
        }
        Some(Work::Rollback { agent }) => {
            let path = format!("/{agent}/rollback");
            call(args, Method::POST, (path, String::new()))?
        }
    };
    if args.json {
        say(&body.to_string());
        return Ok(());
    }
    match &body {
        Value::Array(agents) if agents.is_empty() => say("no agents"),
        Value::Array(agents) => agents.iter().for_each(|agent| say(&shown(agent))),
        one => say(&shown(one)),
    }
    Ok(())
}

fn call(args: &Args, method: Method, (path, body): (String, String)) -> Result<Value, Failure> {
    let Some(key_file) = &args.key_file else {
        return Err(Failure::Usage(
            "say where the operator's key is: `--key-file FILE`; `operator.key` in posternd's state directory".to_owned(),
        ));
    };
    let key = files::read_bounded(key_file, KEY_BYTES_MAX)
        .map_err(|error| Failure::path(key_file, error))?;
    let key = Secret::new(key.trim_ascii().to_vec());
    let request = ask::request(args.operator)
        .method(method)
        .uri(format!("/api/v1/agents{path}"))
        .header(KEY, key.expose())
        .body(Full::new(body.into()))
        .map_err(|_| Failure::path(key_file, "is no key"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
    let asking = ask::ask_within(INSTALL_MAX, args.operator, request);
    let answer = match &args.work {
        Some(Work::Install { agent, .. }) if !args.json => runtime.block_on(async {
            tokio::select! {
                answer = asking => answer,
                never = watch::watch(args.operator, &key, agent) => match never {},
            }
        }),
        _ => runtime.block_on(asking),
    };
    let answer = answer
        .map_err(|error| Failure::Run(format!("the operator API at {}: {error}", args.operator)))?;
    let body = answer.json();
    if answer.status == StatusCode::OK {
        return Ok(body);
    }
    let why = body["error"].as_str().unwrap_or("no reason was given");
    let why: Vec<_> = why.lines().map(plain).collect();
    Err(Failure::Run(format!(
        "{}: {}",
        answer.status,
        why.join("\n")
    )))
}

/// An agent, and of what is installed a line for the live version and one for the way back.
fn shown(agent: &Value) -> String {
    let (name, installed) = (text(&agent["name"]), &agent["installed"]);
    if installed.is_null() {
        return format!("{name}  no files");
    }
    let rolled_back = match installed["rolled_back"].as_bool() {
        Some(true) => "  (rolled back: `postern agents install` or another source ends that)",
        _ => "",
    };
    let back = match &installed["way_back"] {
        Value::Null => "none".to_owned(),
        back => version(back),
    };
    format!(
        "{name}  live {}{rolled_back}\n  way back: {back}",
        version(installed)
    )
}

fn version(kept: &Value) -> String {
    let name = text(&kept["version"]);
    // The number of a renewal is what tells it from the tree before.
    let (digest, renewal) = name.split_once('-').unwrap_or((&name, ""));
    let mut told: String = digest.chars().take(VERSION_CHARS).collect();
    if !renewal.is_empty() {
        told = format!("{told}-{renewal}");
    }
    if let Some(led) = kept["resolved"]["version"].as_str() {
        told = format!("{told} = {}", plain(led));
    }
    if !kept["installed_at"].is_null() {
        told = format!("{told}, {}", text(&kept["installed_at"]));
    }
    for stage in kept["stages"].as_array().into_iter().flatten() {
        told = format!("{told}, {} {} s", text(&stage["stage"]), stage["seconds"]);
    }
    told
}

fn text(value: &Value) -> String {
    plain(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_shown_with_its_way_back_and_nothing_that_moves_a_cursor() {
        let back = json!({ "version": "b".repeat(64), "resolved": null, "installed_at": null, "stages": null });
        let agent = json!({ "name": "desk", "installed": {
            "version": format!("{}-2", "a".repeat(64)), "resolved": { "version": "v1\u{1b}[2J" },
            "installed_at": "2026-01-02T03:04:05Z", "stages": [{ "stage": "fetch", "seconds": 1.5 }],
            "rolled_back": true, "way_back": back,
        }});
        let shown = shown(&agent);
        assert!(
            shown.starts_with("desk  live aaaaaaaaaaaa-2 = v1"),
            "{shown}"
        );
        assert!(shown.contains("fetch 1.5 s  (rolled back"), "{shown}");
        assert!(shown.ends_with("way back: bbbbbbbbbbbb"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert_eq!(
            super::shown(&json!({ "name": "bare", "installed": null })),
            "bare  no files"
        );
    }
}
