"""What every HTTP client can ask for: some words, the same as JSON, and its own body back."""

import json

from upstream import WORD


def takes(request):
    return request.path.removeprefix("/api/v3") in ("/hello", "/json", "/echo")


def answer(request, _):
    if request.path.endswith("/json"):
        return 200, {"content-type": "application/json"}, json.dumps({"says": WORD}).encode()
    if request.path == "/echo":
        return 200, {"content-type": "text/plain"}, f"{WORD}: ".encode() + request.body
    return 200, {"content-type": "text/plain"}, f"{WORD}\n".encode()
