//! The real worker under the machine's python3, over a socket pair and without a sandbox: discovery, signatures, results,
//! attribution and what a hostile worker gets.

use std::{
    fs,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use super::*;
use serde_json::json;

mod coroutines;
mod wire;

/// A worker for a module's text.
struct Bench {
    directory: tempfile::TempDir,
    child: Child,
    worker: Worker,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn bench(module: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("agent.py"), module).unwrap();
    let code = directory.path().join("worker.py");
    fs::write(&code, super::super::PYTHON.worker).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    let child = Command::new("/bin/sh")
        .args(["-c", "exec python3 -B \"$0\" 3<&0 0</dev/null"])
        .arg(&code)
        .env("USER_ENTRY_POINT", "agent.py")
        .env("RUNAGENTS_USER_CODE_DIR", directory.path())
        .env("LLM_MODEL", "fast")
        .env("TOOL_NAMES", "my-tool")
        .env("TOOL_URL_MY_TOOL", "http://127.127.0.1:4180/tools/my-tool")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Bench {
        directory,
        child,
        worker: Worker::over(ours, wire::WALL_TIME, printing()),
    }
}

/// Of an agent whose prints nobody looks at.
fn printing() -> (AgentName, Printed) {
    let printed = Printed::new(postern_daemon::Clock::system());
    ("desk".parse().unwrap(), printed)
}

/// What a caller holds: pieces, and the answer.
struct Asked {
    said: mpsc::Receiver<Input>,
    replied: oneshot::Receiver<Result<Value, String>>,
}

fn call(message: &Value) -> (WorkerCall, Asked) {
    let (reply, replied) = oneshot::channel();
    let (saying, said) = mpsc::channel(64);
    let run: RunId = "run-1".parse().unwrap();
    let request = WorkerRequest {
        message: message.clone(),
        history: Vec::new(),
        request_id: "rid-1".parse().unwrap(),
        run_id: run.clone(),
        user_id: None,
        conversation_id: None,
        resume: None,
    };
    (
        WorkerCall {
            run,
            request,
            said: saying,
            reply,
        },
        Asked { said, replied },
    )
}

/// Calls once and gives what came back.
async fn answer(bench: &mut Bench, message: Value) -> Result<Value, String> {
    let (sender, mut calls) = mpsc::channel(1);
    let (call, asked) = call(&message);
    sender.send(call).await.unwrap();
    tokio::select! {
        answer = asked.replied => answer.unwrap(),
        ended = bench.worker.serve(&mut calls, std::future::pending()) => panic!("{ended:?}"),
    }
}

/// Each module answers "hi" by the name that is found in it.
async fn answers(cases: &[(&str, &str, Value)]) {
    for (module, name, expected) in cases {
        let mut bench = bench(module);
        assert_eq!(bench.worker.ready().await.as_deref(), Ok(*name), "{module}");
        assert_eq!(
            answer(&mut bench, json!("hi")).await.as_ref(),
            Ok(expected),
            "{module}"
        );
    }
}

#[tokio::test]
async fn functions_are_called_by_their_signature() {
    let two = "def handler(request, ctx): return ctx.model + ctx.tools['my-tool'][-7:]";
    let one = "def handler(request): return request['message'] + request['run_id']";
    let named = "def handler(message): return message";
    let typed = "from __future__ import annotations\ndef handler(x: str): return x";
    let none = "def handler(): return 42";
    let main = "def main(message): return None";
    answers(&[
        (two, "handler", json!("fastmy-tool")),
        (one, "handler", json!("hirun-1")),
        (named, "handler", json!("hi")),
        (typed, "handler", json!("hi")),
        (none, "handler", json!("42")),
        (main, "main", json!("None")),
    ])
    .await;
}

#[tokio::test]
async fn objects_of_frameworks_are_told_by_their_shape() {
    let executor = "class AgentExecutor:\n  def invoke(self, x): return {'output': x['input']}\n\
                    executor = AgentExecutor()";
    let crew = "class C:\n  def kickoff(self, m): return {'result': m}\ncrew = C()";
    answers(&[
        (executor, "executor", json!("hi")),
        (crew, "crew", json!("hi")),
    ])
    .await;
}

#[tokio::test]
async fn a_module_that_cannot_be_loaded_is_told_by_its_last_line() {
    let cases = [
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def handler(:", "SyntaxError: invalid syntax"),
        ("x = 1", "ImportError: agent.py defines none of handler"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ];
    for (module, told) in cases {
        let mut bench = bench(module);
        let Err(Ended::NotLoaded(why)) = bench.worker.ready().await else {
            panic!("{module}")
        };
        assert!(why.starts_with(told), "{module}: {why}");
    }
}

#[tokio::test]
async fn an_agent_may_import_what_it_knows_of_runagents() {
    let module = "from runagents import Agent, RunContext, ToolNotConfigured, tool\n\
                  import runagents.agent\n\
                  @tool(name='adder')\n\
                  def add(a):\n  'Adds.\\n\\nAnd so on.'\n  return a + 1\n\
                  def handler(request, context):\n\
                  \x20 agent = Agent()\n\
                  \x20 try: agent.call_tool('other')\n\
                  \x20 except ToolNotConfigured as error: missing = error.args[0]\n\
                  \x20 same = runagents.agent.Agent is Agent and isinstance(context, RunContext)\n\
                  \x20 return {'output': [agent.model, agent.available_tools(), agent.has_tool('my_tool'), same,\n\
                  \x20                    add(1), add.tool_name, add.tool_description, missing]}";
    let told = "this agent has no tool 'other'; it has: my-tool";
    let output = json!(["fast", ["my-tool"], true, true, 2, "adder", "Adds.", told]);
    answers(&[(module, "handler", json!({ "output": output }))]).await;
}

#[tokio::test]
async fn the_real_package_is_used_where_it_is_there_with_a_chat_that_works() {
    let module = "import importlib, pathlib\n\
                  package = pathlib.Path(__file__).parent / 'runagents'\n\
                  package.mkdir()\n\
                  (package / '__init__.py').write_text('from runagents.agent import Agent, NEW')\n\
                  (package / 'agent.py').write_text('NEW = 1\\nclass Agent:\\n  def chat(self): pass')\n\
                  importlib.invalidate_caches()\n\
                  from runagents import Agent, NEW\n\
                  def handler(): return [NEW, Agent.__module__, Agent.chat.__module__]";
    let whose = json!("[1, 'runagents.agent', '__main__']");
    answers(&[(module, "handler", whose)]).await;
}

#[tokio::test]
async fn an_exception_ends_its_call_alone() {
    let mut bench = bench(
        "def handler(message):\n  if message == 'bad': raise ValueError('no')\n  return message",
    );
    bench.worker.ready().await.unwrap();
    assert_eq!(
        answer(&mut bench, json!("bad")).await,
        Err("ValueError: no".to_owned())
    );
    assert_eq!(answer(&mut bench, json!("good")).await, Ok(json!("good")));
}

/// What is said while a call goes on, up to its answer.
async fn pieces(module: &str) -> (Vec<String>, Result<Value, String>) {
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    let (sender, mut calls) = mpsc::channel(1);
    let (call, mut asked) = call(&json!("hi"));
    sender.send(call).await.unwrap();
    let mut said = Vec::new();
    let answer = tokio::select! {
        answer = &mut asked.replied => answer.unwrap(),
        ended = bench.worker.serve(&mut calls, std::future::pending()) => panic!("{ended:?}"),
    };
    while let Ok(Input::WorkerSaid(Event::Content { delta })) = asked.said.try_recv() {
        said.push(delta.unwrap());
    }
    (said, answer)
}

#[tokio::test]
async fn generators_say_their_pieces_as_they_come() {
    let cases = [
        (
            "def handler(message):\n  yield 'a'\n  yield {'type': 'content', 'delta': 'b'}\n  yield ''\n  yield 3",
            &["a", "b", "3"][..],
            json!("ab3"),
        ),
        (
            "async def handler(message):\n  yield 'a'\n  yield {'response': 'whole', 'x': 1}",
            &["a"],
            json!({ "response": "whole", "x": 1 }),
        ),
        (
            "def handler(message):\n  yield 'a'\n  return {'output': 'o'}",
            &["a"],
            json!({ "output": "o" }),
        ),
        (
            "async def handler(message):\n  async def pieces():\n    yield 'a'\n    yield 'b'\n  return pieces()",
            &["a", "b"],
            json!("ab"),
        ),
    ];
    for (module, expected, answer) in cases {
        let (said, whole) = pieces(module).await;
        assert_eq!(
            (said.as_slice(), whole),
            (
                &expected.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()[..],
                Ok(answer)
            ),
            "{module}"
        );
    }
}

#[tokio::test]
async fn a_call_that_nobody_wants_any_more_is_ended_in_the_worker() {
    let begins = "def begins(message):\n  if message == 'x': happened.append(1)";
    let loops = "def handler(message):\n  try:\n    begins(message)\n    while message == 'x': pass\n  finally:\n    if message == 'x': happened.append(2)\n  return len(happened)";
    let pieces = "def handler(message):\n  try:\n    begins(message)\n    while message == 'x': yield 'a'\n  finally:\n    if message == 'x': happened.append(2)\n  return len(happened)";
    let waits = "import asyncio\nasync def handler(message):\n  try:\n    begins(message)\n    if message == 'x': await asyncio.Event().wait()\n  finally:\n    if message == 'x': happened.append(2)\n  return len(happened)";
    for module in [loops, pieces, waits] {
        let mut bench = bench(&format!("happened = []\n{begins}\n{module}"));
        bench.worker.ready().await.unwrap();
        let (sender, mut calls) = mpsc::channel(1);
        let (unwanted, mut asked) = call(&json!("x"));
        sender.send(unwanted).await.unwrap();
        let played = async {
            let heard = async { while asked.said.recv().await.is_some() {} };
            // It has begun, and nobody wants it any more only then.
            tokio::select! {
                () = happens(&sender, "1") => {}
                () = heard => panic!("its pieces have an end"),
            }
            drop(asked);
            happens(&sender, "2").await;
        };
        tokio::select! {
            () = played => {}
            ended = bench.worker.serve(&mut calls, std::future::pending()) => panic!("{ended:?}"),
        }
    }
}

/// Asks until so much has happened.
async fn happens(sender: &mpsc::Sender<WorkerCall>, count: &str) {
    loop {
        let (call, asked) = call(&json!("y"));
        sender.send(call).await.unwrap();
        if asked.replied.await.unwrap().unwrap() == json!(count) {
            return;
        }
    }
}

#[tokio::test]
async fn calls_overlap() {
    // The first call returns only when the second has begun.
    let module = "import threading\nb = threading.Barrier(2)\ndef handler(message):\n  b.wait()\n  return message";
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    let (sender, mut calls) = mpsc::channel(2);
    let ((one, first), (two, second)) = (call(&json!("1")), call(&json!("2")));
    sender.send(one).await.unwrap();
    sender.send(two).await.unwrap();
    tokio::select! {
        (first, second) = async { tokio::join!(first.replied, second.replied) } => {
            assert_eq!((first.unwrap(), second.unwrap()), (Ok(json!("1")), Ok(json!("2"))));
        }
        ended = bench.worker.serve(&mut calls, std::future::pending()) => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_dying_worker_fails_its_calls_with_a_reason() {
    let mut bench = bench("import os\ndef handler(message): os._exit(7)");
    bench.worker.ready().await.unwrap();
    let (sender, mut calls) = mpsc::channel(1);
    let (call, asked) = call(&json!("x"));
    sender.send(call).await.unwrap();
    let exited = async {
        tokio::task::yield_now().await;
        let status = bench.child.wait().unwrap();
        format!("it exited with code {}", status.code().unwrap())
    };
    // Polled second, so that the call goes out before anybody waits for the end.
    let ended = bench.worker.serve(&mut calls, late(exited)).await;
    assert_eq!(ended, Ended::Failed("it exited with code 7".to_owned()));
    let why = asked.replied.await.unwrap().unwrap_err();
    assert!(
        why.contains("the agent's worker ended: it exited with code 7"),
        "{why}"
    );
}

/// The process's end is looked at only after its socket has closed.
async fn late(exited: impl Future<Output = String>) -> String {
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
    exited.await
}

#[tokio::test]
async fn requests_to_the_gate_carry_their_run_and_others_do_not() {
    let module = r#"
import http.client, json
from http.client import HTTPConnection

class Fake:
    def __init__(self): self.sent = b""
    def sendall(self, data): self.sent += data
    def makefile(self, *a, **k): raise OSError("enough")
    def close(self): pass

def sent(host, port, tunnel=None, headers={}):
    connection = HTTPConnection(host, port)
    if tunnel:
        connection.set_tunnel(tunnel, 443)
    connection.sock = Fake()
    connection.request("GET", "/x", headers=headers)
    return connection.sock.sent.decode().lower().count("x-run-id: run-1")

def asked_for_a_tunnel(host):
    connection = HTTPConnection(host, 4180)
    connection.set_tunnel("example.org", 443, headers={"A": "b"})
    return connection._tunnel_headers

def handler(message):
    return {"counts": [
        sent("127.127.0.1", 4180),
        sent("127.127.0.1", 80),
        sent("example.org", 4180),
        sent("127.127.0.1", 4180, headers={"X-Run-ID": "run-1"}),
        sent("127.127.0.1", 4180, tunnel="example.org"),
    ], "tunnels": [asked_for_a_tunnel("127.127.0.1"), asked_for_a_tunnel("example.org")]}
"#;
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    let counts = answer(&mut bench, json!("hi")).await.unwrap();
    let tunnels = json!([{ "A": "b", "X-Run-ID": "run-1" }, { "A": "b" }]);
    assert_eq!(
        counts,
        json!({ "counts": [1, 0, 0, 1, 0], "tunnels": tunnels })
    );
}

/// The shapes that the worker relies on, without what is behind them.
const HTTPCORE: &str = r#"
class Connection:
    def __init__(self, host, port):
        self._origin = type("Origin", (), {"host": host, "port": port})

class HTTP11Connection(Connection):
    def handle_request(self, request):
        return request.headers

class AsyncHTTP11Connection(Connection):
    async def handle_async_request(self, request):
        return request.headers
"#;

#[tokio::test]
async fn a_client_that_comes_with_the_agent_is_marked_when_it_is_imported() {
    let module = format!(
        r#"
import importlib, pathlib
pathlib.Path(__file__).with_name("httpcore2.py").write_text('''{HTTPCORE}''')
pathlib.Path(__file__).with_name("aiohttp.py").write_text("odd = True")
importlib.invalidate_caches()
import aiohttp, httpcore2

class Request:
    def __init__(self, *headers):
        self.headers = list(headers)

def counted(headers):
    return sum((name.lower(), value) == (b"x-run-id", b"run-1") for name, value in headers)

async def handler(message):
    plain, later = httpcore2.HTTP11Connection, httpcore2.AsyncHTTP11Connection
    return {{"counts": [
        counted(plain(b"127.127.0.1", 4180).handle_request(Request())),
        counted(plain(b"127.127.0.1", 4180).handle_request(Request((b"x-Run-id", b"run-1")))),
        counted(plain(b"example.org", 4180).handle_request(Request())),
        counted(await later(b"127.127.0.1", 4180).handle_async_request(Request())),
        counted(await later(b"127.127.0.1", 80).handle_async_request(Request())),
    ], "odd": aiohttp.odd}}
"#
    );
    let mut bench = bench(&module);
    assert_eq!(bench.worker.ready().await.as_deref(), Ok("handler"));
    let counts = answer(&mut bench, json!("hi")).await.unwrap();
    assert_eq!(counts, json!({ "counts": [1, 1, 0, 1, 0], "odd": true }));
}

#[tokio::test]
async fn a_result_that_cannot_be_passed_on_is_an_error_of_its_call_alone() {
    let module = "\
def deep(levels):
  d = {}
  for _ in range(levels): d = {'a': [d]}
  return d
RESULTS = {
  'deep': deep(300), 'nan': {'x': float('nan')}, 'endless': {'x': [float('inf')]}, 'huge': {'x': 10 ** 400},
  'loop': {}, 'keys': {(1, 2): 3}, 'fine': deep(40),
  'half': {'x': 'a\\ud800b'}, 'half text': 'a\\udfffb',
}
RESULTS['loop']['x'] = RESULTS['loop']
def handler(message):
  if message == 'half piece': yield 'a\\udfffb'
  return RESULTS.get(message)
";
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    for (message, why) in [
        ("deep", "recursion"),
        ("nan", "not JSON compliant"),
        ("endless", "not JSON compliant"),
        ("huge", "out of range"),
        ("loop", "Circular"),
        ("keys", "keys must be"),
    ] {
        let told = answer(&mut bench, json!(message)).await.unwrap_err();
        assert!(told.contains(why), "{message}: {told}");
    }
    assert!(answer(&mut bench, json!("fine")).await.is_ok());
    let half = answer(&mut bench, json!("half")).await;
    assert_eq!(half, Ok(json!({ "x": "a?b" })));
    for message in ["half text", "half piece"] {
        assert_eq!(answer(&mut bench, json!(message)).await, Ok(json!("a?b")));
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_is_an_error_of_its_call() {
    let mut bench = bench("def handler(message): return 'x' * (9 << 20)");
    bench.worker.ready().await.unwrap();
    let why = answer(&mut bench, json!("hi")).await.unwrap_err();
    assert!(why.contains("over the limit"), "{why}");
    assert!(bench.directory.path().join("agent.py").exists());
}
