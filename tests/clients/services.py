"""What stands outside for clients: a service a kind of protocol, each started once with all that it needs. Knows nothing of
policies; says who came.
"""

import json
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import threading
import time

import packages
from shelves import debian, git, maven, models, node, objects, plain, python, rust, websocket
from upstream import WORD, Upstream

HERE = pathlib.Path(__file__).resolve().parent

# How long a service may take to start, in seconds.
START_MAX = 60

# Who a database is run by where the tests are root's.
NOBODY = 65534


class Service:
    """What all have in common: `url` is a tool's, `client_url` what its program is told."""

    needs = []

    def client_url(self, way, host):
        return self.url(way, host)

    def rule(self, way, host):
        """The rule that a tool needs which speaks no HTTP."""
        return ""


class Web(Service):
    """HTTPS with everything on its shelves."""

    def __init__(self, folder, key, _):
        self.ca = folder / "ca.pem"
        shelves = [plain, git.Shelf(folder), python, node, rust, debian, maven, models, websocket, objects]
        self.upstream = Upstream(folder, key, shelves)

    def url(self, way, host):
        return f"https://{host}:{self.upstream.port}"

    def port_of(self, way):
        return self.upstream.port

    def tool(self, way, host):
        """More lines of a tool's table."""
        return f'ca = "{self.ca}"\n'

    def seen(self, host):
        return self.upstream.seen(host)

    def stop(self):
        self.upstream.shutdown()


class Raw(Service):
    """What speaks no HTTP."""

    def url(self, way, host):
        return f"tcp://{host}:{self.port_of(way)}"

    def tool(self, way, host):
        return 'protocol = "tcp"\n'

    def rule(self, way, host):
        asks = f'name = "{host}"\npermission = "allow"\nresource = "{self.url(way, host)}"\n'
        return "" if way == "closed" else f"\n[[policies.clients.rules]]\n{asks}"


class Redis(Raw):
    """As much of Redis as a key with some words takes; a port for each way, of which one wants the password of `keeper` first."""

    def __init__(self, _, key, *__):
        self.came, self.servers, self.login = [], {}, [b"AUTH", b"keeper", key.encode()]
        for way in ("open", "closed", "redis"):
            server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self.answering(way))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers[way] = server

    def answering(self, way):
        came, login = self.came, self.login

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                is_in = way != "redis"
                came.append((way, False))
                while line := self.rfile.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        size = int(self.rfile.readline()[1:])
                        words.append(self.rfile.read(size + 2)[:-2])
                    if way == "redis" and words == login:
                        is_in, came[-1] = True, (way, True)
                    if not is_in:
                        said = "-NOAUTH Authentication required.\r\n"
                    elif words[0] in (b"CONFIG", b"ACL"):
                        said = "-NOPERM this user has no permissions\r\n"
                    else:
                        said = f"${len(WORD)}\r\n{WORD}\r\n" if words == [b"GET", b"word"] else "+OK\r\n"
                    self.wfile.write(said.encode())

        return Handler

    def port_of(self, way):
        return self.servers[way].server_address[1]

    def tool(self, way, host):
        if way != "redis":
            return super().tool(way, host)
        return 'protocol = "redis"\ncredential = { kind = "redis", user = "keeper", secret = "key", plaintext = true }\n'

    def seen(self, host):
        return [has or way != "redis" for way, has in self.came if way == host.partition("-")[0]]

    def stop(self):
        for server in self.servers.values():
            server.shutdown()


class Helper(Service):
    """A server in a program of its own, for it needs packages: its ports first, then a line for each that comes."""

    ways = ("open", "closed")

    def start(self, packages_, name, *arguments):
        python3 = shutil.which("python3", path=packages.PATH)
        environment = {**os.environ, "PYTHONPATH": str(packages_.python), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [python3, HERE / "servers" / name, *map(str, arguments), *self.ways], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.ports, self.came = json.loads(self.process.stdout.readline()), []
        threading.Thread(target=lambda: self.came.extend(line.split() for line in self.process.stdout), daemon=True).start()

    def port_of(self, way):
        return self.ports[way]

    def seen(self, host):
        return [has == "yes" for way, has in list(self.came) if way == host.partition("-")[0]]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Grpc(Helper):
    """gRPC over TLS; a port for each way."""

    needs = [("pip", "grpcio")]
    ways = ("open", "closed", "bearer")

    def __init__(self, folder, key, packages_):
        self.ca = folder / "ca.pem"
        self.start(packages_, "grpc_words.py", folder, key, WORD)

    def url(self, way, host):
        return f"https://{host}:{self.port_of(way)}"

    def tool(self, way, host):
        return f'ca = "{self.ca}"\nprotocol = "grpc"\n'


class Ssh(Raw, Helper):
    """SSH with a repository of git's; a port for each way."""

    needs = [("pip", "asyncssh")]

    def __init__(self, folder, _, packages_):
        shelf = git.Shelf(folder / "ssh")
        self.start(packages_, "ssh_git.py", shelf.folder / "things.git")


class Postgres(Raw):
    """A PostgreSQL server: `guest` comes in without a password, `keeper` with one. A database for each host."""

    needs = [("apt", "postgresql//usr/lib/postgresql/*/bin/initdb")]

    def __init__(self, folder, key, _):
        self.ca, self.folder, self.databases = folder / "ca.pem", folder / "postgres", set()
        self.programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.folder.mkdir()
        for name in ("server.crt", "server.key"):
            shutil.copy(folder / name, self.folder / name)
            (self.folder / name).chmod(0o600)
        (self.folder / "password").write_text(key)
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
        data = self.folder / "data"
        self.run("initdb", "--no-sync", "-U", "keeper", "-A", "scram-sha-256", "-D", data, "--pwfile", self.folder / "password")
        (data / "pg_hba.conf").write_text("host all guest 127.0.0.1/32 trust\nhost all keeper 127.0.0.1/32 scram-sha-256\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "ssl": "on", "log_connections": "on",
            "ssl_cert_file": self.folder / "server.crt", "ssl_key_file": self.folder / "server.key",
        }
        told = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        self.log = (folder / "postgres.log").open("w+")
        command = [self.programs / "postgres", "-D", data, "-p", str(self.port), *told]
        self.process = subprocess.Popen(command, stderr=self.log, **self.nobody())
        self.password = {"PGPASSWORD": key}
        end = time.monotonic() + START_MAX
        while not self.asks("SELECT 1") and time.monotonic() < end:
            time.sleep(0.05)
        self.asks("CREATE ROLE guest LOGIN")

    @staticmethod
    def nobody():
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

    def run(self, program, *arguments):
        command = [self.programs / program, *arguments]
        return subprocess.run(command, check=True, capture_output=True, cwd="/", **self.nobody())

    def asks(self, *lines, database="postgres"):
        """Whether everything was done as `keeper`."""
        at = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "keeper", "-d", database, "-q", "-v", "ON_ERROR_STOP=1"]
        told = [argument for line in lines for argument in ("-c", line)]
        command = [self.programs / "psql", *at, *told]
        return subprocess.run(command, env={**os.environ, **self.password}, capture_output=True).returncode == 0

    @staticmethod
    def database(host):
        return host.partition(".")[0].replace("-", "_")

    def client_url(self, way, host):
        return f"postgres://guest@{host}:{self.port}/{self.database(host)}"

    def tool(self, way, host):
        """Makes its database."""
        if (name := self.database(host)) not in self.databases:
            self.databases.add(name)
            self.asks(f"CREATE DATABASE {name}")
            words = ("CREATE TABLE words (word text)", f"INSERT INTO words VALUES ('{WORD}')", "GRANT SELECT ON words TO guest")
            self.asks(*words, database=name)
        if way == "open":
            return 'protocol = "tcp"\n'
        login = 'credential = { kind = "postgres", user = "keeper", secret = "key" }\n'
        return f'protocol = "postgres"\nca = "{self.ca}"\n{login}'

    def port_of(self, way):
        return self.port

    def seen(self, host):
        who = "guest" if host.startswith("open-") else "keeper"
        wanted = f"connection authorized: user={who} database={self.database(host)} "
        return [True for line in (self.folder.parent / "postgres.log").read_text(errors="replace").splitlines() if wanted in line + " "]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        for path in (self.folder / "password", self.folder.parent / "postgres.log"):
            path.unlink()


SERVICES = {"web": Web, "redis": Redis, "grpc": Grpc, "ssh": Ssh, "postgres": Postgres}
