//! A hostile agent with a shell, one attack a test, as root started it and as an ordinary user did. Each must come to the
//! named nothing, and the sandbox goes on. What posternd could ask for is in `hostile.rs`.

use std::{
    fs::{self, Permissions},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
};

use postern_contract::launch::{Access, ExitStatus, Plan};

use crate::harness::{self, Launcher, Mode, Site, mount, plan};

/// As the agent, and as the root of its namespace.
fn everywhere(attack: impl Fn(&mut Launcher)) {
    for (mode, standing) in harness::everywhere() {
        play(&Site::standing(mode, standing), &attack);
    }
}

/// As the agent alone: what it is about is the namespace's own, and its root may.
fn in_every_mode(attack: impl Fn(&mut Launcher)) {
    for mode in Mode::all() {
        play(&Site::new(mode), &attack);
    }
}

fn play(site: &Site, attack: &impl Fn(&mut Launcher)) {
    let (mut launcher, _listeners) = site.build(&plan());
    attack(&mut launcher);
    assert_eq!(launcher.shell("echo goes on"), "goes on\n");
}

/// What a line of Perl prints.
fn perl(launcher: &mut Launcher, line: &str) -> String {
    let (text, status) = launcher.run(&["perl", "-e", line]);
    assert_eq!(status, ExitStatus::Code(0), "{line}: {text}");
    text
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_no_agent_needs() {
    // By number, as whoever attacks the kernel has them.
    let refused = [
        101, 103, 155, 161, 163, 164, 165, 166, 167, 169, 170, 171, 172, 173, 175, 176, 179, 246,
        248, 249, 250, 272, 298, 300, 304, 308, 310, 311, 312, 313, 320, 321, 323, 425, 426, 427,
        438,
    ];
    let absent = [134, 139, 154, 303, 435, 447, 1000, 0x4000_0000 + 39];
    everywhere(|launcher| {
        for (numbers, errno) in [(&refused[..], libc::EPERM), (&absent[..], libc::ENOSYS)] {
            for number in numbers {
                let line = format!("syscall({number}, 0, 0, 0, 0, 0) == -1 and print $!+0");
                assert_eq!(perl(launcher, &line), errno.to_string(), "{number}");
            }
        }
    });
}

#[test]
fn sockets_beyond_tcp_and_udp() {
    let (refused, unknown) = (libc::EPERM, libc::EPROTONOSUPPORT);
    let tried = [
        // Raw, packet and below; ICMP, SCTP, UDP-Lite, MPTCP and DCCP.
        (2, 3, 1, refused),
        (2, 3, 255, refused),
        (2, 10, 768, refused),
        (10, 3, 58, refused),
        (17, 3, 3, refused),
        (17, 2, 3, refused),
        (2, 2, 1, unknown),
        (10, 2, 58, unknown),
        (2, 1, 132, unknown),
        (2, 5, 132, refused),
        (2, 5, 0, refused),
        (10, 5, 0, refused),
        (10, 1, 132, unknown),
        (2, 2, 136, unknown),
        (2, 1, 262, unknown),
        (2, 6, 33, refused),
        (2, 6, 0, refused),
        (10, 6, 0, refused),
        (2, 4, 0, refused),
        // The host of a virtual machine, Bluetooth, CAN, TIPC, ciphers, packets in memory.
        (40, 1, 0, refused),
        (31, 3, 0, refused),
        (29, 3, 1, refused),
        (30, 5, 0, refused),
        (38, 5, 0, refused),
        (44, 3, 0, refused),
        // Netlink but for routes: audit, device events, filters, diagnosis, generic.
        (16, 3, 9, refused),
        (16, 3, 15, refused),
        (16, 3, 12, refused),
        (16, 3, 4, refused),
        (16, 3, 16, refused),
    ];
    everywhere(|launcher| {
        for (family, kind, transport, errno) in tried {
            let line = format!("socket(my $s, {family}, {kind}, {transport}) or print $!+0");
            let found = perl(launcher, &line);
            assert_eq!(found, errno.to_string(), "{family} {kind} {transport}");
        }
        for (family, kind, transport) in [(2, 1, 0), (2, 1, 6), (2, 2, 17), (10, 1, 0), (1, 5, 0)] {
            let line = format!("socket(my $s, {family}, {kind}, {transport}) and print 'made'");
            assert_eq!(perl(launcher, &line), "made");
        }
    });
}

#[test]
fn abstract_sockets_of_the_host() {
    let name = format!("postern-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    everywhere(|launcher| {
        let line = format!(
            "socket(my $s, 1, 1, 0); connect($s, pack('S a*', 1, \"\\0{name}\")) or print $!+0"
        );
        let found = perl(launcher, &line);
        assert_eq!(found, libc::ECONNREFUSED.to_string());
        assert!(listener.accept().is_err());
    });
}

#[test]
fn set_user_id_programs_gain_nothing() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        fs::copy("/usr/bin/id", code.join("id")).unwrap();
        site.give(&code.join("id"));
        fs::set_permissions(code.join("id"), Permissions::from_mode(0o6755)).unwrap();
        let mounts = vec![mount(&code, "/agent", Access::ReadOnly)];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        assert_eq!(launcher.shell("/agent/id -u; /agent/id -g"), "1000\n1000\n");
        let privileged = "find / -xdev -perm -4000 -type f 2>/dev/null | head -1";
        launcher.shell(&format!(
            "p=$({privileged}); test -z \"$p\" || ! \"$p\" -c id </dev/null"
        ));
    }
}

#[test]
fn the_network_is_not_the_agents_to_change() {
    in_every_mode(|launcher| {
        // SIOCSIFFLAGS on lo, and SIOCADDRT.
        for (request, argument) in [
            ("0x8914", "pack('a16 S x22', 'lo', 0)"),
            ("0x890b", "'x' x 120"),
        ] {
            let line = format!(
                "socket(my $s, 2, 2, 0); my $a = {argument}; ioctl($s, {request}, $a) or print $!+0"
            );
            assert_eq!(perl(launcher, &line), libc::EPERM.to_string(), "{request}");
        }
        // RTM_DELADDR, as root of a namespace could.
        let line = "socket(my $s, 16, 3, 0); my $m = pack('L S S L L C C C C L', 24, 21, 5, 1, 0, 2, 8, 0, 0, 1);
            send($s, $m, 0); recv($s, my $r, 4096, 0); print -unpack('x16 l', $r)";
        assert_eq!(perl(launcher, line), libc::EPERM.to_string());
    });
}

#[test]
fn typing_into_a_terminal() {
    everywhere(|launcher| {
        // TIOCSTI and TIOCLINUX, whatever the descriptor is.
        for request in ["0x5412", "0x541c"] {
            let line = format!("my $c = \"\\x02x\"; ioctl(STDIN, {request}, $c) or print $!+0");
            assert_eq!(perl(launcher, &line), libc::EPERM.to_string());
        }
    });
}

#[test]
fn device_nodes_are_not_made() {
    everywhere(|launcher| {
        for place in ["/tmp", "/dev/shm", "/workspace", "/home/agent"] {
            for device in ["c 1 1", "b 8 0", "c 10 200"] {
                launcher.shell(&format!(
                    "mknod {place}/device {device} 2>/dev/null && exit 1; exit 0"
                ));
            }
            launcher.shell(&format!("mkfifo {place}/pipe"));
        }
        let devices = "for f in /dev/*; do if test -c $f -o -b $f && ! test -L $f; then echo ${f#/dev/}; fi; done";
        let found = launcher.shell(devices);
        let known = ["full", "null", "random", "tty", "urandom", "zero"];
        assert!(found.lines().all(|name| known.contains(&name)), "{found}");
    });
}

#[test]
fn settings_of_the_machine_stay() {
    in_every_mode(|launcher| {
        for setting in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/user/max_user_namespaces",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/fs/binfmt_misc/register",
            "/proc/sysrq-trigger",
            "/proc/self/uid_map",
            "/sys/kernel/uevent_helper",
            "/sys/fs/cgroup/cgroup.procs",
        ] {
            launcher.shell(&format!(
                "(echo 1 >{setting}) 2>/dev/null && exit 1; exit 0"
            ));
        }
        launcher.shell("(echo -1000 >/proc/self/oom_score_adj) 2>/dev/null && exit 1; exit 0");
    });
}

#[test]
fn what_proc_tells_of_the_machine() {
    everywhere(|launcher| {
        let files = "cd /proc && cat kcore keys key-users kallsyms timer_list sched_debug kmsg kpagecount 2>/dev/null | wc -c";
        assert_eq!(launcher.shell(files), "0\n");
        let directories = "cd /proc && ls -A acpi asound bus driver fs irq scsi 2>/dev/null | grep -v ':$' | grep -c . ; true";
        assert_eq!(launcher.shell(directories), "0\n");
        // What language runtimes read to find their size.
        launcher.shell(
            "grep -q MemTotal /proc/meminfo && grep -q cpu /proc/cpuinfo && grep -q cpu /proc/stat",
        );
    });
}

#[test]
fn a_neighbour_is_out_of_reach() {
    for mode in Mode::all() {
        let (one, two) = (Site::new(mode), Site::new(mode));
        let (mut one, _listeners) = one.build(&plan());
        // As an ordinary user both have the same host uid.
        let uid_slot = u16::from(mode == Mode::Root);
        let (mut two, _listeners) = two.build(&Plan { uid_slot, ..plan() });
        let listen = "socket(my $s, 2, 1, 0); bind($s, pack('S n a4 x8', 2, 9000, \"\\x7f\\0\\0\\1\")) or die; listen($s, 5) or die;
            socket(my $u, 1, 1, 0); bind($u, pack('S a*', 1, \"\\0neighbour\")) or die; listen($u, 5);
            open(my $f, '>', '/dev/shm/mine'); $| = 1; print qq(up\n); sleep 1000";
        let (_, output) = one.spawn(&["perl", "-e", listen]);
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut String::new())
            .unwrap();
        let refused = libc::ECONNREFUSED.to_string();
        for address in [
            "2, 1, 0); connect($s, pack('S n a4 x8', 2, 9000, \"\\x7f\\0\\0\\1\")",
            "1, 1, 0); connect($s, pack('S a*', 1, \"\\0neighbour\")",
        ] {
            let line = format!("socket(my $s, {address}) or print $!+0");
            assert_eq!(perl(&mut two, &line), refused);
        }
        assert_eq!(
            two.shell("ls -A /dev/shm /tmp | grep -v : | tr -d '\\n'"),
            ""
        );
        let programs = "for p in /proc/[0-9]*; do readlink $p/exe; done | grep -c perl; true";
        assert_eq!(two.shell(programs), "0\n");
        let family = one.family();
        for pid in family.pids() {
            let line = format!(
                "readlink /proc/{pid}/exe | grep -q perl && kill -9 {pid} && exit 1; exit 0"
            );
            two.shell(&line);
        }
        assert_eq!(one.family().len(), family.len());
    }
}

#[test]
fn bombs_of_files_end() {
    everywhere(|launcher| {
        let line = "i=0; while (: >/dev/shm/$i) 2>/dev/null; do i=$((i+1)); test $i -lt 6000 || exit 1; done; rm -r /dev/shm/*";
        launcher.shell(line);
        let line = "head -c 80M /dev/zero >/dev/shm/x 2>/dev/null && exit 1; rm /dev/shm/x";
        launcher.shell(line);
    });
}

/// The other side: what agents are made of runs.
#[test]
fn honest_programs_run() {
    let programs = [
        ("python3", "python3 -c 'import threading, subprocess, asyncio, socket, tempfile, mmap, select, multiprocessing as m
t = threading.Thread(target=print, args=(1,)); t.start(); t.join()
subprocess.run([\"true\"], check=True)
p = m.get_context(\"fork\").Process(target=print); p.start(); p.join(); assert p.exitcode == 0
asyncio.run(asyncio.to_thread(int))'"),
        ("node", "node -e 'const { Worker } = require(\"worker_threads\"); new Worker(\"1\", { eval: true }).on(\"exit\", code => require(\"child_process\").execFileSync(\"true\"))'"),
        ("java", "java -Xmx64m -version"),
        ("git", "cd /tmp && git init -q g && cd g && echo x >x && git add x && git -c user.name=a -c user.email=a@b commit -qm m && git clone -q /tmp/g /workspace/g"),
        ("gcc", "cd /workspace && echo 'int main(void) { return 0; }' >m.c && gcc -o m m.c && ./m"),
        ("tar", "cd /tmp && mkdir t && echo x >t/x && tar cf t.tar t && tar xf t.tar -C /workspace"),
        ("perl", "perl -e 'exec qw(sort /etc/passwd)'"),
    ];
    in_every_mode(|launcher| {
        for (name, line) in programs {
            let line = format!(
                "export PATH HOME=/home/agent; command -v {name} >/dev/null || exit 0; {line}"
            );
            let (text, status) = launcher.run(&["bash", "-c", &line]);
            assert_eq!(status, ExitStatus::Code(0), "{name}: {text}");
        }
    });
}
