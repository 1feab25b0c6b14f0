"""A flat repository of Debian packages with one package, which nobody installs: it is only fetched."""

import hashlib
import io
import lzma
import tarfile

from upstream import WORD

CONTROL = "Package: tiny-thing\nVersion: 1.0\nArchitecture: all\nMaintainer: clients <clients@clients.test>\nDescription: " + WORD + "\n"


def archive(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, text in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            tar.addfile(about, io.BytesIO(text.encode()))
    return lzma.compress(content.getvalue())


def package():
    """What `ar` makes of the three members that a package has."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": archive({"./control": CONTROL}), "data.tar.xz": archive({})}
    content = b"!<arch>\n"
    for name, data in members.items():
        content += f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return content


CONTENT = package()


def takes(request):
    return request.path.startswith("/debian/")


def answer(request, _):
    if request.path == "/debian/tiny-thing_1.0_all.deb":
        return 200, {}, CONTENT
    if request.path == "/debian/Packages":
        digest = hashlib.sha256(CONTENT).hexdigest()
        return 200, {}, f"{CONTROL}Filename: ./tiny-thing_1.0_all.deb\nSize: {len(CONTENT)}\nSHA256: {digest}\n".encode()
    return 404, {}, b""
