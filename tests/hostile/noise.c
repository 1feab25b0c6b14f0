/* Calls the kernel at random: so many calls, in so many processes at once, from a seed that is told. What happens to itself is no matter; what
 * happens to anybody else is the test's to see. Arguments: seed, processes, calls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a call is given that takes a pointer; some of it becomes anything at all in the meantime. */
static char *memory;
#define MEMORY (1 << 16)

/* Calls of one process. */
#define EACH 500

/* Calls of all of them. */
static long *made;

static uint64_t state;

static uint64_t random64(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static const char *const PATHS[] = {
    "/", "/tmp", "/workspace/thing", "/proc/self/mem", "/proc/self/status", "/proc/1/mem", "/proc/self/ns/net", "/dev/null", "/dev/tty",
    "/dev/ptmx", "/etc/passwd", "/usr/bin/env", "/proc/sys/kernel/core_pattern", "/proc/self/fd/0", "/dev/shm/thing", "../../..", "",
};

static long argument(void) {
    switch (random64() % 12) {
    case 0: return 0;
    case 1: return -1;
    case 2: return (long)(random64() % 64);              /* a descriptor, a small number, a flag */
    case 3: return 1L << (random64() % 64);
    case 4: return (long)(random64() & random64() & 0xffffffff);
    case 5: case 6: return (long)(memory + random64() % MEMORY);
    case 7: case 8: return (long)PATHS[random64() % (sizeof PATHS / sizeof *PATHS)];
    case 9: return (long)(random64() % 4096);
    case 10: return AT_FDCWD;
    default: return (long)random64();
    }
}

/* What would only end or stop the noise. */
static int is_silence(long number) {
    switch (number) {
    case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_rt_sigsuspend: case SYS_rt_sigtimedwait: case SYS_kill: case SYS_tkill:
    case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo: case SYS_pidfd_send_signal: case SYS_rt_sigprocmask:
    case SYS_rt_sigaction: case SYS_execve: case SYS_execveat: case SYS_munmap: case SYS_wait4: case SYS_waitid:
#if defined(__x86_64__)
    case SYS_fork: case SYS_vfork: case SYS_pause: case SYS_alarm:
#endif
    case SYS_clone: case SYS_setrlimit: case SYS_prlimit64: case SYS_setitimer:
        return 1;
    default:
        return 0;
    }
}

static void wake(int number) {
    (void)number;
}

/* What would wait for ever is woken soon. */
static void never_wait(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, wakes = {.sa_handler = wake};
    struct itimerval soon = {{0, 5000}, {0, 5000}};
    struct rlimit brief = {2, 2};
    for (int number = 1; number < 65; number++) sigaction(number, &ignore, 0);
    sigaction(SIGALRM, &wakes, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    setrlimit(RLIMIT_CPU, &brief);
}

static void make_noise(uint64_t seed, long calls) {
    state = seed * 0x9e3779b97f4a7c15 + 1;
    for (long call = 0; call < calls; call++) {
        long number = (long)(random64() % 480);
        if (is_silence(number)) continue;
        for (int word = 0; word < 8; word++) ((uint64_t *)memory)[random64() % (MEMORY / 8)] = (uint64_t)argument();
        __atomic_add_fetch(made, 1, __ATOMIC_RELAXED);
        syscall(number, argument(), argument(), argument(), argument(), argument(), argument());
    }
}

int main(int count, char **words) {
    if (count < 4) return 2;
    uint64_t seed = strtoull(words[1], 0, 10);
    long most = atol(words[2]), left = atol(words[3]), alive = 0;
    made = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED || memory == MAP_FAILED) return 2;
    /* Each makes a little of it: most spoil their own memory sooner or later. */
    for (uint64_t child = 0; left > 0 || alive > 0;) {
        if (left > 0 && alive < most) {
            pid_t started = fork();
            if (started == 0) {
                int null = open("/dev/null", O_RDWR);
                for (int number = 0; number < 3; number++) dup2(null, number);
                never_wait();
                make_noise(seed * 1000003 + child, EACH);
                _exit(0);
            }
            if (started < 0) return 3;
            child++;
            left -= EACH;
            alive++;
        } else {
            if (wait(0) < 0) return 4;
            alive--;
        }
    }
    printf("made %ld calls with the seed %llu\n", *made, (unsigned long long)seed);
    return 0;
}
