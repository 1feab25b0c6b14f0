//! What crosses the link, and what becomes of it when the gate goes away and comes back.

use std::path::Path;

use postern_contract::{
    SandboxId, Secret,
    link::{FromGate, LINK_VERSION, ListenerKind, Origin, ToGate, Welcome},
};
use postern_daemon::channel::Listener;

use super::*;

/// A gate that gives these answers and goes away.
async fn gate(listener: Listener, replies: Vec<Reply>) -> Vec<News> {
    let channel = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    for reply in replies {
        let (message, _) = channel.receive::<ToGate>().await.unwrap().unwrap();
        heard.push(message.news);
        let re = message.seq;
        channel.send(&FromGate { re, reply }, &[]).await.unwrap();
    }
    heard
}

fn welcome(ca_certificate: &str) -> Reply {
    Reply::Welcome(Welcome {
        ca_certificate: ca_certificate.to_owned(),
    })
}

fn way(path: &Path) -> Way {
    let mut before: Option<String> = None;
    Way {
        path: path.to_owned(),
        gate_uid: None,
        token: None,
        trusting: Box::new(move |told| {
            let old = before.replace(told.to_owned());
            Ok(old.is_some_and(|old| old != told))
        }),
    }
}

fn started(sandbox: &SandboxId) -> News {
    News::SandboxStarted {
        sandbox: sandbox.clone(),
        agent: "desk".parse().unwrap(),
        origin: Origin::Run,
        listeners: vec![ListenerKind::Names],
    }
}

fn run_started(sandbox: &SandboxId, run: &str) -> News {
    News::RunStarted {
        sandbox: sandbox.clone(),
        run: run.parse().unwrap(),
        user: Some("ada".to_owned()),
    }
}

fn run_ended(sandbox: &SandboxId, run: &str) -> News {
    News::RunEnded {
        sandbox: sandbox.clone(),
        run: run.parse().unwrap(),
    }
}

fn descriptor() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

/// A link to a gate that takes one sandbox, gives something to be kept for it, takes two runs, of which one ends, and goes.
async fn link_with_a_sandbox(path: &Path, sandbox: &SandboxId, end: Ender) -> Link {
    let listener = Listener::bind(path).unwrap();
    let playing = tokio::spawn(async move {
        let channel = listener.accept().await.unwrap();
        for _ in 0..5 {
            let (message, fds) = channel.receive::<ToGate>().await.unwrap().unwrap();
            let (reply, given) = match message.news {
                News::Hello { .. } => (welcome("ours"), None),
                News::SandboxStarted { .. } => (Reply::Done, fds.first()),
                _ => (Reply::Done, None),
            };
            let given: Vec<_> = given.iter().map(std::os::fd::AsFd::as_fd).collect();
            let re = message.seq;
            channel.send(&FromGate { re, reply }, &given).await.unwrap();
        }
    });
    let link = Link::connect(way(path)).await.unwrap();
    let listeners = vec![descriptor()];
    link.announce(started(sandbox), listeners, end)
        .await
        .unwrap();
    for news in [
        run_started(sandbox, "run_1"),
        run_started(sandbox, "run_2"),
        run_ended(sandbox, "run_1"),
    ] {
        link.tell(news, Vec::new()).await.unwrap();
    }
    playing.await.unwrap();
    let mut condition = link.condition();
    condition
        .wait_for(|condition| *condition == Condition::Away)
        .await
        .unwrap();
    link
}

#[tokio::test]
async fn the_next_gate_is_told_all_that_stands_and_then_what_waited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let sandbox = SandboxId::fresh();
    let link = link_with_a_sandbox(&path, &sandbox, Ender::default()).await;
    // Questions are not put off, an end counts at once, a start waits.
    assert!(matches!(link.status().await, Err(LinkError::Broken)));
    let over = run_ended(&sandbox, "run_2");
    link.tell(over, Vec::new()).await.unwrap();
    let waiting = link.clone();
    let begins = run_started(&sandbox, "run_3");
    let begun = tokio::spawn(async move { waiting.tell(begins, Vec::new()).await });
    let next = Listener::bind(&path).unwrap();
    let channel = next.accept().await.unwrap();
    let mut heard = Vec::new();
    for reply in [
        welcome("ours"),
        Reply::Done,
        Reply::Done,
        Reply::Done,
        Reply::Done,
        Reply::Done,
    ] {
        let (message, fds) = channel.receive::<ToGate>().await.unwrap().unwrap();
        heard.push((message.news, fds.len()));
        let re = message.seq;
        channel.send(&FromGate { re, reply }, &[]).await.unwrap();
    }
    begun.await.unwrap().unwrap();
    assert!(matches!(heard.remove(0).0, News::Hello { .. }));
    let mut again = started(&sandbox);
    if let News::SandboxStarted { listeners, .. } = &mut again {
        listeners.push(ListenerKind::Kept);
    }
    let expected = [
        (again, 2),
        // Whose sandbox it is, though that run is over.
        (run_started(&sandbox, "run_1"), 0),
        (run_ended(&sandbox, "run_1"), 0),
        (
            News::SandboxGoesOn {
                sandbox: sandbox.clone(),
            },
            0,
        ),
        (run_started(&sandbox, "run_3"), 0),
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_sandbox_that_the_next_gate_does_not_take_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let (sandbox, end) = (SandboxId::fresh(), Ender::default());
    let link = link_with_a_sandbox(&path, &sandbox, end.clone()).await;
    let refusal = Reply::Refused {
        why: "no such agent".to_owned(),
    };
    let next = Listener::bind(&path).unwrap();
    gate(next, vec![welcome("ours"), refusal]).await;
    end.asked().await;
    drop(link);
}

#[tokio::test]
async fn no_sandbox_outlives_the_authority_that_it_trusts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let (sandbox, end) = (SandboxId::fresh(), Ender::default());
    let link = link_with_a_sandbox(&path, &sandbox, end.clone()).await;
    let next = Listener::bind(&path).unwrap();
    let playing = tokio::spawn(gate(next, vec![welcome("another"), Reply::Done]));
    end.asked().await;
    // The sandbox is not told again; the next that is told is.
    let other = SandboxId::fresh();
    let fds = vec![descriptor()];
    link.tell(started(&other), fds).await.unwrap();
    assert_eq!(playing.await.unwrap()[1], started(&other));
}

#[tokio::test]
async fn a_gate_that_does_not_want_us_back_is_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let sandbox = SandboxId::fresh();
    let link = link_with_a_sandbox(&path, &sandbox, Ender::default()).await;
    let refusal = Reply::Refused {
        why: "another version".to_owned(),
    };
    let next = Listener::bind(&path).unwrap();
    gate(next, vec![refusal]).await;
    let why = link.lost().await;
    assert!(why.contains("another version"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_begins_waits_for_a_gate_only_so_long() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let sandbox = SandboxId::fresh();
    let link = link_with_a_sandbox(&path, &sandbox, Ender::default()).await;
    let told = link.tell(run_started(&sandbox, "run_3"), Vec::new()).await;
    assert!(matches!(told, Err(LinkError::Broken)), "{told:?}");
}

#[tokio::test]
async fn hello_carries_the_token_and_a_gate_that_goes_away_is_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let status = GateStatus {
        policy_generation: 1,
        ..GateStatus::default()
    };
    let listener = Listener::bind(&path).unwrap();
    let replies = vec![welcome("ours"), Reply::Status(status.clone())];
    let gate = tokio::spawn(gate(listener, replies));
    let way = Way {
        token: Some(Secret::new(b"t".to_vec())),
        ..way(&path)
    };
    let link = Link::connect(way).await.unwrap();
    assert_eq!(link.status().await.unwrap(), status);
    let heard = gate.await.unwrap();
    let hello = News::Hello {
        version: LINK_VERSION,
        token: Some(Shown::new("t".to_owned())),
    };
    assert_eq!(heard[0], hello);
    let mut condition = link.condition();
    condition
        .wait_for(|condition| *condition == Condition::Away)
        .await
        .unwrap();
    assert!(matches!(link.status().await, Err(LinkError::Broken)));
}

#[tokio::test]
async fn a_refused_hello_is_told_and_a_strangers_uid_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let refusal = Reply::Refused {
        why: "wrong token".to_owned(),
    };
    let listener = Listener::bind(&path).unwrap();
    tokio::spawn(gate(listener, vec![refusal]));
    let error = Link::connect(way(&path)).await.err().unwrap();
    assert!(error.to_string().contains("wrong token"), "{error}");
    let _listener = Listener::bind(&path).unwrap();
    let way = Way {
        gate_uid: Some(4_000_000),
        ..way(&path)
    };
    let error = Link::connect(way).await.err().unwrap();
    assert!(matches!(error, LinkError::Stranger { .. }), "{error}");
}

#[tokio::test]
async fn what_is_too_large_for_the_link_is_told_to_its_writer_and_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let listener = Listener::bind(&path).unwrap();
    let status = GateStatus::default();
    let gate = tokio::spawn(gate(listener, vec![Reply::Status(status.clone())]));
    let link = Link::over(Channel::connect(&path).unwrap());
    let key = Shown::new("k".repeat(postern_contract::MESSAGE_BYTES_MAX));
    let refused = link.approvals(Wanted::default(), Some(key)).await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
    assert_eq!(link.status().await.unwrap(), status);
    assert_eq!(gate.await.unwrap(), [News::Status]);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_answers_nothing_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link.sock");
    let listener = Listener::bind(&path).unwrap();
    let link = Link::over(Channel::connect(&path).unwrap());
    let _silent = listener.accept().await.unwrap();
    // More than its socket and our queue hold.
    let asking = (0..QUEUED_MAX * 8).map(|_| link.status());
    for told in futures_util::future::join_all(asking).await {
        assert!(matches!(told, Err(LinkError::Odd(_))), "{told:?}");
    }
}
