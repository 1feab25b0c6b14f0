"""Looks for what is not its own among files and processes, and tries to change what it may only read. Says what did not come to the
expected nothing, and how many attempts there were. Its argument is who it is: `agent`, or `root` of its namespace."""

import errno
import os
import stat
import sys

attempts = odd = 0


def attempt(expected, name, deed):
    """The deed must fail with one of the errors that are expected."""
    global attempts, odd
    attempts += 1
    try:
        deed()
        found = "it worked"
    except OSError as error:
        found = errno.errorcode[error.errno]
    if found not in expected.split():
        odd += 1
        print(f"{name}: {found} where {expected} was expected")


def holds(name, truth):
    global attempts, odd
    attempts += 1
    if not truth:
        odd += 1
        print(f"{name} does not hold")


def write(path):
    with open(path, "w") as file:
        file.write("1")


def holds_nothing(path):
    """What is hidden is /dev/null: it takes everything and keeps nothing."""
    if stat.S_ISCHR(os.stat(path).st_mode):
        raise OSError(errno.EACCES, "hidden")


# The host's, by every name that it has elsewhere.
for path in [
    "/etc/shadow", "/etc/postern", "/var/lib/postern", "/run/postern", "/root", "/home/agent/.ssh", "/var/run/docker.sock", "/mnt", "/host",
    "/sys", "/sys/fs/cgroup", "/sys/kernel/debug", "/boot", "/proc/self/root/etc/shadow", "/proc/thread-self/root/var", "/../../etc/shadow",
]:
    attempt("ENOENT", path, lambda: os.stat(path))
for device in ["mem", "kmem", "kmsg", "port", "fuse", "kvm", "net/tun", "vsock", "vhost-vsock", "loop0", "loop-control", "sda", "vda", "console",
               "mapper/control", "userfaultfd", "cpu/0/msr", "hpet", "uinput", "snapshot", "autofs", "rfkill"]:
    attempt("ENOENT", f"/dev/{device}", lambda: os.stat(f"/dev/{device}"))
here, top = os.stat("/"), os.stat("/../..")
holds("the top is the top", (here.st_dev, here.st_ino) == (top.st_dev, top.st_ino))
planted = "/workspace/link"
os.symlink("/proc/1/root/etc/shadow", planted)
attempt("EACCES ENOENT", "a link to the host's passwords", lambda: open(planted))

# Processes: its own family alone, and nothing of the first of them.
for name in ["environ", "mem", "auxv", "maps", "smaps", "pagemap", "stack", "syscall", "io"]:
    attempt("EACCES EPERM", f"/proc/1/{name}", lambda: open(f"/proc/1/{name}", "rb").read(1) or sys.exit(f"{name} is empty"))
for name in ["exe", "cwd", "root"]:
    attempt("EACCES EPERM", f"/proc/1/{name}", lambda: os.readlink(f"/proc/1/{name}"))
attempt("EACCES EPERM", "/proc/1/fd", lambda: os.listdir("/proc/1/fd"))
attempt("EACCES EPERM", "/proc/1/map_files", lambda: os.listdir("/proc/1/map_files"))
attempt("EACCES EPERM ETXTBSY EROFS", "its own program", lambda: open("/proc/self/exe", "r+b"))
holds("no descriptor but its own", set(os.listdir("/proc/self/fd")) <= {"0", "1", "2", "3"})
holds("few processes", len([name for name in os.listdir("/proc") if name.isdigit()]) < 8)

# Settings of the machine.
for setting in ["kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/sysrq", "kernel/randomize_va_space", "kernel/yama/ptrace_scope",
                "vm/overcommit_memory", "vm/drop_caches", "fs/suid_dumpable", "fs/protected_symlinks", "kernel/unprivileged_bpf_disabled",
                "kernel/poweroff_cmd", "kernel/cap_last_cap"]:
    attempt("EACCES EPERM ENOENT EROFS", setting, lambda: write(f"/proc/sys/{setting}"))
for path in ["/proc/sysrq-trigger", "/proc/sys/fs/binfmt_misc/register", "/sys/fs/cgroup/release_agent", "/sys/kernel/uevent_helper",
             "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/mtrr", "/proc/irq/0/smp_affinity", "/proc/scsi/scsi",
             "/proc/timer_list", "/proc/kcore"]:
    attempt("EACCES EPERM ENOENT EROFS EIO EINVAL", path, lambda: write(path) or holds_nothing(path))


# What is shown is not its own to change, in any way there is.
for path in ["/usr/bin/env", "/etc/passwd", "/usr/lib", "/hostile/files.py", "/etc/resolv.conf"]:
    attempt("EROFS EACCES EPERM EISDIR", f"write {path}", lambda: os.open(path, os.O_WRONLY))
    attempt("EROFS EPERM EACCES", f"mode of {path}", lambda: os.chmod(path, 0o777))
    attempt("EROFS EPERM EACCES", f"owner of {path}", lambda: os.chown(path, 0, 0))
    attempt("EROFS EPERM EACCES", f"times of {path}", lambda: os.utime(path))
    attempt("EROFS EPERM EACCES EBUSY", f"rename {path}", lambda: os.rename(path, path + "~"))
    attempt("EROFS EPERM EACCES EBUSY EISDIR", f"unlink {path}", lambda: os.unlink(path))
    attempt("EXDEV EPERM EACCES", f"link {path}", lambda: os.link(path, "/workspace/hard"))
    attempt("EROFS EPERM EACCES ENOTSUP", f"attribute of {path}", lambda: os.setxattr(path, "user.x", b"x"))
for place in ["/", "/etc", "/dev", "/usr/bin", "/proc", "/hostile"]:
    attempt("EROFS EACCES EPERM ENOENT", f"file in {place}", lambda: write(f"{place}/new"))
    attempt("EROFS EACCES EPERM ENOENT", f"link in {place}", lambda: os.symlink("x", f"{place}/a-new-link"))

# A program of its own gains nothing by its mode or its attributes.
with open("/workspace/own", "w") as file:
    file.write("#!/bin/sh\nid -u\n")
os.chmod("/workspace/own", 0o6755)
holds("still itself", os.popen("/workspace/own").read() == f"{os.getuid()}\n")
if sys.argv[1] == "agent":
    # CAP_SYS_ADMIN, for whoever runs it.
    capability = bytes.fromhex("0100000200002000000000000000000000000000")
    attempt("EPERM ENOTSUP", "a capability of a file", lambda: os.setxattr("/workspace/own", "security.capability", capability))

print(f"{attempts} attempts, {odd} came to something")
sys.exit(odd != 0)
