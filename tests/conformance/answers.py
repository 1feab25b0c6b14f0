"""HTTP as a client of the dialect speaks it, and the words in which a row says that something differs. Never retries."""

import http.client
import json

# How long one answer may take, in seconds, unless a row says otherwise.
PATIENCE = 30


class Differs(Exception):
    """A row is not fulfilled; the words say what was seen."""


def same(seen, wanted, what):
    if seen != wanted:
        raise Differs(f"{what}: {shown(seen)} instead of {shown(wanted)}")


def holds(truth, seen):
    if not truth:
        raise Differs(seen)


def shown(value):
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + "…"


class Answer:
    """One whole answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Differs(f"no JSON was answered but {shown(self.body.decode(errors='replace'))}") from None

    def is_(self, status, body=None):
        """This status, and this body if one is given."""
        if self.status != status:
            raise Differs(f"{self.status} {shown(self.body.decode(errors='replace'))} instead of {status}")
        if body is not None:
            same(self.json, body, "body")
        return self

    def has(self, status, /, **fields):
        """This status, and among the fields of the body these."""
        self.is_(status)
        for key, value in fields.items():
            same(self.json.get(key), value, f"`{key}`")
        return self


class Stream:
    """The events of one stream."""

    def __init__(self, answer):
        self.headers = answer.headers
        text = answer.body.decode()
        lines = [line[len("data: "):] for line in text.splitlines() if line.startswith("data: ")]
        self.is_done = lines[-1:] == ["[DONE]"]
        self.events = [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def kinds(self):
        """The types in order; pieces of one text count once."""
        kinds = []
        for event in self.events:
            if event["type"] != "content" or kinds[-1:] != ["content"]:
                kinds.append(event["type"])
        return kinds

    @property
    def text(self):
        return "".join(event.get("delta") or "" for event in self.of("content"))

    def of(self, kind):
        return [event for event in self.events if event["type"] == kind]

    def one(self, kind):
        found = self.of(kind)
        holds(len(found) == 1, f"{len(found)} `{kind}` events in {shown(self.kinds)}")
        return found[0]

    def is_(self, *kinds):
        """These types in this order, and the mark of the end."""
        if "error" not in kinds:
            holds(not self.of("error"), f"an error: {shown([event.get('message') for event in self.of('error')])}")
        same(self.kinds, list(kinds), "events")
        holds(self.is_done, "the stream broke off without [DONE]")
        return self


def ask(address, method, path, body=None, headers=None, patience=PATIENCE):
    """Sends one request on a connection of its own."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    connection = http.client.HTTPConnection(*address, timeout=patience)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    except TimeoutError:
        raise Differs(f"{method} {path} was not answered within {patience} s") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise Differs(f"the connection was closed without an answer ({type(error).__name__})") from None
    finally:
        connection.close()
