"""A devbox for clients: `postern up` with an agent that runs whatever program it is told to, in a sandbox of its own each time, and
three tools for each client: one that the policy allows, one that it denies, and one with a credential. Never shares anything with
another devbox, and ends by pid what it started.
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import urllib.request

from upstream import KEY_ID, ZONE

# How long the devbox may take to start or to stop, and one program to run, in seconds.
START_MAX = 60
RUN_MAX = 120

# The uid that `postern up` as root gives the gate, which alone may read secrets.
GATE_UID = 64101

PROXIES = "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy"

# What every key of these tests begins with. The sandbox is searched for it without being told it.
MARK = "clients-key-"

CREDENTIALS = {
    "bearer": '{ kind = "bearer", secret = "key" }',
    "header": '{ kind = "header", name = "x-api-key", secret = "key" }',
    "query": '{ kind = "query", name = "key", secret = "key" }',
    "basic": '{ kind = "basic", user = "client", secret = "key" }',
    "sigv4": '{ kind = "sigv4", access_key = "key-id", secret_key = "key", region = "eu-central-1", service = "s3" }',
    "certificate": '{ kind = "client_certificate", certificate = "client.crt", key = "client.key" }',
}

HEAD = """
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[egress]
resolvers = ["{names}"]

[secrets.key]
file = "key"

[secrets.key-id]
file = "key-id"

[policies.clients]

[[policies.clients.rules]]
name = "what is open"
permission = "allow"
tags = ["open"]

[agents.client]
kind = "command"
tools = {tools}
policies = ["clients"]

[agents.client.command]
argv = ["sh", "-c"]
input = "argument"

[agents.client.sandbox]
wall_time = "{seconds}s"
read_only = {shown}

[agents.client.env]
{environment}
"""

# For tools with a certificate: lines are no part of any other credential.
PAIR = """
[secrets."client.crt"]
file = "client.crt"

[secrets."client.key"]
file = "client.key"
"""

TOOL = """
[tools."{name}"]
url = "{url}"
tags = ["{tag}"]
private = true
"""

# Runs the program, says how it ended, what it said, and which of the sandbox's variables and files have a key in them: as it is,
# in base64 at any alignment, or in hexadecimal.
INSIDE = """
mkdir -p /tmp/said && cd /workspace
{before} timeout -k 2 {seconds} {program} >/tmp/said/out 2>&1
echo "exit $?"
tail -c 6000 /tmp/said/out
forms='clients[-]key[-]|Y2xpZW50cy1rZXkt|NsaWVudHMta2V5L|jbGllbnRzLWtleS|636c69656e74732d6b65792d'
env | grep -aE "$forms" | sed 's/=.*//; s/^/found in the environment: /'
grep -arlE "$forms" /workspace /tmp /home /run 2>/dev/null | sed 's/^/found in a file: /'
"""


class House:
    def __init__(self, binary, key):
        self.binary, self.key = binary, key
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-clients-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.process = None

    def start(self, names, tools, shown, environment):
        """`tools` are rows of (name, url, way, more lines of its config, its rule)."""
        self.write("key", self.key.encode())
        self.write("key-id", KEY_ID.encode())
        for name in ("client.crt", "client.key"):
            self.write(name, (self.folder / name).read_bytes())
        text = HEAD.format(
            names=names, tools=json.dumps([name for name, *_ in tools]), seconds=RUN_MAX, shown=json.dumps([str(path) for path in shown]),
            environment="".join(f"{name} = {json.dumps(str(value))}\n" for name, value in environment.items()),
        )
        if any(way == "certificate" for _, _, way, *_ in tools):
            text += PAIR
        for name, url, way, lines, rule in tools:
            text += TOOL.format(name=name, url=url, tag="closed" if way == "closed" else "open") + lines
            if way in CREDENTIALS:
                text += f"credential = {CREDENTIALS[way]}\n"
            text += rule
        self.boot(text)

    def boot(self, text):
        """Starts a devbox with this config."""
        config = self.folder / "postern.toml"
        config.write_text(text)
        command = [self.binary, "up", "--json", "--state", self.folder / "state", config]
        if os.geteuid() != 0:
            command[2:2] = ["--allow-weaker", "separate_uid,cgroup"]
        self.log = (self.folder / "log").open("wb")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self.log, cwd=self.folder)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the devbox did not come up: {(self.folder / 'log').read_text()[-2000:]}")
        self.api = json.loads(line)["api"]

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, GATE_UID, GATE_UID)

    def run(self, program, variables, keys, is_proxied, seconds=60):
        """Runs a program in a fresh sandbox, with variables, and keys in a shell's words; its exit code and everything that was said."""
        before = "env " + "".join(f"{name}={shlex.quote(str(value))} " for name, value in variables.items())
        before += "".join(f"{name}={value} " for name, value in keys.items())
        if not is_proxied:
            before = "env " + " ".join(f"-u {name}" for name in PROXIES.split()) + before.removeprefix("env")
        message = INSIDE.format(before=before, program=program, seconds=seconds)
        said = self.ask(message)
        first, _, rest = said.partition("\n")
        return int(first.removeprefix("exit ")), rest

    def ask(self, message):
        """What the agent answers."""
        asked = urllib.request.Request(
            f"http://{self.api}/invoke", json.dumps({"message": message}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=RUN_MAX + START_MAX) as answer:
            return json.load(answer)["response"]

    def audit(self):
        path = self.folder / "state/gate/audit.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines() if line]
        return [line for line in lines if line["kind"] == "call"]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(START_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # What is left is searched for secrets; what only the upstream had is not.
        for name in ("server.key", "ca.key", "client.key"):
            (self.folder / name).unlink(missing_ok=True)
        if place := os.environ.get("POSTERN_LEFTOVERS"):
            shutil.move(self.folder, place)
        shutil.rmtree(self.folder, ignore_errors=True)


def host(way, client):
    return f"{way}-{client}.{ZONE}"
