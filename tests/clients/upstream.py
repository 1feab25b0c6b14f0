"""The HTTPS server that clients call: what it has stands on shelves (`shelves/`), one a kind of client. A host that begins with
the name of a credential serves only who shows it. It writes down who came, and never talks to anybody by itself.
"""

import base64
import hashlib
import hmac
import http.server
import pathlib
import socketserver
import ssl
import subprocess
import threading
import urllib.parse

# Everything that a client can bring home from here has these words in it.
WORD = "hello from the upstream"

# The zone of all hosts here: `WAY-CLIENT.clients.test`.
ZONE = "clients.test"

# The id of the key that AWS signatures are made with.
KEY_ID = "AKIACLIENTSTESTS2345"

# Whom the certificate of the gate is for.
CLIENT = "the-gate"

BODY_MAX = 16 << 20


class Request:
    """One request, its body read whole."""

    def __init__(self, handler):
        self.method = handler.command
        self.target = handler.path
        self.path, _, self.query = handler.path.partition("?")
        self.headers = handler.headers
        self.host = handler.headers.get("host", "")
        self.body = body(handler)
        self.certificate = handler.connection.getpeercert() or {}

    @property
    def url(self):
        """Where this server is for who asked."""
        return f"https://{self.host}"


def body(handler):
    if handler.headers.get("transfer-encoding", "").lower() != "chunked":
        return handler.rfile.read(min(int(handler.headers.get("content-length") or 0), BODY_MAX))
    pieces = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return b"".join(pieces)


def shows(kind, key, request):
    """Whether a request has the credential."""
    told = request.headers.get("authorization", "")
    query = urllib.parse.parse_qs(request.query)
    shown = {
        "bearer": lambda: told.removeprefix("Bearer "),
        "basic": lambda: base64.b64decode(told.removeprefix("Basic ")).decode().removeprefix("client:"),
        "header": lambda: request.headers.get("x-api-key", ""),
        "query": lambda: query.get("key", [""])[0],
        "sigv4": lambda: key if is_signed(request, key) else "",
        "certificate": lambda: key if ((("commonName", CLIENT),),) == request.certificate.get("subject") else "",
    }[kind]()
    return hmac.compare_digest(shown, key)


def is_signed(request, key):
    """Whether a request has the signature that AWS Signature Version 4 gives it."""
    told = request.headers.get("authorization", "")
    if not told.startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/"):
        return False
    parts = dict(part.strip().split("=", 1) for part in told.partition(" ")[2].split(","))
    scope, names = parts["Credential"].partition("/")[2], parts["SignedHeaders"].split(";")
    stamp, payload = request.headers["x-amz-date"], request.headers["x-amz-content-sha256"]
    query = "&".join(sorted(pair if "=" in pair else pair + "=" for pair in request.query.split("&") if pair))
    fields = [f"{name}:{' '.join(request.headers[name].split())}" for name in names]
    asked = "\n".join([request.method, request.path, query, *fields, "", ";".join(names), payload])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(asked.encode()).hexdigest()])
    signing = b"AWS4" + key.encode()
    for word in scope.split("/"):
        signing = hmac.digest(signing, word.encode(), "sha256")
    is_whole = {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names)
    return is_whole and hmac.compare_digest(hmac.digest(signing, text.encode(), "sha256").hex(), parts["Signature"])


class Upstream(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Serves until the program ends. `shelves` are functions that answer a request with (status, headers, body), or with nothing."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder, key, shelves):
        super().__init__(("127.0.0.1", 0), Handler)
        self.key, self.shelves = key, shelves
        self.lock, self.came = threading.Lock(), []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "server.crt", folder / "server.key")
        # Nobody must show a certificate; whoever shows one shows one of ours.
        self.tls.load_verify_locations(folder / "ca.pem")
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.tls.set_alpn_protocols(["http/1.1"])
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, connection, client):
        # In the thread of the connection, so that a slow greeting holds nobody up.
        with self.tls.wrap_socket(connection, server_side=True) as secured:
            self.RequestHandlerClass(secured, client, self)

    def handle_error(self, connection, client):
        """A client that goes away ends its own connection and nothing else."""

    def saw(self, host, has_credential):
        with self.lock:
            self.came.append((host, has_credential))

    def seen(self, host):
        """For each request to a host so far whether it had the credential that the host asks for."""
        with self.lock:
            return [has for who, has in self.came if who == host]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        # The connection is wrapped already, and a shutdown of it is the wrapper's.
        self.connection = self.request
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=1 << 16)

    def log_message(self, *_):
        pass

    def answer(self):
        request = Request(self)
        kind = request.host.partition("-")[0]
        has = kind == "open" or kind != "closed" and shows(kind, self.server.key, request)
        self.server.saw(request.host.partition(":")[0], has)
        if not has:
            return self.send(401, {"www-authenticate": 'Basic realm="clients"'}, b"this host asks for its credential\n")
        for shelf in self.server.shelves:
            if shelf.takes(request):
                told = shelf.answer(request, self)
                return told and self.send(*told)
        return self.send(404, {}, f"{request.method} {request.path} is not here\n".encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def send(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in headers:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def certificates(folder):
    """An authority of the test's own, a certificate for every host of the zone (`server.crt`, `server.key`), and one for the gate
    (`client.crt`, `client.key`)."""
    (folder / "names").write_text(f"subjectAltName=DNS:*.{ZONE},IP:127.0.0.1\n")
    (folder / "uses").write_text("extendedKeyUsage=clientAuth\n")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    for command in (
        f"{new} -keyout ca.key -out ca.pem -subj /CN=clients -addext keyUsage=critical,keyCertSign",
        f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN={ZONE}",
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
        f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout client.key -out client.csr -subj /CN={CLIENT}",
        "openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile uses -out client.crt",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return pathlib.Path(folder, "ca.pem")
