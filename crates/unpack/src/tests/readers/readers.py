"""Says what a reader finds in each archive of a folder: one line of JSON, name to sorted entries, or null where it refuses.

An entry is [path, kind, size, target]. Called by the differential test: `readers.py READER FOLDER`. The archives lead out of their
folder, and some readers follow: nobody reads them here who could change anything of the machine's.
Exit status: 3 where the reader is not installed.
"""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor  # now: later its file may be out of reach


def plain(path):
    """A name that JSON can say, whatever bytes it has."""
    return os.fsencode(path).decode(errors="replace")


def listed(tree):
    """What was unpacked, as it lies there, with directories that anybody can look into from now on."""
    ways = [tree]
    while ways:
        way = ways.pop()
        way.chmod(0o700)
        for path in way.iterdir():
            name = plain(path.relative_to(tree))
            if path.is_symlink():
                yield [name, "link", 0, plain(path.readlink())]
            elif path.is_dir():
                ways.append(path)
                yield [name, "directory", 0, ""]
            elif path.is_file():
                yield [name, "file", path.stat().st_size, ""]
            else:
                yield [name, "other", 0, ""]


def unpacked(command, archive):
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        with archive.open("rb") as packed:
            ended = subprocess.run([*command, folder], stdin=packed, capture_output=True)
        found = list(listed(tree))
    # What complains has not read it as we would: a refusal.
    return None if ended.returncode or ended.stderr else found


def python_tar(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")


def python_zip(archive, folder):
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            made = pathlib.Path(packed.extract(info, folder))
            if info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16):
                target = made.read_bytes().decode()
                made.unlink()
                made.symlink_to(target)


def in_python(read):
    def found(archive):
        with tempfile.TemporaryDirectory() as folder:
            try:
                read(archive, folder)
            except Exception:
                return None
            return list(listed(pathlib.Path(folder)))

    return found


READERS = {
    "tar": lambda archive: unpacked(["tar", "-xf", "-", "-C"], archive),
    "bsdtar": lambda archive: unpacked(["bsdtar", "-xf", str(archive), "-C"], archive),
    "bsdtar, streaming": lambda archive: unpacked(["bsdtar", "-xf", "-", "-C"], archive),
    "tarfile": in_python(python_tar),
    "zipfile": in_python(python_zip),
}

NOBODY = 65534


def as_nobody(folder):
    """Goes on as a user who owns nothing but a copy of the folder, and makes everything in there."""
    own = pathlib.Path(tempfile.mkdtemp())
    copy = shutil.copytree(folder, own / "archives")
    if os.geteuid() == 0:
        for path in [own, copy, *copy.iterdir()]:
            os.chown(path, NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    tempfile.tempdir = str(own)
    os.chdir(own)
    return own, copy


# A Python whose tarfile follows every link is no reader to be run.
is_here = hasattr(tarfile, "tar_filter") if sys.argv[1].endswith("file") else shutil.which(sys.argv[1].partition(",")[0])
if not is_here:
    sys.exit(3)
own, copy = as_nobody(sys.argv[2])
paths = sorted(copy.iterdir())
with ThreadPoolExecutor(4) as pool:
    found = pool.map(READERS[sys.argv[1]], paths)
    print(json.dumps({path.name: entries for path, entries in zip(paths, found)}))
shutil.rmtree(own, ignore_errors=True)
