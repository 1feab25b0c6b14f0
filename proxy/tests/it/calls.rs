//! Tool calls: what gets out, with what, and what does not.

use postern_contract::link::{News, Origin};

use crate::{
    house::{House, SECRET, config},
    upstream::{Answer, Upstream},
};

async fn stage() -> (Upstream, House) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    (upstream, house)
}

#[tokio::test]
async fn an_allowed_call_carries_the_tools_credential_and_not_the_agents() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let mine = [
        "authorization: Bearer mine",
        "Authorization: Basic mine",
        "x-api-key: mine",
        "cookie: mine=1",
    ];
    let answer = sandbox.ask("GET /tools/crm/people?q=a+b", &mine).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    let request = upstream.only();
    assert!(
        request.starts_with("GET /api/people?q=a+b HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("authorization: Bearer {SECRET}\r\n")),
        "{request}"
    );
    assert!(
        request.contains(&format!("host: {}\r\n", upstream.address)),
        "{request}"
    );
    assert!(!request.contains("mine"), "{request}");
    let line = &house.audit()[0];
    assert_eq!(
        (&line["decision"], &line["rule"]),
        (&"allowed".into(), &"read all".into())
    );
    assert_eq!(
        (&line["dropped_credentials"], &line["credential"]),
        (&4.into(), &"crm".into())
    );
    assert_eq!(
        (&line["run"], &line["tool"]),
        (&"run_1".into(), &"crm".into())
    );
    assert!(!line.to_string().contains(SECRET));
}

#[tokio::test]
async fn a_connection_field_cannot_strip_the_credential() {
    let (upstream, house) = stage().await;
    let fields = ["connection: authorization, x-hop", "x-hop: 1"];
    house
        .busy_sandbox()
        .await
        .ask("GET /tools/crm/", &fields)
        .await;
    let request = upstream.only();
    assert!(
        request.contains(SECRET) && !request.contains("x-hop"),
        "{request}"
    );
}

#[tokio::test]
async fn a_query_credential_is_sent_and_never_written_down() {
    let (upstream, house) = stage().await;
    house
        .busy_sandbox()
        .await
        .ask("GET /tools/keyed/x?key=mine&a=1&%6bey=mine", &[])
        .await;
    let request = upstream.only();
    assert!(
        request.starts_with(&format!("GET /keyed/x?a=1&key={SECRET} ")),
        "{request}"
    );
    assert!(!house.audit()[0].to_string().contains(SECRET));
    assert_eq!(house.audit()[0]["dropped_credentials"], 2);
}

#[tokio::test]
async fn a_header_credential_replaces_the_agents_own_in_any_spelling() {
    let (upstream, house) = stage().await;
    let fields = ["X_Token: mine", "x-token: mine"];
    house
        .busy_sandbox()
        .await
        .ask("GET /tools/headed/", &fields)
        .await;
    let request = upstream.only();
    assert!(
        request.contains(&format!("x-token: Token {SECRET}\r\n")),
        "{request}"
    );
    assert!(!request.contains("mine"), "{request}");
}

#[tokio::test]
async fn a_tool_that_wants_two_credentials_gets_both_and_the_agents_own_stay_behind() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let fields = ["X_Token: mine", "authorization: mine"];
    sandbox.ask("GET /tools/twofold/?key=mine", &fields).await;
    let request = upstream.only();
    let line = format!("GET /twofold/?key={SECRET} ");
    assert!(request.starts_with(&line), "{request}");
    let field = format!("x-token: {SECRET}\r\n");
    assert!(request.contains(&field), "{request}");
    assert!(!request.contains("mine"), "{request}");
    assert_eq!(house.audit()[0]["credential"], "crm+crm");
    assert_eq!(house.audit()[0]["dropped_credentials"], 3);
}

#[tokio::test]
async fn a_forbidden_method_is_refused_with_the_rules_name() {
    let (upstream, house) = stage().await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("DELETE /tools/crm/people/1", &[])
        .await;
    assert_eq!(answer.status, 403);
    let json = answer.json();
    assert_eq!(
        (&json["code"], &json["rule"]),
        (&"POLICY_DENIED".into(), &"nothing is deleted".into())
    );
    assert_eq!(json["tool"], "crm");
    assert!(
        answer.head.contains("x-postern-decision: policy_denied"),
        "{}",
        answer.head
    );
    assert_eq!(upstream.connections(), 0);
    assert_eq!(house.audit()[0]["decision"], "refused");
}

#[tokio::test]
async fn what_no_rule_allows_is_refused_by_default() {
    let (upstream, house) = stage().await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("PATCH /tools/crm/people/1", &[])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["rule"]),
        (403, &"default".into())
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_needs_a_human_is_not_done_without_one() {
    let (upstream, house) = stage().await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("PUT /tools/crm/people/1", &[])
        .await;
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["code"]),
        (403, &"APPROVAL_REQUIRED".into())
    );
    assert_eq!(
        (&json["error"], &json["rule"]),
        (&"APPROVAL_REQUIRED".into(), &"ask before changing".into())
    );
    assert!(
        json["message"]
            .as_str()
            .unwrap()
            .contains("nobody can be asked")
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_tool_that_the_agent_was_not_given_is_refused() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/elsewhere/", &[]).await.status, 403);
    let unknown = sandbox.ask("GET /tools/nosuch/", &[]).await;
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (403, &"UNKNOWN_DESTINATION".into())
    );
    assert!(!unknown.body.contains("elsewhere"), "{}", unknown.body);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_path_cannot_leave_its_tool() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for path in [
        "/../told/x",
        "/%2e%2e/told/x",
        "/..",
        "/a/../../keyed",
        "/a%00b",
        "/%zz",
        "/a\\..\\b",
    ] {
        let answer = sandbox.ask(&format!("GET /tools/crm{path}"), &[]).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_private_address_needs_a_word_in_the_config() {
    let (_upstream, house) = stage().await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("GET /tools/shut/", &[])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &"DESTINATION_BLOCKED".into())
    );
    assert_eq!(answer.json()["tool"], "shut");
}

#[tokio::test]
async fn a_call_without_a_believed_run_is_refused() {
    let (upstream, house) = stage().await;
    let sandbox = house.sandbox(Origin::Sandbox).await;
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &"NO_ACTIVE_RUN".into())
    );
    house.run(&sandbox, "run_1").await;
    assert_eq!(
        sandbox
            .ask("GET /tools/crm/", &["x-run-id: run_9"])
            .await
            .status,
        403
    );
    house.run(&sandbox, "run_2").await;
    assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 403);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(
        sandbox
            .ask("GET /tools/crm/", &["x-run-id: run_2"])
            .await
            .status,
        200
    );
    let run = "run_2".parse().unwrap();
    house
        .done(News::RunEnded {
            sandbox: sandbox.id.clone(),
            run,
        })
        .await;
    assert_eq!(
        sandbox
            .ask("GET /tools/crm/", &["x-run-id: run_2"])
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn nobody_in_a_sandbox_can_speak_for_a_user() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let forged = [
        "x-end-user-id: root",
        "x-action-id: a1",
        "x-tool-name: t",
        "x_end_user_id: root",
    ];
    assert_eq!(sandbox.ask("GET /tools/told/", &forged).await.status, 200);
    let request = upstream.only();
    assert!(request.contains("x-request-id: req_"), "{request}");
    for name in ["user", "action", "x-tool", "x-run"] {
        assert!(!request.contains(name), "{name}: {request}");
    }
}

#[tokio::test]
async fn the_runtime_speaks_for_users_towards_tools_that_ask() {
    let (upstream, house) = stage().await;
    let runtime = house.sandbox(Origin::Runtime).await;
    let fields = [
        "x-run-id: run_7",
        "x-end-user-id: ada",
        "x-tool-call-id: c1",
        "x-request-id: req_5",
    ];
    assert_eq!(runtime.ask("GET /tools/told/", &fields).await.status, 200);
    assert_eq!(runtime.ask("GET /tools/crm/", &fields).await.status, 200);
    let [told, untold] = upstream.requests().try_into().unwrap();
    for field in fields {
        assert!(told.contains(field), "{field}: {told}");
        assert!(!untold.contains(field), "{field}: {untold}");
    }
}

#[tokio::test]
async fn an_upstream_cannot_speak_as_the_gate() {
    let forged = "HTTP/1.1 403 Forbidden\r\nX-Postern-Decision: APPROVAL_REQUIRED\r\nconnection: x-hop\r\n\
                  x-hop: 1\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\n{}";
    let upstream = Upstream::start(move |_| Answer::raw(forged)).await;
    let house = House::start(&config(upstream.address)).await;
    let answer = house.busy_sandbox().await.ask("GET /tools/crm/", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (403, "{}"));
    assert!(
        !answer.head.contains("x-postern") && !answer.head.contains("x-hop"),
        "{}",
        answer.head
    );
    assert!(answer.head.contains("x-kept: 1"), "{}", answer.head);
}

#[tokio::test]
async fn a_kept_connection_is_not_lent_to_another_sandbox() {
    let (upstream, house) = stage().await;
    let (one, two) = (house.busy_sandbox().await, house.busy_sandbox().await);
    for sandbox in [&one, &two] {
        assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn bodies_stream_up_whole() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(
        sandbox
            .post("/tools/crm/notes", r#"{"text":"hi"}"#)
            .await
            .status,
        200
    );
    let request = upstream.only();
    assert!(request.ends_with("\r\n\r\n{\"text\":\"hi\"}"), "{request}");
    assert!(request.contains("content-length: 13\r\n"), "{request}");
    assert_eq!(house.audit()[0]["bytes_up"], 13);
    assert_eq!(house.audit()[0]["bytes_down"], 5);
}
