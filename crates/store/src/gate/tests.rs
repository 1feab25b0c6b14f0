//! Decisions go in and come out as they were.

use postern_contract::{
    ActionId, ApproverName, Code, RequestId, RunId, SandboxId,
    approval::{Approval, Origin, Scope, Status, Verdict, Wanted, Whole},
};

use super::*;

mod wider;

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

fn approval(created_ms: i64) -> Approval {
    Approval {
        action: ActionId::fresh(),
        agent: "desk".parse().unwrap(),
        run: Some(RunId::fresh()),
        user: Some("ada".to_owned()),
        tool: Some("stripe".parse().unwrap()),
        rule: "large refunds".to_owned(),
        method: "POST".to_owned(),
        authority: "https://api.stripe.com:443".to_owned(),
        path: "/v1/refunds".to_owned(),
        digest: "d1".to_owned(),
        status: Status::Pending,
        origin: Origin::Gate,
        words: None,
        wider: false,
        scope: Scope::Once,
        granted_until_ms: None,
        approver: None,
        reason: None,
        created_ms,
        answered_ms: None,
        expires_ms: created_ms + 1,
    }
}

#[tokio::test]
async fn an_approval_is_answered_once_and_what_does_not_wait_expires() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let bare = Approval {
        run: None,
        user: None,
        tool: None,
        ..approval(2)
    };
    let all = [approval(1), bare, approval(3)];
    for one in &all {
        gate.ask(one, &Bounds::default()).await.unwrap();
    }
    let ada = "ada".parse().unwrap();
    let yes = Answered {
        action: &all[0].action,
        by: Some((&ada, Verdict::Approve)),
        scope: (Scope::Once, None),
        reason: Some("fine"),
        at_ms: 9,
    };
    assert!(gate.answer(&yes).await.unwrap());
    let no = Answered {
        by: Some((&ada, Verdict::Reject)),
        scope: (Scope::Once, None),
        ..yes.clone()
    };
    assert!(
        !gate.answer(&no).await.unwrap(),
        "an answer is the last word"
    );
    gate.expire_all_but(&[all[2].action.clone()], 10)
        .await
        .unwrap();

    let kept = gate.approvals(&Wanted::default(), 10).await.unwrap();
    let answered = Approval {
        status: Status::Approved,
        approver: Some("ada".parse().unwrap()),
        reason: Some("fine".to_owned()),
        answered_ms: Some(9),
        ..all[0].clone()
    };
    let expired = Approval {
        status: Status::Expired,
        answered_ms: Some(10),
        ..all[1].clone()
    };
    assert_eq!(kept, [all[2].clone(), expired, answered.clone()]);
    assert_eq!(gate.approval(&all[0].action).await.unwrap(), Some(answered));
    assert_eq!(gate.approval(&ActionId::fresh()).await.unwrap(), None);

    gate.forget_approvals(0).await.unwrap();
    assert_eq!(
        gate.approvals(&Wanted::default(), 10).await.unwrap(),
        [all[2].clone()]
    );
}

/// Somebody's word on one call.
fn once<'a>(action: &'a ActionId, by: (&'a ApproverName, Verdict), at_ms: i64) -> Answered<'a> {
    Answered {
        action,
        by: Some(by),
        scope: (Scope::Once, None),
        reason: None,
        at_ms,
    }
}

#[tokio::test]
async fn a_yes_to_a_call_that_comes_again_counts_once_for_that_call_until_it_expires() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let whole = Whole {
        url: "https://api.stripe.com/v1/refunds".to_owned(),
        headers: Vec::new(),
        body_base64: "e30=".to_owned(),
    };
    let until = |expires_ms| Approval {
        expires_ms,
        ..approval(1)
    };
    let (held, open, late) = (approval(1), until(100), until(20));
    gate.ask(&held, &Bounds::default()).await.unwrap();
    for one in [&open, &late] {
        gate.ask_and_pause(one, &Bounds::default(), &whole)
            .await
            .unwrap();
    }
    let pending = gate.pending_like(&open, 10).await.unwrap();
    assert_eq!((pending.of_agent, pending.all), (2, 2));
    let other = Approval {
        agent: "other".parse().unwrap(),
        ..approval(1)
    };
    let pending = gate.pending_like(&other, 20).await.unwrap();
    assert_eq!((pending.of_agent, pending.all), (0, 1));
    assert_eq!(gate.whole(&held.action).await.unwrap(), None);
    assert_eq!(gate.whole(&open.action).await.unwrap(), Some(whole));
    let redeem =
        async |one: &Approval, digest, at| gate.redeem(&one.action, digest, at).await.unwrap();
    assert_eq!(redeem(&open, "d1", 10).await, None, "nobody has said yes");
    let ada = "ada".parse().unwrap();
    for (one, verdict) in [(&held, Verdict::Approve), (&open, Verdict::Approve)] {
        let yes = once(&one.action, (&ada, verdict), 10);
        assert!(gate.answer(&yes).await.unwrap());
    }
    // What a call would send is kept no longer than it has to be.
    assert_eq!(gate.whole(&open.action).await.unwrap(), None);
    assert_eq!(redeem(&held, "d1", 11).await, None, "its call waited");
    assert_eq!(redeem(&open, "d2", 11).await, None, "another call");
    assert_eq!(redeem(&open, "d1", 100).await, None, "too late");
    assert_eq!(redeem(&open, "d1", 11).await, Some(ada.clone()));
    assert_eq!(redeem(&open, "d1", 12).await, None, "once");
    // A restart of the gate ends calls that wait, and no pause.
    gate.expire_all_but(&[], 15).await.unwrap();
    let status = async |one: &Approval| gate.approval(&one.action).await.unwrap().unwrap().status;
    assert_eq!(status(&late).await, Status::Pending);
    let too_late = once(&late.action, (&ada, Verdict::Approve), 20);
    assert!(!gate.answer(&too_late).await.unwrap());
    gate.expire_all_but(&[], 20).await.unwrap();
    assert_eq!(status(&late).await, Status::Expired);
    assert_eq!(gate.whole(&late.action).await.unwrap(), None);
}

#[tokio::test]
async fn what_an_agent_asks_is_counted_for_its_run_and_user_and_is_no_yes_to_a_call() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let whole = Whole {
        url: String::new(),
        headers: Vec::new(),
        body_base64: "e30=".to_owned(),
    };
    let asked = |run: &str, user: Option<&str>| Approval {
        origin: Origin::Agent,
        words: Some("May I?".to_owned()),
        run: Some(run.parse().unwrap()),
        user: user.map(str::to_owned),
        expires_ms: 100,
        ..approval(1)
    };
    let mine = asked("run-1", Some("ada"));
    for one in [&mine, &asked("run-1", Some("ada")), &asked("run-2", None)] {
        gate.ask_and_pause(one, &Bounds::default(), &whole)
            .await
            .unwrap();
    }
    let kept = gate.approval(&mine.action).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&mine));
    let pending = gate.pending_like(&mine, 10).await.unwrap();
    assert_eq!((pending.of_run, pending.of_user), (2, 2));
    assert_eq!((pending.of_agent, pending.all), (3, 3));
    let pending = gate.pending_like(&asked("run-3", None), 10).await.unwrap();
    assert_eq!((pending.of_run, pending.of_user), (0, 0));
    let ada = "ada".parse().unwrap();
    let yes = Answered {
        action: &mine.action,
        by: Some((&ada, Verdict::Approve)),
        scope: (Scope::Once, None),
        reason: None,
        at_ms: 10,
    };
    assert!(gate.answer(&yes).await.unwrap());
    let redeemed = gate.redeem(&mine.action, &mine.digest, 11).await.unwrap();
    assert_eq!(redeemed, None);
}

#[tokio::test]
async fn requests_are_listed_page_by_page_and_as_they_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::open(&home.path().join("gate.db")).await.unwrap();
    let mut all = Vec::new();
    for number in 0..7 {
        let one = Approval {
            agent: ["desk", "other"][number % 2].parse().unwrap(),
            user: (number < 3).then(|| "eve".to_owned()),
            // Several of the same moment.
            ..approval(i64::try_from(number / 3).unwrap())
        };
        gate.ask(&one, &Bounds::default()).await.unwrap();
        all.push(one);
    }
    let ada = "ada".parse().unwrap();
    let no = Answered {
        action: &all[6].action,
        by: Some((&ada, Verdict::Reject)),
        scope: (Scope::Once, None),
        reason: None,
        at_ms: 10,
    };
    assert!(gate.answer(&no).await.unwrap());
    let whole = gate.approvals(&Wanted::default(), 100).await.unwrap();
    assert_eq!(whole.len(), 7);
    assert_eq!(whole[6].action, all[6].action, "who waits comes first");
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let wanted = Wanted {
            after: after.take(),
            ..Wanted::default()
        };
        let page = gate.approvals(&wanted, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.action.clone());
        pages.extend(page);
    }
    assert_eq!(pages, whole);
    let count = async |wanted: Wanted| gate.approvals(&wanted, 100).await.unwrap().len();
    let wanted = Wanted::default;
    let of = |agent: &str| Wanted {
        agent: Some(agent.parse().unwrap()),
        ..wanted()
    };
    assert_eq!((count(of("desk")).await, count(of("nobody")).await), (4, 0));
    let status = |status| Wanted {
        status: Some(status),
        ..wanted()
    };
    assert_eq!(count(status(Status::Rejected)).await, 1);
    let eves = Wanted {
        user: Some("eve".to_owned()),
        ..of("desk")
    };
    assert_eq!(count(eves).await, 2);
    let unknown = Wanted {
        after: Some(ActionId::fresh()),
        ..wanted()
    };
    assert_eq!(count(unknown).await, 0);
}
