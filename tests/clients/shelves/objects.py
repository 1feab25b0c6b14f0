"""A bucket of objects, as S3 speaks with paths: one that is there, and what is put."""

import hashlib

from upstream import WORD

KEPT = {"/bucket/one.txt": WORD.encode()}


def takes(request):
    return request.path.startswith("/bucket")


def answer(request, _):
    if request.method == "PUT":
        KEPT[request.path] = unchunked(request)
    if request.path not in KEPT:
        return 404, {"content-type": "application/xml"}, b"<Error><Code>NoSuchKey</Code><Message>it is not here</Message></Error>"
    content = KEPT[request.path]
    headers = {"etag": f'"{hashlib.md5(content).hexdigest()}"', "content-type": "text/plain"}
    return 200, headers, b"" if request.method == "PUT" else content


def unchunked(request):
    """What is in a body that SDKs cut into chunks of their own, each with its size."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return request.body
    pieces, rest = [], request.body
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(rest[:size])
        rest = rest[size + 2:]
