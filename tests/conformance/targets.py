"""What is compared: RunAgents' own runtime ("the peer") and Postern, started with the same agent among the same fakes. Each is
ended by its pid; nothing of one is shared with the other but the fakes, and those are asked by one at a time.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

from answers import Differs, Stream, ask, holds

# How long a target may take to start and to stop, in seconds.
START_MAX = 60

# How long is waited for what happens by itself, in seconds.
WAIT_MAX = 30

# The uid that `postern up` as root gives the gate, which alone may read secrets.
GATE_UID = 64101

# What an agent's code is called, by what it is written in.
MODULES = {"python": "agent.py", "node": "agent.mjs", "command": "agent.sh"}

APPROVERS_KEY = "adas-own-key-0123456789abcdef"


@dataclasses.dataclass(frozen=True)
class Setting:
    """An agent as a row wants it. Rows with equal settings share one that runs."""

    code: str = ""  # the module `agent.py`; without it the agent is model, prompt and tools
    entry: str = "agent.py"  # another one that is not there is looked for in vain
    language: str = "python"
    get_path: str = "/get"
    tool_is_there: bool = True
    adding_asks: bool = False  # a human is asked before POST /add
    consents: bool = False  # the tool is used with a token of the end user's own, who has none
    third_party: bool = False  # another host that the agent may call, and that is no business of its user
    governance: str = ""  # the peer's alone
    hooked: bool = True  # the peer's alone: whether it watches the agent's HTTP
    environment: tuple = ()
    packages: str = ""  # a directory of the host with packages that the agent imports
    own: bool = False  # nobody shares it


class Target:
    """One agent that runs."""

    def __init__(self, setting, fakes):
        self.setting = setting
        self.fakes = fakes
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-conformance-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.process = None
        self.address = None
        self.refused = ""  # why it did not come up, where it says so by itself

    # What rows ask for.

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body, headers=None):
        return self.ask("POST", path, body, headers)

    def ask(self, *request):
        holds(not self.refused, f"it did not come up: {self.refused[-300:]}")
        return ask(self.address, *request)

    def invoke(self, message="hi", headers=None, user=None, **fields):
        if user:
            headers = {**(headers or {}), **self.naming(user)}
        return self.post("/invoke", {"message": message, **fields}, headers)

    def resume(self, action, run, user=None):
        """What came of a run that waited; who goes on by itself may be on the way. A run for a user is gone on with by that user."""
        headers = self.naming(user) if user else None

        def asked():
            answer = self.post(f"/resume/{action}", {"run_id": run}, headers)
            return None if b"RESUME_IN_PROGRESS" in answer.body else answer

        return self.wait("an end of the run that went on", asked)

    def stream(self, message="hi", headers=None, **fields):
        answer = self.post("/invoke/stream", {"message": message, **fields}, headers)
        return Stream(answer.is_(200))

    def threads(self):
        """How many threads the process has that the caller speaks to."""
        status = pathlib.Path(f"/proc/{self.pid()}/status").read_text()
        return int(status.split("Threads:")[1].split()[0])

    # What starts and stops it.

    def spawn(self, command, environment, **named):
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdin=subprocess.PIPE, stderr=self.log, **named
        )

    def said(self):
        return (self.folder / "log").read_text(errors="replace")

    def wait(self, what, condition, seconds=WAIT_MAX):
        """Waits for what happens by itself, and gives what the condition gave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise Differs(f"{what} did not happen within {seconds} s")

    def ready_status(self):
        """What /readyz answers; nothing where nobody does."""
        try:
            return self.get("/readyz").status
        except (Differs, OSError):
            return None

    def stop(self):
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(START_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.log.close()
        if place := os.environ.get("POSTERN_LEFTOVERS"):
            shutil.move(self.folder, place)
        shutil.rmtree(self.folder, ignore_errors=True)


class Peer(Target):
    """`runagents.runtime` out of a virtual environment."""

    name = "peer"
    python = None

    def start(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if self.setting.code:
            (self.folder / "agent.py").write_text(self.setting.code)
        begin = "import runagents.runtime as r; "
        if not self.setting.hooked:
            begin += "r._install_url_rewrites = lambda: None; "
        self.spawn([self.python, "-c", begin + "r.main()"], self.environment(port), stdout=subprocess.DEVNULL)
        self.address = ("127.0.0.1", port)
        self.wait("its start", lambda: self.ready_status() or self.process.poll() is not None, START_MAX)
        holds(self.process.poll() is None, f"it ended: {self.said()[-300:]}")
        return self

    def environment(self, port):
        fakes, setting = self.fakes, self.setting
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PORT": str(port),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AGENT_NAME": "desk",
            "SYSTEM_PROMPT": "Be brief.",
            "LLM_GATEWAY_URL": fakes.model.url + "/v1/chat/completions",
            "LLM_MODEL": "fast",
            "GOVERNANCE_URL": setting.governance or fakes.governance.url,
            "TOOL_URL_CALC": fakes.tool.url if setting.tool_is_there else fakes.nowhere,
            "TOOL_DEFINITIONS_JSON": json.dumps([definition("add"), definition("get")]),
            "TOOL_ROUTES_JSON": json.dumps({
                "calc__add": {"tool": "calc", "method": "POST", "path": "/add"},
                "calc__get": {"tool": "calc", "method": "GET", "path": setting.get_path},
            }),
        }
        if setting.third_party:
            environment["ELSEWHERE"] = fakes.elsewhere.url
        if setting.code:
            environment.update(USER_ENTRY_POINT=setting.entry, RUNAGENTS_USER_CODE_DIR=str(self.folder))
        return {**environment, **dict(setting.environment)}

    def pid(self):
        return self.process.pid

    def naming(self, user):
        return {"X-End-User-Id": user}

    def without_its_gateway(self):
        """The same with a gateway that is not there."""
        environment = (*self.setting.environment, ("LLM_GATEWAY_URL", self.fakes.nowhere + "/v1/chat/completions"))
        return Peer(dataclasses.replace(self.setting, environment=environment), self.fakes).start()

    def reports(self, run):
        """What the run's history has of calls that are over, in the dialect's six fields."""
        sent = [asked for asked in self.fakes.governance.asked if asked.path == f"/runs/{run}/tool-result"]
        return [asked.json for asked in sent]

    # Pauses: the tool itself refuses, with an id of its own.

    def block(self, code="APPROVAL_REQUIRED", **fields):
        refusal = {"code": code, "action_id": "act-1", "tool": "calc", "message": "Ask a human."}
        self.fakes.tool.answers["/add"] = (403, {**refusal, **fields})

    def approve(self, action):
        self.fakes.tool.answers.clear()

    def went_on(self, action, run):
        """Has the run go on once; what comes of it is nobody's to judge."""
        self.resume(action, run)

    def asks_at(self, link, resume):
        holds((link, resume) == ("https://login.example/authorize", "res-1"), f"it is {resume} at {link}")

    def checkpoint(self, run, action, status=None):
        kept = self.fakes.governance.checkpoints.get(action)
        holds(kept, f"no checkpoint of {action} was kept")
        return kept

    def restart(self):
        """Killed and started again, as after a crash; what the agent's surroundings keep is kept."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        return self.start()


class Postern(Target):
    """`postern up` with a config written for the row."""

    name = "postern"
    binary = None
    ready = None

    def start(self):
        config = self.folder / "postern.toml"
        if not config.exists():
            config.write_text(self.config())
            self.secret("ada.key", APPROVERS_KEY)
            self.secret("model.key", "the-key-of-the-model-0123456789")
            if self.setting.code:
                self.pack()
        command = [self.binary, "up", "--json", "--state", self.folder / "state", config]
        if os.geteuid() != 0:
            command[2:2] = ["--allow-weaker", "separate_uid,cgroup"]
        self.spawn(command, {"PATH": "/usr/local/bin:/usr/bin:/bin"}, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            self.refused = self.said().strip()
            return self
        self.ready = json.loads(line)
        self.address, self.operator = map(address, (self.ready["api"], self.ready["operator"]))
        return self

    def config(self):
        fakes, setting = self.fakes, self.setting
        parts = [CONFIG.format(
            tool=fakes.tool.url if setting.tool_is_there else fakes.nowhere, model=fakes.model.url, get_path=setting.get_path,
            elsewhere=fakes.elsewhere.url, identity=str(not setting.code).lower(),
        )]
        if setting.consents:
            parts.append(CONSENTS)
        if setting.adding_asks:
            parts.append(ASKS.format(tool=fakes.tool.url))
        tools = ["calc", "elsewhere"] if setting.third_party else ["calc"]
        parts.append(f'[agents.desk]\nmodels = ["fast"]\npolicies = ["all"]\nsystem_prompt = "Be brief."\ntools = {tools}\n')
        if setting.code:
            parts.append(f'kind = "{setting.language}"\n')
            is_command = setting.language == "command"
            parts.append(f'command.argv = ["sh", "/agent/{MODULES["command"]}"]\n' if is_command else f'entry = "{setting.entry}"\n')
            parts.append('source = { object = { path = "agent.tar.gz" } }\n')
            environment = dict(setting.environment)
            if setting.third_party:
                environment["ELSEWHERE"] = fakes.elsewhere.url
            if setting.packages:
                environment["PYTHONPATH"] = setting.packages
                parts.append(f"sandbox.read_only = [{json.dumps(setting.packages)}]\n")
            parts.append("".join(f"env.{name} = {json.dumps(value)}\n" for name, value in environment.items()))
        else:
            parts.append('kind = "builtin"\n')
        return "".join(parts)

    def secret(self, name, value):
        path = self.folder / name
        path.write_text(value)
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, GATE_UID, GATE_UID)

    def pack(self):
        module = self.folder / "module.py"
        module.write_text(self.setting.code)
        with tarfile.open(self.folder / "agent.tar.gz", "w:gz") as archive:
            archive.add(module, MODULES[self.setting.language])

    def pid(self):
        return self.ready["runtime_pid"]

    def key(self, name):
        return (self.folder / "state" / "runtime" / f"{name}.key").read_text().strip()

    def naming(self, user):
        return {"X-End-User-Id": user, "Authorization": f"Bearer {self.key('callers')}"}

    def asked(self, method, path, body=None, key=None):
        """The operator API."""
        shown = {"Authorization": f"Bearer {key or self.key('operator')}"}
        return ask(self.operator, method, "/api/v1" + path, body, shown)

    def without_its_gateway(self):
        """The same with a gate that has stopped answering."""
        target = Postern(self.setting, self.fakes).start()
        os.kill(target.ready["gate_pid"], signal.SIGSTOP)
        return target

    def stop(self):
        if self.ready and self.process.poll() is None:
            # A row may have halted it.
            os.kill(self.ready["gate_pid"], signal.SIGCONT)
        super().stop()

    def events(self, run):
        return self.asked("GET", f"/runs/{run}/events?limit=1000").is_(200).json

    def reports(self, run):
        events = self.events(run)
        asked = [event["data"] for event in events if event["type"] == "TOOL_REQUEST"]
        told = [event["data"] for event in events if event["type"] == "TOOL_RESPONSE"]
        return [
            {"function_name": one["tool"], "arguments": one["arguments"], **{key: two[key] for key in two if key != "tool"}}
            for one, two in zip(asked, told, strict=True)
        ]

    # Pauses: a rule of the gate, and ids of Postern's own.

    def block(self, code="APPROVAL_REQUIRED", **_):
        holds(self.setting.consents == (code == "CONSENT_REQUIRED"), "this setting asks for something else")

    def asks_at(self, link, resume):
        """A page of the gate's own, that names everybody and cannot be taken for another."""
        holds(resume.startswith("act_"), f"resume_id is {resume}")
        host, _, path = link.removeprefix("http://").partition("/")
        page = ask(address(host), "GET", "/" + path).is_(200)
        holds(all(name in page.body for name in (b"desk", b"calc", b"u@x")), "the page does not name everybody")

    def approve(self, action):
        self.asked("POST", f"/approvals/requests/{action}/approve", "", APPROVERS_KEY).is_(200)

    def went_on(self, action, run):
        """It goes on by itself, until it fails on its way."""
        def failed():
            outcome = self.asked("GET", f"/runs/{run}").is_(200).json["outcome"]
            return outcome and outcome["status"] >= 500

        self.wait("a failure of the run on its way", failed)

    def checkpoint(self, run, action, status="PAUSED_APPROVAL"):
        kept = self.asked("GET", f"/runs/{run}").is_(200).json
        holds(kept["status"] == status, f"the run is {kept['status']}")
        return {"action_id": kept["blocked_action_id"]}

    def restart(self):
        for pid in (self.ready["runtime_pid"], self.ready["gate_pid"], self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        return self.start()


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def definition(verb):
    number = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": f"calc__{verb}", "description": "Sums", "parameters": number}}


CONFIG = """
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[api]
body_timeout = "1s"

[secrets.model]
file = "model.key"

[tools.calc]
url = "{tool}"
description = "Sums"
private = true
forward_identity = {identity}

[[tools.calc.capabilities]]
name = "add"
method = "POST"
path = "/add"
parameters = {{ type = "object", properties = {{}} }}

[[tools.calc.capabilities]]
name = "get"
method = "GET"
path = "{get_path}"

[tools.elsewhere]
url = "{elsewhere}"
private = true

[providers.fake]
format = "openai"
url = "{model}/v1"
credential = {{ kind = "bearer", secret = "model" }}
private = true

[models.fast]
provider = "fake"
upstream = "fast"

[[policies.all.rules]]
name = "the tool"
permission = "allow"
resource = "{tool}/*"

[[policies.all.rules]]
name = "another host"
permission = "allow"
resource = "{elsewhere}/*"

"""

ASKS = """
[[policies.all.rules]]
name = "adding is for humans"
permission = "approval_required"
resource = "{tool}/add"
operations = ["POST"]

[secrets.ada]
file = "ada.key"

[approvals]
hold_for = "2s"

[approvals.approvers.ada]
secret = "ada"

"""

CONSENTS = """
[consent]
listen = "127.0.0.1:0"

[tools.calc.credential]
kind = "authorization_code"
authorization_url = "https://login.example/authorize"
token_url = "https://login.example/token"
client_id = "postern"

"""
