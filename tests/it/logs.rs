//! What agents print, through the whole devbox: with the run that printed it, for whoever may see that run and nobody else.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use postern_testkit::{Archive, Curl, Devbox, Setup, binaries, wait};
use serde_json::{Value, json};

use crate::fixture;

const PYTHON: &str = r#"
import logging, os, sys, threading, time
logging.basicConfig(level=logging.INFO)
both = threading.Barrier(2)

def handler(request, ctx):
    word = request["message"]
    if word == "flood":
        for number in range(5000):
            print(number, "x" * 200)
        return "done"
    if word == "slowly":
        print("first")
        both.wait(30)
        print("second \x1b[31m")
        return "done"
    if word == "on":
        both.wait(30)
        return "done"
    if word == "nothing":
        os.write(1, b"of no run\n")
        return "done"
    both.wait(30)
    print("one", word)
    logging.info("two %s \x1b[31m", word)
    sys.stdout.write("half")
    both.wait(30)
    print(" a line", word)
    sys.stderr.write("no end")
    if word == "b":
        raise ValueError("as asked")
    return "done"
"#;

const NODE: &str = r#"
export async function handler(request) {
  console.log("one\ntwo");
  process.stderr.write("no end");
  return "done";
}
"#;

fn logs(devbox: &Devbox, run: &str) -> Value {
    let got = Curl::get(devbox.api(&format!("/runs/{run}/logs"))).send();
    assert_eq!(got.status, 200, "{got:?}");
    got.json()
}

/// Stream and text of each line.
fn lines(logs: &Value) -> Vec<(String, String)> {
    let lines = logs["lines"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|line| (word(&line["stream"]), word(&line["text"])))
        .collect()
}

fn ask(devbox: &Devbox, run: &str, message: &str) -> Curl {
    let body = json!({ "message": message, "run_id": run }).to_string();
    Curl::post(devbox.api("/invoke"), body)
}

fn start(agent: &str) -> Devbox {
    let tool = fixture::tool();
    let archive = Archive::new().file("agent.py", agent).tar_gz();
    fixture::with_archive(Setup::new(&fixture::config(&tool.url())), archive).start()
}

#[test]
fn lines_of_runs_that_share_a_worker_are_told_apart() {
    let devbox = start(PYTHON);
    let children = ["a", "b"].map(|word| {
        let mut command = ask(&devbox, &format!("run-{word}"), word).command();
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    for mut child in children {
        child.wait().unwrap();
    }
    for word in ["a", "b"] {
        let told = lines(&logs(&devbox, &format!("run-{word}")));
        let wanted = [
            ("stdout", format!("one {word}")),
            ("stderr", format!("INFO:root:two {word} \\u{{1b}}[31m")),
            ("stdout", format!("half a line {word}")),
        ];
        for (place, (stream, text)) in wanted.into_iter().enumerate() {
            assert_eq!(told[place], (stream.to_owned(), text));
        }
        assert!(told[3].1.starts_with("no end"), "{told:?}");
        let raised = told.iter().any(|(_, text)| text == "ValueError: as asked");
        assert_eq!(raised, word == "b", "{told:?}");
        let other = if word == "a" { " b" } else { " a" };
        assert!(!told.iter().any(|(_, text)| text.ends_with(other)));
    }
    assert_eq!(ask(&devbox, "run-n", "nothing").send().status, 200);
    assert_eq!(logs(&devbox, "run-n")["lines"], json!([]));
}

/// What a program that follows has told so far, and how to wait for its end.
struct Follower {
    child: Child,
    told: mpsc::Receiver<String>,
}

impl Follower {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, told }
    }

    fn next(&self) -> String {
        self.told.recv_timeout(wait::DEADLINE).unwrap()
    }

    /// All that it told after that, once it has ended by itself.
    fn rest(mut self) -> Vec<String> {
        let rest: Vec<_> = self.told.iter().collect();
        assert!(self.child.wait().unwrap().success(), "{rest:?}");
        rest
    }
}

#[test]
fn a_run_is_followed_line_by_line_until_it_ends() {
    let devbox = start(PYTHON);
    let mut asked = ask(&devbox, "run-s", "slowly").command();
    let mut run = asked.stdout(Stdio::null()).spawn().unwrap();
    wait::until("the run is there", || {
        let got = Curl::get(devbox.api("/runs/run-s/logs")).send();
        (got.status == 200).then_some(())
    });
    let url = devbox.api("/runs/run-s/logs?follow=true");
    let stream = Follower::of(Curl::get(url).flag("--no-buffer").command());
    let until = |wanted: &str| {
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line.contains(wanted)) {
            seen.push(stream.next());
        }
        seen
    };
    let first = until("\"text\"");
    assert!(first.contains(&"id: run-s:1".to_owned()), "{first:?}");
    let mut command = Command::new(binaries::postern());
    command
        .args(["logs", "run-s", "--follow", "--operator"])
        .arg(devbox.operator_address().to_string())
        .arg("--key-file")
        .arg(devbox.state().join("runtime/operator.key"));
    let operator = Follower::of(command);
    assert_eq!(operator.next(), "first");
    // Only now it may go on.
    assert_eq!(ask(&devbox, "run-o", "on").send().status, 200);
    let rest = stream.rest().join("\n");
    assert!(
        rest.contains("\"seq\":2") && rest.contains("data: [DONE]"),
        "{rest}"
    );
    assert_eq!(operator.rest(), ["second \\u{1b}[31m"]);
    run.wait().unwrap();
    // After its end there is nothing to wait for.
    let url = devbox.api("/runs/run-s/logs?follow=true");
    let told = Curl::get(url).send();
    assert_eq!(told.status, 200);
    assert!(told.body.ends_with("data: [DONE]\n\n"), "{told:?}");
    let odd = Curl::get(devbox.api("/runs/run-s/logs?follow=perhaps")).send();
    assert_eq!(odd.status, 400, "{odd:?}");
}

#[test]
fn what_a_run_prints_is_bounded_and_says_what_was_dropped() {
    let devbox = start(PYTHON);
    assert_eq!(ask(&devbox, "run-f", "flood").send().status, 200);
    let told = logs(&devbox, "run-f");
    let all = told["lines"].as_array().unwrap();
    let dropped = told["dropped"].as_u64().unwrap();
    assert_eq!(dropped + all.len() as u64, 5000);
    assert!(dropped > 0 && all[0]["seq"] == dropped + 1, "{dropped}");
    let last = all.last().unwrap()["text"].as_str().unwrap();
    assert!(last.starts_with("4999 "), "{last}");
    let absent = Curl::get(devbox.api("/runs/run-x/logs")).send();
    assert_eq!(absent.status, 404);
}

#[test]
fn what_a_run_for_a_user_printed_is_for_that_user_alone_also_after_a_restart() {
    let devbox = start(PYTHON);
    let key = std::fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    let named = |curl: Curl, user: &str| {
        curl.header(&format!("Authorization: Bearer {}", key.trim()))
            .header(&format!("X-End-User-Id: {user}"))
    };
    let asked = named(ask(&devbox, "run-u", "flood"), "ada").send();
    assert_eq!(asked.status, 200);
    let url = "/runs/run-u/logs";
    let seen_by_ada = |devbox: &Devbox| named(Curl::get(devbox.api(url)), "ada").send();
    assert_eq!(Curl::get(devbox.api(url)).send().status, 404);
    assert_eq!(named(Curl::get(devbox.api(url)), "eve").send().status, 404);
    wait::until("its lines are there", || {
        let told = seen_by_ada(&devbox).json();
        (told["dropped"] != json!(0)).then_some(())
    });
    let before = seen_by_ada(&devbox).json();
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(seen_by_ada(&devbox).json(), before);
}

#[test]
fn a_node_handler_and_a_program_print_for_their_runs_too() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url());
    if Path::new("/usr/bin/node").exists() {
        let config = config
            .replace("kind = \"python\"", "kind = \"node\"")
            .replace("entry = \"agent.py\"", "entry = \"agent.mjs\"");
        let archive = Archive::new().file("agent.mjs", NODE).tar_gz();
        let devbox = fixture::with_archive(Setup::new(&config), archive).start();
        assert_eq!(ask(&devbox, "run-1", "x").send().status, 200);
        let told = lines(&logs(&devbox, "run-1"));
        let wanted = [("stdout", "one"), ("stdout", "two"), ("stderr", "no end")];
        assert_eq!(told, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    } else {
        eprintln!("skipped: there is no node in /usr/bin");
    }
    let (rest, _) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "{rest}[agents.hands]\nkind = \"command\"\n[agents.hands.command]\n\
         argv = [\"sh\", \"-c\", \"echo complaint >&2; echo answer\"]\n"
    );
    let archive = Archive::new().file("x", "").tar_gz();
    let devbox = fixture::with_archive(Setup::new(&config), archive).start();
    assert_eq!(ask(&devbox, "run-1", "x").send().status, 200);
    let told = lines(&logs(&devbox, "run-1"));
    assert_eq!(told, [("stderr".to_owned(), "complaint".to_owned())]);
}
