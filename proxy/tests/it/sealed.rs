//! Tokens that an agent asks for itself: it never has one, what stands for one works where it belongs, and nowhere else.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use flate2::{Compression, read::GzEncoder};
use postern_contract::link::{News, Origin};

use crate::{
    house::{Answer, House, Sandbox, config},
    upstream::{self, Upstream},
};

const ACCESS: &str = "gho_A16C7e42F292c6912E7710c838347Ae178B4a";
const REFRESH: &str = "ghr_R1B4a16C7e42F292c6912E7710c838347Ae17";

/// `idp` gives tokens for `crm`, and `other` is none of theirs.
fn sealing(upstream: &Upstream) -> String {
    let at = upstream.address;
    let tools = format!(
        "[tools.idp]\nurl = \"http://{at}/idp\"\nprivate = true\ntokens = {{ endpoints = [\"/token\"], spent_at = [\"own\"] }}\n\
         [tools.own]\nurl = \"http://{at}/own\"\nprivate = true\n[secrets.crm]"
    );
    config(at).replacen("[secrets.crm]", &tools, 1).replacen(
        "tools = [\"crm\"",
        "tools = [\"crm\", \"idp\", \"own\"",
        1,
    )
}

fn token(access: &str, rest: &str) -> upstream::Answer {
    upstream::Answer::raw(&json(
        200,
        &format!("{{\"access_token\":\"{access}\",\"token_type\":\"Bearer\"{rest}}}"),
    ))
}

fn json(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Answers at the endpoint with a first pair of tokens, then, to refresh tokens, with the next ones.
async fn endpoint() -> Upstream {
    let asked = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |request| {
        if !request.contains(" /idp/token") {
            return upstream::Answer::ok(&format!("you sent {request}"));
        }
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let rest = format!(",\"expires_in\":3600,\"refresh_token\":\"{REFRESH}{number}\"");
        token(&format!("{ACCESS}{number}"), &rest)
    })
    .await
}

async fn stage(upstream: &Upstream) -> (House, Sandbox) {
    let house = House::start(&sealing(upstream)).await;
    for part in [ACCESS, REFRESH] {
        house.directory.had_secret(part);
    }
    let sandbox = house.busy_sandbox().await;
    (house, sandbox)
}

async fn form(sandbox: &Sandbox, path: &str, body: &str) -> Answer {
    sandbox
        .send(&format!(
            "POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\naccept-encoding: gzip\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
}

async fn asked(sandbox: &Sandbox) -> (String, String) {
    pair(&form(sandbox, "/tools/idp/token", "grant_type=client_credentials").await)
}

async fn refreshed(sandbox: &Sandbox, refresh: &str) -> Answer {
    let body = format!("grant_type=refresh_token&refresh_token={refresh}&scope=a");
    form(sandbox, "/tools/idp/token", &body).await
}

/// What the agent was given.
#[track_caller]
fn pair(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    no_token(answer);
    let of = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (of("access_token"), of("refresh_token"))
}

#[track_caller]
fn no_token(answer: &Answer) {
    // A head is read in small letters.
    let seen = format!("{answer:?}").to_ascii_lowercase();
    for real in [&ACCESS[4..], &REFRESH[4..]] {
        assert!(!seen.contains(&real.to_ascii_lowercase()), "{answer:?}");
    }
}

async fn spend(sandbox: &Sandbox, tool: &str, text: &str) -> Answer {
    let field = format!("authorization: Bearer {text}");
    let answer = sandbox
        .ask(&format!("GET /tools/{tool}/x"), &[&field])
        .await;
    no_token(&answer);
    answer
}

#[track_caller]
fn line(house: &House) -> serde_json::Value {
    house.audit().pop().unwrap()
}

#[track_caller]
fn refused(house: &House, answer: &Answer, (status, code): (u16, &str)) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code);
    assert_eq!(line(house)["reason"], code);
}

#[tokio::test]
async fn an_agent_has_what_stands_for_its_tokens_and_the_upstream_has_the_tokens() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    let (access, refresh) = asked(&sandbox).await;
    assert_eq!(line(&house)["tokens_sealed"], 2);
    assert!(access.starts_with("gho_") && access.len() == ACCESS.len() + 1);
    assert!(refresh.starts_with("ghr_"), "{refresh}");
    assert!(upstream.only().contains("accept-encoding: identity"));

    for tool in ["own", "idp"] {
        let answer = spend(&sandbox, tool, &access).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let request = upstream.requests().pop().unwrap();
        let wanted = format!("authorization: Bearer {ACCESS}0\r\n");
        assert!(
            request.contains(&wanted) && !request.contains(&access),
            "{request}"
        );
        let line = line(&house);
        assert_eq!(line["credential"], "sealed:idp");
        assert_eq!(
            (&line["dummies_exchanged"], &line["masked"]),
            (&1.into(), &1.into())
        );
        assert_eq!(line["dropped_credentials"], 0);
    }
    let (next, successor) = pair(&refreshed(&sandbox, &refresh).await);
    assert!(next != access && successor != refresh);
    let request = upstream.requests().pop().unwrap();
    let wanted = format!("refresh_token={}0&scope=a", REFRESH.replace('_', "%5F"));
    assert!(request.ends_with(&wanted), "{request}");
    assert_eq!(line(&house)["dummies_exchanged"], 1);
    assert_eq!(spend(&sandbox, "own", &next).await.status, 200);

    // The one that was followed is over; the upstream hears nothing of it.
    let before = upstream.requests().len();
    let answer = refreshed(&sandbox, &refresh).await;
    refused(&house, &answer, (401, "TOKEN_UNKNOWN"));
    assert_eq!(answer.json()["error"], "invalid_grant");
    assert_eq!(upstream.requests().len(), before);
    pair(&refreshed(&sandbox, &successor).await);
}

#[tokio::test]
async fn what_stands_for_a_token_goes_nowhere_else() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    let (access, _) = asked(&sandbox).await;
    let before = upstream.requests().len();
    for tool in ["crm", "told", "keyed"] {
        let answer = spend(&sandbox, tool, &access).await;
        refused(&house, &answer, (403, "DUMMY_MISPLACED"));
        let spot = "of idp, in the field authorization";
        assert_eq!(line(&house)["dummy_misplaced"], spot);
    }
    let field = format!("authorization: Bearer {access}");
    let answer = sandbox.ask("GET http://evil.example/", &[&field]).await;
    refused(&house, &answer, (403, "DUMMY_MISPLACED"));
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn what_stands_for_a_token_leaves_in_no_other_part_of_a_request() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    let (access, refresh) = asked(&sandbox).await;
    let before = upstream.requests().len();
    let answer = spend(&sandbox, "own", &refresh).await;
    refused(&house, &answer, (403, "DUMMY_MISPLACED"));
    let line = format!("GET /tools/own/x?a={access}");
    let answer = sandbox.ask(&line, &[]).await;
    refused(&house, &answer, (403, "DUMMY_MISPLACED"));
    for path in ["own/x", "own/token", "idp/token"] {
        let path = format!("/tools/{path}");
        let body = format!("{{\"refresh_token\":\"{refresh}\"}}");
        let answer = sandbox.post(&path, &body).await;
        refused(&house, &answer, (403, "DUMMY_MISPLACED"));
    }
    for (path, body) in [
        ("own/token", format!("refresh_token={refresh}")),
        ("idp/token", format!("refresh_token={access}")),
        ("idp/token", format!("a={access}&refresh_token={refresh}")),
    ] {
        let answer = form(&sandbox, &format!("/tools/{path}"), &body).await;
        refused(&house, &answer, (403, "DUMMY_MISPLACED"));
    }
    for request in upstream.requests().split_off(before) {
        let parts = [&*access, &refresh, ACCESS, REFRESH];
        let found = parts.iter().find(|part| request.contains(**part));
        assert!(found.is_none(), "{request}");
    }
}

#[tokio::test]
async fn what_is_no_tokens_is_told_so_and_a_call_without_one_goes_on() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    // What is no token's at all says so.
    let answer = spend(&sandbox, "own", "something").await;
    refused(&house, &answer, (401, "TOKEN_UNKNOWN"));
    assert_eq!(answer.json()["error"], "invalid_token");
    let answer = form(
        &sandbox,
        "/tools/idp/token",
        "refresh_token=a&refresh_token=b",
    )
    .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    // Without one a call goes on as it is.
    assert_eq!(sandbox.ask("GET /tools/own/x", &[]).await.status, 200);
    assert!(!upstream.requests().pop().unwrap().contains("authorization"));
}

#[tokio::test]
async fn a_token_is_its_agents_in_any_sandbox_and_its_users_alone() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    let (access, _) = asked(&sandbox).await;
    let other = house.busy_sandbox().await;
    assert_eq!(spend(&other, "own", &access).await.status, 200);
    for user in ["ada", "eve"] {
        let theirs = house.sandbox(Origin::User).await;
        let started = News::RunStarted {
            sandbox: theirs.id.clone(),
            run: format!("run_{user}").parse().unwrap(),
            user: Some(user.to_owned()),
        };
        house.done(started).await;
        let answer = spend(&theirs, "own", &access).await;
        refused(&house, &answer, (403, "DUMMY_MISPLACED"));
        let (own, _) = asked(&theirs).await;
        assert_eq!(spend(&theirs, "own", &own).await.status, 200);
        refused(
            &house,
            &spend(&other, "own", &own).await,
            (403, "DUMMY_MISPLACED"),
        );
    }
}

/// An answer whose body came through gzip.
fn gzipped(body: &str) -> upstream::Answer {
    let mut encoded = Vec::new();
    let mut encoder = GzEncoder::new(body.as_bytes(), Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut encoded).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        encoded.len()
    );
    let now = [head.into_bytes(), encoded].concat();
    upstream::Answer { now, then: None }
}

#[tokio::test]
async fn an_answer_that_is_not_as_it_was_declared_is_kept_back_whole() {
    let said = format!("{{\"access_token\":\"{ACCESS}\"}}");
    let long = format!(
        "{{\"access_token\":\"{ACCESS}\",\"x\":\"{}\"}}",
        "x".repeat(300 << 10)
    );
    let head = |fields: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{said}",
            said.len()
        )
    };
    for odd in [
        json(200, &format!("access_token={ACCESS}")),
        json(200, &format!("{{\"token\":\"{ACCESS}\"}}")),
        json(200, &long),
        head("content-encoding: br\r\n"),
        head("content-encoding: gzip\r\n"),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 302 F\r\nlocation: http://a.example/#access_token={ACCESS}\r\ncontent-length: 0\r\n\r\n"
        ),
        json(500, &format!("<html>{ACCESS}")),
    ] {
        let upstream = Upstream::start(move |_| upstream::Answer::raw(&odd)).await;
        let (house, sandbox) = stage(&upstream).await;
        let answer = form(&sandbox, "/tools/idp/token", "a=b").await;
        refused(&house, &answer, (502, "TOKEN_UNSEALED"));
        no_token(&answer);
    }
}

#[tokio::test]
async fn an_answer_is_decoded_its_fields_are_looked_through_and_a_refusal_passes() {
    let said =
        format!("{{\"access_token\":\"{ACCESS}\",\"note\":\"it is {ACCESS}\",\"scope\":\"a\"}}");
    let upstream = Upstream::start(move |request| {
        if request.contains("gzip=1") {
            return gzipped(&said);
        }
        if request.contains("bad=1") {
            return upstream::Answer::raw(&json(400, "{\"error\":\"invalid_client\"}"));
        }
        let fields = format!("set-cookie: s={ACCESS}\r\nx-token: {ACCESS}\r\netag: \"a\"\r\n");
        let length = said.len();
        upstream::Answer::raw(&format!(
            "HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{said}"
        ))
    })
    .await;
    let (house, sandbox) = stage(&upstream).await;
    for body in ["gzip=1", "plain=1"] {
        // Another spelling of the path may be the same to a server.
        for path in ["/tools/idp/token", "/tools/idp/TOKEN/"] {
            let answer = form(&sandbox, path, body).await;
            assert_eq!(
                (answer.status, &answer.json()["scope"]),
                (200, &"a".into()),
                "{answer:?}"
            );
            assert!(
                !answer.head.contains("set-cookie") && !answer.head.contains("gzip"),
                "{answer:?}"
            );
            no_token(&answer);
        }
    }
    let answer = form(&sandbox, "/tools/idp/token", "bad=1").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &"invalid_client".into())
    );
    assert_eq!(line(&house)["tokens_sealed"], 0);
    assert!(line(&house)["reason"].is_null());
}

/// Servers tell what they were shown in a field, too.
#[tokio::test]
async fn a_refusal_without_a_body_tells_no_token_in_its_fields() {
    let upstream = Upstream::start(move |request| {
        if request.contains("grant_type=refresh_token") {
            let says = format!("www-authenticate: Bearer error_description=\"{REFRESH}\"\r\n");
            return upstream::Answer::raw(&format!(
                "HTTP/1.1 401 Unauthorized\r\n{says}content-length: 0\r\n\r\n"
            ));
        }
        token(ACCESS, &format!(",\"refresh_token\":\"{REFRESH}\""))
    })
    .await;
    let (_house, sandbox) = stage(&upstream).await;
    let (_, refresh) = asked(&sandbox).await;
    let answer = refreshed(&sandbox, &refresh).await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("www-authenticate"), "{answer:?}");
    no_token(&answer);
}

#[tokio::test]
async fn a_token_that_is_over_is_told_so_at_once() {
    let upstream = Upstream::start(|_| token(ACCESS, ",\"expires_in\":0")).await;
    let (house, sandbox) = stage(&upstream).await;
    let answer = form(&sandbox, "/tools/idp/token", "a=b").await;
    let over = answer.json()["access_token"].as_str().unwrap().to_owned();
    let answer = spend(&sandbox, "own", &over).await;
    refused(&house, &answer, (401, "TOKEN_UNKNOWN"));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_config_that_no_longer_names_the_endpoint_takes_its_tokens_away() {
    let upstream = endpoint().await;
    let (house, sandbox) = stage(&upstream).await;
    let (access, _) = asked(&sandbox).await;
    let generation = house.status().await.policy_generation;
    house.rewrite(&sealing(&upstream).replace(", spent_at = [\"own\"]", ""));
    house
        .until(|status| status.policy_generation > generation)
        .await;
    refused(
        &house,
        &spend(&sandbox, "own", &access).await,
        (403, "DUMMY_MISPLACED"),
    );
    assert_eq!(spend(&sandbox, "idp", &access).await.status, 200);
}
