//! `/invoke/stream` through the whole devbox, with clients that people use: curl and Python. Live, broken and picked up
//! again, cancelled, and left alone.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::sys::signal::Signal;
use postern_testkit::{Answer, Archive, Curl, Devbox, Latch, Setup, Upstream, model, wait};
use serde_json::{Value, json};

use crate::fixture;

/// Says what it is told to say, then waits until a file of its own says that it may go on, and says the rest.
const AGENT: &str = r#"
import asyncio, os, threading, urllib.request
gates = {}
ended = []

def gate(name):
    return gates.setdefault(name, threading.Event())

def handler(request):
    order = request["message"]
    if order.startswith("open "):
        gate(order[5:]).set()
        return "opened"
    if order == "asks":
        return asks(os.environ["TOOL_URL_SHOP"] + "/items/1")
    if order == "ended":
        return {"response": ",".join(ended)}
    if order.startswith("many "):
        return many(int(order[5:]))
    return pieces(order)

def pieces(name):
    try:
        yield "one "
        yield "two "
        while not gate(name).wait(0.01):
            pass
        yield "three"
    finally:
        ended.append(name)

def asks(url):
    yield "one "
    yield "%d" % urllib.request.urlopen(url).status

async def many(count):
    for number in range(count):
        yield "%d %s\n" % (number, "x" * 1000)
"#;

fn setup(tool: &Upstream, runs: &str) -> Setup {
    let config = fixture::config(&tool.url())
        + &format!(
            "{runs}\n[agents.plain]\nkind = \"builtin\"\nmodels = [\"fast\"]\npolicies = [\"hands\"]\n"
        );
    let config = format!("default_agent = \"hands\"\n{config}");
    let archive = Archive::new().file("agent.py", AGENT).tar_gz();
    fixture::with_archive(Setup::new(&config), archive)
}

/// curl on a stream, line by line.
struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Stream {
    fn open(url: String, message: &str, headers: &[&str]) -> Self {
        let body = json!({ "message": message }).to_string();
        let mut command = Command::new("curl");
        command
            .args(["--disable", "-sN", "--noproxy", "*", "--max-time", "60"])
            .args(["--data-binary", &body])
            .stdout(Stdio::piped());
        for header in headers {
            command.args(["--header", header]);
        }
        let mut child = command.arg(url).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next event: its id, and its data.
    fn next(&mut self) -> (String, String) {
        let (mut id, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return (id, data);
            }
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => value.clone_into(&mut id),
                Some(("data", value)) => value.clone_into(&mut data),
                _ if data.is_empty() => {}
                _ => return (id, data),
            }
        }
    }

    fn delta(&mut self) -> String {
        let (_, data) = self.next();
        let event: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(event["type"], "content", "{event}");
        event["delta"].as_str().unwrap().to_owned()
    }

    fn rest(mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.next().1 {
                end if end.is_empty() => return all,
                data => all.push(data),
            }
        }
    }
}

fn kinds(events: &[String]) -> Vec<String> {
    let kind = |data: &String| match serde_json::from_str::<Value>(data) {
        Ok(event) => event["type"].as_str().unwrap().to_owned(),
        Err(_) => data.clone(),
    };
    events.iter().map(kind).collect()
}

fn opens(devbox: &Devbox, name: &str) {
    assert_eq!(devbox.invoke(&format!("open {name}")).status, 200);
}

#[test]
fn a_handlers_pieces_arrive_before_it_is_done_and_a_broken_stream_is_picked_up() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "").start();
    let url = devbox.api("/invoke/stream");
    let mut stream = Stream::open(url.clone(), "a", &["X-Run-ID: run-a"]);
    assert_eq!(stream.delta(), "one ");
    let (id, _) = stream.next();
    assert_eq!(id, "run-a:2");
    drop(stream);
    let mut again = Stream::open(url.clone(), "a", &[&format!("Last-Event-ID: {id}")]);
    opens(&devbox, "a");
    assert_eq!(again.delta(), "three");
    assert_eq!(kinds(&again.rest()), ["done", "[DONE]"]);
    let whole = Curl::get(devbox.api("/runs/run-a/stream")).send();
    assert_eq!(
        (whole.status, whole.body.matches("\"content\"").count()),
        (200, 3)
    );
    let plain = Curl::post(devbox.api("/invoke"), r#"{"message":"a"}"#).send();
    assert_eq!(plain.json()["response"], "one two three");
}

#[test]
fn a_stream_is_cancelled_in_the_middle_and_so_is_its_handler() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "").start();
    let mut stream = Stream::open(devbox.api("/invoke/stream"), "b", &["X-Run-ID: run-b"]);
    assert_eq!(stream.delta(), "one ");
    let cancelled = Curl::get(devbox.api("/runs/run-b")).flag("-XDELETE").send();
    assert_eq!(
        (cancelled.status, cancelled.json()["code"].clone()),
        (200, json!("CANCELLED"))
    );
    let rest = stream.rest();
    assert_eq!(kinds(&rest[rest.len() - 2..]), ["error", "[DONE]"]);
    wait::until("the handler has ended", || {
        (devbox.invoke("ended").json()["response"] == "b").then_some(())
    });
}

#[test]
fn a_caller_who_leaves_ends_the_run_where_the_config_says_so() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "[agents.hands.runs]\nwhen_left = \"cancel\"\n").start();
    let mut stream = Stream::open(devbox.api("/invoke/stream"), "c", &["X-Run-ID: run-c"]);
    assert_eq!(stream.delta(), "one ");
    drop(stream);
    wait::until("the handler has ended", || {
        (devbox.invoke("ended").json()["response"] == "c").then_some(())
    });
}

#[test]
fn an_agent_without_code_streams_the_models_words() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "").start();
    let url = devbox.api("/agents/plain/invoke/stream");
    let events = Stream::open(url, "What is a postern?", &[]).rest();
    let contents = kinds(&events)
        .iter()
        .filter(|kind| *kind == "content")
        .count();
    assert!(contents > 4, "{events:?}");
    assert_eq!(kinds(&events[contents..]), ["done", "[DONE]"]);
    let said: String = events[..contents]
        .iter()
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["delta"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let plain = Curl::post(
        devbox.api("/agents/plain/invoke"),
        r#"{"message":"What is a postern?"}"#,
    )
    .send();
    assert_eq!(plain.json()["response"], said);
    let done: Value = serde_json::from_str(&events[contents]).unwrap();
    assert_eq!(done["usage"], plain.json()["usage"]);
}

#[test]
fn a_providers_stream_comes_through_as_it_comes() {
    let (tool, model) = (fixture::tool(), model::start());
    let config = fixture::config(&tool.url())
        .replace("provider = \"playground\"", "provider = \"real\"")
        + &format!(
            "\n[providers.real]\nformat = \"openai\"\nurl = \"{}/v1\"\nprivate = true\n\
             [agents.plain]\nkind = \"builtin\"\nmodels = [\"fast\"]\npolicies = [\"hands\"]\n",
            model.url()
        );
    let config = format!("default_agent = \"plain\"\n{config}");
    let devbox = fixture::files(Setup::new(&config)).start();
    let events = Stream::open(devbox.api("/invoke/stream"), "one two", &[]).rest();
    assert_eq!(
        kinds(&events),
        ["content", "content", "content", "content", "done", "[DONE]"],
        "{events:?}"
    );
    let sent: Value = serde_json::from_slice(&model.wait_for(1)[0].body).unwrap();
    assert_eq!(
        (&sent["stream"], &sent["stream_options"]["include_usage"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn a_stream_that_runs_when_the_daemon_stops_comes_to_its_end() {
    let latch = Latch::default();
    let held = latch.clone();
    let tool = Upstream::start(move |_| Answer::json(&json!({})).held_by(&held));
    let devbox = setup(&tool, "").start();
    let mut stream = Stream::open(devbox.api("/invoke/stream"), "asks", &[]);
    assert_eq!(stream.delta(), "one ");
    assert_eq!(tool.wait_for(1).len(), 1);
    devbox.signal(Signal::SIGTERM);
    wait::until("nothing new is begun", || {
        (devbox.invoke("ended").status == 503).then_some(())
    });
    latch.open();
    assert_eq!(stream.delta(), "200");
    assert_eq!(kinds(&stream.rest()), ["done", "[DONE]"]);
    devbox.ended().assert_nothing_left();
}

/// A client as people write it, over `requests` where it is installed, else over what Python brings.
const CLIENT: &str = r#"
import json, sys, urllib.request
url, body = sys.argv[1], json.dumps({"message": "many 50"}).encode()

def lines():
    try:
        import requests
    except ImportError:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        for line in urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
            yield line.decode().rstrip("\n")
        return
    session = requests.Session()
    session.trust_env = False
    with session.post(url, data=body, stream=True) as answer:
        for line in answer.iter_lines(decode_unicode=True):
            yield line

events = [line[6:] for line in lines() if line.startswith("data: ")]
assert events[-1] == "[DONE]", events[-1]
events = [json.loads(event) for event in events[:-1]]
assert [event["type"] for event in events] == ["content"] * 50 + ["done"]
print(events[-1]["run_id"])
"#;

#[test]
fn a_client_in_python_reads_the_stream() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "").start();
    let output = Command::new("python3")
        .args(["-c", CLIENT, &devbox.api("/invoke/stream")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"run_"), "{output:?}");
}

#[test]
fn bodies_that_stall_are_told_so_however_many_and_others_are_answered_meanwhile() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "[api]\nbody_timeout = \"1s\"\n").start();
    let begin = |_| {
        let mut stalled = TcpStream::connect(devbox.api_address()).unwrap();
        stalled.set_read_timeout(Some(wait::DEADLINE)).unwrap();
        let head = "POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
        stalled.write_all(head.as_bytes()).unwrap();
        stalled
    };
    let stalled: Vec<_> = (0..150).map(begin).collect();
    opens(&devbox, "e");
    for mut connection in stalled {
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("BODY_TIMEOUT"), "{answer}");
    }
}

#[test]
fn while_a_run_ends_with_the_daemon_new_ones_are_503() {
    let tool = fixture::tool();
    let devbox = setup(&tool, "[api]\ndrain_timeout = \"5s\"\n").start();
    let mut stream = Stream::open(devbox.api("/invoke/stream"), "f", &[]);
    assert_eq!(stream.delta(), "one ");
    devbox.signal(Signal::SIGTERM);
    wait::until("posternd drains", || {
        let probe = Curl::get(devbox.api("/readyz")).send();
        (probe.body.contains("\"stopping\"")).then_some(())
    });
    let refused = devbox.invoke("open f");
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (503, json!("STOPPING"))
    );
    assert_eq!(Curl::get(devbox.api("/startupz")).send().status, 200);
    drop(stream);
    let ended = devbox.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_nothing_left();
}
