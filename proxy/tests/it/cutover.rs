//! What is under way when the policy changes: cut if the new one does not allow it, untouched if it does.

use std::sync::Arc;

use postern_contract::link::Origin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    house::{House, Sandbox, config, soon},
    intercept::{client, connect, lines, secure},
    upstream::{Answer, Upstream},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
const REST: &str = "5\r\nlast\n\r\n0\r\n\r\n";

/// A stream of two events, the second when told.
async fn streaming() -> (Upstream, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let upstream = Upstream::start(move |request| {
        if !request.contains("/slow") {
            return Answer::ok("quick");
        }
        Answer {
            now: HEAD.as_bytes().to_vec(),
            then: Some((Arc::clone(&told), REST.as_bytes().to_vec())),
        }
    })
    .await;
    (upstream, go)
}

/// Asks for a stream and waits for its first event.
async fn begin(sandbox: &Sandbox, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: gate\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to(&mut stream, "first\n\r\n").await;
    stream
}

/// Reads until this came, and gives all that did.
async fn read_to(stream: &mut (impl AsyncReadExt + Unpin), wanted: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(wanted) {
        let length = soon(stream.read_buf(&mut bytes)).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads until the other side closes.
async fn read_out(mut stream: impl AsyncReadExt + Unpin) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    drop(soon(stream.read_to_end(&mut bytes)).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn denying(upstream: &Upstream, tool: &str) -> String {
    let at = upstream.address;
    let rule = "[[policies.support.rules]]\nname = \"no more\"\npermission = \"deny\"\n";
    format!(
        "{}\n{rule}resource = \"http://{at}/{tool}/*\"\n",
        config(at)
    )
}

#[tokio::test]
async fn a_stream_that_the_new_policy_denies_is_cut_and_another_goes_on() {
    let (upstream, go) = streaming().await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let denied = begin(&sandbox, "/tools/told/slow").await;
    let mut allowed = begin(&sandbox, "/tools/headed/slow").await;
    house.rewrite(&denying(&upstream, "told"));
    assert_eq!(read_out(denied).await, "", "no end of the answer either");
    let line = lines(&house, 1).await.remove(0);
    assert_eq!(
        (&line["tool"], &line["decision"], &line["policy_generation"]),
        (&"told".into(), &"allowed".into(), &1.into())
    );
    assert_eq!(
        line["cut"],
        "cut by a new policy, generation 2: POLICY_DENIED"
    );
    go.notify_waiters();
    read_to(&mut allowed, "last\n\r\n0\r\n\r\n").await;
    assert!(lines(&house, 2).await[1]["cut"].is_null());
}

#[tokio::test]
async fn a_stream_whose_secret_is_withdrawn_is_cut_and_others_go_on() {
    let (upstream, go) = streaming().await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let with_secret = begin(&sandbox, "/tools/crm/slow").await;
    let mut without = begin(&sandbox, "/tools/told/slow").await;
    house.replace("key", "sk_second");
    assert_eq!(read_out(with_secret).await, "");
    go.notify_waiters();
    read_to(&mut without, "last\n\r\n0\r\n\r\n").await;
}

/// The config of which every tool lets finish what began with another value.
fn finishing(upstream: &Upstream) -> String {
    let private = "private = true\n";
    let finish = format!("{private}on_rotation = \"finish\"\n");
    config(upstream.address).replace(private, &finish)
}

#[tokio::test]
async fn a_stream_whose_secret_is_removed_is_cut_whatever_its_tool_says_of_rotation() {
    let (upstream, _go) = streaming().await;
    for text in [config(upstream.address), finishing(&upstream)] {
        let house = House::start(&text).await;
        let sandbox = house.busy_sandbox().await;
        let stream = begin(&sandbox, "/tools/crm/slow").await;
        std::fs::remove_file(house.directory.path().join("key")).unwrap();
        assert_eq!(read_out(stream).await, "");
        let line = lines(&house, 1).await.remove(0);
        let cut = "cut by a new policy, generation 2: POLICY_DENIED";
        assert_eq!(line["cut"], cut);
    }
}

#[tokio::test]
async fn a_stream_whose_secret_is_rotated_goes_on_where_its_tool_says_so_until_it_is_removed() {
    let (upstream, go) = streaming().await;
    let house = House::start(&finishing(&upstream)).await;
    let sandbox = house.busy_sandbox().await;
    let mut done = begin(&sandbox, "/tools/crm/slow").await;
    house.replace("key", "sk_second");
    house.until(|status| status.policy_generation == 2).await;
    // Whoever comes now has the new value.
    let later = begin(&sandbox, "/tools/crm/slow").await;
    let sent = upstream.requests().pop().unwrap();
    assert!(sent.contains("Bearer sk_second\r\n"), "{sent}");
    go.notify_one();
    read_to(&mut done, "last\n\r\n0\r\n\r\n").await;
    let line = lines(&house, 1).await.remove(0);
    assert!(line["cut"].is_null() && line["credential_generation"] == 1);
    std::fs::remove_file(house.directory.path().join("key")).unwrap();
    assert_eq!(read_out(later).await, "");
}

#[tokio::test]
async fn what_goes_on_after_a_rotation_is_cut_as_soon_as_its_tool_says_so() {
    let (upstream, _go) = streaming().await;
    let house = House::start(&finishing(&upstream)).await;
    let sandbox = house.busy_sandbox().await;
    let stream = begin(&sandbox, "/tools/crm/slow").await;
    house.replace("key", "sk_second");
    house.until(|status| status.policy_generation == 2).await;
    house.rewrite(&config(upstream.address));
    assert_eq!(read_out(stream).await, "");
}

#[tokio::test]
async fn a_call_without_an_answer_is_refused_when_its_secret_is_rotated_whatever_its_tool_says() {
    let waiting = Arc::new(Notify::new());
    let never = Arc::clone(&waiting);
    let upstream = Upstream::start(move |_| Answer {
        now: Vec::new(),
        then: Some((Arc::clone(&never), Vec::new())),
    })
    .await;
    let house = House::start(&finishing(&upstream)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = b"GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\n\r\n";
    stream.write_all(request).await.unwrap();
    soon(async {
        while upstream.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.replace("key", "sk_second");
    let answer = read_to(&mut stream, "\"code\"").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_stream_whose_credential_is_another_now_is_cut_though_its_secret_is_the_same() {
    let (upstream, go) = streaming().await;
    let text = config(upstream.address);
    let house = House::start(&text).await;
    let sandbox = house.busy_sandbox().await;
    let elsewhere = begin(&sandbox, "/tools/headed/slow").await;
    let mut same = begin(&sandbox, "/tools/crm/slow").await;
    house.rewrite(&text.replace("\"X-Token\", prefix", "\"X-Other\", prefix"));
    assert_eq!(read_out(elsewhere).await, "");
    go.notify_waiters();
    read_to(&mut same, "last\n\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_call_that_has_no_answer_yet_is_refused_by_the_new_policy() {
    let waiting = Arc::new(Notify::new());
    let never = Arc::clone(&waiting);
    let upstream = Upstream::start(move |_| Answer {
        now: Vec::new(),
        then: Some((Arc::clone(&never), Vec::new())),
    })
    .await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = b"GET /tools/told/a HTTP/1.1\r\nhost: gate\r\n\r\n";
    stream.write_all(request).await.unwrap();
    soon(async {
        while upstream.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.rewrite(&denying(&upstream, "told"));
    let answer = read_to(&mut stream, "\"code\"").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(lines(&house, 1).await[0]["rule"], "no more");
}

#[tokio::test]
async fn a_pipelined_request_after_a_policy_change_is_judged_by_the_new_policy() {
    let (upstream, go) = streaming().await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = begin(&sandbox, "/tools/headed/slow").await;
    // It waits in the connection while the first is answered.
    let second = b"GET /tools/told/a HTTP/1.1\r\nhost: gate\r\n\r\n";
    stream.write_all(second).await.unwrap();
    house.rewrite(&denying(&upstream, "told"));
    house.until(|status| status.policy_generation == 2).await;
    go.notify_waiters();
    let text = read_to(&mut stream, "\"code\"").await;
    assert!(text.contains("HTTP/1.1 403 "), "{text}");
    assert_eq!(upstream.requests().len(), 1);
}

/// A tool that lives nowhere, so that a connection to it is only ever looked into.
const NOWHERE: &str = r#"
[tools.crm]
url = "https://crm.invalid/v1"

[[policies.open.rules]]
name = "read"
permission = "allow"
resource = "https://crm.invalid/v1/*"

[agents.desk]
tools = ["crm"]
policies = ["open"]
"#;

#[tokio::test]
async fn a_connection_that_is_looked_into_ends_when_nothing_inside_may_be_allowed() {
    let house = House::start(NOWHERE).await;
    let sandbox = house.sandbox(Origin::Sandbox).await;
    house.run(&sandbox, "run_1").await;
    let stream = connect(&sandbox, "crm.invalid:443").await;
    let stream = secure(client(&house), "crm.invalid", stream).await.unwrap();
    house.rewrite(&NOWHERE.replace("crm.invalid", "other.invalid"));
    assert_eq!(read_out(stream).await, "");
}
