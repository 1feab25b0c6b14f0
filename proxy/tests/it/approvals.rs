//! A human's yes in the middle of a call: what is shown is what is sent, once, and nothing but an approver's own key counts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_contract::{
    ActionId,
    approval::{Answer as Said, Approval, Scope, Status, Unanswered, Verdict, Whole},
    link::{News, Origin, Reply},
    secret::Shown,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    house::{Answer as Told, House, SECRET, Sandbox, config, parse, soon},
    upstream::{Answer, Upstream},
};

pub(crate) const ADA: &str = "adas-key-5f1c0a7e";

pub(crate) const BODY: &str = r#"{"amount": 12000}"#;

pub(crate) fn with_approver(upstream: &Upstream, hold_for: &str) -> String {
    format!(
        "{}\n[secrets.ada]\nfile = \"ada.key\"\n[approvals]\nhold_for = \"{hold_for}\"\n\
         [approvals.approvers.ada]\nsecret = \"ada\"\n",
        config(upstream.address)
    )
}

pub(crate) fn furnish(directory: &Path) {
    let key = directory.join("ada.key");
    fs::write(&key, ADA).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) async fn stage(hold_for: &str) -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(|_| Answer::ok("refunded")).await;
    let house = House::start_with(&with_approver(&upstream, hold_for), furnish).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

fn request(path: &str, body: &str) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nx-note: for ada\r\nauthorization: Bearer own\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A call that a rule asks about, under way.
pub(crate) fn call(sandbox: &Sandbox, path: &str, body: &str) -> JoinHandle<Told> {
    let (address, request) = (sandbox.address, request(path, body));
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
        parse(&String::from_utf8_lossy(&bytes))
    })
}

async fn list(house: &House) -> Vec<Approval> {
    match house
        .tell(
            News::Approvals {
                wanted: Box::default(),
                key: None,
            },
            None,
        )
        .await
    {
        Reply::Approvals(all) => all,
        other => panic!("no list: {other:?}"),
    }
}

/// The list, once it is so.
pub(crate) async fn until(house: &House, is_so: impl Fn(&[Approval]) -> bool) -> Vec<Approval> {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(async {
        loop {
            ticks.tick().await;
            let all = list(house).await;
            if is_so(&all) {
                return all;
            }
        }
    })
    .await
}

pub(crate) fn pending(all: &[Approval]) -> usize {
    let pending = all.iter().filter(|one| one.status == Status::Pending);
    pending.count()
}

/// The one call that waits, as soon as it does.
async fn waiting(house: &House) -> Approval {
    until(house, |all| pending(all) == 1).await.remove(0)
}

pub(crate) async fn show(house: &House, action: &ActionId) -> (Approval, Option<Whole>) {
    let news = News::Approval {
        action: action.clone(),
        key: None,
    };
    match house.tell(news, None).await {
        Reply::Approval(approval, whole) => (*approval, whole.map(|whole| *whole)),
        other => panic!("not shown: {other:?}"),
    }
}

pub(crate) fn yes() -> Said {
    Said {
        verdict: Verdict::Approve,
        reason: None,
        digest: None,
        scope: Scope::Once,
        holds_ms: None,
    }
}

pub(crate) async fn answer(house: &House, action: &ActionId, said: Said, key: &str) -> Reply {
    let news = News::Answer {
        action: action.clone(),
        answer: said,
        key: Shown::new(key.to_owned()),
    };
    house.tell(news, None).await
}

pub(crate) async fn approve(house: &House, action: &ActionId) {
    match answer(house, action, yes(), ADA).await {
        Reply::Approval(approval, None) => assert_eq!(approval.status, Status::Approved),
        other => panic!("not approved: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(told: &Told, code: &str) {
    assert_eq!(told.status, 403, "{told:?}");
    assert_eq!(told.json()["code"], code);
}

#[tokio::test]
async fn what_was_shown_goes_out_once_after_a_yes() {
    let (upstream, house, sandbox) = stage("1h").await;
    let call = call(&sandbox, "/tools/crm/refunds?fast=1", BODY);
    let asked = waiting(&house).await;
    assert_eq!(
        (asked.rule.as_str(), asked.method.as_str()),
        ("ask before changing", "PUT")
    );
    assert_eq!(
        asked.path, "/api/refunds?…",
        "the list only says that there is a query"
    );
    let (_, whole) = show(&house, &asked.action).await;
    let whole = whole.unwrap();
    assert!(whole.url.ends_with("/api/refunds?fast=1"), "{whole:?}");
    assert_eq!(
        STANDARD.decode(&whole.body_base64).unwrap(),
        BODY.as_bytes()
    );
    assert!(
        whole
            .headers
            .contains(&("x-note".to_owned(), "for ada".to_owned()))
    );
    let text = format!("{whole:?}");
    assert!(!text.contains("own") && !text.contains(SECRET), "{text}");
    assert_eq!(upstream.connections(), 0, "nothing before the yes");

    approve(&house, &asked.action).await;
    let told = soon(call).await.unwrap();
    assert_eq!((told.status, told.body.as_str()), (200, "refunded"));
    let sent = upstream.only();
    assert!(
        sent.ends_with(BODY) && sent.contains("/api/refunds?fast=1"),
        "{sent}"
    );
    assert!(sent.contains(&format!("Bearer {SECRET}")) && !sent.contains("own"));
    let line = house.audit().remove(0);
    assert_eq!(
        (&line["approval"], &line["approver"], &line["rule"]),
        (
            &asked.action.as_str().into(),
            &"ada".into(),
            &"ask before changing".into()
        )
    );
    let (kept, whole) = show(&house, &asked.action).await;
    assert_eq!((kept.status, whole), (Status::Approved, None));
    assert_eq!(kept.approver, Some("ada".parse().unwrap()));
}

#[tokio::test]
async fn an_answer_counts_from_an_approver_about_what_was_read_and_once() {
    let (upstream, house, sandbox) = stage("1h").await;
    let call = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = waiting(&house).await;
    let unanswered = |why| Reply::Unanswered(why);
    // The sandbox's own secret, no key, almost the key: posternd hands on whatever it is given.
    for key in [SECRET, "", "adas-key-5f1c0a7f", "adas-key-5f1c0a7e "] {
        let said = answer(&house, &asked.action, yes(), key).await;
        assert_eq!(said, unanswered(Unanswered::NoApprover), "{key}");
    }
    let other = Said {
        digest: Some("0".repeat(64)),
        ..yes()
    };
    let said = answer(&house, &asked.action, other, ADA).await;
    assert_eq!(said, unanswered(Unanswered::OtherPayload));
    let said = answer(&house, &ActionId::fresh(), yes(), ADA).await;
    assert_eq!(said, unanswered(Unanswered::Unknown));
    assert_eq!(upstream.connections(), 0);

    let read = Said {
        digest: Some(asked.digest.clone()),
        ..yes()
    };
    assert!(matches!(
        answer(&house, &asked.action, read, ADA).await,
        Reply::Approval(..)
    ));
    assert_eq!(soon(call).await.unwrap().status, 200);
    for verdict in [Verdict::Approve, Verdict::Reject] {
        let again = Said { verdict, ..yes() };
        let said = answer(&house, &asked.action, again, ADA).await;
        assert_eq!(said, unanswered(Unanswered::NotPending));
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn strangers_see_no_request() {
    let (_upstream, house, sandbox) = stage("1h").await;
    let call = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = waiting(&house).await;
    let key = |text: &str| Some(Shown::new(text.to_owned()));
    let list = |key| News::Approvals {
        wanted: Box::default(),
        key,
    };
    let one = |key| News::Approval {
        action: asked.action.clone(),
        key,
    };
    for news in [list(key("wrong")), one(key("wrong"))] {
        let said = house.tell(news, None).await;
        assert_eq!(said, Reply::Unanswered(Unanswered::NoApprover));
    }
    assert!(matches!(
        house.tell(list(key(ADA)), None).await,
        Reply::Approvals(_)
    ));
    assert!(matches!(
        house.tell(one(key(ADA)), None).await,
        Reply::Approval(..)
    ));
    call.abort();
}

#[tokio::test]
async fn a_no_is_told_with_its_reason_and_nothing_is_dialled() {
    let (upstream, house, sandbox) = stage("1h").await;
    let call = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = waiting(&house).await;
    let no = Said {
        verdict: Verdict::Reject,
        reason: Some("too much at once".to_owned()),
        ..yes()
    };
    assert!(matches!(
        answer(&house, &asked.action, no, ADA).await,
        Reply::Approval(..)
    ));
    let told = soon(call).await.unwrap();
    refused(&told, "APPROVAL_REJECTED");
    assert!(told.body.contains("too much at once"), "{told:?}");
    assert_eq!(upstream.connections(), 0);
    let line = house.audit().remove(0);
    assert_eq!(
        (&line["decision"], &line["approver"]),
        (&"refused".into(), &"ada".into())
    );
}

#[tokio::test]
async fn nobody_in_time_means_no_and_a_late_yes_is_none() {
    let (upstream, house, sandbox) = stage("50ms").await;
    let told = soon(call(&sandbox, "/tools/crm/refunds", BODY))
        .await
        .unwrap();
    refused(&told, "APPROVAL_TIMEOUT");
    let asked = until(&house, |all| all.len() == 1).await.remove(0);
    assert_eq!(asked.status, Status::Expired);
    let said = answer(&house, &asked.action, yes(), ADA).await;
    assert_eq!(said, Reply::Unanswered(Unanswered::NotPending));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn who_leaves_before_the_answer_leaves_nothing_to_be_approved() {
    let (upstream, house, sandbox) = stage("1h").await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = request("/tools/crm/refunds", BODY);
    stream.write_all(request.as_bytes()).await.unwrap();
    let asked = waiting(&house).await;
    drop(stream);
    until(&house, |all| pending(all) == 0).await;
    let said = answer(&house, &asked.action, yes(), ADA).await;
    assert_eq!(said, Reply::Unanswered(Unanswered::NotPending));
    assert_eq!(show(&house, &asked.action).await.0.status, Status::Expired);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_changes_while_somebody_thinks_about_it_counts() {
    let (upstream, house, sandbox) = stage("1h").await;
    let denied = call(&sandbox, "/tools/crm/refunds", BODY);
    waiting(&house).await;
    let rule = "[[policies.support.rules]]\nname = \"no more\"\npermission = \"deny\"\n";
    let resource = format!(
        "resource = \"http://{}/*\"\noperations = [\"PUT\"]\n",
        upstream.address
    );
    house.rewrite(&[&with_approver(&upstream, "1h"), rule, &resource].concat());
    refused(&soon(denied).await.unwrap(), "POLICY_DENIED");

    house.rewrite(&with_approver(&upstream, "2h"));
    house.until(|status| status.policy_generation == 3).await;
    let ended = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = until(&house, |all| pending(all) == 1).await.remove(0);
    house
        .done(News::RunEnded {
            sandbox: sandbox.id.clone(),
            run: "run_1".parse().unwrap(),
        })
        .await;
    approve(&house, &asked.action).await;
    refused(&soon(ended).await.unwrap(), "NO_ACTIVE_RUN");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_policy_that_changes_elsewhere_leaves_a_waiting_call_waiting() {
    let (upstream, house, sandbox) = stage("1h").await;
    let call = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = waiting(&house).await;
    house.rewrite(&with_approver(&upstream, "2h"));
    house.until(|status| status.policy_generation == 2).await;
    approve(&house, &asked.action).await;
    assert_eq!(soon(call).await.unwrap().status, 200);
}

#[tokio::test]
async fn what_cannot_be_shown_whole_cannot_be_approved() {
    let (upstream, house, sandbox) = stage("1h").await;
    for body in ["x".repeat(48 * 1024 + 1), "x".repeat((1 << 20) + 1)] {
        let told = sandbox.send(&request("/tools/crm/refunds", &body)).await;
        refused(&told, "APPROVAL_REQUIRED");
        assert!(told.body.contains("48 KiB"), "{}", told.body);
    }
    let fields: String = (0..4)
        .map(|number| format!("x-long-{number}: {}\r\n", "x".repeat(7 * 1024)))
        .collect();
    let long = request("/tools/crm/refunds", BODY).replace("x-note: for ada\r\n", &fields);
    refused(&sandbox.send(&long).await, "APPROVAL_REQUIRED");
    assert_eq!(list(&house).await, []);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_yes_is_for_once_also_where_the_connection_is_lost() {
    let upstream = Upstream::start(|_| Answer::raw("")).await;
    let house = House::start_with(&with_approver(&upstream, "1h"), furnish).await;
    let sandbox = house.busy_sandbox().await;
    // Without a body a PUT may be done twice, if nobody was asked about it.
    let call = call(&sandbox, "/tools/crm/refunds", "");
    approve(&house, &waiting(&house).await.action).await;
    assert_eq!(soon(call).await.unwrap().status, 502);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_approver_is_not_told_of_a_user_whom_only_the_agent_names() {
    let (_upstream, house, _) = stage("1h").await;
    let shared = house.sandbox(Origin::Sandbox).await;
    for (run, user) in [("run_ada", "ada"), ("run_eve", "eve")] {
        house
            .done(News::RunStarted {
                sandbox: shared.id.clone(),
                run: run.parse().unwrap(),
                user: Some(user.to_owned()),
            })
            .await;
    }
    let mut stream = TcpStream::connect(shared.address).await.unwrap();
    let hint = "x-run-id: run_ada\r\nx-note: for ada\r\n";
    let forged = request("/tools/crm/refunds", BODY).replace("x-note: for ada\r\n", hint);
    stream.write_all(forged.as_bytes()).await.unwrap();
    let asked = waiting(&house).await;
    assert_eq!(
        (asked.user, asked.run),
        (None, Some("run_ada".parse().unwrap()))
    );
}

#[tokio::test]
async fn a_field_that_is_no_text_cannot_be_shown_as_it_is_sent() {
    let (upstream, house, sandbox) = stage("1h").await;
    let text = request("/tools/crm/refunds", BODY);
    let (before, after) = text.split_once("for ada").unwrap();
    let bytes = [before.as_bytes(), b"pay \xe9", after.as_bytes()].concat();
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut said = Vec::new();
    drop(soon(stream.read_to_end(&mut said)).await);
    refused(&parse(&String::from_utf8_lossy(&said)), "APPROVAL_REQUIRED");
    assert_eq!(list(&house).await, []);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_run_cannot_flood_who_answers() {
    let (upstream, house, sandbox) = stage("1h").await;
    let calls: Vec<_> = (0..8)
        .map(|number| call(&sandbox, &format!("/tools/crm/{number}"), BODY))
        .collect();
    until(&house, |all| pending(all) == 8).await;
    let told = sandbox.send(&request("/tools/crm/9", BODY)).await;
    assert_eq!(
        (told.status, &told.json()["code"]),
        (429, &"RATE_LIMITED".into())
    );
    // Another run has its own share.
    let other = house.sandbox(Origin::Sandbox).await;
    house.run(&other, "run_2").await;
    let more = call(&other, "/tools/crm/refunds", BODY);
    let asked = until(&house, |all| pending(all) == 9).await.remove(0);
    approve(&house, &asked.action).await;
    assert_eq!(soon(more).await.unwrap().status, 200);
    calls.iter().for_each(JoinHandle::abort);
    until(&house, |all| pending(all) == 0).await;
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn without_an_approver_nobody_is_waited_for() {
    let upstream = Upstream::start(|_| Answer::ok("no")).await;
    let short = with_approver(&upstream, "1h").replace("ada.key", "short.key");
    for config in [config(upstream.address), short] {
        let short = |directory: &Path| {
            let key = directory.join("short.key");
            fs::write(&key, "short").unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let house = House::start_with(&config, short).await;
        let sandbox = house.busy_sandbox().await;
        let told = sandbox.send(&request("/tools/crm/refunds", BODY)).await;
        refused(&told, "APPROVAL_REQUIRED");
        let said = answer(&house, &ActionId::fresh(), yes(), "short").await;
        assert_eq!(said, Reply::Unanswered(Unanswered::NoApprover));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_gate_that_is_killed_takes_its_waiting_calls_along() {
    let upstream = Upstream::start(|_| Answer::ok("no")).await;
    let (directory, _) = crate::house::written(&with_approver(&upstream, "1h"));
    furnish(directory.path());
    let house = House::program_in(directory, &[]).await;
    let sandbox = house.busy_sandbox().await;
    let call = call(&sandbox, "/tools/crm/refunds", BODY);
    let asked = waiting(&house).await;
    let house = House::program_in(house.kill(), &[]).await;
    assert_eq!(show(&house, &asked.action).await.0.status, Status::Expired);
    let said = answer(&house, &asked.action, yes(), ADA).await;
    assert_eq!(said, Reply::Unanswered(Unanswered::NotPending));
    assert_eq!(upstream.connections(), 0);
    call.abort();
}
