//! `/tools/NAME/…`: a tool's address in the sandbox. Never leads out of that tool.

use http::Request;
use hyper::body::Incoming;
use postern_contract::{Code, Refusal, ToolName};
use postern_policy::NoToolUrl;

use super::{Unclear, plain_call};
use crate::{book::Book, call::Call, identify::Caller, record::Record, refuse::Refused};

/// The call that a tool's address stands for.
pub(super) fn call(
    book: &Book,
    caller: &Caller,
    (name, rest): (&str, &str),
    (request, record): (Request<Incoming>, &mut Record),
) -> Result<Call, Refused> {
    let (parts, body) = request.into_parts();
    let name: ToolName = name.parse().map_err(|_| unknown(book, caller, name))?;
    match book.rulebook.tool_url(&name, rest, parts.uri.query()) {
        Ok(url) => plain_call(book, caller, (url, parts), body, record),
        Err(NoToolUrl::NoSuchTool) => Err(unknown(book, caller, name.as_str())),
        Err(NoToolUrl::Url(bad)) => Err(Unclear::from(bad).into()),
        Err(leads_out @ (NoToolUrl::Outside(_) | NoToolUrl::Another { .. })) => {
            let refusal = Refusal::new(Code::BadRequest, "bad request", format!("{leads_out}."));
            Err(refusal.for_tool(name.as_str()).into())
        }
    }
}

/// The agent is told which tools it has, not which tools exist.
fn unknown(book: &Book, caller: &Caller, name: &str) -> Refused {
    let own = book
        .grants(caller.holder())
        .map(|grants| grants.tools.as_slice());
    let own: Vec<&str> = own
        .unwrap_or_default()
        .iter()
        .map(ToolName::as_str)
        .collect();
    let known = if own.is_empty() {
        "this agent has no tools".to_owned()
    } else {
        format!("this agent's tools are {}", own.join(", "))
    };
    let name: String = name
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    Refusal::new(
        Code::UnknownDestination,
        "unknown tool",
        format!("There is no tool `{name}`; {known}."),
    )
    .into()
}
