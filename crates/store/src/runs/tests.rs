//! A run's life in the store, its numbers, its keys, and what a kill leaves.

use postern_contract::{ActionId, RequestId};
use serde_json::{Value, json};

use super::*;

async fn open(home: &tempfile::TempDir) -> Runs {
    Runs::open(&home.path().join("runs.db")).await.unwrap()
}

fn new_run(key: Option<&str>, at_ms: i64) -> NewRun {
    NewRun {
        run: RunId::fresh(),
        agent: "desk".parse().unwrap(),
        user: None,
        request_id: RequestId::fresh(),
        message: json!("where is order 1042?"),
        idempotency_key: key.map(str::to_owned),
        at_ms,
    }
}

fn tool_called(at_ms: i64) -> NewEvent {
    let data = json!({ "tool": "orders" });
    NewEvent {
        kind: EventType::ToolCalled,
        actor: "agent".to_owned(),
        data,
        at_ms,
    }
}

fn completed(outcome: Value) -> End {
    End {
        status: RunStatus::Completed,
        outcome,
        events: vec![tool_called(2)],
        at_ms: 3,
        kept: Kept::Written,
    }
}

#[tokio::test]
async fn a_run_is_begun_ended_and_read_back_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    assert_eq!(runs.begin_run(&new).await.unwrap(), Begun::Fresh);
    let going = runs.run(&new.run).await.unwrap().unwrap();
    assert_eq!((going.status, going.outcome), (RunStatus::Running, None));
    runs.finish_run(&new.run, &completed(json!({ "response": "here" })))
        .await
        .unwrap();
    runs.close().await;

    let runs = open(&home).await;
    let over = runs.run(&new.run).await.unwrap().unwrap();
    assert_eq!(over.status, RunStatus::Completed);
    assert_eq!(over.outcome, Some(json!({ "response": "here" })));
    assert_eq!(
        (over.message, over.created_ms, over.updated_ms),
        (new.message, 1, 3)
    );
    let events = runs.events(&new.run, 0, 100).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.seq, event.kind)).collect();
    let wanted = [
        (1, EventType::UserMessage),
        (2, EventType::ToolCalled),
        (3, EventType::Completed),
    ];
    assert_eq!(told, wanted);
    assert_eq!(events[0].data, json!({ "message": "where is order 1042?" }));
}

#[tokio::test]
async fn numbers_count_in_each_run_alone_and_have_no_gaps() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let (one, two) = (new_run(None, 1), new_run(None, 1));
    runs.begin_run(&one).await.unwrap();
    runs.begin_run(&two).await.unwrap();
    let both = async |run: RunId| {
        for at_ms in 0..20 {
            runs.append_event(&run, &tool_called(at_ms)).await.unwrap();
        }
    };
    tokio::join!(
        both(one.run.clone()),
        both(one.run.clone()),
        both(two.run.clone())
    );
    let seqs = async |run: &RunId| -> Vec<i64> {
        runs.events(run, 0, 100)
            .await
            .unwrap()
            .iter()
            .map(|event| event.seq)
            .collect()
    };
    assert_eq!(seqs(&one.run).await, (1..=41).collect::<Vec<_>>());
    assert_eq!(seqs(&two.run).await, (1..=21).collect::<Vec<_>>());
    let page = runs.events(&one.run, 10, 3).await.unwrap();
    assert_eq!(
        page.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [11, 12, 13]
    );
    assert_eq!(runs.record(&one.run, &[]).await.unwrap(), 41);
}

#[tokio::test]
async fn a_run_ends_once_and_takes_nothing_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    runs.begin_run(&new).await.unwrap();
    let (first, second) = (completed(json!(1)), completed(json!(2)));
    let (first, second) = tokio::join!(
        runs.finish_run(&new.run, &first),
        runs.finish_run(&new.run, &second)
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert!(matches!(
        runs.append_event(&new.run, &tool_called(9)).await,
        Err(RunsError::Ended(run)) if run == new.run
    ));
    assert_eq!(runs.events(&new.run, 0, 100).await.unwrap().len(), 3);
    let unknown = RunId::fresh();
    assert!(matches!(
        runs.finish_run(&unknown, &completed(json!(1))).await,
        Err(RunsError::NoSuchRun(_))
    ));
    assert!(matches!(
        runs.append_event(&unknown, &tool_called(9)).await,
        Err(RunsError::NoSuchRun(_))
    ));
    let paused = End {
        status: RunStatus::PausedApproval,
        ..completed(json!(1))
    };
    assert!(matches!(
        runs.finish_run(&unknown, &paused).await,
        Err(RunsError::NotAnEnd(_))
    ));
}

#[tokio::test]
async fn a_taken_id_is_refused_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    runs.begin_run(&new).await.unwrap();
    let thief = NewRun {
        message: json!("mine now"),
        agent: "thief".parse().unwrap(),
        ..new.clone()
    };
    assert!(matches!(
        runs.begin_run(&thief).await,
        Err(RunsError::RunTaken(_))
    ));
    let kept = runs.run(&new.run).await.unwrap().unwrap();
    assert_eq!((kept.agent, kept.message), (new.agent, new.message));
    assert_eq!(runs.events(&new.run, 0, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_means_one_run_for_one_agent_and_user() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(Some("k-1"), 1);
    assert_eq!(runs.begin_run(&new).await.unwrap(), Begun::Fresh);
    let again = NewRun {
        run: RunId::fresh(),
        ..new.clone()
    };
    let Begun::Earlier(earlier) = runs.begin_run(&again).await.unwrap() else {
        panic!("a second run")
    };
    assert_eq!(earlier.run, new.run);
    assert_eq!(runs.run(&again.run).await.unwrap(), None);
    let other_user = NewRun {
        user: Some("u@x".to_owned()),
        ..again.clone()
    };
    assert_eq!(runs.begin_run(&other_user).await.unwrap(), Begun::Fresh);
    let other_agent = NewRun {
        run: RunId::fresh(),
        agent: "clerk".parse().unwrap(),
        ..again
    };
    assert_eq!(runs.begin_run(&other_agent).await.unwrap(), Begun::Fresh);
}

#[tokio::test]
async fn what_a_kill_left_running_is_failed_at_start() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let (left, over) = (new_run(None, 1), new_run(None, 2));
    runs.begin_run(&left).await.unwrap();
    runs.begin_run(&over).await.unwrap();
    runs.finish_run(&over.run, &completed(json!("kept")))
        .await
        .unwrap();
    drop(runs);

    let runs = open(&home).await;
    assert_eq!(runs.sweep_interrupted(50).await.unwrap(), 1);
    assert_eq!(runs.sweep_interrupted(51).await.unwrap(), 0);
    let swept = runs.run(&left.run).await.unwrap().unwrap();
    assert_eq!((swept.status, swept.updated_ms), (RunStatus::Failed, 50));
    assert_eq!(swept.outcome.unwrap()["code"], INTERRUPTED);
    let last = runs.events(&left.run, 1, 10).await.unwrap();
    assert_eq!(
        (last.len(), last[0].seq, last[0].kind),
        (1, 2, EventType::Failed)
    );
    assert_eq!(
        runs.run(&over.run).await.unwrap().unwrap().outcome,
        Some(json!("kept"))
    );
}

#[tokio::test]
async fn runs_are_listed_newest_first_as_asked() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let mut made = Vec::new();
    for at_ms in 1..=5 {
        let new = new_run(None, at_ms);
        runs.begin_run(&new).await.unwrap();
        made.insert(0, new.run);
    }
    runs.finish_run(&made[1], &completed(json!("x")))
        .await
        .unwrap();
    let ids = async |filter: RunFilter, limit| -> Vec<RunId> {
        runs.runs(&filter, limit)
            .await
            .unwrap()
            .into_iter()
            .map(|run| run.run)
            .collect()
    };
    assert_eq!(ids(RunFilter::default(), 100).await, made);
    assert_eq!(ids(RunFilter::default(), 2).await, made[..2]);
    let ended = RunFilter {
        status: Some(RunStatus::Completed),
        ..RunFilter::default()
    };
    assert_eq!(ids(ended, 100).await, made[1..2]);
    // The limit counts what is told, whatever is held.
    let with = |status| RunFilter {
        status: Some(status),
        held: made[..3].to_vec(),
        ..RunFilter::default()
    };
    let held = [made[0].clone(), made[2].clone()];
    assert_eq!(ids(with(RunStatus::PausedConsent), 100).await, held);
    assert_eq!(ids(with(RunStatus::Running), 1).await, made[3..4]);
    assert_eq!(ids(with(RunStatus::Completed), 100).await, made[1..2]);
    let stranger = RunFilter {
        agent: Some("other".parse().unwrap()),
        ..RunFilter::default()
    };
    assert_eq!(ids(stranger, 100).await, []);
    let user = RunFilter {
        user: Some("' OR 1=1 --".to_owned()),
        ..RunFilter::default()
    };
    assert_eq!(ids(user, 100).await, []);
}

#[tokio::test]
async fn an_agent_has_one_live_version() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let first = Installed {
        name: "desk".parse().unwrap(),
        version: "aa".repeat(32),
        source: json!({ "object": { "path": "desk.tar.gz" } }),
        installed_at_ms: 1,
    };
    let second = Installed {
        version: "bb".repeat(32),
        installed_at_ms: 2,
        ..first.clone()
    };
    runs.record_installed(&first).await.unwrap();
    runs.record_installed(&second).await.unwrap();
    assert_eq!(
        runs.installed(&first.name).await.unwrap(),
        Some(second.clone())
    );
    assert_eq!(runs.all_installed().await.unwrap(), [second]);
    assert_eq!(
        runs.installed(&"other".parse().unwrap()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_paused_run_survives_a_restart_and_is_taken_up_once() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    runs.begin_run(&new).await.unwrap();
    let action = ActionId::fresh();
    let pause = Pause {
        action: action.clone(),
        status: RunStatus::PausedApproval,
        state: json!({ "messages": [] }),
        outcome: json!({ "status": 200 }),
        events: vec![tool_called(2)],
        at_ms: 3,
    };
    runs.pause_run(&new.run, &pause).await.unwrap();
    runs.close().await;

    let runs = open(&home).await;
    assert_eq!(runs.sweep_interrupted(4).await.unwrap(), 0);
    let waits = runs.awaited(RunStatus::PausedApproval, 10).await.unwrap();
    assert_eq!((&waits[0].action, waits[0].tries), (&action, 0));
    let paused = runs.paused(&action).await.unwrap().unwrap();
    assert!(!paused.is_taken);
    assert_eq!(paused.run.status, RunStatus::PausedApproval);
    assert_eq!(paused.run.outcome, Some(pause.outcome.clone()));
    let take = async || {
        let resumed = NewEvent {
            kind: EventType::Resumed,
            ..tool_called(5)
        };
        runs.take_up(&action, &[resumed], 5).await.unwrap()
    };
    let (one, two) = tokio::join!(take(), take());
    let (run, state) = one.xor(two).expect("one of them");
    assert_eq!((&run.run, &state), (&new.run, &pause.state));
    assert!(runs.paused(&action).await.unwrap().unwrap().is_taken);
    assert!(
        runs.awaited(RunStatus::PausedApproval, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let run = runs.run(&new.run).await.unwrap().unwrap();
    assert_eq!((run.status, run.outcome), (RunStatus::Running, None));
    let events = runs.events(&new.run, 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().kind, EventType::Resumed);
    let nothing = runs.paused(&ActionId::fresh()).await.unwrap();
    assert_eq!(nothing, None);
    runs.finish_run(&new.run, &completed(json!(1)))
        .await
        .unwrap();
    let late = Pause {
        action: ActionId::fresh(),
        outcome: json!(1),
        ..pause
    };
    let late = runs.pause_run(&new.run, &late).await;
    assert!(matches!(late, Err(RunsError::Ended(_))));
}

#[tokio::test]
async fn a_paused_run_is_ended_once_and_not_taken_up_after_that() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    runs.begin_run(&new).await.unwrap();
    let pause = Pause {
        action: ActionId::fresh(),
        status: RunStatus::PausedApproval,
        state: json!(1),
        outcome: json!(1),
        events: vec![],
        at_ms: 2,
    };
    runs.pause_run(&new.run, &pause).await.unwrap();
    let failed = End {
        status: RunStatus::Failed,
        ..completed(json!({ "code": "CANCELLED" }))
    };
    assert!(runs.end_paused(&pause.action, &failed).await.unwrap());
    assert!(!runs.end_paused(&pause.action, &failed).await.unwrap());
    assert!(runs.take_up(&pause.action, &[], 4).await.unwrap().is_none());
    let run = runs.run(&new.run).await.unwrap().unwrap();
    assert_eq!(
        (run.status, run.outcome),
        (RunStatus::Failed, Some(failed.outcome))
    );
    let events = runs.events(&new.run, 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().kind, EventType::Failed);
}

#[tokio::test]
async fn a_run_that_failed_on_its_way_is_put_back_and_taken_up_again() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let new = new_run(None, 1);
    runs.begin_run(&new).await.unwrap();
    let pause = |state: i32| Pause {
        action: "act_1".parse().unwrap(),
        status: RunStatus::PausedApproval,
        state: json!(state),
        outcome: json!({ "status": 502, "state": state }),
        events: vec![],
        at_ms: 2,
    };
    let action = pause(1).action;
    runs.pause_run(&new.run, &pause(1)).await.unwrap();
    let untaken = runs.put_back(&new.run, &pause(2)).await;
    assert!(matches!(untaken, Err(RunsError::NotTaken(_))));
    for tries in 1..3 {
        runs.take_up(&action, &[], 3).await.unwrap().unwrap();
        runs.put_back(&new.run, &pause(2)).await.unwrap();
        let paused = runs.paused(&action).await.unwrap().unwrap();
        assert_eq!((paused.is_taken, paused.tries), (false, tries));
        assert_eq!(paused.run.status, RunStatus::PausedApproval);
        assert_eq!(paused.run.outcome, Some(pause(2).outcome));
        assert_eq!(
            runs.awaited(RunStatus::PausedApproval, 10).await.unwrap()[0].tries,
            tries
        );
    }
    let (_, state) = runs.take_up(&action, &[], 4).await.unwrap().unwrap();
    assert_eq!(state, json!(2));
    assert!(runs.take_up(&action, &[], 4).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_run_says_it_needs_is_kept_up_to_a_number_while_it_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let runs = open(&home).await;
    let (new, other) = (new_run(None, 1), new_run(None, 1));
    runs.begin_run(&new).await.unwrap();
    runs.begin_run(&other).await.unwrap();
    let action = |number: u32| -> ActionId { format!("act-{number}").parse().unwrap() };
    let mut kept = 0;
    for number in 0..20 {
        let (action, state) = (action(number), json!({ "n": number }));
        let report = runs.keep_reported(&new.run, (&action, &state), 2).await;
        kept += u32::from(report.unwrap());
    }
    assert_eq!(kept, 8);
    // Said again, the last counts.
    let (first, again) = (action(0), json!("again"));
    let report = runs.keep_reported(&new.run, (&first, &again), 3).await;
    assert!(report.unwrap());
    let found = runs.reported(&new.run, &action(0)).await.unwrap();
    assert_eq!(found, Some(json!("again")));
    assert_eq!(runs.reported(&other.run, &action(0)).await.unwrap(), None);
    assert_eq!(runs.reported(&new.run, &action(19)).await.unwrap(), None);
    runs.finish_run(&new.run, &completed(json!({})))
        .await
        .unwrap();
    let late = runs
        .keep_reported(&new.run, (&action(0), &json!({})), 4)
        .await;
    assert!(matches!(late, Err(RunsError::Ended(_))), "{late:?}");
}
