//! Rules about header fields and bodies through real sockets: what is shown is what is sent, and nothing is read that need
//! not be.

use postern_contract::link::{News, Origin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{Answer, House, Sandbox, parse, soon},
    upstream::{self, Upstream},
};

/// A gate in front of one tool, with these rules about it; `RESOURCE` stands for all of the tool.
async fn stage(rules: &str) -> (Upstream, House) {
    staged(rules, "").await
}

async fn staged(rules: &str, more: &str) -> (Upstream, House) {
    let upstream = Upstream::start(|_| upstream::Answer::ok("hello")).await;
    let at = upstream.address;
    let resource = format!("resource = \"http://{at}/*\"\n");
    let rules = rules.replace("RESOURCE", &resource);
    let config = format!(
        "[tools.crm]\nurl = \"http://{at}/api\"\nprivate = true\n[agents.desk]\ntools = [\"crm\"]\n\
         policies = [\"p\"]\n{more}\n{rules}"
    );
    (upstream, House::start(&config).await)
}

fn rule(name: &str, permission: &str, keys: &str) -> String {
    format!(
        "[[policies.p.rules]]\nname = \"{name}\"\npermission = \"{permission}\"\nRESOURCE{keys}\n"
    )
}

fn amounts() -> String {
    rule("open", "allow", "") + &rule("large", "deny", "when = \"body.amount > 10000\"")
}

#[track_caller]
fn refused(answer: &Answer, rule: &str, words: &str) {
    assert_eq!((answer.status, &answer.json()["rule"]), (403, &rule.into()));
    assert!(answer.body.contains(words), "{answer:?}");
}

async fn connect(sandbox: &Sandbox) -> TcpStream {
    TcpStream::connect(sandbox.address).await.unwrap()
}

async fn rest(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    drop(soon(stream.read_to_end(&mut bytes)).await);
    parse(&String::from_utf8_lossy(&bytes))
}

const HEAD: &str = "POST /tools/crm/pay HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\
                    content-type: application/json\r\n";

#[tokio::test]
async fn a_rule_about_the_body_decides_and_the_same_body_is_sent() {
    let (upstream, house) = stage(&amounts()).await;
    let sandbox = house.busy_sandbox().await;
    let small = sandbox
        .post("/tools/crm/pay", r#"{ "amount" : 10000 }"#)
        .await;
    assert_eq!((small.status, small.body.as_str()), (200, "hello"));
    let large = sandbox.post("/tools/crm/pay", r#"{"amount":10001}"#).await;
    refused(&large, "large", "large");
    let request = upstream.only();
    assert!(
        request.ends_with("\r\n\r\n{ \"amount\" : 10000 }"),
        "{request}"
    );
    assert_eq!(house.audit()[0]["bytes_up"], 20);
}

#[tokio::test]
async fn a_chunked_body_is_judged_as_a_whole() {
    let (upstream, house) = stage(&amounts()).await;
    let sandbox = house.busy_sandbox().await;
    for (chunks, status) in [
        ("6\r\n{\"amou\r\n7\r\nnt\":12}\r\n0\r\n\r\n", 200),
        ("6\r\n{\"amou\r\na\r\nnt\":12000}\r\n0\r\n\r\n", 403),
    ] {
        let request = format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(sandbox.send(&request).await.status, status, "{chunks}");
    }
    let request = upstream.only();
    assert!(request.ends_with("{\"amount\":12}"), "{request}");
    assert!(request.contains("content-length: 13\r\n"), "{request}");
}

#[tokio::test]
async fn graphql_and_mcp_are_judged_by_what_they_ask() {
    let rules = rule("reads", "allow", "graphql = { operations = [\"query\"] }")
        + &rule("search", "allow", "mcp = { tools = [\"search\"] }");
    let (upstream, house) = stage(&rules).await;
    let sandbox = house.busy_sandbox().await;
    let call = |tool| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
        )
    };
    for (body, status) in [
        (r#"{"query":"{ viewer { id } }"}"#.to_owned(), 200),
        (r#"{"query":"mutation { drop }"}"#.to_owned(), 403),
        (call("search"), 200),
        (call("delete"), 403),
    ] {
        let answer = sandbox.post("/tools/crm/x", &body).await;
        assert_eq!(answer.status, status, "{body}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_where_a_rule_is_about_it() {
    let (upstream, house) = stage(&amounts()).await;
    let sandbox = house.busy_sandbox().await;
    // The length alone says enough: nothing of the body is sent here.
    let declared = sandbox
        .send(&format!("{HEAD}content-length: 1048577\r\n\r\n"))
        .await;
    refused(&declared, "large", "at most 1048576 bytes");
    let body = format!("{{\"amount\":1,\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let chunked = format!(
        "{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let undeclared = sandbox.send(&chunked).await;
    refused(&undeclared, "large", "at most 1048576 bytes");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_over_the_cap_passes_whole_where_another_rule_allows_it() {
    let rules = rule("small", "allow", "when = \"body.amount < 5\"") + &rule("open", "allow", "");
    let (upstream, house) = stage(&rules).await;
    let sandbox = house.busy_sandbox().await;
    let body = "0123456789abcdef".repeat(80 << 10);
    let answer = sandbox
        .send(&format!(
            "{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ))
        .await;
    assert_eq!(answer.status, 200);
    let request = upstream.only();
    let (_, sent) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(unchunked(sent).len(), body.len());
    assert!(unchunked(sent) == body);
    assert_eq!(house.audit()[0]["rule"], "open");
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole += &rest[..size];
        text = &rest[size + 2..];
    }
    whole
}

#[tokio::test]
async fn a_compressed_body_is_not_judged_and_not_sent() {
    let (upstream, house) = stage(&amounts()).await;
    let sandbox = house.busy_sandbox().await;
    let body = "{\"amount\":1}";
    let request = format!(
        "{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    refused(&sandbox.send(&request).await, "large", "compressed");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_is_not_waited_for() {
    let (upstream, house) = staged(&amounts(), "[patience]\nbody = \"300ms\"").await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = connect(&sandbox).await;
    let head = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut answers, mut body) = stream.into_split();
    let trickling = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        while body.write_all(b"1\r\n \r\n").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut bytes = Vec::new();
    drop(soon(answers.read_to_end(&mut bytes)).await);
    let answer = parse(&String::from_utf8_lossy(&bytes));
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("too slowly"), "{answer:?}");
    assert_eq!(upstream.connections(), 0);
    trickling.abort();
}

#[tokio::test]
async fn whoever_asks_before_uploading_is_refused_before_uploading() {
    let rules = amounts() + &rule("no gifts", "deny", "operations = [\"PUT\"]");
    let (upstream, house) = stage(&rules).await;
    let sandbox = house.busy_sandbox().await;
    let expecting = format!("{HEAD}expect: 100-continue\r\ncontent-length: 12\r\n\r\n");
    let mut shut = connect(&sandbox).await;
    let request = expecting.replacen("POST", "PUT", 1);
    shut.write_all(request.as_bytes()).await.unwrap();
    refused(&rest(&mut shut).await, "no gifts", "");
    assert_eq!(upstream.connections(), 0);
    // Where a rule looks into the body, it is asked for, and what comes decides.
    for (body, status) in [("{\"amount\":1}", 200), ("{\"amount\":5", 403)] {
        let mut open = connect(&sandbox).await;
        open.write_all(expecting.as_bytes()).await.unwrap();
        let go_on = soon(upstream::read_message(&mut open)).await.unwrap();
        assert_eq!(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        open.write_all(body.as_bytes()).await.unwrap();
        open.write_all(&b" "[..12 - body.len()]).await.unwrap();
        assert_eq!(rest(&mut open).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn rules_see_the_header_fields_that_are_sent_and_no_others() {
    let rules = rule("prod", "allow", "headers = { x-env = \"prod\" }");
    let (upstream, house) = stage(&rules).await;
    let sandbox = house.busy_sandbox().await;
    for (fields, status) in [
        (&["x-env: prod"][..], 200),
        (&["x-env: test"], 403),
        (&["x-env: prod", "x-env: prod"], 403),
        (&["x-env: prod", "x_env: test"], 403),
        // This field belongs to the connection and is not sent.
        (&["x-env: prod", "connection: x-env"], 403),
    ] {
        let answer = sandbox.ask("GET /tools/crm/", fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
    }
    assert!(upstream.only().contains("x-env: prod\r\n"));
}

#[tokio::test]
async fn trailers_stay_behind_where_rules_are_about_header_fields() {
    let live = rule("live", "deny", "headers = { x-env = \"live\" }");
    let request = format!(
        "{HEAD}trailer: x-env\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-env: live\r\n\r\n"
    );
    for (rules, passes) in [
        (rule("open", "allow", ""), true),
        (rule("open", "allow", "") + &live, false),
    ] {
        let (upstream, house) = stage(&rules).await;
        let sandbox = house.busy_sandbox().await;
        assert_eq!(sandbox.send(&request).await.status, 200);
        assert_eq!(upstream.only().contains("x-env"), passes);
    }
}

#[tokio::test]
async fn a_rule_about_the_user_counts_only_where_nobody_can_pretend() {
    let (upstream, house) = stage(&rule("ada", "allow", "when = \"user == 'ada'\"")).await;
    let sandbox = house.sandbox(Origin::Sandbox).await;
    house
        .done(News::RunStarted {
            sandbox: sandbox.id.clone(),
            run: "run_1".parse().unwrap(),
            user: Some("ada".to_owned()),
        })
        .await;
    let forged = ["x-end-user-id: ada"];
    let answer = sandbox.ask("GET /tools/crm/", &forged).await;
    refused(&answer, "default", "nobody knows for which user");
    assert_eq!(upstream.connections(), 0);
    let runtime = house.sandbox(Origin::Runtime).await;
    for (user, status) in [("ada", 200), ("bob", 403)] {
        let fields = ["x-run-id: run_1", &format!("x-end-user-id: {user}")];
        assert_eq!(runtime.ask("GET /tools/crm/", &fields).await.status, status);
    }
}

#[tokio::test]
async fn bodies_that_are_held_count_against_the_sandboxs_share() {
    // A body that stalls gives its share back in time; here not before the test is over, however slow the machine is.
    let (_upstream, house) = staged(&amounts(), "[patience]\nbody = \"1h\"").await;
    let sandbox = house.busy_sandbox().await;
    let head = format!("{HEAD}content-length: 1048576\r\n\r\n");
    let nearly = vec![b' '; (1 << 20) - 1];
    // As many as the share has room for; nothing is asked meanwhile, since every question waits for the audit's disk.
    let mut held = Vec::new();
    let mut hold = async || {
        let mut stream = connect(&sandbox).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream.write_all(&nearly).await);
        held.push(stream);
        held.len()
    };
    while soon(hold()).await < 64 {}
    // What is on its way may not have been read yet, and one body may be refused in favour of another: so more bodies come
    // until the share is used up.
    let refused = async {
        loop {
            let answer = sandbox.post("/tools/crm/pay", "{\"amount\":1}").await;
            if answer.status != 200 {
                return answer;
            }
            hold().await;
        }
    };
    let answer = soon(refused).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (429, &"RATE_LIMITED".into())
    );
    // Another sandbox has a share of its own.
    let other = house.busy_sandbox().await;
    let answer = other.post("/tools/crm/pay", "{\"amount\":1}").await;
    assert_eq!(answer.status, 200);
}
