"""Brings what the programs need out of registries into one directory, once: packages of Debian (as root), of Python for the
interpreter that the sandbox has, and of Node. What cannot be had is told, and the clients that need it are skipped.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess

# Where the sandbox looks for programs.
PATH = "/usr/local/bin:/usr/bin:/bin"
SBIN = PATH + ":/usr/local/sbin:/usr/sbin:/sbin"


class Packages:
    def __init__(self, folder, may_install):
        self.folder, self.may_install = folder, may_install
        self.python, self.node = folder / "python", folder / "node"
        self.lacking = {}  # what is not there, and why

    def bring(self, needs):
        """`needs` are pairs: `apt` and `PACKAGE/PROGRAM`, `pip` and `NAME`, `npm` and `NAME`, `cargo` and `cargo`, `go` and
        a program."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kinds = {"apt": self.debian, "pip": self.pythons, "npm": self.nodes, "cargo": self.rust}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = {kind: sorted({what for of, what in needs if of == kind}) for kind in kinds}
            for done in [pool.submit(kinds[kind], wanted) for kind, wanted in asked.items() if wanted]:
                done.result()
        self.go(sorted({what for of, what in needs if of == "go"}))

    def debian(self, wanted):
        def absent():
            return [what for what in wanted if not has(what.partition("/")[2] or what)]

        packages = [what.partition("/")[0] for what in absent()]
        if packages and self.may_install and os.geteuid() == 0:
            install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            if not tried(install, environment):
                tried(["apt-get", "update", "-qq"], environment)
                for package in packages:
                    tried([*install[:5], package], environment)
        for what in absent():
            self.lacking["apt", what] = f"{what.partition('/')[0]} is not installed (apt-get install)"

    def pythons(self, wanted):
        def absent():
            return [what for what in wanted if not (self.python / f".{what}").exists()]

        if absent() and self.may_install:
            # pip brings uv, which brings all the rest in a tenth of the time.
            quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--target", self.folder / "uv"]
            tried(["python3", "-m", "pip", "install", *quiet, "--upgrade", "uv"])
            options = ["--quiet", "--no-cache", "--only-binary", ":all:", "--python", shutil.which("python3", path=PATH)]
            options += ["--compile-bytecode", "--target", self.python]
            trusted = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
            if tried([self.folder / "uv/bin/uv", "pip", "install", *options, *wanted], {**trusted, **os.environ}):
                for what in wanted:
                    (self.python / f".{what}").touch()
        for what in absent():
            self.lacking["pip", what] = f"pip does not bring {what}"

    def nodes(self, wanted):
        def absent():
            return [what for what in wanted if not (self.node / "node_modules" / re.sub("(?<=.)@.*", "", what)).exists()]

        if absent() and self.may_install and shutil.which("npm"):
            self.node.mkdir(exist_ok=True)
            tried(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", self.node, *absent()])
        for what in absent():
            self.lacking["npm", what] = f"npm does not bring {what}"

    def rust(self, wanted):
        """cargo and rustc out of whatever directory they are in, for a sandbox sees no home of anybody."""
        place = self.folder / "rust"
        rustc = shutil.which("rustc")
        if rustc and not (place / "bin/cargo").exists():
            root = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
            for kept in [*pathlib.Path(root).glob("bin/cargo"), *pathlib.Path(root).glob("bin/rustc"), *pathlib.Path(root).glob("lib/*.so*")]:
                at = place / kept.relative_to(root)
                at.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(kept.resolve(), at)
                except OSError:
                    shutil.copy2(kept, at)
        if not (place / "bin/cargo").exists():
            self.lacking["cargo", wanted[0]] = "no cargo is here"

    def go(self, wanted):
        """Programs of our own, compiled out here."""
        for what in wanted:
            place = self.folder / "go" / what
            source = pathlib.Path(__file__).with_name("programs") / f"{what}.go"
            if not place.exists() or place.stat().st_mtime < source.stat().st_mtime:
                environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOCACHE": str(self.folder / "go-cache")}
                tried(["go", "build", "-o", place, source], environment)
            if not place.exists():
                self.lacking["go", what] = "Go does not compile it"

    def why_not(self, needs):
        """Why a client with these needs cannot be tried; nothing where it can."""
        return "; ".join(self.lacking[need] for need in needs if need in self.lacking)

    def environment(self):
        """What an agent's environment needs to find them."""
        return {"PYTHONPATH": self.python, "PYTHONDONTWRITEBYTECODE": "1", "NODE_PATH": self.node / "node_modules"}


def has(program):
    """Whether a program is where the sandbox, or a server out here, finds it; one with a slash is a file, `*` any name."""
    if "/" in program or "*" in program:
        return any(pathlib.Path("/").glob(program.lstrip("/")))
    return shutil.which(program, path=SBIN) is not None


def tried(command, environment=None):
    try:
        return subprocess.run(command, env=environment, capture_output=True).returncode == 0
    except OSError:
        return False
