//! What the tour shows where no python3 is to be had: an agent without code. It can only do what its tools can, so there
//! is no sandbox to look around in, and the tour says so. Never pretends a step it did not take.

use postern_contract::Code;
use serde_json::Value;

use super::walk::Walk;

/// Walks the steps that an agent without code can take.
pub(super) async fn walk(walk: &mut Walk<'_>) {
    question(walk).await;
    order(walk).await;
    refund(walk).await;
    walk.step("There is no code that could try another host or look for the credential");
    walk.note("with a python3 where sandboxes look for one, the tour shows both");
    walk.end_step();
}

async fn question(walk: &mut Walk<'_>) {
    walk.step("The agent answers a message: posternd asks the model through the LLM gateway");
    let answer = walk.invoke("What is a postern?").await;
    walk.judge(
        !says(&answer).is_empty(),
        "the embedded `playground` model answered",
    );
    walk.end_step();
}

async fn order(walk: &mut Walk<'_>) {
    walk.step("The model calls the tool; the order service wants a key");
    let answer = walk.invoke("Get order 1042").await;
    walk.judge(
        says(&answer).contains("brass key"),
        "the order service answered",
    );
    walk.tool_saw();
    walk.end_step();
}

async fn refund(walk: &mut Walk<'_>) {
    walk.step("The model calls the tool in a way that the policy forbids");
    let answer = walk.invoke("refund order 1042").await;
    let text = answer.to_string();
    let so = text.contains(Code::PolicyDenied.word()) && text.contains("no refunds");
    walk.judge(so, "refused by the rule `no refunds`");
    walk.judge(walk.seen().is_empty(), "nothing reached the order service");
    walk.end_step();
}

fn says(answer: &Value) -> &str {
    answer["response"].as_str().unwrap_or_default()
}
