"""A WebSocket that greets, and repeats what it is told until it is closed."""

import base64
import hashlib

from upstream import WORD

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def takes(request):
    return request.path == "/socket"


def answer(request, handler):
    key = base64.b64encode(hashlib.sha1((request.headers["sec-websocket-key"] + GUID).encode()).digest()).decode()
    handler.send_response_only(101)
    for name, value in (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", key)):
        handler.send_header(name, value)
    handler.end_headers()
    handler.close_connection = True
    say(handler, TEXT, WORD.encode())
    while True:
        kind, content = heard(handler)
        say(handler, PONG if kind == PING else kind, content)
        if kind == CLOSE:
            return None


def say(handler, kind, content):
    handler.wfile.write(bytes([0x80 | kind, len(content)]) + content)
    handler.wfile.flush()


def heard(handler):
    """One short frame as clients send them, masked."""
    head = handler.rfile.read(2)
    if len(head) < 2:
        return CLOSE, b""
    mask = handler.rfile.read(4)
    content = handler.rfile.read(head[1] & 0x7F)
    return head[0] & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(content))
