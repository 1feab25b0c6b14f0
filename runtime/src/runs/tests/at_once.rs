//! Calls that come at the same time: with one key they are one run, with one id too, and what was got ready for the others is
//! given back.

use super::*;

/// Runs that the gate was told of and those it was told the end of, sorted.
fn begun_and_over(bench: &Bench) -> (Vec<RunId>, Vec<RunId>) {
    let (mut begun, mut over) = (Vec::new(), Vec::new());
    for news in bench.told() {
        match news {
            News::RunStarted { run, .. } => begun.push(run),
            News::RunEnded { run, .. } => over.push(run),
            _ => {}
        }
    }
    begun.sort();
    over.sort();
    (begun, over)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_with_one_key_are_one_run_and_the_gate_keeps_none_of_the_others() {
    const CALLS: usize = 16;
    // Each with an id of its own, and all with the same.
    for same_id in [false, true] {
        let bench = Arc::new(bench(CALLS).await);
        let calls: Vec<_> = (0..CALLS)
            .map(|call| {
                let (bench, run) = (Arc::clone(&bench), if same_id { 0 } else { call });
                tokio::spawn(async move { bench.answer(&format!("run-{run}"), Some("k")).await })
            })
            .collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        assert_eq!(bench.agent.called.load(Ordering::SeqCst), 1);
        bench.app.desk.stop().await;
        let (begun, over) = begun_and_over(&bench);
        assert_eq!(begun, over);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_with_one_id_and_no_key_one_is_a_run() {
    const CALLS: usize = 16;
    let bench = Arc::new(bench(CALLS).await);
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                match bench.begin("run-1", None).await {
                    Ok(Begun::Running(_, updates)) => updates.folded().await.is_some(),
                    Err(BeginError::Taken(_)) => false,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        answered += usize::from(call.await.unwrap());
    }
    assert_eq!(
        (answered, bench.agent.called.load(Ordering::SeqCst)),
        (1, 1)
    );
    bench.app.desk.stop().await;
    let (begun, over) = begun_and_over(&bench);
    assert_eq!(begun, over);
}
