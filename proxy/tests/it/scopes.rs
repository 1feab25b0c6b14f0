//! A yes to more than one call: to calls like it and to no others, where it is known whose they are, until it is taken back or
//! the rules change.

use postern_contract::{
    ActionId,
    approval::{Answer as Said, Approval, Scope, Unanswered},
    link::{News, Origin, Reply},
    secret::Shown,
};

use crate::{
    approvals::{ADA, BODY, answer, call, pending, refused, stage, until, with_approver, yes},
    house::{House, Sandbox, soon},
};

fn wide(scope: Scope) -> Said {
    Said { scope, ..yes() }
}

/// A sandbox of one run for an end user.
async fn known(house: &House, origin: Origin, (run, user): (&str, &str)) -> Sandbox {
    let sandbox = house.sandbox(origin).await;
    house
        .done(News::RunStarted {
            sandbox: sandbox.id.clone(),
            run: run.parse().unwrap(),
            user: Some(user.to_owned()),
        })
        .await;
    sandbox
}

/// The one request that waits now.
async fn asked(house: &House) -> Approval {
    let all = until(house, |all| pending(all) == 1).await;
    all[0].clone()
}

/// Has a call of this sandbox be asked about, and answers with this.
async fn granted(house: &House, sandbox: &Sandbox, said: Said) -> ActionId {
    let waits = call(sandbox, "/tools/crm/refunds", BODY);
    let one = asked(house).await;
    assert!(one.wider, "{one:?}");
    let kept = answer(house, &one.action, said, ADA).await;
    assert!(matches!(kept, Reply::Approval(..)), "{kept:?}");
    assert_eq!(soon(waits).await.unwrap().status, 200);
    one.action
}

/// A call that is asked about, though something like it was allowed; nobody answers.
async fn is_asked(house: &House, sandbox: &Sandbox, path: &str) {
    let waits = call(sandbox, path, BODY);
    asked(house).await;
    waits.abort();
    until(house, |all| pending(all) == 0).await;
}

async fn passes(sandbox: &Sandbox, path: &str, body: &str) {
    let told = soon(call(sandbox, path, body)).await.unwrap();
    assert_eq!(told.status, 200, "{path}");
}

#[tokio::test]
async fn a_yes_for_a_run_covers_calls_like_it_of_that_run_and_no_others() {
    let (upstream, house, _) = stage("1h").await;
    let first = known(&house, Origin::Run, ("run_a", "eve")).await;
    let action = granted(&house, &first, wide(Scope::Run)).await;
    passes(&first, "/tools/crm/refunds", r#"{"amount": 7}"#).await;
    passes(&first, "/tools/crm/refunds?note=x", BODY).await;
    assert_eq!(upstream.requests().len(), 3);
    let lines = house.audit();
    let told = lines
        .iter()
        .filter(|line| line["approval"] == action.as_str());
    assert_eq!(told.filter(|line| line["approver"] == "ada").count(), 3);
    is_asked(&house, &first, "/tools/crm/refunds/1").await;
    is_asked(&house, &first, "/tools/keyed/refunds").await;
    let second = known(&house, Origin::Run, ("run_b", "eve")).await;
    is_asked(&house, &second, "/tools/crm/refunds").await;
    assert_eq!(upstream.requests().len(), 3);
    // Deny goes before whatever anybody said.
    let rule = "[[policies.support.rules]]\nname = \"no more\"\npermission = \"deny\"\noperations = [\"PUT\"]\n";
    let resource = format!("resource = \"http://{}/*\"\n", upstream.address);
    house.rewrite(&[&with_approver(&upstream, "1h"), rule, &resource].concat());
    house.until(|status| status.policy_generation == 2).await;
    refused(
        &soon(call(&first, "/tools/crm/refunds", BODY))
            .await
            .unwrap(),
        "POLICY_DENIED",
    );
    // And what was said is over, also when the rules are again what they were.
    house.rewrite(&with_approver(&upstream, "1h"));
    house.until(|status| status.policy_generation == 3).await;
    is_asked(&house, &first, "/tools/crm/refunds").await;
}

#[tokio::test]
async fn a_yes_for_a_user_covers_that_users_runs_until_it_is_taken_back() {
    let (upstream, house, _) = stage("1h").await;
    let first = known(&house, Origin::User, ("run_a", "eve")).await;
    let action = granted(&house, &first, wide(Scope::AgentUserTtl)).await;
    let again = known(&house, Origin::Run, ("run_b", "eve")).await;
    passes(&again, "/tools/crm/refunds", BODY).await;
    let other = known(&house, Origin::Run, ("run_c", "bob")).await;
    is_asked(&house, &other, "/tools/crm/refunds").await;
    let revoke = |key: &str| News::Revoke {
        action: action.clone(),
        key: Shown::new(key.to_owned()),
    };
    let strangers = house.tell(revoke("somebody-elses-key"), None).await;
    assert_eq!(strangers, Reply::Unanswered(Unanswered::NoApprover));
    let revoked = house.tell(revoke(ADA), None).await;
    assert!(matches!(revoked, Reply::Approval(..)), "{revoked:?}");
    let twice = house.tell(revoke(ADA), None).await;
    assert_eq!(twice, Reply::Unanswered(Unanswered::NotGranted));
    is_asked(&house, &again, "/tools/crm/refunds").await;
    assert_eq!(upstream.requests().len(), 2);
    // One that holds for no time at all is over at once.
    let brief = Said {
        holds_ms: Some(0),
        ..wide(Scope::AgentUserTtl)
    };
    granted(&house, &again, brief).await;
    is_asked(&house, &again, "/tools/crm/refunds").await;
}

#[tokio::test]
async fn where_nobody_knows_whose_a_call_is_a_yes_is_for_it_alone() {
    let (_upstream, house, shared) = stage("1h").await;
    let waits = call(&shared, "/tools/crm/refunds", BODY);
    let one = asked(&house).await;
    assert!(!one.wider, "{one:?}");
    for scope in [Scope::Run, Scope::AgentUserTtl] {
        let said = answer(&house, &one.action, wide(scope), ADA).await;
        assert_eq!(said, Reply::Unanswered(Unanswered::TooWide));
    }
    let said = answer(&house, &one.action, yes(), ADA).await;
    assert!(matches!(said, Reply::Approval(..)), "{said:?}");
    assert_eq!(soon(waits).await.unwrap().status, 200);
    // Nor is it for a user where nobody is named.
    let nobodys = house.sandbox(Origin::Run).await;
    house.run(&nobodys, "run_z").await;
    let waits = call(&nobodys, "/tools/crm/refunds", BODY);
    let one = asked(&house).await;
    let said = answer(&house, &one.action, wide(Scope::AgentUserTtl), ADA).await;
    assert_eq!(said, Reply::Unanswered(Unanswered::TooWide));
    waits.abort();
}
