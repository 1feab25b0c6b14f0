//! Decisions go in and come out as they were.

use postern_contract::{Code, RequestId, RunId, SandboxId};

use super::*;

fn decision(run: &RunId, ruling: Ruling) -> Decision {
    Decision {
        id: RequestId::fresh(),
        at_ms: 1_700_000_000_000,
        sandbox: SandboxId::fresh(),
        agent: "desk".parse().unwrap(),
        run: Some(run.clone()),
        tool: Some("stripe".to_owned()),
        ruling,
        rule: Some("read charges".to_owned()),
        code: (ruling == Ruling::Denied).then_some(Code::PolicyDenied),
        method: "GET".to_owned(),
        authority: "https://api.stripe.com:443".to_owned(),
        path: "/v1/charges".to_owned(),
        status: Some(200),
        credential: Some("stripe".to_owned()),
    }
}

#[tokio::test]
async fn decisions_come_back_whole_newest_first_and_survive_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gate.db");
    let gate = Gate::open(&path).await.unwrap();
    let (run, other) = (RunId::fresh(), RunId::fresh());
    let bare = Decision {
        run: None,
        tool: None,
        rule: None,
        status: None,
        credential: None,
        ..decision(&run, Ruling::Denied)
    };
    let all = [
        decision(&run, Ruling::Allowed),
        decision(&other, Ruling::Denied),
        bare,
    ];
    gate.record_decisions(&all).await.unwrap();
    gate.close().await;

    let gate = Gate::open(&path).await.unwrap();
    let mut newest_first = all.to_vec();
    newest_first.reverse();
    assert_eq!(
        gate.decisions(&DecisionFilter::default(), 10)
            .await
            .unwrap(),
        newest_first
    );
    let of_run = DecisionFilter {
        run: Some(run),
        ..DecisionFilter::default()
    };
    assert_eq!(gate.decisions(&of_run, 10).await.unwrap(), [all[0].clone()]);
    let denied = DecisionFilter {
        ruling: Some(Ruling::Denied),
        ..DecisionFilter::default()
    };
    assert_eq!(gate.decisions(&denied, 10).await.unwrap().len(), 2);
    assert_eq!(gate.decisions(&denied, 1).await.unwrap(), [all[2].clone()]);
    let stranger = DecisionFilter {
        agent: Some("other".parse().unwrap()),
        ..DecisionFilter::default()
    };
    assert_eq!(gate.decisions(&stranger, 10).await.unwrap(), []);
}

#[tokio::test]
async fn an_id_that_comes_twice_is_kept_twice() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let one = decision(&RunId::fresh(), Ruling::Allowed);
    gate.record_decisions(&[one.clone(), one]).await.unwrap();
    assert_eq!(
        gate.decisions(&DecisionFilter::default(), u32::MAX)
            .await
            .unwrap()
            .len(),
        2
    );
}
