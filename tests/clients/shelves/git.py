"""A repository by git's smart HTTP, served by git's own `http-backend`, and large files beside it as Git LFS asks for them."""

import hashlib
import json
import os
import re
import subprocess

from upstream import WORD

LFS = "/info/lfs/objects/"


class Shelf:
    def __init__(self, folder):
        self.folder, self.objects = folder / "git", {}
        work, bare = self.folder / "work", self.folder / "things.git"
        work.mkdir(parents=True)
        (work / "README").write_text(f"{WORD}\n")
        who = ["-c", "user.name=clients", "-c", "user.email=clients@clients.test"]
        for command in (
            ["git", "init", "-q", "-b", "main", work],
            ["git", "-C", work, "add", "."],
            ["git", *who, "-C", work, "commit", "-qm", "one"],
            ["git", "clone", "-q", "--bare", work, bare],
            ["git", "-C", bare, "config", "http.receivepack", "true"],
        ):
            subprocess.run(command, check=True, capture_output=True)

    def takes(self, request):
        return request.path.startswith("/things.git")

    def answer(self, request, _):
        if LFS in request.path:
            return self.large(request)
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.folder), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "client",
            "PATH_INFO": request.path, "QUERY_STRING": request.query, "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=request.body, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(re.findall(r"^([^:\r\n]+): ?([^\r\n]*)", head.decode(), re.M))
        return int(headers.pop("Status", "200").split()[0]), headers, content

    def large(self, request):
        name = request.path.rpartition("/")[2]
        if request.method == "PUT":
            if hashlib.sha256(request.body).hexdigest() != name:
                return 422, {}, b""
            self.objects[name] = request.body
            return 200, {}, b""
        if request.method == "GET":
            return (200, {}, self.objects[name]) if name in self.objects else (404, {}, b"")
        asked = json.loads(request.body)
        told = []
        for one in asked["objects"]:
            at = {"href": request.url + request.path.removesuffix("batch") + one["oid"]}
            told.append({**one, "actions": {asked["operation"]: at}})
        content = json.dumps({"transfer": "basic", "objects": told}).encode()
        return 200, {"content-type": "application/vnd.git-lfs+json"}, content
