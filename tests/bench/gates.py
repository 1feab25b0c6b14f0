"""The gate as the bench meets it: a config, a place to call from, and an audit that is followed line by line; and the same with other
credentials, or none."""

import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

import peers
from peers import Missing, Peer, Running

CONFIG = """
[secrets.bench]
file = "bench.key"

[secrets.bench-id]
file = "bench.id"

[audit]
per_sandbox = "1024GiB"

[tools.bench]
url = "http://127.0.0.1:{plain}"
{credential}
private = true

[tools.safe]
url = "https://localhost:{tls}"
{credential}
private = true

[[policies.bench.rules]]
name = "read the tool"
permission = "allow"
resource = "http://127.0.0.1:{plain}/*"
operations = ["GET", "POST"]

[[policies.bench.rules]]
name = "read the safe tool"
permission = "allow"
resource = "https://localhost:{tls}/*"
operations = ["GET", "POST"]

[agents.bench]
tools = ["bench", "safe"]
policies = ["bench"]
"""


class Void(Exception):
    """A round that measured something else than it should."""


class Gate(Peer):
    """Postern's gate with policy, credential and audit on; its posternd only talks."""

    name, intercepts = "postern", True
    credential = 'credential = { kind = "bearer", secret = "bench" }'

    def __init__(self, stage, sandboxes=1):
        self.stage = stage
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gate-", dir=stage.folder))
        for name, value in {"bench.key": peers.SECRET, "bench.id": "AKIABENCH"}.items():
            self.write(name, value + "\n").chmod(0o600)
        config = self.write("postern.toml", CONFIG.format(plain=stage.plain, tls=stage.tls, credential=self.credential))
        link = self.folder / "link.sock"
        command = [stage.options.gate, "--config", config, "--state", self.folder, "--link", link]
        environment = {**os.environ, "SSL_CERT_FILE": str(stage.upstream_authority.certificate), "POSTERN_LOG": "error"}
        environment.pop("NOTIFY_SOCKET", None)
        self.running = Running(command, stage.proxy_core, self.folder, "gate", env=environment)
        self.house = None
        try:
            self.enter(link, sandboxes)
        except Missing:
            self.end()
            raise
        self.log = open(self.folder / "audit.jsonl", "rb")
        self.seq = self.lines = 0
        self.before = "0" * 64

    def enter(self, link, sandboxes):
        for _ in range(3000):
            if link.exists():
                break
            if self.running.process.poll() is not None:
                raise Missing((self.folder / "gate.log").read_text().strip())
            time.sleep(0.01)
        house = [self.stage.hands, "house", "--link", link, "--agent", "bench", "--sandboxes", sandboxes,
                 "--ca", self.folder / "told.crt"]  # fmt: skip
        self.house = Running(house, self.stage.load_core, self.folder, "house",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self.gates = self.house.first_line()["gates"]

    def address(self):
        return self.gates[0]

    def ca(self):
        return self.folder / "told.crt"

    def verify(self, expected):
        """Follows the chain from where it was left. Without an expectation: the number of allowed calls so far."""
        for log in self.unread():
            for line in log:
                told = json.loads(line)
                if told["before"] != self.before:
                    raise Void(f"the audit's chain breaks at line {told['seq']}")
                self.before = hashlib.sha256(line.rstrip(b"\n")).hexdigest()
                self.lines += told.get("decision") == "allowed" and told.get("cut") is None
                self.seq = told["seq"]
        if expected is not None and self.lines != sum(expected):
            raise Void(f"the audit holds {self.lines - expected[0]} lines for {expected[1]} requests")
        return self.lines

    def unread(self):
        """The open end of the log; where that was put aside meanwhile, also what came behind it."""
        yield self.log
        current = self.folder / "audit.jsonl"
        if os.stat(current).st_ino == os.fstat(self.log.fileno()).st_ino:
            return
        # Named by its first and last line, with zeros before, so that names sort as lines do.
        for piece in sorted(self.folder.glob("audit-*-*.jsonl")):
            if int(piece.name.split("-")[1]) > self.seq:
                with open(piece, "rb") as log:
                    yield log
        self.log.close()
        self.log = open(current, "rb")
        yield self.log

    def end(self):
        if self.house:
            self.house.process.stdin.close()
            self.house.end()
        self.running.end()


class Bare(Gate):
    """The same with nothing to add, and so nothing to look for in answers."""

    name, credential, adds = "no credential", "", False


class Bearer(Gate):
    """The same by the name of its credential."""

    name = "bearer"


class Signed(Gate):
    """The same with a signature over the request that is made anew for each."""

    name = "sigv4"
    credential = 'credential = { kind = "sigv4", access_key = "bench-id", secret_key = "bench", region = "x", service = "x" }'
