"""A sparse index of crates with one crate."""

import hashlib
import io
import json
import tarfile

from upstream import WORD


def archive():
    content = io.BytesIO()
    manifest = '[package]\nname = "tiny-thing"\nversion = "1.0.0"\nedition = "2021"\n'
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in {"Cargo.toml": manifest, "src/lib.rs": f"//! {WORD}\n"}.items():
            about = tarfile.TarInfo(f"tiny-thing-1.0.0/{name}")
            about.size = len(text)
            tar.addfile(about, io.BytesIO(text.encode()))
    return content.getvalue()


CONTENT = archive()


def takes(request):
    return request.path.startswith("/crates/")


def answer(request, _):
    if request.path == "/crates/config.json":
        return 200, {}, json.dumps({"dl": f"{request.url}/crates/dl"}).encode()
    if request.path == "/crates/ti/ny/tiny-thing":
        digest = hashlib.sha256(CONTENT).hexdigest()
        line = {"name": "tiny-thing", "vers": "1.0.0", "deps": [], "cksum": digest, "features": {}, "yanked": False}
        return 200, {}, json.dumps(line).encode() + b"\n"
    if request.path.startswith("/crates/dl/tiny-thing/"):
        return 200, {}, CONTENT
    return 404, {}, b""
