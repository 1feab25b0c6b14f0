//! A posternd that somebody took over: whatever it sends, it gains nothing, and the launcher says why in words. Never
//! succeeds.

use std::{
    fs::{self, File, Permissions},
    io::Read,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{PermissionsExt, symlink},
    },
    process::Stdio,
};

use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Access, Layer, Plan, Purpose, Said, Verb},
};
use postern_sandbox::config::Written;
use postern_sys::seqpacket;

use crate::harness::{Launcher, Mode, RANGE, Site, exec, mount, plan};

#[test]
fn sources_that_are_not_its_to_show() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let sources = site.path("sources");
        fs::create_dir(site.path("outside").join("dir")).unwrap();
        symlink(site.path("outside"), sources.join("link")).unwrap();
        symlink("/etc/shadow", sources.join("shadow")).unwrap();
        symlink("/proc/self/fd", sources.join("magic")).unwrap();
        nix::unistd::mkfifo(&sources.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::net::UnixListener::bind(sources.join("socket")).unwrap();
        for source in [
            "/etc/shadow".into(),
            site.path("outside"),
            sources.join("../outside"),
            sources.join("link"),
            sources.join("link/dir"),
            sources.join("shadow"),
            sources.join("magic/0"),
            sources.join("pipe"),
            sources.join("socket"),
            sources.join("absent"),
        ] {
            let mounts = vec![mount(&source, "/agent", Access::ReadOnly)];
            let why = site.refusal(&Plan { mounts, ..plan() });
            assert!(why.contains(&format!("{source:?}")), "{source:?}: {why}");
        }
    }
}

#[test]
fn targets_that_are_not_its_to_cover() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        for target in [
            "/",
            "/proc/x",
            "/proc",
            "/etc",
            "/usr/bin",
            "/a/../etc",
            "/dev",
            "agent",
        ] {
            let mounts = vec![mount(&code, target, Access::ReadOnly)];
            let why = site.refusal(&Plan { mounts, ..plan() });
            assert!(why.contains(target), "{target}: {why}");
        }
    }
}

#[test]
fn fresh_directories_that_are_not_fresh() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let code = site.source("code", None);
        let sources = site.path("sources");
        symlink(site.path("outside"), sources.join("link")).unwrap();
        symlink(site.path("absent"), sources.join("dangling")).unwrap();
        for source in [
            code,
            sources.clone(),
            sources.join("link/new"),
            sources.join("dangling"),
        ] {
            let mounts = vec![mount(&source, "/out", Access::Fresh)];
            site.refusal(&Plan { mounts, ..plan() });
        }
        assert_eq!(fs::read_dir(site.path("outside")).unwrap().count(), 0);
        assert!(!site.path("absent").exists());
    }
}

#[test]
fn fresh_directories_where_something_is_only_shown() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        // As with `read_only = ["/etc"]`: to be looked at, and no agent's tree anywhere near.
        let shown = site.path("outside");
        fs::create_dir(shown.join("cron.d")).unwrap();
        site.give(&shown.join("cron.d"));
        site.configure(&Written {
            source_roots: vec![shown.clone(), site.path("sources")],
            ..site.config()
        });
        for source in [shown.join("new"), shown.join("cron.d/new")] {
            let mounts = vec![mount(&source, "/out", Access::Fresh)];
            let why = site.refusal(&Plan { mounts, ..plan() });
            assert!(why.contains("discard_roots"), "{why}");
            assert!(!source.exists());
        }
    }
}

#[test]
fn roots_that_were_replaced_by_links() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let (root, outside) = (site.path("sources"), site.path("outside"));
        fs::create_dir(outside.join("dir")).unwrap();
        fs::write(outside.join("file"), "x").unwrap();
        fs::remove_dir(&root).unwrap();
        for (to, source, access) in [
            (outside.clone(), root.clone(), Access::ReadOnly),
            (outside.clone(), root.join("dir"), Access::ReadOnly),
            (outside.clone(), root.join("new"), Access::Fresh),
            (outside.join("file"), root.clone(), Access::ReadOnly),
        ] {
            symlink(to, &root).unwrap();
            let mounts = vec![mount(source, "/agent", access)];
            let why = site.refusal(&Plan { mounts, ..plan() });
            assert!(why.contains("link"), "{why}");
            fs::remove_file(&root).unwrap();
        }
        assert!(!outside.join("new").exists());
    }
}

#[test]
fn a_sandbox_that_does_not_come_to_be_leaves_nothing() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let (code, fresh) = (
            site.source("code", None),
            site.path("sources").join("fresh"),
        );
        // As late as anything can fail that a plan decides: when everything is put together.
        let too_long = format!("/{}", "x".repeat(300));
        let mounts = vec![
            mount(&fresh, "/out", Access::Fresh),
            mount(&code, &too_long, Access::ReadOnly),
        ];
        let why = site.refusal(&Plan { mounts, ..plan() });
        assert!(
            why.contains("ENAMETOOLONG") || why.contains("too long"),
            "{why}"
        );
        assert!(!fresh.exists());
    }
}

#[test]
fn the_launchers_own_config_stands_above_the_plan() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        if mode == Mode::Ordinary {
            let mandatory_layers = vec![Layer::SeparateUid];
            site.configure(&Written {
                mandatory_layers,
                ..site.config()
            });
            site.refusal(&plan());
            site.configure(&site.config());
        }
        if mode == Mode::Root {
            let uid_slot = u16::try_from(RANGE.count).unwrap();
            let why = site.refusal(&Plan { uid_slot, ..plan() });
            assert!(why.contains("agent_ids"), "{why}");
        } else {
            site.refusal(&Plan {
                required: vec![Layer::SeparateUid],
                ..plan()
            });
        }
        site.refusal(&Plan {
            purpose: Purpose::Install,
            ..plan()
        });
        site.refusal(&Plan {
            hostname: "a\nb".to_owned(),
            ..plan()
        });
    }
}

#[test]
fn messages_that_are_none() {
    let plan = serde_json::to_string(&plan()).unwrap();
    let more = plan.replacen('{', r#"{"privileged":true,"#, 1);
    let large = "x".repeat(MESSAGE_BYTES_MAX + 1);
    for mode in Mode::all() {
        for message in ["nothing", "{}", "\0", &more, &large, &"[".repeat(10_000)] {
            let site = Site::new(mode);
            let (here, there) = seqpacket::pair().unwrap();
            seqpacket::allow_packets_of(here.as_fd(), 1 << 20).unwrap();
            seqpacket::send(here.as_fd(), message.as_bytes(), &[]).unwrap();
            let mut command = site.command();
            command.stdin(Stdio::from(there)).stderr(Stdio::piped());
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            drop(command);
            // Told once: to posternd if there was a message at all, and to the log if there was none.
            let refused = seqpacket::receive(here.as_fd(), MESSAGE_BYTES_MAX)
                .is_ok_and(|said| said.is_some_and(|(text, _)| text.starts_with(b"{\"refused\"")));
            let logged = output.stderr.starts_with(b"postern-launcher: ");
            assert!(refused != logged, "{refused} {logged}");
        }
    }
}

#[test]
fn verbs_with_the_wrong_descriptors_or_words() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        assert!(launcher.failure(exec(&["true"])).contains("descriptors"));
        let null = File::open("/dev/null").unwrap();
        launcher
            .client
            .ask(Verb::Dial { port: 80 }, &[null.as_fd()])
            .unwrap();
        assert!(format!("{:?}", launcher.hear()).contains("descriptors"));
        // A directory of the host among the descriptors is posternd's own to give; nothing else comes along.
        assert_eq!(launcher.shell("echo on"), "on\n");
    }
}

#[test]
fn verbs_that_are_none() {
    for mode in Mode::all() {
        for message in [
            "nothing",
            r#"{"seq":1,"verb":{"exec":{}}}"#,
            r#"{"seq":1,"verb":"root"}"#,
        ] {
            let site = Site::new(mode);
            let (here, there) = seqpacket::pair().unwrap();
            let launcher = site
                .command()
                .stdin(Stdio::from(there))
                .stderr(Stdio::piped())
                .spawn();
            let plan = serde_json::to_vec(&plan()).unwrap();
            seqpacket::send(here.as_fd(), &plan, &[]).unwrap();
            seqpacket::receive(here.as_fd(), MESSAGE_BYTES_MAX)
                .unwrap()
                .unwrap();
            seqpacket::send(here.as_fd(), message.as_bytes(), &[]).unwrap();
            let output = launcher.unwrap().wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("not understood"), "{said}");
        }
    }
}

#[test]
fn a_peer_that_is_somebody_else() {
    for mode in Mode::all().into_iter().filter(|mode| *mode == Mode::Root) {
        let site = Site::new(mode);
        // Root may always; so the connection is made by somebody else.
        let socket = site.path("socket");
        let listener = seqpacket::listen(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
        let connect = format!(
            "socket(my $s, 1, 5, 0); connect($s, pack('S a*', 1, '{}')) or die $!; <$s>",
            socket.display()
        );
        let mut stranger = std::process::Command::new("setpriv");
        stranger.args([
            "--reuid=61235",
            "--regid=61235",
            "--clear-groups",
            "perl",
            "-e",
            &connect,
        ]);
        let mut stranger = stranger.spawn().unwrap();
        let there = seqpacket::accept(listener.as_fd()).unwrap();
        let output = site.command().stdin(Stdio::from(there)).output().unwrap();
        stranger.wait().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("61235") && output.status.code() == Some(1),
            "{said}"
        );
    }
}

#[test]
fn a_start_that_makes_no_sense() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let output = site.command().stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let mut command = site.command();
        let output = command
            .arg("--privileged")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        fs::set_permissions(site.path("launcher.toml"), Permissions::from_mode(0o666)).unwrap();
        let output = site.command().stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("others can write it") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn a_kernel_that_forbids_user_namespaces_is_named() {
    let site = Site::new(Mode::Ordinary);
    let launcher = site.path("launcher");
    // In a user namespace of its own, so that the machine's setting stays as it is.
    let line = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces && exec '{}' --probe",
        launcher.display()
    );
    let mut command = std::process::Command::new("unshare");
    command.args([
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        &line,
    ]);
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command
            .uid(crate::harness::ORDINARY)
            .gid(crate::harness::ORDINARY);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("user_namespace") && said.contains("ENOSPC"),
        "{said}"
    );
    assert!(
        said.contains("sysctl -w user.max_user_namespaces=15000"),
        "{said}"
    );
}

#[test]
fn descriptors_that_the_launcher_inherited_go_no_further() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let secret = File::open("/etc/hostname").unwrap();
        nix::fcntl::fcntl(
            &secret,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .unwrap();
        let (mut launcher, _listeners) = site.build(&plan());
        let seen = launcher.shell("cd /proc/self/fd; echo *");
        assert_eq!(seen, "0 1 2 3\n", "inherited as {}", secret.as_raw_fd());
    }
}

#[test]
fn a_starting_program_that_is_stopped_holds_nobody_up() {
    const STARTS: usize = 200;
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let stop = "echo on; while :; do kill -STOP -- -1; done";
        let (_, mut output) = launcher.spawn(&["bash", "-c", stop]);
        output.read_exact(&mut [0; 3]).unwrap();
        let null = File::open("/dev/null").unwrap();
        for _ in 0..STARTS {
            let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
            launcher.client.ask(exec(&["true"]), &fds).unwrap();
        }
        let mut clear = launcher.client.ask(Verb::Clear, &[]).unwrap();
        loop {
            match launcher.hear() {
                Said::Done { re, .. } if re == clear => break,
                // Too much at once.
                Said::Failed { re, .. } if re == clear => {
                    clear = launcher.client.ask(Verb::Clear, &[]).unwrap();
                }
                _ => {}
            }
        }
        // All of them are gone, and the next is served as if nothing had been.
        assert_eq!(launcher.shell("echo on"), "on\n");
    }
}

#[test]
fn no_signal_is_blocked_or_ignored_in_a_program_that_starts() {
    /// 32 and 33, which the C library keeps for itself and may leave ignored in what it starts; no program may name them.
    const THE_LIBRARYS_OWN: u64 = 0b11 << 31;
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let assert_none = |launcher: &mut Launcher| {
            let (said, _) = launcher.run(&["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]);
            let sets = said.lines().map(|line| line.split_once(":\t").unwrap().1);
            let sets: Vec<_> = sets
                .map(|set| u64::from_str_radix(set, 16).unwrap() & !THE_LIBRARYS_OWN)
                .collect();
            assert_eq!(sets, [0, 0], "{said}");
        };
        // Alone and beside another, which are two ways to start.
        assert_none(&mut launcher);
        let (_, _output) = launcher.spawn(&["sleep", "1000"]);
        assert_none(&mut launcher);
    }
}
