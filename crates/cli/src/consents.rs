//! `postern consents`: what end users have consented to, shown and taken back through the operator API. Never sees a token.

use http::Method;
use postern_contract::{ActionId, AgentName, ToolName};
use serde_json::Value;

use crate::{
    Failure,
    approvals::{Place, call, plain, query, tell},
};

/// Where they are.
const CONSENTS: &str = "/api/v1/consents";

/// Shows what end users have consented to, and takes it back
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern consents list --key-file operator.key --user ada\n  postern consents remove act_0199… --key-file operator.key"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Lists what is in force, newest first
    #[command(
        after_help = "Example:\n  postern consents list --key-file operator.key\n  postern consents list --key-file operator.key --user ada --agent desk"
    )]
    List(Listing),
    /// Takes one back: its token is gone, and the next call asks the user anew
    #[command(after_help = "Example:\n  postern consents remove act_0199… --key-file operator.key")]
    Remove(One),
}

#[derive(Debug, clap::Args)]
struct Listing {
    #[command(flatten)]
    place: Place,
    /// Of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// To this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<ToolName>,
    /// Of this end user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Those that come after this one, the last of the list before
    #[arg(long, value_name = "ID")]
    after: Option<ActionId>,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The consent's id
    #[arg(value_name = "ID")]
    id: ActionId,
    #[command(flatten)]
    place: Place,
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.work {
        Work::List(listing) => {
            let asked = query(&[
                ("agent_id", listing.agent.as_ref().map(AgentName::as_str)),
                ("tool_id", listing.tool.as_ref().map(ToolName::as_str)),
                ("user_id", listing.user.as_deref()),
                ("after", listing.after.as_ref().map(ActionId::as_str)),
            ]);
            let path = format!("{CONSENTS}{asked}");
            let all = call(&listing.place, Method::GET, (&path, String::new()))?;
            tell(&listing.place, &all, || list(&all));
        }
        Work::Remove(One { id, place }) => {
            let path = format!("{CONSENTS}/{id}");
            let removed = call(place, Method::DELETE, (&path, String::new()))?;
            tell(place, &removed, || {
                format!("{id} is taken back: the next call asks anew")
            });
        }
    }
    Ok(())
}

fn list(all: &Value) -> String {
    let lines: Vec<_> = all.as_array().into_iter().flatten().map(line).collect();
    if lines.is_empty() {
        return "nobody has consented to anything".to_owned();
    }
    lines.join("\n")
}

fn line(one: &Value) -> String {
    let text = |key: &str| plain(one[key].as_str().unwrap_or_default());
    let until = match text("expires_at") {
        until if until.is_empty() => "renewed".to_owned(),
        until => format!("until {until}"),
    };
    let (id, tool, agent, user) = (
        text("id"),
        text("tool_id"),
        text("agent_id"),
        text("user_id"),
    );
    let since = text("since");
    format!("{id}  tool {tool}  agent {agent}  user {user}  since {since}  {until}")
}
