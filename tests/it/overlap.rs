//! Two runs at once in one sandbox, each calling through one of Python's usual clients: the gate must be told whose call is
//! whose. Never names a run itself; that is the worker's to do.

use std::{collections::BTreeSet, thread};

use postern_testkit::{Archive, Setup};

use crate::fixture;

/// Calls the tool once both runs are here, and returns when both have called.
const AGENT: &str = r#"
import asyncio, importlib, os, threading, urllib.request

# Here, and not by two threads at once: what httpx loads late is not made for that.
for name in ("anyio._backends._asyncio", "httpx", "requests", "aiohttp"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass

both = threading.Barrier(2)
URL = os.environ["TOOL_URL_SHOP"] + "/items/1"

def by_urllib():
    return urllib.request.urlopen(URL).status

def by_requests():
    import requests
    return requests.get(URL).status_code

def by_httpx():
    import httpx
    return httpx.get(URL).status_code

def by_async_httpx():
    import httpx
    async def call():
        async with httpx.AsyncClient() as client:
            return (await client.get(URL)).status_code
    return asyncio.run(call())

def by_aiohttp():
    import aiohttp
    async def call():
        async with aiohttp.ClientSession() as session:
            async with session.get(URL) as answer:
                return answer.status
    return asyncio.run(call())

def handler(message):
    both.wait(20)
    try:
        return str(globals()["by_" + message]())
    except ModuleNotFoundError as error:
        return str(error)
    except Exception as error:
        return repr(error)
    finally:
        both.wait(20)
"#;

#[test]
fn two_runs_at_once_are_told_apart_whichever_client_calls() {
    let tool = fixture::tool();
    let setup = Setup::new(&fixture::config(&tool.url()));
    let archive = Archive::new().file("agent.py", AGENT).tar_gz();
    let devbox = fixture::with_archive(setup, archive).start();
    let mut called = 0;
    for client in ["urllib", "requests", "httpx", "async_httpx", "aiohttp"] {
        let said = thread::scope(|scope| {
            let calls = [(); 2].map(|()| scope.spawn(|| devbox.invoke(client)));
            calls.map(|call| call.join().unwrap().json()["response"].to_string())
        });
        if said.iter().all(|said| said.contains("No module named")) {
            assert_ne!(client, "urllib");
            eprintln!("skipped: {client}: {}", said[0]);
            continue;
        }
        assert_eq!(said, ["\"200\"", "\"200\""], "{client}");
        called += 2;
    }
    let lines = devbox.audit();
    let calls = lines.iter().filter(|line| line["tool"] == "shop");
    let runs: BTreeSet<_> = calls.map(|line| line["run"].to_string()).collect();
    assert_eq!(runs.len(), called, "each run has its own call: {lines:#?}");
}
