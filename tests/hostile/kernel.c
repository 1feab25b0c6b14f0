/* Asks the kernel for what no agent needs, by number and with arguments that would work elsewhere. Says what did not come to the
 * expected nothing, and how many attempts there were. Its argument is who it is: `agent`, or `root` of its namespace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int attempts, odd, root;

/* By whichever wall comes first. */
#define REFUSED (-1)

static void outcome(const char *name, long result, int expected) {
    int found = result < 0 ? errno : 0;
    int is_refused = expected == REFUSED && (found == EPERM || found == EACCES);
    attempts++;
    if (found != expected && !is_refused) {
        odd++;
        printf("%s: %d (%s) where %d was expected\n", name, found, strerror(found), expected);
    }
}

#define TRY(expected, call) do { errno = 0; outcome(#call, (long)(call), expected); } while (0)

/* How a child that does this ends: its signal, or 0. */
static int end_of(void (*deed)(void)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        deed();
        _exit(0);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#if defined(__x86_64__)
static void as_an_old_program(void) {
    long number = 20; /* getpid of 32-bit programs */
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
}
#endif

static void namespaces_and_mounts(void) {
    TRY(EPERM, syscall(SYS_unshare, CLONE_NEWUSER));
    TRY(EPERM, syscall(SYS_unshare, CLONE_NEWNET | CLONE_NEWUSER));
    TRY(EPERM, syscall(SYS_unshare, CLONE_NEWNS));
    TRY(EPERM, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    TRY(EPERM, syscall(SYS_clone, (1UL << 40) | CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0));
    TRY(ENOSYS, syscall(SYS_clone3, 0, 0));
    TRY(EPERM, syscall(SYS_setns, open("/proc/self/ns/net", O_RDONLY), CLONE_NEWNET));
    TRY(EPERM, syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0));
    TRY(EPERM, syscall(SYS_mount, "/proc", "/tmp", 0, MS_BIND, 0));
    TRY(EPERM, syscall(SYS_mount, "x", "/", 0, MS_REMOUNT | MS_BIND, 0));
    TRY(EPERM, syscall(SYS_mount, "cgroup", "/tmp", "cgroup", 0, "memory"));
    TRY(EPERM, syscall(SYS_umount2, "/proc/kcore", MNT_DETACH));
    TRY(EPERM, syscall(SYS_umount2, "/usr", MNT_DETACH));
    TRY(EPERM, syscall(SYS_pivot_root, "/tmp", "/tmp"));
    TRY(EPERM, syscall(SYS_chroot, "/tmp"));
    TRY(EPERM, syscall(SYS_fsopen, "tmpfs", 0));
    TRY(EPERM, syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    TRY(EPERM, syscall(SYS_move_mount, AT_FDCWD, "/usr", AT_FDCWD, "/tmp", 0));
    TRY(EPERM, syscall(SYS_sethostname, "x", 1));
    char handle[128] = {8, 0, 0, 0, 1};
    TRY(EPERM, syscall(SYS_open_by_handle_at, open("/usr", O_RDONLY), handle, O_RDONLY));
}

static void others(void) {
    char byte = 0;
    struct { void *base; size_t length; } here = {&byte, 1}, there = {(void *)0x400000, 1};
    TRY(EPERM, syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
    TRY(EPERM, syscall(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0));
    TRY(EPERM, syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, getppid(), 0, 0));
    TRY(EPERM, syscall(SYS_process_vm_readv, 1, &here, 1, &there, 1, 0));
    TRY(EPERM, syscall(SYS_process_vm_writev, getppid(), &here, 1, &there, 1, 0));
    TRY(EPERM, syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, 1, 0), 0, 0));
    TRY(EPERM, syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
    TRY(0, kill(1, SIGKILL)); /* said to be sent, and process 1 goes on */
    TRY(0, kill(1, 0));
    TRY(EPERM, syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    TRY(EPERM, syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_SESSION_KEYRING));
    TRY(EPERM, syscall(SYS_request_key, "user", "x", 0, KEY_SPEC_SESSION_KEYRING));
    TRY(EACCES, open("/proc/1/mem", O_RDWR));
    TRY(EACCES, open("/proc/1/environ", O_RDONLY));
}

static void code_in_the_kernel(void) {
    char zeros[256] = {0};
    TRY(EPERM, syscall(SYS_bpf, 5, zeros, sizeof zeros));
    TRY(EPERM, syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
    TRY(EPERM, syscall(SYS_userfaultfd, 0));
    TRY(EPERM, syscall(SYS_userfaultfd, 1 /* for its own memory alone */));
    TRY(EPERM, syscall(SYS_io_uring_setup, 8, zeros));
    TRY(EPERM, syscall(SYS_io_uring_enter, 0, 1, 0, 0, 0));
    TRY(EPERM, syscall(SYS_kexec_load, 0, 0, 0, 0));
    TRY(EPERM, syscall(SYS_init_module, zeros, sizeof zeros, ""));
    TRY(EPERM, syscall(SYS_finit_module, 0, "", 0));
    TRY(EPERM, syscall(SYS_delete_module, "x", 0));
    TRY(EPERM, syscall(SYS_fanotify_init, 0, O_RDONLY));
    TRY(EPERM, syscall(SYS_quotactl, 0, "/", 0, 0));
    TRY(EPERM, syscall(SYS_swapon, "/tmp/x", 0));
    TRY(EPERM, syscall(SYS_acct, "/tmp/x"));
    TRY(EPERM, syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
    TRY(EPERM, syscall(SYS_syslog, 3, zeros, sizeof zeros));
    TRY(EPERM, syscall(SYS_settimeofday, zeros, 0));
    TRY(EPERM, syscall(SYS_clock_settime, 0, zeros));
    TRY(EPERM, syscall(SYS_personality, 0x0400000 /* what is read may be run */));
    TRY(EPERM, syscall(SYS_personality, 0x0040000 /* the same addresses each time */));
#if defined(__x86_64__)
    TRY(ENOSYS, syscall(0x40000000 + SYS_getpid)); /* x32 */
    outcome("a 32-bit call", 0, end_of(as_an_old_program) == SIGSYS ? 0 : -1);
#endif
}

static void doors(void) {
    TRY(EPERM, socket(AF_VSOCK, SOCK_STREAM, 0));
    TRY(EPERM, socket(AF_PACKET, SOCK_RAW, 0));
    TRY(EPERM, socket(AF_PACKET, SOCK_DGRAM, 0));
    TRY(EPERM, socket(AF_INET, SOCK_RAW, 6));
    TRY(EPERM, socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 58));
    TRY(EPERM, socket(AF_NETLINK, SOCK_RAW, 9 /* audit */));
    TRY(EPERM, socket(AF_NETLINK, SOCK_DGRAM, 12 /* netfilter */));
    TRY(EPERM, socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0));
    TRY(EPERM, socket(44 /* AF_XDP */, SOCK_RAW, 0));
    TRY(EPERM, socket(AF_BLUETOOTH, SOCK_RAW, 1));
    TRY(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, 132 /* SCTP */));
    TRY(EPROTONOSUPPORT, socket(AF_INET, SOCK_DGRAM, 1 /* ICMP */));
    /* The kernel looks at the lower half of the request alone, and so must whoever refuses it. */
    TRY(EPERM, syscall(SYS_ioctl, 0, 0x5412UL, "x"));
    TRY(EPERM, syscall(SYS_ioctl, 0, 0x5412UL | 1UL << 32, "x"));
    TRY(EPERM, syscall(SYS_socket, (1UL << 32) | AF_VSOCK, SOCK_STREAM, 0));
}

static void more_power(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct sched_param first = {.sched_priority = 1};
    TRY(EPERM, setrlimit(RLIMIT_NPROC, &all));
    TRY(EPERM, setrlimit(RLIMIT_CORE, &all));
    TRY(EPERM, setrlimit(RLIMIT_NOFILE, &all));
    TRY(EPERM, sched_setscheduler(0, SCHED_FIFO, &first));
    TRY(EACCES, setpriority(PRIO_PROCESS, 0, -20));
    TRY(REFUSED, mknod("/tmp/memory", S_IFCHR | 0666, 1 << 8 | 1));
    TRY(REFUSED, mknod("/dev/shm/disk", S_IFBLK | 0666, 8 << 8));
    TRY(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY(EINVAL, prctl(PR_SET_SECCOMP, 0 /* no filter */, 0, 0, 0));
    gid_t nobody = 0;
    TRY(EPERM, syscall(SYS_setgroups, 1, &nobody));
    if (!root) {
        TRY(EINVAL, setuid(0));
        TRY(EINVAL, setgid(0));
        TRY(EPERM, prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
        TRY(EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21 /* CAP_SYS_ADMIN */, 0, 0));
        TRY(EPERM, prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, open("/bin/sh", O_RDONLY), 0, 0));
    }
}

int main(int count, char **words) {
    root = count > 1 && !strcmp(words[1], "root");
    namespaces_and_mounts();
    others();
    code_in_the_kernel();
    doors();
    more_power();
    printf("%d attempts, %d came to something\n", attempts, odd);
    return odd != 0;
}
