"""Agents of real frameworks, as pip brings them, with a tool: whole, streamed, refused a host, ended in the middle. Postern alone, since
the peer would need them beside itself.
"""

import json
import threading

from answers import Differs, holds, same
from fakes import calls, text
from rows import row
from targets import Setting

# What the agents' tool does: it is refused one host, and goes on to the tool that it has.
LOOK = '''
import os, urllib.error, urllib.request

def look(number):
    try:
        urllib.request.urlopen("http://denied.example/", timeout=60)
        refused = "nothing"
    except urllib.error.HTTPError as error:
        refused = error.code
    with urllib.request.urlopen(os.environ["TOOL_URL_CALC"] + "/get?number=%s" % number) as answer:
        return "refused %s, told %s" % (refused, answer.read().decode())
'''

LANGGRAPH = LOOK + '''
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

@tool
def get(number: int) -> str:
    """Looks a number up."""
    return look(number)

model = ChatOpenAI(model=os.environ["LLM_MODEL"]).bind_tools([get])
building = StateGraph(MessagesState)
building.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
building.add_node("tools", ToolNode([get]))
building.add_edge(START, "model")
building.add_conditional_edges("model", tools_condition)
building.add_edge("tools", "model")
graph = building.compile()
'''

AGENTS_SDK = LOOK + '''
from agents import Agent, function_tool

@function_tool
def get(number: int) -> str:
    """Looks a number up."""
    return look(number)

agent = Agent(name="desk", instructions="Be brief.", model=os.environ["LLM_MODEL"], tools=[get])
'''
BY_CHAT = '''
from agents import set_default_openai_api

set_default_openai_api("chat_completions")
'''

WANTS = calls(("get", '{"number": 7}'))
SAYS = text("The number is seven.")


def framework(name, what, code):
    def setting(fakes):
        # The SDK would report every run to its maker.
        return Setting(code=code, packages=fakes.packages, environment=(("OPENAI_AGENTS_DISABLE_TRACING", "1"),))

    @row(name, what, setting, needs="packages")
    def runs(target):
        whole(target)
        streamed(target)
        ended(target)


def whole(target):
    fakes = target.fakes
    fakes.model.says(WANTS, SAYS)
    before = [{"role": "user", "content": "one?"}, {"role": "assistant", "content": "It is one."}]
    target.invoke("seven?", history=before).has(200, response="The number is seven.", handler="user")
    same(fakes.tool.paths(), ["GET /get?number=7"], "what the tool was asked")
    question = fakes.model.asked[-1]
    holds("It is one." in json.dumps(question), "the model is not told what went before")
    told = question["messages"][-1]["content"] if "messages" in question else question["input"][-1]["output"]
    same(told, 'refused 403, told {"ok": true}', "what the model is told")


def streamed(target):
    target.fakes.model.says(WANTS, SAYS)
    stream = target.stream("seven?").is_("content", "done")
    same(stream.text, "The number is seven.", "text")
    holds(len(stream.of("content")) > 1, "it came in one piece")


def ended(target):
    """Ended while its tool is at work, and asked again."""
    target.fakes.tool.forget()
    target.fakes.model.says(WANTS, SAYS)
    held, run, answers = target.fakes.tool.hold(), "run-ended", []

    def invoke():
        try:
            answers.append(target.invoke("seven?", {"X-Run-ID": run}))
        except Differs as differs:
            answers.append(differs)

    caller = threading.Thread(target=invoke)
    caller.start()
    try:
        target.wait("the tool call", lambda: target.fakes.tool.asked)
        target.ask("DELETE", f"/runs/{run}").has(200, status="FAILED", code="CANCELLED")
    finally:
        held.set()
        caller.join()
    if isinstance(answers[0], Differs):
        raise answers[0]
    answers[0].has(409, code="CANCELLED")
    target.fakes.tool.forget()
    target.fakes.model.says(SAYS)
    target.invoke("again").has(200, response="The number is seven.")


framework("F1", "LangGraph: a graph with a tool", LANGGRAPH)
framework("F2", "OpenAI Agents SDK: an agent with a tool, by responses", AGENTS_SDK)
framework("F3", "OpenAI Agents SDK: an agent with a tool, by chat completions", AGENTS_SDK + BY_CHAT)
