"""Code of the agent's own: how it is found, called, and what becomes of what it returns."""

import json

from answers import holds, same
from rows import row
from targets import Setting

RETURNS = Setting(code='''
def handler(request, ctx):
    return {
        "text": "plain", "number": 42, "output": {"output": "o", "more": 1}, "object": {"x": 1}, "list": [1],
        "request": {"response": "r", "request": request, "ctx": {
            "tools": sorted(ctx.tools), "model": ctx.model, "prompt": ctx.system_prompt, "session": ctx.session,
        }},
    }[request["message"]]
''')


@row("C23", "what a handler returns: text, number, output, any object", RETURNS)
def returned(target):
    for message, response in {"text": "plain", "number": "42", "output": "o"}.items():
        body = target.invoke(message).has(200, response=response, handler="user").json
        holds({"model", "usage", "tool_calls_made", "duration_ms", "request_id"} <= set(body), f"keys are {sorted(body)}")
    same(target.invoke("output").json["output"], "o", "output")
    same(json.loads(target.invoke("object").is_(200).json["response"]), {"x": 1}, "the object")


MAIN = Setting(
    entry="agent.py",
    code='''
import os

def main(message):
    names = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "LLM_GATEWAY_URL", "ANTHROPIC_API_KEY", "LLM_MODEL", "SYSTEM_PROMPT"]
    return {"response": message, **{name: os.environ.get(name) for name in names}}
''',
)


@row("C25", "main(message) gets the text; SDKs find the gateway", MAIN)
def environment(target):
    body = target.invoke("good day").has(
        200, response="good day", OPENAI_API_KEY="platform-managed", ANTHROPIC_API_KEY="platform-managed",
        LLM_MODEL="fast", SYSTEM_PROMPT="Be brief.",
    ).json
    holds(body["OPENAI_BASE_URL"].endswith("/v1"), f"OPENAI_BASE_URL is {body['OPENAI_BASE_URL']}")
    same(body["LLM_GATEWAY_URL"], body["OPENAI_BASE_URL"], "LLM_GATEWAY_URL")


@row("S1", "the request: message, history, ids, user; the context", RETURNS)
def request(target):
    before = [{"role": "assistant", "content": "two"}]
    headers = {"X-Request-Id": "rid-s1", "X-Run-ID": f"run-s1-{target.name}"}
    body = target.invoke("request", headers, user="u@x", history=before).is_(200).json
    wanted = {"history": before, "request_id": "rid-s1", "run_id": headers["X-Run-ID"], "user_id": "u@x"}
    same(body["request"], {"message": "request", **wanted}, "request")
    same(body["ctx"]["session"], wanted, "session")
    holds("calc" in body["ctx"]["tools"], f"tools are {body['ctx']['tools']}")
    same((body["ctx"]["model"], body["ctx"]["prompt"]), ("fast", "Be brief."), "model and prompt")


def signature(name, what, code, response):
    setting = Setting(code=code)

    @row(name, what, setting)
    def called(target):
        target.invoke("good day").has(200, response=response, handler="user")


signature("S2", "handler() without arguments", 'def handler(**more):\n    return "none"\n', "none")
signature("S3", "handler(query) gets the text", 'def handler(query):\n    return query + "!"\n', "good day!")
signature("S4", "handler(q: str) gets the text", 'def handler(q: str):\n    return q + "!"\n', "good day!")
signature("S5", "handler(r) gets the request", 'def handler(r):\n    return r["message"] + "!"\n', "good day!")
signature("S6", "async def handler", 'async def handler(request, ctx):\n    return request["message"]\n', "good day")
signature(
    "S7", "an agent executor gets {input}, its output is taken",
    'class AgentExecutor:\n    def invoke(self, given):\n        return {"output": given["input"] + "!"}\n'
    "executor = AgentExecutor()\n",
    "good day!",
)
signature(
    "S8", "a graph gets messages, the last one is taken",
    "class Graph:\n    nodes = {}\n    def invoke(self, given):\n        first = given[\"messages\"][0]\n"
    '        said = getattr(first, "content", None) or (first["content"] if isinstance(first, dict) else first[1])\n'
    '        return {"messages": [first, type("Message", (), {"content": said + "!"})()]}\n'
    "graph = Graph()\n",
    "good day!",
)
signature(
    "S9", "a crew's kickoff gets the text, its result is taken",
    'class Crew:\n    def kickoff(self, given):\n        return {"result": given + "!"}\ncrew = Crew()\n',
    "good day!",
)
signature(
    "S10", "handler goes before objects, objects before main",
    'class Chain:\n    def run(self, given):\n        return "chain"\nchain = Chain()\n'
    'class Crew:\n    def run(self, given):\n        return "crew"\ncrew = Crew()\n'
    'def main(message):\n    return "main"\n',
    "chain",
)
signature(
    "S11", "objects that cannot be called are passed over",
    'agent = {"name": "no agent"}\nclass Chain:\n    def invoke(self, given):\n        return given\nchain = Chain()\n',
    "good day",
)


@row(
    "S12", "from runagents import Agent, tool: tools are called by name",
    Setting(code='''
from runagents import Agent, tool

agent = Agent()

@tool
def shout(words):
    """Says it louder."""
    return words.upper()

def handler(request, ctx):
    answer = agent.call_tool("calc", "/add", {"a": 1})
    return {"response": shout("ok"), "answer": answer, "tool": shout.tool_name, "about": shout.tool_description}
'''),
)
def sdk(target):
    target.fakes.tool.answers["/add"] = (200, {"sum": 2})
    target.invoke("go").has(200, response="OK", answer={"sum": 2}, tool="shout", about="Says it louder.")
    same((target.fakes.tool.paths(), target.fakes.tool.asked[0].json), (["POST /add"], {"a": 1}), "what the tool was asked")


@row("S13", "a handler's stream: content, done, [DONE]", RETURNS)
def handlers_stream(target):
    stream = target.stream("text").is_("content", "done")
    same(stream.text, "plain", "text")


NODE = Setting(
    language="node", entry="agent.mjs",
    code='''
export async function handler(request, context) {
  if (request.message === "pieces") return pieces();
  const answers = { text: "plain", number: 42, output: { output: "o", more: 1 }, object: { x: 1 } };
  return answers[request.message];
}

async function* pieces() {
  yield "one ";
  yield "two";
}
''',
)


@row("N1", "what a Node handler returns: as C23; and in pieces", NODE, needs="node")
def node(target):
    returned(target)
    stream = target.stream("pieces").is_("content", "done")
    same([event["delta"] for event in stream.of("content")], ["one ", "two"], "pieces")


COMMAND = Setting(
    language="command",
    code='''
read -r message
echo "you said $message"
test "$message" != bad || { echo "it is bad" >&2; exit 3; }
''',
)


@row("N2", "a program that reads the message and writes the answer", COMMAND, needs="shell")
def command(target):
    target.invoke("hi").has(200, response="you said hi", tool_calls_made=[])
    stream = target.stream("hi").is_("content", "done")
    same(stream.text.strip(), "you said hi", "text")
    holds("it is bad" in target.invoke("bad").has(500, code="AGENT_FAILED").json["error"], "the error does not say why")
