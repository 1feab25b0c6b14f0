//! The six steps with the Python agent in its sandbox. Never takes the agent's word where the tool's is to be had.

use postern_contract::Code;
use serde_json::Value;

use super::{stage::KEY, walk::Walk};

/// Walks all six.
pub(super) async fn walk(walk: &mut Walk<'_>) {
    greeting(walk).await;
    order(walk).await;
    direct(walk).await;
    refusals(walk).await;
    question(walk).await;
    secrets(walk).await;
}

async fn greeting(walk: &mut Walk<'_>) {
    walk.step("A Python handler, unpacked from a .tar.gz into its own sandbox, answers a message");
    let answer = walk.invoke("hello").await;
    walk.judge(says(&answer).starts_with("Hello"), "the agent answers");
    walk.end_step();
}

async fn order(walk: &mut Walk<'_>) {
    walk.step("It looks an order up through TOOL_URL_ORDERS; the order service wants a key");
    let answer = walk.invoke("What about order 1042?").await;
    walk.judge(
        says(&answer).contains("brass key"),
        "the order service answered",
    );
    walk.both_sides(&answer["sent"]);
    walk.end_step();
}

async fn direct(walk: &mut Walk<'_>) {
    walk.step("It knows of no proxy: it connects to the order service's own address, and looks up a host that nobody named");
    let url = walk.order_url(1042);
    let answer = walk.invoke(&format!("probe direct {url}")).await;
    walk.judge(answer["status"] == 200, "the order service answered");
    walk.both_sides(&answer["sent"]);
    let found = answer["collector.example"].as_str().unwrap_or_default();
    let nobody = !found.is_empty() && !found.starts_with('(');
    walk.judge(
        nobody,
        "for the agent there is no such host, and nobody was asked",
    );
    walk.end_step();
}

async fn refusals(walk: &mut Walk<'_>) {
    walk.step("It tries a host that nobody allowed, then a method that the policy forbids");
    let answer = walk.invoke("probe host").await;
    refused(walk, &answer, "default");
    let answer = walk.invoke("probe method").await;
    refused(walk, &answer, "no refunds");
    walk.judge(walk.seen().is_empty(), "nothing reached the order service");
    walk.end_step();
}

fn refused(walk: &mut Walk<'_>, answer: &Value, rule: &str) {
    let refusal = &answer["refusal"];
    let (code, named) = (refusal["code"].as_str(), refusal["rule"].as_str());
    let stable = [Code::PolicyDenied, Code::UnknownDestination].map(Code::word);
    let so = answer["status"] == 403
        && code.is_some_and(|code| stable.contains(&code))
        && named == Some(rule);
    walk.judge(
        so,
        format_args!("refused with 403 by the rule `{}`", named.unwrap_or("?")),
    );
}

async fn question(walk: &mut Walk<'_>) {
    walk.step(
        "It asks the model through the LLM gateway; the embedded `playground` stands in for one",
    );
    let answer = walk.invoke("ask What is a postern?").await;
    let tokens = answer["usage"]["total_tokens"].as_u64().unwrap_or(0);
    walk.judge(
        !says(&answer).is_empty() && tokens > 0,
        "the model answered",
    );
    walk.end_step();
}

async fn secrets(walk: &mut Walk<'_>) {
    walk.step("It looks for the credential: environment, files, /proc, memory. It is told only its SHA-256");
    let answer = walk.invoke(&format!("probe secrets {}", digest())).await;
    let looked = &answer["looked"];
    let places = ["environment", "files", "memory"]
        .iter()
        .all(|kind| looked[kind].as_u64() > Some(0));
    walk.judge(places, "it looked everywhere it could");
    walk.judge(
        answer["found"] == Value::Array(Vec::new()),
        "it found nothing",
    );
    walk.end_step();
}

fn says(answer: &Value) -> &str {
    answer["response"].as_str().unwrap_or_default()
}

fn digest() -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(KEY))
}
