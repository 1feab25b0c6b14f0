"""An index of Python packages with one wheel, as pip and its kin read it."""

import hashlib
import io
import zipfile

from upstream import WORD

WHEEL = "tiny_thing-1.0-py3-none-any.whl"


def wheel():
    about = "tiny_thing-1.0.dist-info"
    files = {
        "tiny_thing.py": f'print("{WORD}")\n',
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: clients\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, text)
    return content.getvalue()


CONTENT = wheel()


def takes(request):
    return request.path.startswith("/simple/") or request.path == f"/wheels/{WHEEL}"


def answer(request, _):
    if request.path == f"/wheels/{WHEEL}":
        return 200, {"content-type": "application/octet-stream"}, CONTENT
    if request.path.rstrip("/") != "/simple/tiny-thing":
        return 404, {}, b""
    digest = hashlib.sha256(CONTENT).hexdigest()
    page = f'<!DOCTYPE html><html><body><a href="/wheels/{WHEEL}#sha256={digest}">{WHEEL}</a></body></html>'
    return 200, {"content-type": "text/html"}, page.encode()
