//! What comes later or in pieces: the event loop that the coroutines of all calls share, and what happens to one that is held up.

use super::*;

/// Both answers to "1" and "2", asked at the same time.
async fn both(module: &str) -> (Result<Value, String>, Result<Value, String>) {
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    let (sender, mut calls) = mpsc::channel(2);
    let ((one, first), (two, second)) = (call(&json!("1")), call(&json!("2")));
    sender.send(one).await.unwrap();
    sender.send(two).await.unwrap();
    tokio::select! {
        (first, second) = async { tokio::join!(first.replied, second.replied) } => (first.unwrap(), second.unwrap()),
        ended = bench.worker.serve(&mut calls, std::future::pending()) => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn what_comes_later_or_in_pieces_is_gathered() {
    let waits = "async def handler(message): return {'output': message}";
    let pieces = "def handler(message):\n  yield 'a'\n  yield 'b'";
    let late_pieces = "async def handler(message):\n  yield 'a'\n  yield message";
    let object = "class A:\n  async def __call__(self, message): return message\nhandler = A()";
    answers(&[
        (waits, "handler", json!({ "output": "hi" })),
        (pieces, "handler", json!("ab")),
        (late_pieces, "handler", json!("ahi")),
        (object, "handler", json!("hi")),
    ])
    .await;
}

#[tokio::test]
async fn a_client_that_an_agent_keeps_stays_in_its_loop() {
    let module = "import asyncio\nloops = set()\nasync def handler():\n  loops.add(asyncio.get_running_loop())\n  \
                  return len(loops)";
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    for _ in 0..2 {
        assert_eq!(answer(&mut bench, json!("x")).await, Ok(json!("1")));
    }
}

#[tokio::test]
async fn coroutines_overlap_and_one_without_await_holds_no_other_up() {
    let awaits = "class Turn:\n  def __await__(self): yield\nseen = []\nasync def handler(message):\n  \
                  seen.append(message)\n  while len(seen) < 2: await Turn()\n  return message";
    let holds_up = "import threading\nb = threading.Barrier(2)\nasync def handler(message):\n  b.wait()\n  return message";
    for module in [awaits, holds_up] {
        assert_eq!(
            both(module).await,
            (Ok(json!("1")), Ok(json!("2"))),
            "{module}"
        );
    }
}

#[tokio::test]
async fn a_coroutine_that_wants_the_process_to_end_ends_its_call_alone() {
    let module = "import asyncio, sys\nclass Turn:\n  def __await__(self): yield\nasync def leaves(): sys.exit(3)\n\
                  async def handler(message):\n  \
                  if message == 'task': asyncio.ensure_future(leaves()); await Turn()\n  \
                  if message == 'exit': sys.exit(4)\n  return message";
    let mut bench = bench(module);
    bench.worker.ready().await.unwrap();
    let left = answer(&mut bench, json!("exit")).await;
    assert_eq!(left, Err("SystemExit: 4".to_owned()));
    for goes_on in ["task", "x"] {
        assert_eq!(answer(&mut bench, json!(goes_on)).await, Ok(json!(goes_on)));
    }
}
