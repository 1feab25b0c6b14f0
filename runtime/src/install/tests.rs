//! Installing with a played launcher: what is asked of it, and what is left when it says no.

mod shared;
mod way_back;

use std::{
    io::Write as _,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
};

use postern_contract::launch::{Access, Ask, ExitStatus, Outcome, Plan, Said, Standing, Verb};
use postern_daemon::channel::{Channel, Listener};
use postern_unpack::Kind;
use sha2::{Digest as _, Sha256};

use super::{
    archive::{Packed, read_line},
    *,
};
use crate::{config::tests::agent_of, source::Way, unpack::Told};

/// What looks like an archive from outside, which is all that anybody here looks at.
const ARCHIVE: &[u8] = b"\x1f\x8barchive";

const DESK: &str = "[agents.desk]\nkind = \"python\"\nsource = { object = { path = \"a.tar\" } }\nentry = \"a.py\"\n";

struct Bench {
    directory: tempfile::TempDir,
    listener: Listener,
    installer: Installer,
    agent: Arc<Agent>,
    files: Files,
    _gate: Listener,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.tar"), ARCHIVE).unwrap();
    let socket = directory.path().join("launcher.sock");
    let listener = Listener::bind(&socket).unwrap();
    let launcher = Arc::new(Launcher::at(&socket));
    let agents = directory.path().join("agents");
    let gate = directory.path().join("link.sock");
    let silent = Listener::bind(&gate).unwrap();
    let cache = Cache::new(&agents, postern_contract::config::Cache::default());
    let installer = Installer {
        agents,
        program: "/proc/self/exe".into(),
        launcher,
        link: Link::over(Channel::connect(&gate).unwrap()),
        sockets: directory.path().to_owned(),
        trusted: Trusted {
            list: "/none".into(),
            java: "/none".into(),
        },
        clock: Clock::system(),
        progress: Progress::new(Clock::system()),
        cache,
    };
    let files = Files {
        source: source_in(directory.path(), "a.tar"),
        mount: "/agent".into(),
    };
    Bench {
        directory,
        listener,
        installer,
        agent: agent_of(DESK),
        files,
        _gate: silent,
    }
}

impl Bench {
    fn tree(&self) -> Tree {
        Tree::of(&self.installer.agents, &self.agent.name)
    }

    fn archive(&self, content: &str) {
        std::fs::write(self.directory.path().join("a.tar"), content).unwrap();
    }

    /// An install that needs a launcher, or more than one.
    async fn makes(&self, occasion: Occasion) -> Version {
        let install = self.installer.install(&self.agent, &self.files, occasion);
        let launchers = async {
            loop {
                let _discarded = play(&self.listener, whole).await;
            }
        };
        tokio::select! {
            installed = install => installed.unwrap().version,
            () = launchers => unreachable!(),
        }
    }

    fn live(&self) -> Version {
        self.installer
            .standing(&self.agent.name)
            .unwrap()
            .live
            .version
    }
}

fn source_in(directory: &Path, name: &str) -> Source {
    let written = serde_json::json!({ "object": { "path": name } });
    let written = serde_json::from_value(written).unwrap();
    let places = crate::config::Places::new(directory, &[]).unwrap();
    Source::mean(&written, &places).ok().unwrap()
}

/// Plays the launcher of one install sandbox: makes the tree and answers as `unpack` would; gives back what was discarded.
async fn play(listener: &Listener, told: impl Fn(&str) -> Told) -> Vec<PathBuf> {
    let channel = listener.accept().await.unwrap();
    let (plan, _) = channel.receive::<Plan>().await.unwrap().unwrap();
    let fresh = plan
        .mounts
        .iter()
        .find(|mount| mount.access == Access::Fresh);
    if let Some(mount) = fresh {
        std::fs::create_dir(&mount.source).unwrap();
    }
    let enforced = plan
        .required
        .iter()
        .map(|layer| (*layer, Standing::Enforced(String::new())));
    channel
        .send(
            &Said::Built {
                enforced: enforced.collect(),
            },
            &[],
        )
        .await
        .unwrap();
    let mut discarded = Vec::new();
    while let Ok(Some((ask, mut fds))) = channel.receive::<Ask>().await {
        match ask.verb {
            Verb::Exec { argv, .. } => {
                assert_eq!(argv[1], "unpack");
                let outcome = Outcome::Started { process: 1 };
                channel
                    .send(
                        &Said::Done {
                            re: ask.seq,
                            outcome,
                        },
                        &[],
                    )
                    .await
                    .unwrap();
                let status = unpack_played(&mut fds, &told).await;
                channel.send(&exited(status), &[]).await.unwrap();
            }
            Verb::Discard { tree } => {
                std::fs::remove_dir_all(&tree).unwrap();
                discarded.push(tree);
                let done = Said::Done {
                    re: ask.seq,
                    outcome: Outcome::Plain,
                };
                channel.send(&done, &[]).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    discarded
}

fn exited(status: ExitStatus) -> Said {
    Said::Exited {
        process: 1,
        status,
        hits: Vec::new(),
    }
}

async fn unpack_played(fds: &mut Vec<OwnedFd>, told: &impl Fn(&str) -> Told) -> ExitStatus {
    fds.truncate(2);
    let mut stdout = std::fs::File::from(fds.pop().unwrap());
    let archive = read_line(fds.pop().unwrap()).await.unwrap();
    let told = told(&hex::encode(Sha256::digest(&archive)));
    stdout
        .write_all(&serde_json::to_vec(&told).unwrap())
        .unwrap();
    ExitStatus::Code(i32::from(!matches!(told, Told::Unpacked(_))))
}

fn whole(sha256: &str) -> Told {
    Told::Unpacked(Report {
        entries: 1,
        bytes: 7,
        sha256: sha256.to_owned(),
        kind: Kind::Tar,
    })
}

#[tokio::test]
async fn an_archive_becomes_the_live_version_and_is_not_unpacked_twice() {
    let bench = bench();
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let (installed, discarded) = tokio::join!(install, play(&bench.listener, whole));
    let installed = installed.unwrap();
    assert!(installed.unpacked.is_some() && discarded.is_empty());
    let current = bench.directory.path().join("agents/desk/current");
    assert_eq!(
        std::fs::canonicalize(current).unwrap(),
        std::fs::canonicalize(&installed.tree).unwrap()
    );
    // Nobody plays a launcher now: the second install needs none.
    let again = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start)
        .await
        .unwrap();
    assert_eq!((again.unpacked, again.tree), (None, installed.tree));
}

#[tokio::test]
async fn a_refused_archive_leaves_nothing_and_the_old_version_live() {
    let bench = bench();
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let (installed, _) = tokio::join!(install, play(&bench.listener, whole));
    let old = installed.unwrap().tree;
    std::fs::write(bench.directory.path().join("a.tar"), "other").unwrap();
    let refuse = |_: &str| Told::NoPlace("not a tar archive".to_owned());
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let (error, discarded) = tokio::join!(install, play(&bench.listener, refuse));
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("a.tar: not a tar archive"), "{error}");
    assert_eq!(discarded.len(), 1);
    let versions = bench.directory.path().join("agents/desk/versions");
    let left: Vec<_> = std::fs::read_dir(versions)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(left, [old]);
}

#[tokio::test]
async fn an_archive_that_changes_while_it_is_read_is_refused() {
    let bench = bench();
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let lie = |_: &str| whole(&"0".repeat(64));
    let (error, _) = tokio::join!(install, play(&bench.listener, lie));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("changed while it was read")
    );
}

#[tokio::test]
async fn leftovers_are_discarded_by_the_launcher() {
    let bench = bench();
    let left = bench
        .directory
        .path()
        .join("agents/desk/versions/.staging-dead");
    std::fs::create_dir_all(&left).unwrap();
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let launchers = async {
        play(&bench.listener, whole).await;
        play(&bench.listener, whole).await
    };
    let (installed, discarded) = tokio::join!(install, launchers);
    installed.unwrap();
    assert_eq!(discarded, [left]);
}

#[tokio::test]
async fn of_two_installs_at_once_one_waits_and_finds_what_the_other_made() {
    let bench = bench();
    let install = || {
        bench
            .installer
            .install(&bench.agent, &bench.files, Occasion::Start)
    };
    let launchers = async {
        play(&bench.listener, whole).await;
        // Whoever did not wait asks for a sandbox of its own.
        drop(bench.listener.accept().await);
        panic!("both were at work");
    };
    let both = async { tokio::join!(install(), install()) };
    let (one, other) = tokio::select! {
        both = both => both,
        () = launchers => unreachable!(),
    };
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.tree, other.tree);
    let unpacked = [one.unpacked, other.unpacked];
    assert_eq!(unpacked.iter().flatten().count(), 1, "{unpacked:?}");
}

#[tokio::test]
async fn the_lock_goes_with_its_holder_however_that_ends() {
    let bench = bench();
    let tree = Tree::prepare(&bench.installer.agents, bench.agent.name.as_str()).unwrap();
    let mut holder = tokio::process::Command::new("flock")
        .args(["--no-fork".as_ref(), tree.directory().as_os_str()])
        .args(["sh", "-c", "echo held; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    let mut stdout = holder.stdout.take().unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut held)
        .await
        .unwrap();
    let killed = async {
        let inode = std::fs::metadata(tree.directory()).unwrap().ino();
        tokio::select! {
            () = somebody_waits_for(inode) => {}
            _ = bench.listener.accept() => panic!("it did not wait"),
        }
        holder.kill().await.unwrap();
        play(&bench.listener, whole).await
    };
    let install = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start);
    let (installed, _) = tokio::join!(install, killed);
    assert!(installed.unwrap().unpacked.is_some());
}

/// Returns when the kernel has somebody wait for the lock of a file.
async fn somebody_waits_for(inode: u64) {
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&format!(":{inode} "));
    while !std::fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(waits)
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_single_file_with_another_name_is_another_version_and_an_archive_is_not() {
    let bench = bench();
    let mut versions = Vec::new();
    for content in [ARCHIVE, b"print('hi')".as_slice()] {
        for name in ["a.tar", "b.tar"] {
            std::fs::write(bench.directory.path().join(name), content).unwrap();
            let files = Files {
                source: source_in(bench.directory.path(), name),
                mount: "/agent".into(),
            };
            let Way::Unpack(object) = files.source.way() else {
                panic!("no object");
            };
            let packed = Packed::File(object, archive::look_at(object).await.unwrap());
            let expected = packed.expected();
            versions.push(files.source.version(expected.as_ref(), &files.mount));
        }
    }
    assert_eq!(versions[0], versions[1]);
    assert_eq!(versions[0], Digest::of(Sha256::digest(ARCHIVE).into()));
    assert_ne!(versions[2], versions[3]);
}

#[tokio::test]
async fn an_image_that_changed_after_it_was_looked_at_is_never_mounted_and_nothing_of_it_stays() {
    let bench = bench();
    let Way::Unpack(object) = bench.files.source.way() else {
        panic!("no object");
    };
    let staging = bench.directory.path().join("staging");
    let seen = archive::look_at(object).await.unwrap().digest;
    std::fs::write(bench.directory.path().join("a.tar"), "another").unwrap();
    let taken = tokio::select! {
        taken = bench.installer.take(&bench.agent, (object, seen), &staging) => taken,
        _ = bench.listener.accept() => panic!("it was mounted"),
    };
    assert!(matches!(taken, Err(InstallError::OtherThanPinned { pinned, .. }) if pinned == seen));
    assert!(!staging.exists());
    // The one that was looked at is mounted once, and is nobody's but posternd's to read.
    let seen = archive::look_at(object).await.unwrap().digest;
    let taking = bench.installer.take(&bench.agent, (object, seen), &staging);
    let (taken, _) = tokio::join!(taking, play(&bench.listener, whole));
    assert_eq!(taken.unwrap(), 7);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&staging).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
