"""What stands around an agent, faked with the true protocols: a provider of models, a tool, a governance service, a host that
nobody answers at. They write down what they are asked and answer what a row told them to.
"""

import http.server
import json
import socket
import threading

import responses

# How long a tool that is held waits for the row to let it go, in seconds.
HELD_MAX = 60


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Asked:
    """One request as it came."""

    def __init__(self, handler):
        length = int(handler.headers.get("content-length") or 0)
        self.method = handler.command
        self.path = handler.path
        self.headers = handler.headers
        self.body = handler.rfile.read(length)

    @property
    def json(self):
        return json.loads(self.body)


class Fake:
    """A server on a port of its own."""

    def __init__(self):
        self.asked = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536

            def answer(self):
                asked = Asked(self)
                status, headers, body = fake.answer(asked)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forget(self):
        self.asked = []

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def as_json(status, value):
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


class Model(Fake):
    """A provider that speaks OpenAI's chat completions and responses, whole and streamed. Its replies are those of the row, in
    turn; the last one again and again."""

    USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}

    def forget(self):
        super().forget()
        self.says(text("hello"))

    def says(self, *replies):
        self.replies = list(replies)

    def answer(self, asked):
        if asked.path.endswith("/healthz"):
            return as_json(200, {"status": "ok"})
        question = asked.json
        self.asked.append(question)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, int):
            return as_json(reply, {"error": {"message": "the provider is out of order", "type": "server_error"}})
        if asked.path.endswith("/responses"):
            if question.get("stream"):
                return 200, {"content-type": "text/event-stream"}, responses.streamed(question, reply)
            return as_json(200, responses.whole(question, reply))
        if question.get("stream"):
            return 200, {"content-type": "text/event-stream"}, self.streamed(question, reply)
        choice = {"index": 0, "message": {"role": "assistant", **reply}, "finish_reason": finish(reply)}
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": question["model"]}
        return as_json(200, {**whole, "choices": [choice], "usage": self.USAGE})

    def streamed(self, question, reply):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": question["model"]}
        deltas = [{"role": "assistant"}]
        content = reply.get("content") or ""
        deltas += [{"content": piece} for piece in (content[:2], content[2:]) if piece]
        for index, call in enumerate(reply.get("tool_calls") or []):
            function = call["function"]
            begun = {"name": function["name"], "arguments": ""}
            deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": begun}]})
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"]}}]})
        chunks = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish(reply)}]})
        if (question.get("stream_options") or {}).get("include_usage"):
            chunks.append({**chunk, "choices": [], "usage": self.USAGE})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


def finish(reply):
    return "tool_calls" if reply.get("tool_calls") else "stop"


def text(content):
    """A reply without calls."""
    return {"content": content}


def calls(*wanted):
    """A reply that wants functions called: pairs of a name and its arguments, as the model writes them. Ids are c1, c2, …"""
    made = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(wanted, 1)
    ]
    return {"content": None, "tool_calls": made}


class Tool(Fake):
    """A tool that answers 200 `{"ok": true}` unless the row says otherwise."""

    def forget(self):
        super().forget()
        self.answers = {}
        self.held = None

    def hold(self):
        """Answers nothing from now on until the returned event is set."""
        self.held = threading.Event()
        return self.held

    def answer(self, asked):
        self.asked.append(asked)
        if self.held:
            self.held.wait(HELD_MAX)
        status, value = self.answers.get(asked.path.partition("?")[0], (200, {"ok": True}))
        if isinstance(value, str):
            return status, {"content-type": "text/plain"}, value.encode()
        return as_json(status, value)

    def paths(self):
        return [f"{asked.method} {asked.path}" for asked in self.asked]


class Governance(Fake):
    """Keeps the peer's checkpoints and reports."""

    def forget(self):
        super().forget()
        self.checkpoints = {}

    def answer(self, asked):
        self.asked.append(asked)
        parts = asked.path.strip("/").split("/")
        if asked.method == "POST" and parts[-1] == "checkpoint":
            self.checkpoints[asked.json["action_id"]] = asked.json
            return as_json(201, {"id": "checkpoint-1"})
        if asked.method == "GET" and parts[-2] == "checkpoint":
            found = self.checkpoints.get(parts[-1])
            return as_json(200, found) if found else as_json(404, {"error": "not found"})
        return as_json(200, {})


class Silence:
    """A host that takes connections and never says anything."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self):
        self.socket.close()


def nobody():
    """A URL at which connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
