//! A yes to more than one call: what it covers, what it does not, and what ends it.

use super::*;

/// A book in which Ada has said yes to `runs` for its run, to `once` alone, and to `users` for its user.
struct Said {
    gate: Gate,
    runs: Approval,
    once: Approval,
    users: Approval,
    _home: tempfile::TempDir,
}

fn bounds(pattern: Option<&str>, terms: &str) -> Bounds {
    Bounds {
        pattern: pattern.map(str::to_owned),
        terms: terms.to_owned(),
    }
}

fn here() -> Bounds {
    bounds(Some("/v1/refunds"), "t1")
}

fn call(run: &str, user: &str) -> Approval {
    Approval {
        run: Some(run.parse().unwrap()),
        user: Some(user.to_owned()),
        ..approval(1)
    }
}

impl Said {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let said = Self {
            gate: Gate::open(&home.path().join("gate.db")).await.unwrap(),
            runs: call("run-1", "eve"),
            once: call("run-2", "eve"),
            users: call("run-3", "bob"),
            _home: home,
        };
        said.yes(&said.runs, (Scope::Run, Some(100))).await;
        said.yes(&said.once, (Scope::Once, None)).await;
        said.yes(&said.users, (Scope::AgentUserTtl, Some(100)))
            .await;
        said
    }

    async fn yes(&self, one: &Approval, scope: (Scope, Option<i64>)) {
        self.gate.ask(one, &here()).await.unwrap();
        let ada = "ada".parse().unwrap();
        let yes = Answered {
            action: &one.action,
            by: Some((&ada, Verdict::Approve)),
            scope,
            reason: None,
            at_ms: 10,
        };
        assert!(self.gate.answer(&yes).await.unwrap());
    }

    async fn granted(&self, call: &Approval, bounds: &Bounds, at: i64) -> Option<ActionId> {
        let granted = self.gate.granted(call, bounds, at).await.unwrap();
        granted.map(|(action, _)| action)
    }
}

#[tokio::test]
async fn a_wider_yes_is_for_the_same_rule_tool_method_and_path() {
    let said = Said::new().await;
    let kept = said.gate.approval(&said.runs.action).await.unwrap();
    let kept = kept.unwrap();
    let wanted = (Scope::Run, Some(100), true);
    assert_eq!((kept.scope, kept.granted_until_ms, kept.wider), wanted);
    for (call, yes) in [
        (call("run-1", "eve"), &said.runs),
        (call("run-9", "bob"), &said.users),
    ] {
        let granted = said.granted(&call, &here(), 50).await;
        assert_eq!(granted.as_ref(), Some(&yes.action));
    }
    let bob = || call("run-1", "bob");
    for (call, bounds, at) in [
        (call("run-2", "eve"), here(), 50),
        (call("run-1", "eve"), here(), 100),
        (bob(), bounds(Some("/v1/refunds"), "t2"), 50),
        (bob(), bounds(Some("/v1/refunds/1"), "t1"), 50),
        (bob(), bounds(None, "t1"), 50),
    ] {
        let granted = said.granted(&call, &bounds, at).await;
        assert_eq!(granted, None, "{call:?} {bounds:?} {at}");
    }
}

#[tokio::test]
async fn a_wider_yes_is_for_no_other_call() {
    let said = Said::new().await;
    let changes: [fn(&mut Approval); 6] = [
        |call| call.rule = "another".to_owned(),
        |call| call.method = "DELETE".to_owned(),
        |call| call.tool = Some("crm".parse().unwrap()),
        |call| call.tool = None,
        |call| call.agent = "other".parse().unwrap(),
        |call| call.authority = "https://other.example".to_owned(),
    ];
    for change in changes {
        let mut call = call("run-1", "bob");
        assert!(said.granted(&call, &here(), 50).await.is_some());
        change(&mut call);
        assert_eq!(said.granted(&call, &here(), 50).await, None, "{call:?}");
    }
}

#[tokio::test]
async fn a_wider_yes_ends_when_it_is_taken_back_and_when_its_terms_change() {
    let said = Said::new().await;
    let gate = &said.gate;
    assert!(gate.revoke(&said.runs.action, 60).await.unwrap());
    assert!(!gate.revoke(&said.runs.action, 61).await.unwrap());
    assert!(!gate.revoke(&said.once.action, 61).await.unwrap());
    let granted = said.granted(&call("run-1", "eve"), &here(), 62).await;
    assert_eq!(granted, None);
    let bob = call("run-9", "bob");
    gate.end_other_terms("t1", 70).await.unwrap();
    assert!(said.granted(&bob, &here(), 75).await.is_some());
    gate.end_other_terms("t2", 80).await.unwrap();
    gate.end_other_terms("t1", 81).await.unwrap();
    let granted = said.granted(&bob, &here(), 85).await;
    assert_eq!(granted, None, "it does not come back");
}
