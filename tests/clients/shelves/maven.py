"""A repository of Maven's with one project, which others name as their parent."""

import hashlib

from upstream import WORD

PROJECT = f"""<project><modelVersion>4.0.0</modelVersion><groupId>test.clients</groupId><artifactId>tiny-parent</artifactId>
<version>1.0</version><packaging>pom</packaging><name>{WORD}</name></project>""".encode()

AT = "/maven/test/clients/tiny-parent/1.0/tiny-parent-1.0.pom"


def takes(request):
    return request.path.startswith("/maven/")


def answer(request, _):
    if request.path == AT:
        return 200, {}, PROJECT
    if request.path == AT + ".sha1":
        return 200, {}, hashlib.sha1(PROJECT).hexdigest().encode()
    return 404, {}, b""
