//! A launcher that is played: what posternd asks of it, believes and does not believe.

use std::collections::BTreeSet;

use postern_contract::launch::{Ask, Standing};
use postern_daemon::channel::Listener as ChannelListener;

use super::*;

fn wanted() -> Wanted {
    Wanted {
        purpose: Purpose::Agent,
        hostname: "desk".to_owned(),
        mounts: Vec::new(),
        trusted: None,
        listeners: Vec::new(),
        limits: Limits::default(),
        require: BTreeSet::new(),
        allow_weaker: BTreeSet::new(),
    }
}

struct Played {
    _directory: tempfile::TempDir,
    listener: ChannelListener,
    launcher: Launcher,
}

fn played() -> Played {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("launcher.sock");
    let listener = ChannelListener::bind(&socket).unwrap();
    Played {
        _directory: directory,
        listener,
        launcher: Launcher::at(&socket),
    }
}

impl Played {
    /// Starts a sandbox whose launcher says `said` to the plan.
    async fn start(
        &self,
        said: impl FnOnce(&Plan) -> Said,
    ) -> (Result<Sandbox, SandboxError>, Channel) {
        let answer = async {
            let channel = self.listener.accept().await.unwrap();
            let (plan, _) = channel.receive::<Plan>().await.unwrap().unwrap();
            channel.send(&said(&plan), &[]).await.unwrap();
            channel
        };
        let (started, channel) = tokio::join!(self.launcher.start(wanted()), answer);
        (started.map(|(sandbox, _)| sandbox), channel)
    }
}

fn all_enforced(plan: &Plan) -> Said {
    let enforced = plan
        .required
        .iter()
        .map(|layer| (*layer, Standing::Enforced(String::new())));
    Said::Built {
        enforced: enforced.collect(),
    }
}

#[tokio::test]
async fn verbs_are_answered_and_the_end_of_a_process_is_told() {
    let played = played();
    let (sandbox, channel) = played.start(all_enforced).await;
    let sandbox = sandbox.unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let program = Program {
        argv: vec!["true".to_owned()],
        env: BTreeMap::new(),
        cwd: PathBuf::from("/"),
    };
    let open = Descriptors {
        stdin: null(),
        stdout: null(),
        stderr: null(),
        channel: Some(null()),
    };
    let answer = async {
        let (ask, fds) = channel.receive::<Ask>().await.unwrap().unwrap();
        assert_eq!(fds.len(), 4);
        let outcome = Outcome::Started { process: 7 };
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
        let exited = Said::Exited {
            process: 7,
            status: ExitStatus::Code(0),
            hits: vec![Hit::Processes],
        };
        channel.send(&exited, &[]).await.unwrap();
    };
    let (process, ()) = tokio::join!(sandbox.exec(program, open), answer);
    let expected = Exit {
        status: ExitStatus::Code(0),
        hits: vec![Hit::Processes],
    };
    assert_eq!(process.unwrap().exited().await, Some(expected));
    drop(sandbox);
    assert!(channel.receive::<Ask>().await.unwrap().is_none());
}

#[tokio::test]
async fn a_refusal_is_told_and_a_lie_by_omission_is_seen() {
    let played = played();
    let refused = |_: &Plan| {
        Said::Refused(
            Obstacle::layer(Layer::UserNamespace, "not permitted").with_fix("set the sysctl"),
        )
    };
    let (started, _) = played.start(refused).await;
    let error = started.unwrap_err().to_string();
    assert!(error.contains("not permitted; set the sysctl"), "{error}");
    let (started, _) = played
        .start(|_| Said::Built {
            enforced: Enforced::new(),
        })
        .await;
    assert!(
        matches!(started, Err(SandboxError::LayerAbsent(_))),
        "{started:?}"
    );
}

#[tokio::test]
async fn a_launcher_that_goes_away_ends_its_sandbox() {
    let played = played();
    let (sandbox, channel) = played.start(all_enforced).await;
    let sandbox = sandbox.unwrap();
    drop(channel);
    sandbox.ended().await;
    assert!(matches!(
        sandbox.signal(1, 9).await,
        Err(SandboxError::Ended)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_verb_that_is_never_answered_ends_its_sandbox() {
    let played = played();
    let (sandbox, channel) = played.start(all_enforced).await;
    let sandbox = sandbox.unwrap();
    let said = sandbox.signal(1, 9).await;
    assert!(matches!(said, Err(SandboxError::Odd(_))), "{said:?}");
    sandbox.ended().await;
    // What was asked is the last that the launcher hears.
    assert!(channel.receive::<Ask>().await.unwrap().is_some());
    assert!(channel.receive::<Ask>().await.unwrap().is_none());
}
