//! What posternd can ask of a sandbox that stands. Never asks for anything hostile (`hostile.rs`).

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    process::Command,
};

use postern_contract::launch::{Access, ExitStatus, Outcome, Plan, Said, Verb};

use crate::harness::{Mode, Site, exec, mount, plan, readable};

fn accept(listener: OwnedFd) -> TcpStream {
    assert!(readable(&listener));
    let stream = TcpListener::from(listener).accept().unwrap().0;
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn the_gate_hears_what_calls_from_inside() {
    for mode in Mode::all() {
        let (mut launcher, mut listeners) = Site::new(mode).build(&plan());
        let call = "exec 3<>/dev/tcp/127.127.0.1/4180; echo hello >&3; cat <&3";
        let (_, mut output) = launcher.spawn(&["bash", "-c", call]);
        let stream = accept(listeners.remove(0));
        assert_eq!(stream.local_addr().unwrap().to_string(), "127.127.0.1:4180");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
        (&stream).write_all(b"welcome").unwrap();
        drop(stream);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "welcome");
    }
}

#[test]
fn an_agent_that_listens_can_be_reached() {
    let serve = "use IO::Socket::INET; $| = 1;
        $s = IO::Socket::INET->new(LocalAddr => q(127.0.0.1:8000), Listen => 1) or die;
        print qq(ready\\n); $c = $s->accept; print $c qq(served\\n);
        $c->shutdown(1); <$c>;";
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        assert!(
            launcher
                .failure(Verb::Dial { port: 8000 })
                .contains("ECONNREFUSED")
        );
        let (_, output) = launcher.spawn(&["perl", "-e", serve]);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let stream = TcpStream::from(launcher.descriptor(Verb::Dial { port: 8000 }));
        stream.set_nonblocking(false).unwrap();
        let mut text = String::new();
        (&stream).read_to_string(&mut text).unwrap();
        assert_eq!(text, "served\n");
    }
}

#[test]
fn a_program_has_the_descriptors_it_was_given_and_no_other() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        // The listing itself opens one.
        assert_eq!(launcher.shell("cd /proc/self/fd; echo *"), "0 1 2 3\n");
        let (mut read, write) = io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let Verb::Exec { env, cwd, .. } = exec(&[]) else {
            unreachable!()
        };
        let argv = ["sh", "-c", "echo over here >&3"]
            .map(str::to_owned)
            .to_vec();
        let verb = Verb::Exec {
            argv,
            env,
            cwd,
            channel: true,
        };
        let fds = [null.as_fd(), null.as_fd(), null.as_fd(), write.as_fd()];
        launcher.client.ask(verb, &fds).unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "over here\n");
    }
}

#[test]
fn a_program_that_cannot_start_fails_and_the_sandbox_goes_on() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let null = File::open("/dev/null").unwrap();
        let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
        let Verb::Exec {
            argv, env, channel, ..
        } = exec(&["true"])
        else {
            unreachable!()
        };
        let nowhere = Verb::Exec {
            argv,
            env,
            channel,
            cwd: "/nowhere".into(),
        };
        for (verb, why) in [
            (exec(&["no-such-program"]), "the program: ENOENT"),
            (exec(&["/etc/passwd"]), "the program: EACCES"),
            (exec(&[]), "argv is empty"),
            (nowhere, "the working directory: ENOENT"),
        ] {
            let re = launcher.client.ask(verb, &fds).unwrap();
            match launcher.hear() {
                Said::Failed { re: of, obstacle } if of == re => {
                    assert!(obstacle.to_string().contains(why), "{obstacle}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(launcher.shell("echo on"), "on\n");
    }
}

#[test]
fn a_signal_reaches_the_program_and_its_children() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let (process, output) = launcher.spawn(&["bash", "-c", "sleep 1000 & echo up; wait"]);
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new()).unwrap();
        launcher
            .client
            .ask(
                Verb::Signal {
                    process,
                    signal: 15,
                },
                &[],
            )
            .unwrap();
        let heard = [launcher.hear(), launcher.hear()];
        let done = |said: &Said| {
            matches!(
                said,
                Said::Done {
                    outcome: Outcome::Plain,
                    ..
                }
            )
        };
        let ended = Said::Exited {
            process,
            status: ExitStatus::Signal(15),
            hits: Vec::new(),
        };
        assert!(
            heard.iter().any(done) && heard.contains(&ended),
            "{heard:?}"
        );
        // The child held the other end too.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(
            launcher
                .failure(Verb::Signal {
                    process,
                    signal: 15
                })
                .contains("does not run")
        );
        assert!(
            launcher
                .failure(Verb::Signal { process, signal: 0 })
                .contains("no signal 0")
        );
    }
}

#[test]
fn a_death_by_a_nameless_signal_is_told() {
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&plan());
        let (_, status) = launcher.run(&["bash", "-c", "kill -s RTMIN+1 $$"]);
        assert_eq!(status, ExitStatus::Signal(35));
    }
}

#[test]
fn what_an_agent_left_can_be_discarded() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let tree = site.path("sources").join("v1");
        let mounts = vec![mount(&tree, "/out", Access::Fresh)];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        launcher.shell(
            "cd /out; mkdir -p a/b sticky/in; echo x >a/b/c; ln -s / link; mkfifo pipe
             chmod 1777 sticky; chmod 0 a/b a",
        );
        drop(launcher);
        let plain = Plan {
            mounts: Vec::new(),
            ..plan()
        };
        let (mut launcher, _listeners) = site.build(&plain);
        launcher
            .client
            .ask(Verb::Discard { tree: tree.clone() }, &[])
            .unwrap();
        let said = launcher.hear();
        assert!(
            matches!(
                said,
                Said::Done {
                    outcome: Outcome::Plain,
                    ..
                }
            ),
            "{said:?}"
        );
        assert!(!tree.exists());
    }
}

#[test]
fn directories_that_their_owner_may_not_write_are_discarded() {
    // Beyond the depth of one walk too, where a directory is moved before it is deleted.
    let close = "cd /out; mkdir -p flat/in; echo x >flat/in/file
        p=deep; for i in {1..70}; do p=$p/d; done; mkdir -p $p
        for mode in 555 500 600 300; do mkdir -p $mode/in; echo x >$mode/in/file; done
        for mode in 500 600 300; do chmod $mode $mode/in $mode; done; chmod 0555 555/in 555
        find flat deep -depth -type d -exec chmod 0555 {} +; chmod 0555 .";
    for mode in Mode::all() {
        let site = Site::new(mode);
        let tree = site.path("sources").join("v1");
        let mounts = vec![mount(&tree, "/out", Access::Fresh)];
        let (mut launcher, _listeners) = site.build(&Plan { mounts, ..plan() });
        launcher.shell(close);
        launcher
            .client
            .ask(Verb::Discard { tree: tree.clone() }, &[])
            .unwrap();
        let said = launcher.hear();
        assert!(matches!(said, Said::Done { .. }), "{said:?}");
        assert!(!tree.exists());
    }
}

#[test]
fn the_capabilities_of_the_service_suffice() {
    for mode in Mode::all().into_iter().filter(|mode| *mode == Mode::Root) {
        let site = Site::new(mode);
        let mut command = Command::new("setpriv");
        let kept = "-all,+setuid,+setgid,+chown,+dac_override,+sys_admin";
        command
            .arg(format!("--bounding-set={kept}"))
            .arg(site.command().get_program());
        command.args(site.command().get_args());
        let mut launcher = site.start_as(command);
        let tree = site.path("sources").join("v1");
        let mounts = vec![mount(&tree, "/out", Access::Fresh)];
        launcher.client.plan(&Plan { mounts, ..plan() }).unwrap();
        let built = launcher.hear();
        assert!(matches!(built, Said::Built { .. }), "{built:?}");
        launcher.shell("mkdir /out/a; echo x >/out/a/b; chmod 1700 /out/a");
        launcher
            .client
            .ask(Verb::Discard { tree: tree.clone() }, &[])
            .unwrap();
        let said = launcher.hear();
        assert!(
            matches!(
                said,
                Said::Done {
                    outcome: Outcome::Plain,
                    ..
                }
            ),
            "{said:?}"
        );
        assert!(!tree.exists());
    }
}

#[test]
fn nothing_else_can_be_discarded() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let outside = site.path("outside").join("tree");
        fs::create_dir(&outside).unwrap();
        site.give(&outside);
        let (mut launcher, _listeners) = site.build(&plan());
        let sources = site.path("sources");
        std::os::unix::fs::symlink(&outside, sources.join("link")).unwrap();
        for tree in [
            outside.clone(),
            sources.clone(),
            sources.join("../outside/tree"),
            sources.join("link"),
            sources.join("link/."),
            "relative".into(),
            "/".into(),
        ] {
            launcher.failure(Verb::Discard { tree });
        }
        assert!(outside.exists() && sources.exists());
        if mode == Mode::Root {
            let own = site.source("roots-own", None);
            let why = launcher.failure(Verb::Discard { tree: own.clone() });
            assert!(why.contains("no agent's") && own.exists(), "{why}");
        }
    }
}

#[test]
fn clearing_ends_every_process_and_leaves_the_files() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let (mut launcher, _listeners) = site.build(&plan());
        let line = "trap '' TERM HUP INT; (setsid sleep 1000 & sleep 1000 & wait) & \
                    echo kept > /workspace/file; echo up; wait";
        let (started, output) = launcher.spawn(&["bash", "-c", line]);
        BufReader::new(output)
            .read_line(&mut String::new())
            .unwrap();
        // Twice: with much to end, and with nothing.
        for ended in [Some(started), None] {
            let asked = launcher.client.ask(Verb::Clear, &[]).unwrap();
            if let Some(started) = ended {
                let said = launcher.hear();
                assert!(
                    matches!(said, Said::Exited { process, .. } if process == started),
                    "{said:?}"
                );
            }
            let outcome = Outcome::Plain;
            assert_eq!(launcher.hear(), Said::Done { re: asked, outcome });
        }
        let left = launcher.shell("cat /workspace/file; set -- /proc/[0-9]*; echo $#");
        assert_eq!(left, "kept\n2\n", "process 1 and the shell itself");
    }
}
