"""The loop of model and tools, of an agent without code."""

import json

from answers import holds, same
from fakes import calls, text
from rows import row

ADDS = calls(("calc__add", '{"a": 1}'))


@row("C9", "a tool call: path, body, seven headers, usage summed, listed")
def call(target):
    fakes = target.fakes
    fakes.model.says(ADDS, text("two"))
    body = target.invoke("add", {"X-Request-Id": "rid-9", "X-Run-ID": "run-2"}, user="u@x").has(200, response="two").json
    same(fakes.tool.paths(), ["POST /add"], "what the tool was asked")
    asked = fakes.tool.asked[0]
    same(asked.json, {"a": 1}, "the tool's body")
    for name, value in {
        "X-Request-Id": "rid-9", "X-Run-ID": "run-2", "X-End-User-Id": "u@x", "X-Tool-Call-Id": "c1",
        "X-Tool-Name": "calc", "X-Tool-Function": "calc__add", "X-Tool-Turn": "0",
    }.items():
        same(asked.headers.get(name), value, name)
    same(body["usage"], {key: 2 * value for key, value in fakes.model.USAGE.items()}, "usage")
    same([sorted(made) for made in body["tool_calls_made"]], [["function", "method", "url"]], "keys of tool_calls_made")
    made = body["tool_calls_made"][0]
    same((made["function"], made["method"]), ("calc__add", "POST"), "tool_calls_made")
    holds(made["url"].endswith("/add"), f"the url is {made['url']}")


@row("C10", "the call is reported: its six fields, and turn 0")
def report(target):
    target.fakes.model.says(ADDS, text("two"))
    target.invoke("add", {"X-Run-ID": "run-10"}).is_(200)
    reported = [{**report, "result": json.loads(report["result"])} for report in target.reports("run-10")]
    wanted = {"tool_call_id": "c1", "function_name": "calc__add", "tool_id": "calc", "arguments": '{"a": 1}', "turn": 0}
    same(reported, [{**wanted, "result": {"ok": True}}], "reports")


@row("C11", "what the model is asked: tools, tool_choice, then the result")
def question(target):
    target.fakes.model.says(ADDS, text("two"))
    target.invoke("add").is_(200)
    first, second = target.fakes.model.asked
    same([tool["function"]["name"] for tool in first["tools"]], ["calc__add", "calc__get"], "tools")
    same(first["tool_choice"], "auto", "tool_choice")
    wish, result = second["messages"][-2:]
    same((wish["role"], wish["tool_calls"][0]["id"]), ("assistant", "c1"), "the message before")
    same((result["role"], result["tool_call_id"], json.loads(result["content"])), ("tool", "c1", {"ok": True}), "the result")


@row("C12", "the same as a stream: its events in order, its headers")
def stream(target):
    target.fakes.model.says(ADDS, text("two"))
    stream = target.stream("add", {"X-Request-Id": "rid-12"}).is_("tool_call", "tool_result", "content", "done")
    same(stream.one("tool_call"), {"type": "tool_call", "tool": "calc__add", "arguments": '{"a": 1}'}, "tool_call")
    same(json.loads(stream.one("tool_result")["result"]), {"ok": True}, "result")
    same(stream.text, "two", "text")
    done = stream.one("done")
    same((done["model"], len(done["tool_calls_made"])), ("fast", 1), "done")
    for name, value in {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Request-Id": "rid-12"}.items():
        same(stream.headers.get(name), value, name)


@row("C13", "a long result: 1000 characters in the event, all for the model")
def long_result(target):
    target.fakes.tool.answers["/add"] = (200, "x" * 5000)
    target.fakes.model.says(ADDS, text("two"))
    stream = target.stream("add")
    same(len(stream.one("tool_result")["result"]), 1000, "length in the event")
    same(len(target.fakes.model.asked[1]["messages"][-1]["content"]), 5000, "length for the model")


@row("C14", "a tool's 500 is told to the model, and the run goes on")
def broken_tool(target):
    target.fakes.tool.answers["/add"] = (500, {"why": "broken"})
    target.fakes.model.says(ADDS, text("never mind"))
    target.invoke("add").has(200, response="never mind")
    told = json.loads(target.fakes.model.asked[1]["messages"][-1]["content"])
    same(told["error"], "HTTP 500", "what the model is told")
    holds("detail" in told, "there is no detail")


@row("C15", "the gateway's 500: 502 with these words; as a stream error, [DONE]")
def broken_model(target):
    target.fakes.model.says(500)
    target.invoke("hi", {"X-Request-Id": "rid-15"}).has(502, error="LLM Gateway returned 500", request_id="rid-15")
    stream = target.stream("hi").is_("error")
    holds(stream.one("error")["message"], "the error has no message")


@row("C16", "tool_cache: the call is not made again, and listed")
def cache(target):
    target.fakes.model.says(ADDS, text("two"))
    cached = [{"function_name": "calc__add", "arguments": '{"a": 1}', "result": "cached!"}]
    body = target.invoke("add", tool_cache=cached).has(200, response="two").json
    same(target.fakes.tool.paths(), [], "what the tool was asked")
    same(target.fakes.model.asked[1]["messages"][-1]["content"], "cached!", "what the model is told")
    same([made["function"] for made in body["tool_calls_made"]], ["calc__add"], "tool_calls_made")


@row("C17", "a model that calls for ever is asked ten times")
def cap(target):
    target.fakes.model.says(ADDS)
    body = target.invoke("add").is_(200).json
    same((len(target.fakes.model.asked), len(body["tool_calls_made"])), (10, 10), "questions and calls")
    holds(body["response"], "there is no response")
