//! `mode = "audit"`: what no rule mentions passes without a credential and is written down; whatever refuses for another
//! reason refuses as ever.

use crate::{
    house::{House, SECRET, config},
    upstream::{Answer, Upstream},
};

fn watching(upstream: &Upstream) -> String {
    let config = config(upstream.address);
    let watching = "[policies.support]\nmode = \"audit\"\n\n[[policies.support.rules]]";
    config.replacen("[[policies.support.rules]]", watching, 1)
}

#[tokio::test]
async fn what_no_rule_mentions_passes_without_a_credential_and_is_written_down() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&watching(&upstream)).await;
    let sandbox = house.busy_sandbox().await;
    let status = house.status().await;
    assert_eq!(status.audit_mode, ["support".parse().unwrap()]);

    let mine = ["authorization: Bearer mine"];
    for tool in ["crm", "headed", "keyed"] {
        let answer = sandbox.ask(&format!("PATCH /tools/{tool}/a"), &mine).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    for request in upstream.requests() {
        assert!(!request.contains(SECRET), "{request}");
        assert!(!request.contains("mine"), "{request}");
    }
    for line in house.audit() {
        assert_eq!(
            (&line["decision"], &line["would_deny"], &line["rule"]),
            (&"allowed".into(), &true.into(), &"default".into())
        );
        assert_eq!(
            (&line["reason"], &line["credential"]),
            (&"POLICY_DENIED".into(), &().into())
        );
    }
    // What a rule allows is as it was.
    sandbox.ask("GET /tools/crm/a", &[]).await;
    assert!(upstream.requests()[3].contains(SECRET));
    assert!(house.audit()[3]["would_deny"].is_null());
}

#[tokio::test]
async fn audit_mode_relaxes_no_rule_no_guard_and_no_address() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&watching(&upstream)).await;
    let sandbox = house.busy_sandbox().await;
    let of_nobody = format!("PATCH http://{}/elsewhere/a", upstream.address);
    for (line, status, code) in [
        ("DELETE /tools/crm/a", 403, "POLICY_DENIED"),
        ("PUT /tools/crm/a", 403, "APPROVAL_REQUIRED"),
        (of_nobody.as_str(), 403, "POLICY_DENIED"),
        ("PATCH http://127.0.0.1:8/", 403, "DESTINATION_BLOCKED"),
        ("PATCH /tools/nobodys/a", 403, "UNKNOWN_DESTINATION"),
    ] {
        let answer = sandbox.ask(line, &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &code.into()),
            "{line}"
        );
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn one_policy_that_enforces_is_enough() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let both = watching(&upstream).replace(
        "policies = [\"support\"]",
        "policies = [\"support\", \"strict\"]",
    ) + "\n[policies.strict]\n";
    let house = House::start(&both).await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("PATCH /tools/crm/a", &[])
        .await;
    assert_eq!(answer.status, 403);
    assert!(upstream.requests().is_empty());
}
