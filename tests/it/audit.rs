//! One line for each call, chained, written before the answer is through.

use nix::sys::signal::{Signal, kill};
use postern_testkit::{Setup, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fixture::{self, call_tool, order};

#[test]
fn each_call_has_its_line_when_its_answer_is_there() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let mut before = devbox.audit().len();
    for (method, path, decision) in [
        ("GET", "/items/1", "allowed"),
        ("DELETE", "/items/1", "refused"),
        ("GET", "/other", "refused"),
    ] {
        let _ = call_tool(&devbox, method, path);
        let lines = devbox.audit();
        assert!(lines.len() > before, "{method} {path} left no line");
        let line = lines.last().unwrap();
        let text = line.to_string();
        assert!(
            text.contains(method) && text.contains(decision),
            "{method} {path}: {text}"
        );
        assert!(
            text.contains("\"hands\"") && text.contains("shop"),
            "{text}"
        );
        assert!(!text.contains(fixture::KEY), "{text}");
        before = lines.len();
    }
    let stranger =
        json!({"do": "fetch", "url": "http://nobody.example/secret?q=1", "proxied": true});
    order(&devbox, &stranger);
    assert!(
        devbox
            .audit()
            .last()
            .unwrap()
            .to_string()
            .contains("nobody.example")
    );
}

#[test]
fn the_chain_holds_across_a_restart() {
    let tool = fixture::tool();
    let mut devbox = fixture::setup(&tool).start();
    let mut before = String::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for _ in 0..5 {
            assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
        }
        kill(devbox.gate_pid(), signal).unwrap();
        if signal == Signal::SIGKILL {
            // The next gate writes on in the same chain.
            wait::until("the next gate writes", || {
                let lines = devbox.audit();
                let starts = lines.iter().filter(|line| line["kind"] == "started");
                (starts.count() == 3).then_some(())
            });
            devbox.signal(Signal::SIGTERM);
        }
        let ended = devbox.ended();
        ended.assert_nothing_left();
        let text = std::fs::read_to_string(ended.folder.path().join("state/gate/audit.jsonl"));
        let text = text.unwrap();
        assert!(text.starts_with(&before), "lines are only ever added");
        verify(&text);
        before = text;
        devbox = fixture::files(Setup::again(ended)).start();
    }
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
    assert!(devbox.audit().len() > before.lines().count());
}

fn verify(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= 5);
    let mut last = None;
    for (position, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(before) = &last {
            assert_eq!(&value["before"], before, "line {position}: {line}");
        }
        last = Some(json!(hex::encode(Sha256::digest(line.as_bytes()))));
    }
}
