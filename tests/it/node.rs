//! Agents of kind `node` through the whole devbox: how a module is found, how it streams, whose its calls are, how it ends.

use std::path::Path;

use postern_testkit::{Archive, Curl, Devbox, Setup, wait};
use serde_json::json;

use crate::fixture;

const AGENT: &str = r#"
import http from "node:http";
const ended = [];
const viaHttp = (url) => new Promise((resolve, reject) => {
  http.get(url, (answer) => { answer.resume(); answer.on("end", () => resolve(answer.statusCode)); }).on("error", reject);
});
export async function* handler(request, context) {
  const order = request.message;
  if (order === "tool") {
    const url = context.tools.shop + "/items/1";
    const both = [(await fetch(url)).status, await viaHttp(url)];
    yield { response: both.join(" "), user: request.user_id ?? null };
    return;
  }
  if (order === "wait") {
    yield "one ";
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    ended.push("wait");
  }
  if (order === "ended") return ended.join(",");
  if (order === "fail") throw new TypeError("as asked");
  yield "one ";
  yield { type: "content", delta: "two" };
}
"#;

/// Where the sandbox has no Node there is nothing to test.
fn has_node() -> bool {
    let paths = ["/usr/local/bin/node", "/usr/bin/node", "/bin/node"];
    let has_node = paths.iter().any(|path| Path::new(path).exists());
    if !has_node {
        eprintln!("skipped: there is no node in /usr/local/bin, /usr/bin or /bin");
    }
    has_node
}

fn start(file: &str, text: &str) -> Devbox {
    let tool = fixture::tool();
    start_with(&tool.url(), file, text)
}

fn start_with(tool: &str, file: &str, text: &str) -> Devbox {
    let config = fixture::config(tool)
        .replace("kind = \"python\"", "kind = \"node\"")
        .replace("entry = \"agent.py\"", &format!("entry = \"{file}\""));
    let archive = Archive::new().file(file, text).tar_gz();
    fixture::with_archive(Setup::new(&config), archive).start()
}

#[test]
fn a_node_handler_streams_and_its_calls_are_its_runs() {
    if !has_node() {
        return;
    }
    let tool = fixture::tool();
    let devbox = start_with(&tool.url(), "agent.mjs", AGENT);
    let stream = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"hi"}"#).send();
    let deltas = stream.body.matches("\"content\"").count();
    assert_eq!((stream.status, deltas), (200, 2), "{stream:?}");
    assert_eq!(devbox.invoke("hi").json()["response"], "one two");
    let failed = devbox.invoke("fail");
    assert_eq!(
        (failed.status, failed.json()["error"].clone()),
        (500, json!("TypeError: as asked"))
    );
    // Two runs at once, so that the gate must be told whose each call is.
    let waiting = Curl::post(devbox.api("/invoke/stream"), r#"{"message":"wait"}"#)
        .header("X-Run-ID: run-w")
        .command()
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut waiting = waiting.unwrap();
    wait::until("the other run goes on", || {
        let open = Curl::get(devbox.api("/runs/run-w/stream"))
            .flag("--max-time")
            .flag("1")
            .send();
        open.body.contains("one ").then_some(())
    });
    let called = devbox.invoke("tool");
    assert_eq!(called.json()["response"], "200 200", "{called:?}");
    let seen = tool.wait_for(2);
    assert_eq!(
        seen[0].values("authorization"),
        [format!("Bearer {}", fixture::KEY)]
    );
    let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED");
    wait::until("the handler has learnt it", || {
        (devbox.invoke("ended").json()["response"] == "wait").then_some(())
    });
    waiting.wait().unwrap();
}

/// What a handler gives for each order, and "wait" for one that comes to no end.
const ODD: &str = r#"
const deep = (levels) => levels ? { a: [deep(levels - 1)] } : {};
const loop = {};
loop.loop = loop;
const results = {
  deep: deep(300), big: { x: 1n }, loop, half: { x: "a\ud800b" }, "half text": "a\udfffb", nan: { x: NaN }, nothing: { toJSON() {} },
};
export async function* handler({ message }, { tools }) {
  if (message === "spin") {
    await fetch(tools.shop + "/items/1");
    for (;;);
  }
  yield "one ";
  if (message === "wait") await new Promise(() => {});
  return results[message];
}
"#;

#[test]
fn nothing_that_a_handler_returns_ends_the_runs_beside_it() {
    if !has_node() {
        return;
    }
    let devbox = start("agent.mjs", ODD);
    let mut waiting = Curl::post(devbox.api("/invoke"), r#"{"message":"wait"}"#)
        .header("X-Run-ID: run-w")
        .command();
    let mut waiting = waiting.stdout(std::process::Stdio::null()).spawn().unwrap();
    for (message, why) in [
        ("deep", "recursion"),
        ("big", "BigInt"),
        ("loop", "circular"),
    ] {
        let failed = devbox.invoke(message);
        let told = failed.json()["error"].to_string();
        assert!(failed.status == 500 && told.contains(why), "{failed:?}");
    }
    let text = |message| devbox.invoke(message).json()["response"].clone();
    assert_eq!(devbox.invoke("half").json()["x"], "a\u{fffd}b");
    assert_eq!(text("half text"), "a\u{fffd}b");
    assert_eq!(devbox.invoke("nan").json()["x"], json!(null));
    assert_eq!(devbox.invoke("nothing").status, 200);
    let ended = Curl::get(devbox.api("/runs/run-w")).flag("-XDELETE").send();
    assert_eq!(
        ended.json()["code"],
        "CANCELLED",
        "it had gone on: {ended:?}"
    );
    waiting.wait().unwrap();
}

#[test]
fn a_worker_that_is_stuck_in_a_cancelled_call_is_started_anew() {
    if !has_node() {
        return;
    }
    let tool = fixture::tool();
    let devbox = start_with(&tool.url(), "agent.mjs", ODD);
    let mut spinning = Curl::post(devbox.api("/invoke"), r#"{"message":"spin"}"#)
        .header("X-Run-ID: run-s")
        .command();
    let mut spinning = spinning
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(tool.wait_for(1).len(), 1);
    let ended = Curl::get(devbox.api("/runs/run-s")).flag("-XDELETE").send();
    assert_eq!(ended.json()["code"], "CANCELLED");
    spinning.wait().unwrap();
    // Whoever comes meanwhile waits for the stuck one, and is told of its end.
    wait::until("another worker answers", || {
        (devbox.invoke("half").status == 200).then_some(())
    });
}

#[test]
fn a_module_is_found_by_its_handler_or_its_default() {
    if !has_node() {
        return;
    }
    for (file, text) in [
        (
            "agent.mjs",
            "export default (request) => 'hello ' + request.message",
        ),
        (
            "agent.cjs",
            "exports.handler = async (request) => ({ output: 'hello ' + request.message })",
        ),
        (
            "agent.js",
            "module.exports = (request) => ['hello ' + request.message].join()",
        ),
    ] {
        let devbox = start(file, text);
        assert_eq!(
            devbox.invoke("you").json()["response"],
            "hello you",
            "{file}"
        );
    }
}

#[test]
fn a_module_that_cannot_be_loaded_says_why() {
    if !has_node() {
        return;
    }
    let tool = fixture::tool();
    for (text, why) in [
        ("import 'no-such-package'", "no-such-package"),
        (
            "export const x = 1",
            "exports none of handler, default, main",
        ),
    ] {
        let config = fixture::config(&tool.url())
            .replace("kind = \"python\"", "kind = \"node\"")
            .replace("entry = \"agent.py\"", "entry = \"agent.mjs\"");
        let archive = Archive::new().file("agent.mjs", text).tar_gz();
        let ended = fixture::with_archive(Setup::new(&config), archive)
            .try_start()
            .unwrap_err();
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
}
