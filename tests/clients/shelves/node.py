"""A registry of Node packages with one package."""

import base64
import hashlib
import io
import json
import tarfile

from upstream import WORD

PACKAGE = {"name": "tiny-thing", "version": "1.0.0", "main": "index.js"}


def archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in {"package.json": json.dumps(PACKAGE), "index.js": f'console.log("{WORD}");\n'}.items():
            about = tarfile.TarInfo(f"package/{name}")
            about.size = len(text)
            tar.addfile(about, io.BytesIO(text.encode()))
    return content.getvalue()


CONTENT = archive()


def takes(request):
    return request.path.startswith("/tiny-thing")


def answer(request, _):
    if request.path != "/tiny-thing":
        return 200, {"content-type": "application/octet-stream"}, CONTENT
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
    told = {"tarball": f"{request.url}/tiny-thing/-/tiny-thing-1.0.0.tgz", "integrity": integrity}
    told["shasum"] = hashlib.sha1(CONTENT).hexdigest()
    page = {
        "name": "tiny-thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**PACKAGE, "dist": told}},
        "time": {"modified": "2020-01-01T00:00:00.000Z", "1.0.0": "2020-01-01T00:00:00.000Z"},
    }
    return 200, {"content-type": "application/json"}, json.dumps(page).encode()
