//! What an agent finds: who it is, what it sees, what it may. Never what posternd can ask for (`verbs.rs`).

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixDatagram, UnixListener},
    },
};

use nix::sys::stat::Mode as Stat;
use postern_contract::launch::{
    Access, Enforced, ExitStatus, Layer, Plan, Said, Standing, Trusted,
};

use crate::harness::{self, Mode, Site, mount, plan};

#[test]
fn the_agent_is_nobody_with_nothing() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        assert_eq!(
            launcher
                .shell("id -u; id -g; id -un; hostname")
                .lines()
                .collect::<Vec<_>>(),
            ["1000", "1000", "agent", "desk"]
        );
        let status = launcher.shell("cat /proc/self/status");
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                status.contains(&format!("{line}:\t0000000000000000")),
                "{status}"
            );
        }
        assert!(
            status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
            "{status}"
        );
        assert_eq!(launcher.shell("ulimit -c; umask"), "0\n0022\n");
        assert_eq!(
            launcher.shell("env -u _ -u PWD -u SHLVL"),
            "GREETING=hello\n"
        );
    }
}

#[test]
fn the_root_is_built_up_and_closed() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let seen = launcher.shell("ls -A /");
        let known = [
            "bin",
            "dev",
            "etc",
            "home",
            "lib",
            "lib32",
            "lib64",
            "libx32",
            "opt",
            "proc",
            "run",
            "sbin",
            "tmp",
            "usr",
            "workspace",
        ];
        assert!(seen.lines().all(|name| known.contains(&name)), "{seen}");
        assert_eq!(
            launcher.shell("ls -A /tmp /run /workspace /home/agent | grep -v :"),
            "\n\n\n"
        );
        for closed in [
            "/x",
            "/etc/x",
            "/usr/x",
            "/bin/x",
            "/dev/x",
            "/etc/passwd",
            "/opt/x",
        ] {
            let line = format!("(: >{closed}) 2>/dev/null && exit 1; exit 0");
            launcher.shell(&line);
        }
        for open in [
            "/tmp/x",
            "/run/x",
            "/workspace/x",
            "/home/agent/x",
            "/dev/shm/x",
        ] {
            launcher.shell(&format!("echo x >{open}; echo >/dev/null"));
        }
    }
}

#[test]
fn nothing_of_the_host_can_be_seen() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let secret = site.path("outside").join("secret");
        fs::write(&secret, "the secret").unwrap();
        let (mut launcher, _listeners) = site.build(&plan());
        let line = format!(
            "cat {} /proc/1/environ /proc/1/root/etc/shadow",
            secret.display()
        );
        let (text, status) = launcher.run(&["sh", "-c", &line]);
        assert_eq!(status, ExitStatus::Code(1));
        assert!(!text.contains("the secret"), "{text}");
        assert_eq!(
            launcher.shell("ls -d /sys /var /root /mnt 2>/dev/null; true"),
            ""
        );
        // Into /usr and /opt too, where a socket of the host would be seen.
        let find = "find / -path /proc -prune -o -type s -print 2>/dev/null; true";
        assert_eq!(launcher.shell(find), "");
        // Process 1, the shell and its two children.
        let processes = launcher.shell("ls /proc | grep -c '^[0-9]'");
        assert!(processes.trim().parse::<u32>().unwrap() <= 4, "{processes}");
        assert_eq!(
            launcher.shell("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"),
            "lo\n"
        );
        let (_, status) = launcher.run(&["bash", "-c", "kill -9 1; exec 3</proc/1/mem"]);
        assert_eq!(status, ExitStatus::Code(1));
        assert_eq!(launcher.shell("echo still here"), "still here\n");
    }
}

#[test]
fn a_socket_in_what_is_shown_is_no_door() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        let listener = UnixListener::bind(code.join("stream")).unwrap();
        let datagrams = UnixDatagram::bind(code.join("datagram")).unwrap();
        for name in ["stream", "datagram"] {
            fs::set_permissions(code.join(name), Permissions::from_mode(0o777)).unwrap();
        }
        let mounts = vec![mount(&code, "/agent", Access::ReadOnly)];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        assert_eq!(launcher.shell("find /agent -type s | wc -l"), "2\n");
        for (kind, name) in [(1, "stream"), (2, "datagram")] {
            let call = format!(
                "socket(my $s, 1, {kind}, 0) or die; connect($s, pack('S a*', 1, '/agent/{name}')) or print $!+0"
            );
            let refused = libc::ECONNREFUSED.to_string();
            assert_eq!(
                launcher.shell(&format!("perl -e \"{}\"", call.replace('$', "\\$"))),
                refused
            );
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
        drop(datagrams);
    }
}

#[test]
fn a_pipe_or_a_lock_in_what_is_shown_is_nobody_elses() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        let pipe = code.join("pipe");
        nix::unistd::mkfifo(&pipe, Stat::S_IRWXU).unwrap();
        fs::set_permissions(&pipe, Permissions::from_mode(0o777)).unwrap();
        let reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&pipe)
            .unwrap();
        let file = fs::File::create(code.join("file")).unwrap();
        let locked = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
        let mounts = vec![mount(&code, "/agent", Access::ReadOnly)];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        let write = "use Fcntl; sysopen(my $p, '/agent/pipe', O_WRONLY | O_NONBLOCK) or print $!+0";
        let (text, _) = launcher.run(&["perl", "-e", write]);
        // Nobody reads it; and Landlock, where there is one, does not even let it be written.
        let refused = [libc::ENXIO, libc::EACCES].map(|errno| errno.to_string());
        assert!(refused.contains(&text), "{text}");
        let lock = "open(my $f, '<', '/agent/file'); flock($f, 2 | 4) and print 'unseen'";
        assert_eq!(launcher.run(&["perl", "-e", lock]).0, "unseen");
        drop((reader, locked));
    }
}

/// Landlock's own: no mount says that a list of certificates is no program.
#[test]
fn a_list_of_certificates_is_read_and_never_run() {
    if !harness::has_landlock() {
        return;
    }
    for mode in Mode::all() {
        let site = Site::new(mode);
        let bundle = site.source("bundle", Some("#!/bin/sh\necho ran\n"));
        fs::set_permissions(&bundle, Permissions::from_mode(0o755)).unwrap();
        let trusted = Some(Trusted {
            java: bundle.clone(),
            list: bundle,
        });
        let (mut launcher, _listeners) = site.build(&Plan { trusted, ..plan() });
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        launcher.shell(&format!("test -x {bundle} && grep -q ran {bundle}"));
        let (text, status) = launcher.run(&["bash", "-c", bundle]);
        assert_eq!(status, ExitStatus::Code(126), "{text}");
        // What an agent builds it may run, in every place where it may write.
        for place in ["/tmp", "/workspace", "/home/agent", "/dev/shm", "/run"] {
            let line =
                format!("cp {bundle} {place}/x && mkdir {place}/d && mv {place}/x {place}/d/y");
            assert_eq!(launcher.shell(&format!("{line} && {place}/d/y")), "ran\n");
        }
    }
}

#[test]
fn no_door_leads_further() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        for line in [
            "unshare -U true",
            "unshare -n true",
            "mount -t tmpfs x /tmp",
            "chroot / true",
            "perl -e 'socket(my $s, 17, 3, 0) or exit 1'",
            "perl -e 'socket(my $s, 40, 1, 0) or exit 1'",
            "perl -e 'socket(my $s, 2, 3, 1) or exit 1'",
            "perl -e 'socket(my $s, 16, 3, 9) or exit 1'",
        ] {
            let (text, status) = launcher.run(&["bash", "-c", line]);
            assert_ne!(status, ExitStatus::Code(0), "{line}: {text}");
        }
        assert_eq!(
            launcher.shell("perl -e 'socket(my $s, 2, 1, 0) and print q(yes)'"),
            "yes"
        );
        let sysctl = launcher.shell("cat /proc/sys/user/max_user_namespaces");
        assert_eq!(sysctl, "0\n");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_make_namespaces_are_gone() {
    let ask = |number: u32, argument: u32| {
        format!("perl -e 'syscall({number}, {argument}, 0, 0, 0, 0) == -1 and print $!+0'")
    };
    let (eperm, enosys) = (libc::EPERM.to_string(), libc::ENOSYS.to_string());
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        // unshare, keyctl, clone with CLONE_NEWUSER, io_uring_setup.
        for (number, argument) in [(272, 0), (250, 0), (56, 0x1000_0000), (425, 1)] {
            assert_eq!(launcher.shell(&ask(number, argument)), eperm, "{number}");
        }
        // clone3, and unshare by its x32 number.
        for number in [435, 0x4000_0000 + 272] {
            assert_eq!(launcher.shell(&ask(number, 0)), enosys, "{number}");
        }
    }
}

#[test]
fn mounts_are_as_the_plan_says() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        fs::write(code.join("main"), "print").unwrap();
        let shim = site.source("shim", Some("shim"));
        let fresh = site.path("sources").join("fresh");
        let mounts = vec![
            mount(&code, "/agent", Access::ReadOnly),
            mount(&shim, "/run/postern/shim", Access::ReadOnly),
            mount(&fresh, "/agents/out", Access::Fresh),
        ];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        assert_eq!(
            launcher.shell("cat /agent/main /run/postern/shim"),
            "printshim"
        );
        for closed in [
            "/agent/new",
            "/agent/main",
            "/run/postern/shim",
            "/agents/new",
        ] {
            launcher.shell(&format!("(: >{closed}) 2>/dev/null && exit 1; exit 0"));
        }
        launcher.shell("echo made >/agents/out/file");
        let made = fs::metadata(fresh.join("file")).unwrap();
        assert_eq!((made.uid(), made.gid()), (mode.agent(), mode.agent()));
        assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o7777, 0o755);
    }
}

#[test]
fn the_plan_can_replace_whom_programs_trust() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let trusted = Some(Trusted {
            list: site.source("bundle", Some("ours alone")),
            java: site.source("cacerts", Some("for Java")),
        });
        let (mut launcher, _listeners) = site.build(&Plan { trusted, ..plan() });
        for (path, said) in [
            ("/etc/ssl/certs/ca-certificates.crt", "ours alone"),
            ("/etc/ssl/cert.pem", "ours alone"),
            ("/etc/pki/tls/certs/ca-bundle.crt", "ours alone"),
            ("/etc/ssl/certs/java/cacerts", "for Java"),
            ("/etc/pki/java/cacerts", "for Java"),
        ] {
            assert_eq!(launcher.shell(&format!("cat {path}")), said);
            launcher.shell(&format!("(: >{path}) 2>/dev/null && exit 1; exit 0"));
        }
    }
}

#[test]
fn scratch_space_and_processes_have_an_end() {
    for mode in Mode::all() {
        let mut plan = plan();
        plan.limits.scratch_bytes = Some(1024 * 1024);
        plan.limits.processes = Some(16);
        plan.limits.open_files = Some(64);
        let (mut launcher, _listeners) = Site::new(mode).build(&plan);
        let (text, status) =
            launcher.run(&["dd", "if=/dev/zero", "of=/workspace/x", "bs=2M", "count=1"]);
        assert_eq!(status, ExitStatus::Code(1), "{text}");
        assert_eq!(launcher.shell("ulimit -n"), "64\n");
        let bomb = "for (1..32) { defined($p = fork) or last; if ($p) { $n++; next }
            close STDOUT; close STDERR; sleep 1000; exit } print $n";
        let (text, _) = launcher.run(&["perl", "-e", bomb]);
        assert!((1..16).contains(&text.parse::<u32>().unwrap()), "{text}");
    }
}

#[test]
fn the_report_is_honest() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let launcher = site.start();
        let mut limited = plan();
        limited.limits.memory_bytes = Some(1 << 30);
        launcher.client.plan(&limited).unwrap();
        let Some((Said::Built { enforced }, _)) = launcher.client.hear().unwrap() else {
            panic!("not built")
        };
        let holds = |layer: Layer, enforced: &Enforced| {
            matches!(enforced.get(&layer), Some(Standing::Enforced(_)))
        };
        assert_eq!(enforced.len(), 17, "every layer is reported: {enforced:?}");
        assert_eq!(holds(Layer::SeparateUid, &enforced), mode == Mode::Root);
        assert_eq!(holds(Layer::Landlock, &enforced), harness::has_landlock());
        assert!(holds(Layer::Overlay, &enforced));
        assert_eq!(holds(Layer::Cgroup, &enforced), mode == Mode::Root);
        let Some(Standing::Enforced(limits)) = enforced.get(&Layer::ResourceLimits) else {
            panic!("{enforced:?}")
        };
        // What all of them together may take is the group's to say; without one, each is bounded by itself.
        let by_itself = limits.contains("per process");
        assert_eq!(by_itself, mode == Mode::Ordinary, "{limits}");
        assert!(holds(Layer::NetNamespace, &enforced) && holds(Layer::Capabilities, &enforced));
    }
}

#[test]
fn the_doctor_tells_what_a_sandbox_would_have() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let findings = postern_sandbox::doctor::probe(site.command()).unwrap();
        assert!(
            findings.iter().all(|finding| !finding.stops_everything),
            "{findings:?}"
        );
        let seccomp = findings
            .iter()
            .find(|finding| finding.layer == Some(Layer::Seccomp));
        assert!(
            matches!(seccomp.unwrap().standing, Standing::Enforced(_)),
            "{findings:?}"
        );
    }
}
