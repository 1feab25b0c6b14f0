"""Calls that wait for a human, and how a run goes on after the answer. With Postern the pause comes from a rule of the gate, ids are
its own, and the answer is given at the operator API; with the peer the tool itself refuses.
"""

from answers import holds, same
from fakes import calls, text
from rows import row
from targets import Setting

ASKING = Setting(adding_asks=True)
UNWATCHED = Setting(adding_asks=True, hooked=False)
CONSENTING = Setting(consents=True, hooked=False)
TWO = calls(("calc__add", '{"a": 1}'), ("calc__get", "{}"))


def paused(target, run):
    """A run that waits for a human, and the id of what is asked."""
    target.block()
    target.fakes.model.says(TWO, text("both"))
    body = target.invoke("add", {"X-Run-ID": run}).is_(200).json
    holds(isinstance(body.get("approval_required"), dict), f"no pause is told: {sorted(body)}")
    return body, body["approval_required"]["action_id"]


@row("C18", "a call that needs a yes: told, kept, the rest not called", UNWATCHED)
def approval(target):
    body, action = paused(target, "run-18")
    same(body["tool_calls_made"], [], "tool_calls_made")
    holds(body["response"] and body["request_id"], "response or request_id is missing")
    holds("GET /get" not in target.fakes.tool.paths(), "the second tool was called")
    kept = target.checkpoint("run-18", action)
    same(kept["action_id"], action, "action_id of the checkpoint")
    if "pending_calls" in kept:
        same([call["function_name"] for call in kept["pending_calls"]], ["calc__add", "calc__get"], "pending_calls")


@row("C19", "the same as a stream: tool_call, approval_required, done", UNWATCHED)
def approval_stream(target):
    target.block()
    target.fakes.model.says(TWO, text("both"))
    stream = target.stream("add", {"X-Run-ID": "run-19"}).is_("tool_call", "approval_required", "done")
    asked = stream.one("approval_required")
    same(asked["tool"], "calc__add", "tool")
    holds(asked["detail"].get("action_id"), "detail has no action_id")


@row("C20", "a call that needs the user's consent: its code and its link", CONSENTING)
def consent(target):
    target.block("CONSENT_REQUIRED", resume_id="res-1", authorization_url="https://login.example/authorize")
    target.fakes.model.says(TWO, text("both"))
    body = target.invoke("add", {"X-Run-ID": "run-20"}, user="u@x").has(200, code="CONSENT_REQUIRED", tool="calc").json
    link, resume = body["authorization_url"], body["resume_id"]
    target.asks_at(link, resume)
    same(body["response"], f"{body['message']} {link}", "response")
    told = body["consent_required"]
    same((told["code"], told["authorization_url"], told["tool"]), ("CONSENT_REQUIRED", link, "calc"), "consent_required")
    same(body["tool_calls_made"], [], "tool_calls_made")
    holds("GET /get" not in target.fakes.tool.paths(), "the second tool was called")
    target.checkpoint("run-20", resume, "PAUSED_CONSENT")
    target.fakes.model.says(TWO, text("both"))
    stream = target.stream("add", {"X-Run-ID": "run-20-stream", **target.naming("u@x")})
    stream.is_("tool_call", "consent_required", "content", "done")
    same(stream.one("consent_required")["tool"], "calc", "tool")


@row("C21", "POST /resume after a yes: pending calls in order, one answer", UNWATCHED)
def resume(target):
    _, action = paused(target, "run-21")
    target.fakes.tool.asked.clear()
    target.approve(action)
    body = target.resume(action, "run-21").has(200, response="both").json
    holds("duration_ms" not in body, "it has duration_ms")
    same(target.fakes.tool.paths(), ["POST /add", "GET /get"], "what the tool was asked")
    holds(all(asked.headers.get("X-Action-ID") == action for asked in target.fakes.tool.asked[:1]), "X-Action-ID is missing")
    same([made["function"] for made in body["tool_calls_made"]], ["calc__add", "calc__get"], "tool_calls_made")


@row("C22", "POST /resume without a run, of an unknown action: these words", ASKING)
def no_resume(target):
    target.post("/resume/x", "{}").is_(400).has(400, error="X-Run-ID header or run_id in body is required")
    target.post("/resume/x", {"run_id": "run-22"}).has(404, error="checkpoint for action x not found")


PAUSING = Setting(adding_asks=True, code='''
def handler(request, ctx):
    resume = request.get("resume")
    if resume:
        return {"response": "went on", "resume_was": resume, "user_was": request.get("user_id")}
    return {"approval_required": {"action_id": "act-9"}, "resume": {"step": 2}}
''')


@row("C24", "a handler that asks for a pause is called again with its state", PAUSING)
def handler_pauses(target):
    body = target.invoke("go", {"X-Run-ID": "run-24"}, user="u@x").is_(200).json
    holds(isinstance(body.get("approval_required"), dict), f"no pause is told: {sorted(body)}")
    action = body["approval_required"]["action_id"]
    kept = target.checkpoint("run-24", action)
    if "resume_mode" in kept:
        same((kept["resume_mode"], kept["resume_state"]), ("user_handler", {"step": 2}), "the checkpoint")
        same(kept["user_request"]["user_id"], "u@x", "user_id of the checkpoint")
    target.approve(action)
    body = target.resume(action, "run-24", user="u@x").has(200, response="went on", user_was="u@x").json
    same(body["resume_was"], {"action_id": action, "state": {"step": 2}, "approved": True}, "resume")


NODE_PAUSING = Setting(adding_asks=True, language="node", entry="agent.mjs", code='''
export function handler(request, context) {
  const { resume } = request;
  if (resume) return { response: "went on", resume_was: resume, user_was: request.user_id };
  return { approval_required: { action_id: "act-9" }, resume: { step: 2 } };
}
''')


@row("N3", "a Node handler that asks for a pause: as C24", NODE_PAUSING, needs="node")
def node_pauses(target):
    handler_pauses(target)


@row("D1", "C18 with the peer started as it comes", ASKING)
def approval_as_it_comes(target):
    approval(target)


@row("D3", "POST /resume twice: the calls are made once", UNWATCHED)
def resume_twice(target):
    _, action = paused(target, "run-d3")
    target.fakes.tool.asked.clear()
    target.approve(action)
    first = target.resume(action, "run-d3").has(200, response="both")
    second = target.resume(action, "run-d3")
    made = target.fakes.tool.paths()
    holds(made.count("POST /add") == 1, f"the tool was asked {made}")
    holds(second.status == 409 or second.json["response"] == first.json["response"], f"the second was answered {second.status}")


@row("D4", "the gateway fails while a run goes on: 502, and it can go on again", UNWATCHED)
def resume_fails(target):
    _, action = paused(target, "run-d4")
    target.fakes.tool.asked.clear()
    target.fakes.model.says(500, 500, text("both"))
    target.approve(action)
    target.went_on(action, "run-d4")
    target.resume(action, "run-d4").is_(502)
    target.resume(action, "run-d4").has(200, response="both")
    holds(target.fakes.tool.paths().count("POST /add") == 1, f"the tool was asked {target.fakes.tool.paths()}")


@row(
    "D9", "a crash, with governance away at the pause: the run goes on after a yes",
    Setting(adding_asks=True, hooked=False, governance="http://127.0.0.1:9", own=True),
)
def crash(target):
    _, action = paused(target, "run-d9")
    target.restart()
    target.approve(action)
    target.resume(action, "run-d9").has(200, response="both")
