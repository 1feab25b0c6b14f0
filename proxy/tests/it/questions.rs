//! What an agent asks a human by itself, as posternd hands it on: kept once and within bounds, and nothing that a rule could take for
//! a yes.

use postern_contract::{
    ActionId,
    approval::{Origin as Asking, Question, Waits},
    link::{News, Reply},
};

use crate::approvals::{BODY, approve, call, pending, stage, until};

fn question(words: &str) -> Question {
    Question {
        action: ActionId::fresh(),
        agent: "desk".parse().unwrap(),
        run: "run_1".parse().unwrap(),
        user: None,
        words: words.to_owned(),
        detail: r#"{"amount":5}"#.to_owned(),
        waits: Waits::Paused,
    }
}

#[tokio::test]
async fn what_an_agent_asks_is_kept_once_within_bounds_and_is_no_yes_to_a_call() {
    let (upstream, house, sandbox) = stage("1h").await;
    let ask = async |question: &Question| {
        let news = News::Asked(Box::new(question.clone()));
        house.tell(news, None).await
    };
    let first = question("May I?");
    for _again in 0..2 {
        let Reply::Approval(approval, None) = ask(&first).await else {
            panic!("it is not kept")
        };
        assert_eq!(approval.origin, Asking::Agent);
        assert_eq!(approval.words.as_deref(), Some("May I?"));
    }
    let other = Question {
        words: "Something else?".to_owned(),
        ..first.clone()
    };
    let nobodys = Question {
        agent: "nobody".parse().unwrap(),
        ..question("May I?")
    };
    for wrong in [other, nobodys, question(&"x".repeat(2000))] {
        let said = ask(&wrong).await;
        assert!(matches!(said, Reply::Refused { .. }), "{said:?}");
    }
    for number in 1..8 {
        let said = ask(&question(&format!("And {number}?"))).await;
        assert!(matches!(said, Reply::Approval(..)), "{said:?}");
    }
    let flood = ask(&question("And that?")).await;
    assert!(matches!(flood, Reply::Refused { .. }), "{flood:?}");
    approve(&house, &first.action).await;
    let waits = call(&sandbox, "/tools/crm/refunds", BODY);
    let all = until(&house, |all| pending(all) == 8).await;
    let asked = all.iter().find(|one| one.origin == Asking::Gate).unwrap();
    assert_ne!(asked.action, first.action);
    waits.abort();
    assert_eq!(upstream.requests().len(), 0);
}
