"""Probes, paths, and bodies that are refused."""

import uuid

from answers import holds, same
from fakes import text
from rows import row


@row("C1", "GET / and /healthz: the five keys, and no more")
def alive(target):
    for path in ("/healthz", "/"):
        wanted = {"status": "ok", "agent": "desk", "model": "fast", "tools": 2, "user_code": False}
        target.get(path).is_(200, wanted)


@row("C2", "GET /readyz: 200 with the gateway up, 503 with it down")
def ready(target):
    target.get("/readyz").has(200, status="ready", llm_gateway="reachable")
    without = target.without_its_gateway()
    try:
        answer = without.wait("a 503", lambda: (a := without.get("/readyz")).status == 503 and a)
        answer.has(503, status="not ready")
        holds(answer.json["llm_gateway"] != "reachable", "a gateway that is down is called reachable")
    finally:
        without.stop()


@row("C3", "GET /nope and GET /invoke: 404 and these words")
def nowhere(target):
    for path in ("/nope", "/invoke"):
        target.get(path).is_(404, {"error": "not found"})


@row("C4", "a body that is no JSON: 400 and these words")
def no_json(target):
    for path in ("/invoke", "/invoke/stream"):
        target.post(path, "{x").has(400, error="invalid JSON body")


@row("C5", "no message, no body, an empty message: 400 and these words")
def no_message(target):
    for body in ("{}", "", '{"message": ""}', '{"message": null}'):
        for path in ("/invoke", "/invoke/stream"):
            target.post(path, body).has(400, error="message is required")


@row("C6", "an answer has the contract's keys; X-Request-Id comes back")
def answer(target):
    target.fakes.model.says(text("Good day."))
    body = target.invoke("hi", {"X-Request-Id": "rid-1"}).has(
        200, response="Good day.", request_id="rid-1", model="fast", tool_calls_made=[], usage=target.fakes.model.USAGE
    ).json
    holds(isinstance(body["duration_ms"], int), f"duration_ms is {body['duration_ms']}")


@row("C7", "without the header the request has a UUID")
def request_id(target):
    name = target.invoke().is_(200).json["request_id"]
    same(str(uuid.UUID(name)), name, "request_id")


@row("C8", "history: role user where there is none, empty content dropped")
def history(target):
    before = [{"content": "one"}, {"role": "assistant", "content": ""}, {"role": "assistant", "content": "two"}]
    target.invoke("three", history=before).is_(200)
    asked = target.fakes.model.asked[0]["messages"]
    same(
        [(message["role"], message["content"]) for message in asked],
        [("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", "three")],
        "messages",
    )
