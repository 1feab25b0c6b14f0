"""Loads a user's Python agent and answers calls for it, inside the sandbox.

Descriptor 3 is a socket to posternd. Each frame on it is four bytes of length, big-endian, and that much JSON:

    in   {"call": {"id": 7, "run": "run_...", "request": {...}}}
    in   {"cancel": {"id": 7}}                                                 nobody waits for this call any more
    out  {"ready": {"found": "handler"}}  or  {"failed": {"error": "..."}}     first, once
    out  {"heard": {"id": 7}}                                                  to a cancel: this worker is not stuck
    out  {"said": {"id": 7, "text": "..."}}                                    a piece of the answer, as it comes
    out  {"printed": {"id": 7, "stream": "stdout", "text": "..."}}             a line that this call printed
    out  {"returned": {"id": 7, "json": "{...}"}}                              a dictionary, as a text of JSON
    out  {"returned": {"id": 7, "text": "..."}}                                anything else, as str() says it
    out  {"raised": {"id": 7, "error": "ValueError: ..."}}

Only the standard library of Python 3.8 and later is used. Nothing here is trusted by the other end: this process runs
the user's code, which can do whatever this file can.
"""

import asyncio
import concurrent.futures
import contextvars
import ctypes
import http.client
import importlib
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import socket
import struct
import sys
import threading
import traceback
import urllib.error
import urllib.request

FRAME_BYTES_MAX = 8 * 1024 * 1024
PRINTED_CHARS_MAX = 4096
CALLS_MAX = 64
LOOP_HELD_UP_S = 1.0
ERROR_CHARS_MAX = 2000
GATE = ("127.127.0.1", 4180)
FRAMEWORK_NAMES = ("agent", "chain", "executor", "graph", "crew")
MESSAGE_NAMES = ("message", "msg", "text", "query", "prompt", "input", "user_input")

current_run = contextvars.ContextVar("postern_run", default=None)
current_call = contextvars.ContextVar("postern_call", default=None)


class Channel:
    """Frames over a socket; many threads may send, one receives."""

    def __init__(self, connection):
        self.connection = connection
        self.sending = threading.Lock()

    def send(self, frame):
        body = json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace")
        if len(body) > FRAME_BYTES_MAX:
            raise ValueError("a result of %d bytes is over the limit of %d" % (len(body), FRAME_BYTES_MAX))
        with self.sending:
            self.connection.sendall(struct.pack(">I", len(body)) + body)

    def receive(self):
        """The next frame, or None when the other end is gone."""
        head = self.take(4)
        if head is None:
            return None
        body = self.take(struct.unpack(">I", head)[0])
        return None if body is None else json.loads(body)

    def take(self, count):
        parts = []
        while count:
            part = self.connection.recv(min(count, 1 << 20))
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Printed:
    """A standard stream: a call's lines are told with the call, and what no call prints that goes on stays where it went before."""

    def __init__(self, stream, name, channel):
        self.stream = stream
        self.name = name
        self.channel = channel
        self.lock = threading.Lock()
        self.begun = {}

    def write(self, text):
        identity = current_call.get()
        with self.lock:
            goes_on = identity in self.begun and isinstance(text, str)
            if goes_on:
                *lines, rest = (self.begun[identity] + text).split("\n")
                if len(rest) > PRINTED_CHARS_MAX:
                    lines, rest = lines + [rest], ""
                self.begun[identity] = rest
        if not goes_on:
            return self.stream.write(text)
        for line in lines:
            self.tell(identity, line)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def tell(self, identity, line):
        for start in range(0, len(line) or 1, PRINTED_CHARS_MAX):
            piece = line[start : start + PRINTED_CHARS_MAX]
            self.channel.send({"printed": {"id": identity, "stream": self.name, "text": piece}})

    def begin(self, identity):
        with self.lock:
            self.begun[identity] = ""

    def end(self, identity):
        with self.lock:
            rest = self.begun.pop(identity, "")
        if rest:
            self.tell(identity, rest)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __iter__(self):
        return iter(self.stream)


def watch_prints(channel):
    """Takes the place of the standard streams, before the agent's code can hold them."""
    printed = [Printed(sys.stdout, "stdout", channel), Printed(sys.stderr, "stderr", channel)]
    sys.stdout, sys.stderr = printed
    return printed


class RunContext:
    """What a handler of two arguments gets beside the request."""

    def __init__(self, request):
        self.tools = tool_urls()
        self.llm_url = os.environ.get("LLM_GATEWAY_URL", "")
        self.model = os.environ.get("LLM_MODEL", "")
        self.system_prompt = os.environ.get("SYSTEM_PROMPT", "")
        keys = ("history", "request_id", "run_id", "user_id", "resume")
        self.session = {key: request[key] for key in keys if key in request}
        if "resume" in request:
            self.session["action_id"] = request["resume"]["action_id"]


def tool_urls():
    names = [name for name in os.environ.get("TOOL_NAMES", "").split(",") if name]
    return {name: os.environ.get(tool_variable(name), "") for name in names}


def tool_variable(name):
    spelled = "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in name)
    return "TOOL_URL_" + spelled


# --- finding what to call ---------------------------------------------------------------------------------------------


def load(entry, directory):
    """Imports the entry module and gives the name of what was found and a function from request to value."""
    name = entry[: -len(".py")] if entry.endswith(".py") else entry
    sys.path.insert(0, directory)
    module = importlib.import_module(name.replace("/", "."))
    if callable(getattr(module, "handler", None)):
        return "handler", plain_call(module.handler)
    for name in FRAMEWORK_NAMES:
        wrapped = framework_call(getattr(module, name, None))
        if wrapped is not None:
            return name, wrapped
    if callable(getattr(module, "main", None)):
        return "main", plain_call(module.main)
    wanted = ", ".join(("handler", "main") + FRAMEWORK_NAMES)
    raise ImportError("%s defines none of %s" % (entry, wanted))


def plain_call(function):
    arguments = arguments_of(function)
    return lambda request: function(*arguments(request))


def arguments_of(function):
    """How to make a function's arguments from a request: none, the message or the request, or request and context."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return lambda request: (request,)
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    counted = [parameter for parameter in parameters if parameter.kind not in skipped]
    if len(counted) >= 2:
        return lambda request: (request, RunContext(request))
    if not counted:
        return lambda request: ()
    if wants_text(counted[0]):
        return lambda request: (request.get("message"),)
    return lambda request: (request,)


def wants_text(parameter):
    if parameter.annotation is inspect.Parameter.empty:
        return parameter.name in MESSAGE_NAMES
    return parameter.annotation is str or parameter.annotation in ("str", "'str'")


def framework_call(thing):
    """Objects of agent frameworks, told by their shape as the contract says; None for anything else."""
    if thing is None or inspect.ismodule(thing) or inspect.isclass(thing):
        return None
    kind, origin = type(thing).__name__, type(thing).__module__.partition(".")[0]
    has = lambda *names: all(hasattr(thing, name) for name in names)
    if kind == "AgentExecutor" or has("invoke", "agent"):
        return lambda request: text_of(thing.invoke({"input": request.get("message")}), ("output",))
    if kind in ("CompiledGraph", "CompiledStateGraph") or has("invoke", "nodes"):
        if origin == "langgraph":
            return lambda request: pieces_of_graph(thing, request)
        return lambda request: last_message(thing.invoke({"messages": [human(request.get("message"))]}))
    for name in ("invoke", "run", "kickoff"):
        if callable(getattr(thing, name, None)):
            call = getattr(thing, name)
            return lambda request: text_of(call(request.get("message")), ("output", "result"))
    if kind == "Agent" and origin == "agents":
        return lambda request: pieces_of_runner(thing, request)
    return None


def pieces_of_graph(graph, request):
    """LangGraph: what its models say comes as they say it; the answer is the last message. A graph that keeps states has one a run."""
    state, messages = None, request.get("history", []) + [human(request.get("message"))]
    config = {"configurable": {"thread_id": request.get("run_id")}}
    for mode, part in graph.stream({"messages": messages}, config, stream_mode=["messages", "values"]):
        if mode == "values":
            state = part
        elif type(part[0]).__name__ == "AIMessageChunk":
            yield said_in(part[0].content)
    return last_message(state)


async def pieces_of_runner(agent, request):
    """OpenAI's Agents SDK, whose agents are run by its `Runner`."""
    from agents import Runner

    message = request.get("message")
    message = {"role": "user", "content": message if isinstance(message, str) else json.dumps(message)}
    running = Runner.run_streamed(agent, request.get("history", []) + [message])
    try:
        async for event in running.stream_events():
            data = getattr(event, "data", None)
            if getattr(data, "type", None) == "response.output_text.delta":
                yield data.delta
    finally:
        running.cancel()
    final = running.final_output
    yield {"response": final if isinstance(final, str) else said_of(final)}


def human(message):
    try:
        from langchain_core.messages import HumanMessage
    except ImportError:
        return ("user", message)
    return HumanMessage(content=message)


def last_message(state):
    messages = state.get("messages") if isinstance(state, dict) else None
    if not messages:
        return state
    return said_in(getattr(messages[-1], "content", messages[-1]))


def said_in(content):
    """The text of a message's content, which may be a list of parts."""
    if not isinstance(content, list):
        return content
    texts = (part.get("text", "") if isinstance(part, dict) else part for part in content)
    return "".join(text for text in texts if isinstance(text, str))


def text_of(result, keys):
    if isinstance(result, dict):
        for key in keys:
            if result.get(key):
                return result[key]
    return said_of(result)


def said_of(result):
    """What a framework gives back as text: a message's content, a model of pydantic as JSON, the rest as str() has it."""
    content = getattr(result, "content", None)
    if isinstance(content, (str, list)):
        return said_in(content)
    dump = getattr(result, "model_dump_json", None)
    return dump() if callable(dump) and not type(result).__module__.startswith("crewai") else str(result)


# --- answering a call -------------------------------------------------------------------------------------------------


class Cancelled(BaseException):
    """Raised in a handler's thread when nobody waits for its call any more."""


class Calls:
    """Which thread or task answers which call, so that one that nobody waits for can be ended."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = set()
        self.threads = {}
        self.tasks = {}
        self.coroutines = Coroutines()

    def expect(self, identity):
        with self.lock:
            self.waiting.add(identity)

    def begin(self, identity):
        """Whether the call is still wanted; from now on this thread is its own."""
        with self.lock:
            wanted = identity in self.waiting
            self.waiting.discard(identity)
            if wanted:
                self.threads[identity] = threading.get_ident()
            return wanted

    def awaits(self, identity):
        with self.lock:
            self.tasks[identity] = (asyncio.get_running_loop(), asyncio.current_task())

    def end(self, identity):
        with self.lock:
            self.tasks.pop(identity, None)
            thread = self.threads.pop(identity, None)
            if thread is not None:
                # What was to be raised and was not yet must not meet the thread's next call.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)

    def cancel(self, identity):
        with self.lock:
            self.waiting.discard(identity)
            if identity in self.tasks:
                loop, task = self.tasks[identity]
                loop.call_soon_threadsafe(task.cancel)
            elif identity in self.threads:
                thread = ctypes.c_ulong(self.threads[identity])
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Cancelled))


def answer(channel, calls, function, call, printed):
    """Carries out one call and sends its one answer, unless nobody wants it any more before it has begun."""
    identity = call["id"]
    frame = {"raised": {"id": identity, "error": "cancelled"}}
    try:
        if calls.begin(identity):
            for stream in printed:
                stream.begin(identity)
            frame = outcome(channel, calls, function, call)
    except (Cancelled, asyncio.CancelledError):
        # It came when the call was over already.
        pass
    try:
        for stream in printed:
            stream.end(identity)
        channel.send(frame)
    except Exception as error:
        channel.send({"raised": {"id": identity, "error": told(error)}})


def outcome(channel, calls, function, call):
    identity = call["id"]
    token, called = current_run.set(call.get("run")), current_call.set(identity)
    try:
        try:
            return returned(identity, settle(function(call["request"]), Answer(channel, calls, identity)))
        finally:
            calls.end(identity)
    except (Cancelled, asyncio.CancelledError):
        return {"raised": {"id": identity, "error": "cancelled"}}
    except BaseException as error:
        if asks(error):
            return returned(identity, {"approval_required": {"tool": error.tool_name, **error.detail}})
        traceback.print_exc()
        return {"raised": {"id": identity, "error": told(error)}}
    finally:
        current_run.reset(token)
        current_call.reset(called)


class Answer:
    """What one call answers: pieces as they come, and what they make together."""

    def __init__(self, channel, calls, identity):
        self.channel = channel
        self.calls = calls
        self.identity = identity
        self.texts = []
        self.dictionary = None

    def add(self, piece):
        """A text is said at once, and so is the `delta` of a content event; another dictionary is the result."""
        if isinstance(piece, dict) and not (piece.get("type") == "content" and isinstance(piece.get("delta"), str)):
            self.dictionary = piece
            return
        text = piece["delta"] if isinstance(piece, dict) else str(piece)
        if text:
            self.texts.append(text)
            self.channel.send({"said": {"id": self.identity, "text": text}})

    def whole(self, returned_value):
        """A generator's own return value stands first, then a dictionary it yielded, then its text."""
        if returned_value is not None:
            return returned_value
        if self.dictionary is not None:
            return self.dictionary
        return "".join(self.texts)


def settle(value, answer):
    """Awaits what can be awaited, and says what comes piece by piece."""
    if inspect.isawaitable(value):
        return settle(answer.calls.coroutines.run(lambda: awaited(value, answer)), answer)
    if inspect.isasyncgen(value):
        return answer.calls.coroutines.run(lambda: gathered(value, answer))
    if inspect.isgenerator(value):
        return drained(value, answer)
    return value


class Coroutines:
    """One event loop for the coroutines of all calls: a client that an agent keeps belongs to the loop it was first used in. While
    code without `await` holds that loop up, a call that comes has one of its own, which ends with it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.loop = None

    def run(self, make):
        """Runs a coroutine to its end from a thread of its call."""
        with self.lock:
            self.loop = self.loop or endless()
        claim = threading.Lock()
        future = asyncio.run_coroutine_threadsafe(claimed(claim, make), self.loop)
        try:
            ended, _ = concurrent.futures.wait([future], LOOP_HELD_UP_S)
            if ended or not claim.acquire(blocking=False):
                value, error = future.result()
            else:
                value, error = asyncio.run(claimed(threading.Lock(), make))
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError() from None
        except Cancelled:
            future.cancel()
            raise
        if error:
            raise error
        return value


def endless():
    loop = asyncio.new_event_loop()
    threading.Thread(target=turn, args=(loop,), name="coroutines", daemon=True).start()
    return loop


def turn(loop):
    while True:
        try:
            loop.run_forever()
        except BaseException:
            # A task of the agent's own wanted the process to end.
            traceback.print_exc()


async def claimed(claim, make):
    """Whoever takes the claim runs the coroutine: the loop it was given to first, or one that came for it. Gives its value, or
    what it raised that would end the loop."""
    if not claim.acquire(blocking=False):
        return None, None
    try:
        return await make(), None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


async def awaited(value, answer):
    """A coroutine may give an async generator, which belongs to the loop it was made in."""
    answer.calls.awaits(answer.identity)
    value = await value
    return await gathered(value, answer) if inspect.isasyncgen(value) else value


async def gathered(pieces, answer):
    answer.calls.awaits(answer.identity)
    async for piece in pieces:
        answer.add(piece)
    return answer.whole(None)


def drained(generator, answer):
    while True:
        try:
            answer.add(next(generator))
        except StopIteration as end:
            return answer.whole(end.value)


def returned(identity, value):
    """What is no JSON to the other end, such as NaN, fails this call alone: it is written before it goes into a frame."""
    if isinstance(value, dict):
        text = json.dumps(value, default=str, ensure_ascii=False, allow_nan=False)
        return {"returned": {"id": identity, "json": text}}
    return {"returned": {"id": identity, "text": str(value)}}


def told(error):
    lines = traceback.format_exception_only(type(error), error)
    return "".join(lines).strip()[-ERROR_CHARS_MAX:]


# --- telling the gate which run a request belongs to ------------------------------------------------------------------


def mark_requests():
    """Adds X-Run-ID to what goes to the gate and to nothing else: not into tunnels, not to other hosts.

    Known are http.client, and so urllib and what is built on urllib3 such as requests; httpcore, and so httpx and the
    SDKs of model providers; and aiohttp. The latter are marked when they are imported.
    """
    mark_http_client()
    sys.meta_path.insert(0, Marking())


def mark_http_client():
    end_headers = http.client.HTTPConnection.endheaders
    set_tunnel = http.client.HTTPConnection.set_tunnel

    def marked_end_headers(self, *arguments, **named):
        run = current_run.get()
        if run and self._tunnel_host is None and goes_to_gate(self) and not is_marked(self):
            self.putheader("X-Run-ID", run)
        return end_headers(self, *arguments, **named)

    def marked_set_tunnel(self, *arguments, **named):
        set_tunnel(self, *arguments, **named)
        run = current_run.get()
        if run and goes_to_gate(self):
            self._tunnel_headers = dict(self._tunnel_headers, **{"X-Run-ID": run})

    http.client.HTTPConnection.endheaders = marked_end_headers
    http.client.HTTPConnection.set_tunnel = marked_set_tunnel


class Marking(importlib.abc.MetaPathFinder):
    """Finds nothing by itself: it lets others find a client's package, and marks its requests once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        mark = MARKS.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if mark else None
        execute = getattr(spec and spec.loader, "exec_module", None)
        if execute is None:
            return None

        def execute_and_mark(module):
            execute(module)
            try:
                mark(module)
            except Exception:
                # Another version than we know. Its calls are refused only where several runs share the sandbox.
                traceback.print_exc()

        spec.loader.exec_module = execute_and_mark
        return spec


def mark_httpcore(module):
    """A connection of httpcore knows where it leads: to the gate for tool URLs, as a proxy, and for CONNECT itself."""

    def marked(send):
        def marked_send(self, request):
            run, origin = current_run.get(), self._origin
            to_gate = (origin.host, origin.port) == (GATE[0].encode(), GATE[1])
            if run and to_gate and not any(name.lower() == b"x-run-id" for name, _ in request.headers):
                request.headers = list(request.headers) + [(b"X-Run-ID", run.encode())]
            return send(self, request)

        return marked_send

    plain, later = module.HTTP11Connection, module.AsyncHTTP11Connection
    plain.handle_request = marked(plain.handle_request)
    later.handle_async_request = marked(later.handle_async_request)


def mark_aiohttp(module):
    send = module.ClientRequest.send

    async def marked_send(self, connection):
        run, transport = current_run.get(), connection.transport
        if run and transport is not None and "X-Run-ID" not in self.headers:
            peer, secure = map(transport.get_extra_info, ("peername", "sslcontext"))
            if secure is None and peer and tuple(peer[:2]) == GATE:
                self.headers["X-Run-ID"] = run
        return await send(self, connection)

    module.ClientRequest.send = marked_send


MARKS = {"httpcore": mark_httpcore, "httpcore2": mark_httpcore, "aiohttp": mark_aiohttp}


def goes_to_gate(connection):
    return (connection.host, connection.port) == GATE


def is_marked(connection):
    return any(line.lower().startswith(b"x-run-id:") for line in connection._buffer)


# --- what agents import of RunAgents ----------------------------------------------------------------------------------


class ApprovalRequired(Exception):
    """A human is to be asked; the handler is called again after the yes."""

    def __init__(self, tool_name, detail):
        self.tool_name = tool_name
        self.detail = detail
        super().__init__("Approval required for %s" % tool_name)


def asks(error):
    """Whether this is `ApprovalRequired`, ours or the package's own."""
    return any(kind.__name__ == "ApprovalRequired" for kind in type(error).__mro__) and isinstance(
        getattr(error, "detail", None), dict
    )


class ToolNotConfigured(KeyError):
    """The agent has no tool of this name."""


class Agent:
    """`runagents.Agent`: the agent's model and tools, as its environment names them."""

    def __init__(self):
        self.system_prompt = os.environ.get("SYSTEM_PROMPT", "")
        self.model = os.environ.get("LLM_MODEL", "")
        self.llm_gateway_url = os.environ.get("LLM_GATEWAY_URL", "")
        self.tool_urls = tool_urls()

    def has_tool(self, name):
        return tool_variable(name) in os.environ

    def available_tools(self):
        return sorted(self.tool_urls)

    def call_tool(self, name, path="/", payload=None, method="POST"):
        """What a tool answered, as JSON says it; an error's status and body are an answer too."""
        if not self.has_tool(name):
            raise ToolNotConfigured("this agent has no tool %r; it has: %s" % (name, ", ".join(self.available_tools())))
        url = os.environ[tool_variable(name)].rstrip("/") + path
        status, body = exchange(method, url, None if payload is None else json.dumps(payload), 600)
        if status >= 400:
            return {"error": "HTTP %d" % status, "detail": body}
        try:
            return json.loads(body)
        except ValueError:
            return {"raw": body}

    def chat(self, message, tools=None, history=None):
        """The model's whole answer, in the form of chat completions."""
        messages = list(history or [])
        if self.system_prompt and not any(entry.get("role") == "system" for entry in messages):
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        messages.append({"role": "user", "content": message})
        question = {"model": self.model, "messages": messages}
        if tools:
            question.update(tools=tools, tool_choice="auto")
        base = self.llm_gateway_url.rstrip("/")
        url = base if base.endswith("/chat/completions") else base + "/chat/completions"
        status, body = exchange("POST", url, json.dumps(question), 120)
        if status != 200:
            raise RuntimeError("LLM Gateway returned %d: %s" % (status, body[:ERROR_CHARS_MAX]))
        return json.loads(body)


def tool(function=None, *, name=None, description=""):
    """`runagents.tool`: marks a function with what a framework may want to know of it."""

    def mark(function):
        function.tool_name = name or function.__name__.replace("_", "-")
        function.tool_description = description or (function.__doc__ or "").strip().split("\n")[0]
        return function

    return mark if function is None else mark(function)


def exchange(method, url, body, seconds):
    """Status and body of one request; raises only where nobody answered."""
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last: gives `runagents` to agents that import it where the package is not installed."""

    NAMES = {
        "runagents": ("Agent", "RunContext", "ToolNotConfigured", "tool"),
        "runagents.agent": ("Agent", "ToolNotConfigured", "tool"),
        "runagents.runtime": ("ApprovalRequired", "RunContext"),
    }

    def find_spec(self, name, path=None, target=None):
        if name in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=name == "runagents")
        return None

    def exec_module(self, module):
        for name in self.NAMES[module.__name__]:
            setattr(module, name, globals()[name])


def mend_chat(module):
    """The package's own `chat` hands over arguments that its runtime does not take."""
    module.Agent.chat = Agent.chat


MARKS["runagents.agent"] = mend_chat


# --- the worker itself ------------------------------------------------------------------------------------------------


def main():
    connection = socket.socket(fileno=3)
    connection.set_inheritable(False)
    channel = Channel(connection)
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    mark_requests()
    printed = watch_prints(channel)
    sys.meta_path.append(StandIn())
    try:
        entry, directory = os.environ["USER_ENTRY_POINT"], os.environ["RUNAGENTS_USER_CODE_DIR"]
        found, function = load(entry, directory)
    except BaseException as error:
        traceback.print_exc()
        channel.send({"failed": {"error": told(error)}})
        return
    channel.send({"ready": {"found": found}})
    calls = Calls()
    threads = concurrent.futures.ThreadPoolExecutor(max_workers=CALLS_MAX, thread_name_prefix="call")
    while True:
        frame = channel.receive()
        if frame is None:
            os._exit(0)
        if "call" in frame:
            calls.expect(frame["call"]["id"])
            threads.submit(answer, channel, calls, function, frame["call"], printed)
        elif "cancel" in frame:
            calls.cancel(frame["cancel"]["id"])
            channel.send({"heard": {"id": frame["cancel"]["id"]}})


if __name__ == "__main__":
    main()
