//! Credentials that the gate asks a token endpoint for: asked for once, replaced in time, kept where they rotate, and never
//! used after what they were minted from is gone. The endpoint here plays by the rules until a test says otherwise.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    house::{self, House, SECRET, Sandbox, soon},
    seeing::admin,
    tls, two,
    upstream::{Answer, Upstream},
};

/// A config with one tool, whose credential is written like this.
fn config(tool: SocketAddr, credential: &str) -> String {
    format!(
        r#"
[secrets.app]
file = "key"

[tools.crm]
url = "http://{tool}/api"
private = true
credential = {{ {credential} }}

[[policies.support.rules]]
name = "all"
permission = "allow"
resource = "http://{tool}/*"

[agents.desk]
tools = ["crm"]
policies = ["support"]
"#
    )
}

fn at(endpoint: SocketAddr) -> String {
    format!(
        r#"token_url = {{ url = "http://{endpoint}/token", private = true, plaintext = true }}"#
    )
}

fn client(endpoint: SocketAddr) -> String {
    let at = at(endpoint);
    format!(r#"kind = "oauth2", {at}, client_id = "me", client_secret = "app""#)
}

fn refreshing(endpoint: SocketAddr) -> String {
    let at = at(endpoint);
    format!(r#"kind = "refresh_token", {at}, client_id = "me", refresh_token = "app""#)
}

fn json(body: &str) -> Answer {
    Answer::raw(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// An endpoint that gives `tok_1`, `tok_2` and so on, each with this besides.
async fn minting(besides: &'static str) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let besides = besides.replace('#', &number.to_string());
        json(&format!(
            r#"{{"access_token":"tok_{number}","token_type":"Bearer"{besides}}}"#
        ))
    })
    .await
}

async fn stage(endpoint: &Upstream) -> (Upstream, House, Sandbox) {
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(tool.address, &client(endpoint.address))).await;
    let sandbox = house.busy_sandbox().await;
    (tool, house, sandbox)
}

async fn ask(sandbox: &Sandbox) -> house::Answer {
    sandbox.ask("GET /tools/crm/a", &[]).await
}

/// Calls until something is so.
async fn calling_until(sandbox: &Sandbox, is_so: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    soon(async {
        while !is_so() {
            ticks.tick().await;
            assert_eq!(ask(sandbox).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_stands_in_every_call() {
    let endpoint = minting(r#","expires_in":3600"#).await;
    let (tool, house, sandbox) = stage(&endpoint).await;
    for _ in 0..3 {
        let fields = ["authorization: Bearer mine"];
        let answer = sandbox.ask("GET /tools/crm/a", &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let shown = admin(house.directory.path(), "/metrics").await.body;
    assert!(shown.contains("postern_tokens_minted_total 1"), "{shown}");
    let asked = endpoint.only();
    assert!(asked.starts_with("POST /token HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.ends_with("\r\n\r\ngrant_type=client_credentials"),
        "{asked}"
    );
    // `me` and the secret.
    assert!(
        asked.contains("authorization: Basic bWU6c2tfZ2F0ZV81ZjNh\r\n"),
        "{asked}"
    );
    for request in tool.requests() {
        assert!(
            request.contains("authorization: Bearer tok_1\r\n"),
            "{request}"
        );
        assert!(
            !request.contains("mine") && !request.contains(SECRET),
            "{request}"
        );
    }
    let lines = house.audit();
    assert!(lines.iter().all(|line| line["credential"] == "app"));
    let written = format!("{lines:?}");
    assert!(!written.contains("tok_1") && !written.contains(SECRET));
    let directory = house.stop().await;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        // The second is the tests' own note of what must be nowhere.
        let is_known = path.ends_with("key") || path.ends_with(".had-secrets");
        if path.is_file() && !is_known {
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains("tok_1") && !text.contains(SECRET),
                "{path:?}"
            );
        }
    }
}

async fn under_way(house: &House) -> u32 {
    let shown = admin(house.directory.path(), "/metrics").await.body;
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix("postern_calls_in_flight "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_one_question() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let endpoint = Upstream::start(move |_| {
        let body = r#"{"access_token":"tok_1","token_type":"bearer","expires_in":3600}"#;
        let Answer { now, .. } = json(body);
        Answer {
            now: now[..20].to_vec(),
            then: Some((Arc::clone(&held), now[20..].to_vec())),
        }
    })
    .await;
    let (tool, house, sandbox) = stage(&endpoint).await;
    let sandbox = Arc::new(sandbox);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move { ask(&sandbox).await.status })
        })
        .collect();
    // All of them are under way before the endpoint goes on.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(async {
        while under_way(&house).await != 100 {
            ticks.tick().await;
        }
    })
    .await;
    assert!(tool.requests().is_empty());
    go.notify_one();
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), 200);
    }
    endpoint.only();
    assert_eq!(tool.requests().len(), 100);
}

#[tokio::test]
async fn a_token_that_ends_is_replaced() {
    let endpoint = minting(r#","expires_in":1"#).await;
    let (tool, _house, sandbox) = stage(&endpoint).await;
    let last = |wanted: &str| {
        let requests = tool.requests();
        requests.last().is_some_and(|last| last.contains(wanted))
    };
    calling_until(&sandbox, || last("Bearer tok_1\r\n")).await;
    calling_until(&sandbox, || last("Bearer tok_3\r\n")).await;
}

#[tokio::test]
async fn a_token_that_a_tool_does_not_take_is_replaced_at_once() {
    let endpoint = minting(r#","expires_in":3600"#).await;
    let tool = Upstream::start(|request| match request.contains("tok_1") {
        true => Answer::raw("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
        false => Answer::ok("hello"),
    })
    .await;
    let house = House::start(&config(tool.address, &client(endpoint.address))).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(ask(&sandbox).await.status, 401);
    // Without another call, which goes with the old one for as long as there is no new one.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(async {
        while endpoint.requests().len() < 2 {
            ticks.tick().await;
        }
        while ask(&sandbox).await.status != 200 {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(endpoint.requests().len(), 2);
}

#[tokio::test]
async fn what_was_minted_from_a_secret_that_changed_is_never_sent_again() {
    let endpoint = minting(r#","expires_in":3600"#).await;
    let (tool, house, sandbox) = stage(&endpoint).await;
    assert_eq!(ask(&sandbox).await.status, 200);
    house.replace("key", "sk_second");
    house.until(|status| status.policy_generation == 2).await;
    assert_eq!(ask(&sandbox).await.status, 200);
    let requests = tool.requests();
    assert!(requests[1].contains("Bearer tok_2\r\n"), "{requests:?}");
    fs::remove_file(house.directory.path().join("key")).unwrap();
    house.until(|status| status.policy_generation == 3).await;
    let answer = ask(&sandbox).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"GATE_UNAVAILABLE".into())
    );
    assert_eq!(tool.requests().len(), 2);
    assert_eq!(endpoint.requests().len(), 2);
}

/// What a refresh token was in a question.
fn refreshed_with(request: &str) -> &str {
    let (_, rest) = request.split_once("refresh_token=").unwrap();
    // The kind of the grant says `refresh_token` too.
    let rest = rest
        .split_once("refresh_token=")
        .map_or(rest, |(_, rest)| rest);
    rest.split('&').next().unwrap()
}

#[tokio::test]
async fn a_refresh_token_that_rotated_outlives_a_gate_that_was_killed() {
    let endpoint = minting(r#","expires_in":3600,"refresh_token":"ref_#""#).await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let text = config(tool.address, &refreshing(endpoint.address));
    let house = House::program(&text, &[]).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(ask(&sandbox).await.status, 200);
    let directory = house.kill();
    for file in ["gate.db", "gate.db-wal"] {
        let bytes = fs::read(directory.path().join(file)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("ref_"), "{file}");
    }
    let house = House::program_in(directory, &[]).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(ask(&sandbox).await.status, 200);
    let asked = endpoint.requests();
    let with: Vec<_> = asked
        .iter()
        .map(|request| refreshed_with(request))
        .collect();
    assert_eq!(with, [SECRET, "ref_1"]);
    // A refresh token that the operator writes down anew is another one.
    house.replace("key", "anew");
    house.until(|status| status.policy_generation == 2).await;
    assert_eq!(ask(&sandbox).await.status, 200);
    let asked = endpoint.requests();
    assert_eq!(refreshed_with(&asked[2]), "anew");
}

#[tokio::test]
async fn an_endpoint_that_lies_gets_no_further_and_is_not_repeated() {
    let long = format!(r#"{{"access_token":"{}"}}"#, "hunter2".repeat(20_000));
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\n\r\nhunter2";
    let away = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/hunter2\r\ncontent-length: 0\r\n\r\n";
    let refusal = r#"{"error":"invalid_client","error_description":"hunter2"}"#;
    let refused = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{refusal}",
        refusal.len()
    );
    let large = format!("{ok}content-length: {}\r\n\r\n{long}", long.len());
    let endless = format!("{ok}transfer-encoding: chunked\r\n\r\nfffffff\r\n{long}");
    let mac = r#"{"access_token":"hunter2","token_type":"mac"}"#;
    let mac = format!("{ok}content-length: {}\r\n\r\n{mac}", mac.len());
    for (answer, words) in [
        (large.as_str(), "larger than 64 KiB"),
        (&endless, "larger than 64 KiB"),
        (html, "no JSON"),
        (away, "redirect"),
        (&refused, "answered 401 (invalid_client)"),
        (&mac, "another kind than Bearer"),
        ("hunter2\r\n\r\n", "could not be reached"),
        ("", "could not be reached"),
    ] {
        let text = answer.to_owned();
        let endpoint = Upstream::start(move |_| Answer::raw(&text)).await;
        let (tool, house, sandbox) = stage(&endpoint).await;
        for _ in 0..2 {
            let said = ask(&sandbox).await;
            assert_eq!(said.status, 503, "{said:?}");
            assert!(said.body.contains(words), "{words}: {said:?}");
            assert!(!said.body.contains("hunter2"), "{said:?}");
            assert!(
                !said.body.contains(&endpoint.address.port().to_string()),
                "{said:?}"
            );
            assert!(
                said.head.to_lowercase().contains("retry-after: "),
                "{said:?}"
            );
        }
        // The second call came while the endpoint was left alone, unless the machine was slow.
        assert!(endpoint.requests().len() <= 2);
        assert!(tool.requests().is_empty());
        assert!(!format!("{:?}", house.audit()).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_private_endpoint_needs_a_word_and_a_secured_one_its_certificate() {
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let endpoint = minting("").await;
    let shut = client(endpoint.address).replace("private = true, ", "");
    let house = House::start(&config(tool.address, &shut)).await;
    let answer = ask(&house.busy_sandbox().await).await;
    assert_eq!(answer.status, 503);
    assert!(endpoint.requests().is_empty() && endpoint.connections() == 0);

    let authority = tls::ca();
    let endpoint = Upstream::start_tls(two::acceptor(authority.leaf("localhost"), &[]), |_| {
        json(r#"{"access_token":"tok_1","token_type":"bearer"}"#)
    })
    .await;
    let port = endpoint.address.port();
    let secured = |ca: &str| {
        let at = format!(
            r#"token_url = {{ url = "https://localhost:{port}/token", private = true{ca} }}"#
        );
        let credential =
            format!(r#"kind = "oauth2", {at}, client_id = "me", client_secret = "app""#);
        config(tool.address, &credential)
    };
    let house = House::start(&secured("")).await;
    assert_eq!(ask(&house.busy_sandbox().await).await.status, 503);
    assert!(
        endpoint.requests().is_empty(),
        "nothing is said to a stranger"
    );
    let ca = format!(r#", ca = "{}""#, authority.file.display());
    let house = House::start(&secured(&ca)).await;
    assert_eq!(ask(&house.busy_sandbox().await).await.status, 200);
    assert!(tool.only().contains("Bearer tok_1\r\n"));
}

#[tokio::test]
async fn a_config_that_would_send_secrets_in_the_clear_is_refused() {
    let endpoint = minting("").await;
    let bare = client(endpoint.address).replace(", plaintext = true", "");
    let (_directory, path) = house::written(&config(endpoint.address, &bare));
    let error = postern_proxy::check(&path).unwrap_err().to_string();
    assert!(error.contains("plaintext = true"), "{error}");
}
