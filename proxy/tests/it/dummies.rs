//! What stands for a credential, wherever a hostile agent may carry it: in its place it is exchanged, anywhere else the
//! request is refused and the audit says why.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_contract::link::{Dummy, News, Origin};

use crate::{
    house::{Answer, House, SECRET, Sandbox, config, models},
    upstream::{self, Upstream},
};

/// Stands for the credential of `crm`, a bearer.
const CRM: &str = "sk_live_x7Yq2LmPz0Rk4TbN8Vd3";

/// Stands for the credential of `keyed`, a query parameter.
const KEYED: &str = "key-Qw3rTy9UiOp5AsDf1GhJk7";

fn dummies(sandbox: &Sandbox) -> News {
    let dummy = |tool: &str, text: &str, fixed| Dummy {
        tool: tool.parse().unwrap(),
        text: text.to_owned(),
        fixed,
    };
    News::Dummies {
        sandbox: sandbox.id.clone(),
        dummies: vec![dummy("crm", CRM, 8), dummy("keyed", KEYED, 4)],
    }
}

async fn furnished(house: &House) -> Sandbox {
    let sandbox = house.busy_sandbox().await;
    house.done(dummies(&sandbox)).await;
    sandbox
}

async fn stage() -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(|_| upstream::Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = furnished(&house).await;
    (upstream, house, sandbox)
}

/// Nothing got out, and both the agent and the audit are told why.
#[track_caller]
fn misplaced(house: &House, answer: &Answer, spot: &str) {
    assert_eq!(answer.status, 403, "{spot}: {answer:?}");
    assert_eq!(answer.json()["code"], "DUMMY_MISPLACED", "{spot}");
    let lines = house.audit();
    let line = lines.last().unwrap();
    assert_eq!(line["decision"], "refused", "{spot}");
    assert_eq!(line["reason"], "DUMMY_MISPLACED", "{spot}");
    assert_eq!(line["dummy_misplaced"], spot);
}

#[tokio::test]
async fn a_dummy_in_its_credentials_place_is_exchanged_also_twice_and_as_the_password_of_a_login() {
    let (upstream, house, sandbox) = stage().await;
    let bearer = format!("authorization: Bearer {CRM}");
    let basic = STANDARD.encode(format!("oauth2:{CRM}"));
    let basic = format!("Authorization: Basic {basic}");
    for (fields, exchanged) in [
        (&[&*bearer][..], 1),
        (&[&bearer, &bearer], 2),
        (&[&basic], 1),
    ] {
        let answer = sandbox.ask("GET /tools/crm/people", fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let request = upstream.requests().pop().unwrap();
        assert!(
            request.contains(&format!("authorization: Bearer {SECRET}\r\n")),
            "{request}"
        );
        assert_eq!(request.matches("authorization").count(), 1, "{request}");
        let lines = house.audit();
        let line = lines.last().unwrap();
        assert_eq!(line["dummies_exchanged"], exchanged);
        assert_eq!(line["dropped_credentials"], 0);
    }
    // Where an SDK shows the key of a server that reads another field.
    let key = format!("x-api-key: {CRM}");
    let answer = sandbox.ask("GET /tools/crm/people", &[&key]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = upstream.requests().pop().unwrap();
    assert!(
        !request.contains(CRM) && request.contains(SECRET),
        "{request}"
    );
    let line = format!("GET /tools/keyed/x?key={KEYED}&a=1");
    assert_eq!(sandbox.ask(&line, &[]).await.status, 200);
    let request = upstream.requests().pop().unwrap();
    assert!(
        request.starts_with(&format!("GET /keyed/x?a=1&key={SECRET} ")),
        "{request}"
    );
}

#[tokio::test]
async fn a_dummy_in_another_field_the_query_or_the_path_is_refused_before_anything_is_dialled() {
    let (upstream, house, sandbox) = stage().await;
    let encoded = STANDARD.encode(format!("a:{CRM}"));
    for (line, field, spot) in [
        (
            "GET /tools/crm/x",
            format!("x-note: {CRM}"),
            "of crm, in the field x-note",
        ),
        (
            "GET /tools/crm/x",
            format!("x-note: {encoded}"),
            "of crm, in the field x-note",
        ),
        (
            "GET /tools/crm/x",
            format!("cookie: a={CRM}"),
            "of crm, in the field cookie",
        ),
        (
            "GET /tools/crm/x",
            format!("x_api_key: {CRM}"),
            "of crm, in the field x_api_key",
        ),
        (
            "GET /tools/crm/x",
            format!("te: {CRM}"),
            "of crm, in the field te",
        ),
    ] {
        let answer = sandbox.ask(line, &[&field]).await;
        misplaced(&house, &answer, spot);
    }
    for (path, spot) in [
        (format!("/tools/crm/x?q={CRM}"), "of crm, in the query"),
        (
            format!("/tools/crm/x?q={}", encoded.replace('=', "")),
            "of crm, in the query",
        ),
        (format!("/tools/crm/{CRM}"), "of crm, in the path"),
        (
            format!("/tools/crm/{}", CRM.replace('_', "%5F")),
            "of crm, in the path",
        ),
        (
            format!("/tools/crm/x?key={KEYED}"),
            "of keyed, in the query",
        ),
    ] {
        let answer = sandbox.ask(&format!("GET {path}"), &[]).await;
        misplaced(&house, &answer, spot);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_dummy_is_for_its_own_tool_and_for_no_other_host() {
    let (upstream, house, sandbox) = stage().await;
    let bearer = format!("authorization: Bearer {CRM}");
    let spot = "of crm, in the field authorization";
    let at = upstream.address;
    for line in [
        "GET /tools/told/x".to_owned(),
        "GET /tools/keyed/x".to_owned(),
        format!("GET http://{at}/plain"),
        // Not even where no rule lets it go: what was tried counts for more.
        "GET http://evil.example/".to_owned(),
    ] {
        let answer = sandbox.ask(&line, &[&bearer]).await;
        misplaced(&house, &answer, spot);
    }
    let answer = sandbox
        .ask(&format!("GET /tools/keyed/x?key={CRM}"), &[])
        .await;
    misplaced(&house, &answer, "of crm, in the query");
    assert_eq!(upstream.connections(), 0);
    // It was made for one sandbox: in another it is a text like any other.
    let other = house.busy_sandbox().await;
    let answer = other
        .ask("GET /tools/told/x", &[&format!("x-note: {CRM}")])
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_dummy_in_a_body_never_arrives_whole_however_it_is_cut_or_written() {
    let (upstream, house, sandbox) = stage().await;
    let head = "POST /tools/crm/x HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n";
    let (start, end) = CRM.split_at(15);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let encoded = STANDARD.encode(format!("{{\"k\":\"{CRM}\"}}"));
    let hexed: String = CRM.bytes().map(|byte| format!("{byte:02x}")).collect();
    let whole = |text: &str| format!("content-length: {}\r\n\r\n{text}", text.len());
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for body in [
        whole(&format!("key={CRM}&more=1")),
        whole(&format!("{{\"key\":\"{CRM}\"}}")),
        whole(&encoded),
        whole(&hexed),
        format!("{chunked}{}{}0\r\n\r\n", chunk(start), chunk(end)),
        format!(
            "{chunked}{}0\r\n\r\n",
            CRM.split("")
                .filter(|one| !one.is_empty())
                .map(chunk)
                .collect::<String>()
        ),
    ] {
        let answer = sandbox.send(&format!("{head}{body}")).await;
        misplaced(&house, &answer, "of crm, in the body");
    }
    let trailer = format!("{chunked}1\r\nx\r\n0\r\nx-sum: {CRM}\r\n\r\n");
    let answer = sandbox
        .send(&format!("{head}trailer: x-sum\r\n{trailer}"))
        .await;
    misplaced(&house, &answer, "of crm, in the trailer x-sum");
    for request in upstream.requests() {
        assert!(
            !request.contains(end) && !request.contains(&encoded),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_body_that_a_rule_reads_is_looked_through_before_it_is_judged() {
    let upstream = Upstream::start(|_| upstream::Answer::ok("hello")).await;
    let deny = format!(
        "[[policies.support.rules]]\nname = \"large\"\npermission = \"deny\"\nresource = \"http://{}/*\"\nwhen = \"body.amount > 9\"\n",
        upstream.address
    );
    let house = House::start(&(config(upstream.address) + &deny)).await;
    let sandbox = furnished(&house).await;
    let answer = sandbox
        .post(
            "/tools/crm/x",
            &format!("{{\"amount\":1,\"key\":\"{CRM}\"}}"),
        )
        .await;
    misplaced(&house, &answer, "of crm, in the body");
    assert_eq!(upstream.connections(), 0);
    let answer = sandbox.post("/tools/crm/x", "{\"amount\":1}").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_model_is_never_told_a_dummy_and_an_sdk_may_show_one_as_its_key() {
    let upstream = Upstream::start(|_| upstream::Answer::ok("{}")).await;
    let house = House::start(&models(&format!("http://{}", upstream.address), "")).await;
    let sandbox = furnished(&house).await;
    let body = |text: &str| {
        format!("{{\"model\":\"gpt\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}")
    };
    let answer = sandbox.post("/v1/chat/completions", &body(CRM)).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(house.audit()[0]["reason"], "DUMMY_MISPLACED");
    assert_eq!(upstream.connections(), 0);
    let body = body("hello");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nauthorization: Bearer {CRM}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(sandbox.send(&head).await.status, 200);
    assert!(!upstream.only().contains(CRM));
}

#[tokio::test]
async fn dummies_are_told_once_of_a_sandbox_that_there_is() {
    let (_upstream, house, sandbox) = stage().await;
    let again = house.tell(dummies(&sandbox), None).await;
    assert!(
        matches!(again, postern_contract::link::Reply::Refused { .. }),
        "{again:?}"
    );
    let gone = house.sandbox(Origin::Sandbox).await;
    house
        .done(News::SandboxEnded {
            sandbox: gone.id.clone(),
        })
        .await;
    let nowhere = house.tell(dummies(&gone), None).await;
    assert!(
        matches!(nowhere, postern_contract::link::Reply::Refused { .. }),
        "{nowhere:?}"
    );
}
