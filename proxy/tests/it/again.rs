//! Connections that are lost before an answer: what may be done twice is sent once more, and nothing else is.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{Answer, House, SECRET, Sandbox, soon},
    upstream::read_message,
};

/// A server that loses so many requests before it answers one, and counts them all.
struct Loser {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Loser {
    /// Before it loses a request it says this much, and it ends in a reset where it is told to.
    async fn start(times: usize, first_words: &'static str, resets: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Some(request) = read_message(&mut stream).await {
                    assert!(request.contains(SECRET), "{request}");
                    if count.fetch_add(1, Ordering::SeqCst) < times {
                        lose(stream, first_words, resets).await;
                        break;
                    }
                    let target = request.split(' ').nth(1).unwrap();
                    let length = target.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{target}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn house(&self, tool: &str) -> (House, Sandbox) {
        let house = House::start(&config(self.address, tool)).await;
        let sandbox = house.busy_sandbox().await;
        (house, sandbox)
    }
}

/// Ends a connection after these words.
async fn lose(mut stream: TcpStream, words: &str, resets: bool) {
    stream.write_all(words.as_bytes()).await.unwrap();
    if resets {
        stream.set_zero_linger().unwrap();
    }
}

fn config(address: SocketAddr, tool: &str) -> String {
    format!(
        "[secrets.crm]\nfile = \"key\"\n\
         [tools.crm]\nurl = \"http://{address}/\"\nprivate = true\n{tool}\n\
         credential = {{ kind = \"query\", name = \"key\", secret = \"crm\" }}\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"http://{address}/*\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n"
    )
}

async fn ask(sandbox: &Sandbox, method: &str, body: &str) -> Answer {
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    let head = format!("{method} /tools/crm/thing HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n");
    sandbox.send(&format!("{head}{length}\r\n{body}")).await
}

/// The kinds of a log's lines about calls, and whether each was for a second time.
fn told(house: &House) -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(house.directory.path().join("audit.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines = lines.filter(|line| line["kind"] == "begun" || line["kind"] == "call");
    let again = lines.map(|line| {
        let again = line["again"] == true || line["sent_again"] == true;
        (line["kind"].as_str().unwrap().to_owned(), again)
    });
    again.collect()
}

#[tokio::test]
async fn what_may_be_done_twice_is_sent_once_more_and_the_audit_says_so() {
    let (begun, call) = ("begun".to_owned(), "call".to_owned());
    for resets in [false, true] {
        for (method, effectful) in [
            ("GET", false),
            ("OPTIONS", false),
            ("PUT", true),
            ("DELETE", true),
        ] {
            let loser = Loser::start(1, "", resets).await;
            let (house, sandbox) = loser.house("").await;
            let answer = ask(&sandbox, method, "").await;
            assert_eq!(answer.status, 200, "{method}: {answer:?}");
            assert!(answer.body.starts_with("/thing?key="), "{answer:?}");
            assert_eq!(loser.asked(), 2, "{method}");
            let lines = if effectful {
                let intents = [(begun.clone(), false), (begun.clone(), true)];
                [&intents[..], &[(call.clone(), true)]].concat()
            } else {
                vec![(call.clone(), true)]
            };
            assert_eq!(told(&house), lines, "{method}");
        }
    }
}

#[tokio::test]
async fn what_may_not_be_done_twice_goes_out_once() {
    for (method, body, tool) in [
        ("POST", "", ""),
        ("POST", "body", ""),
        ("PATCH", "", ""),
        ("PUT", "body", ""),
        ("DELETE", "body", ""),
        ("GET", "body", ""),
        ("GET", "", "retries = 0"),
    ] {
        let loser = Loser::start(1, "", false).await;
        let (house, sandbox) = loser.house(tool).await;
        let answer = ask(&sandbox, method, body).await;
        assert_eq!(answer.status, 502, "{method} {body} {tool}: {answer:?}");
        assert_eq!(loser.asked(), 1, "{method} {body} {tool}");
        assert!(house.audit()[0]["sent_again"].is_null());
    }
}

#[tokio::test]
async fn nothing_goes_out_a_third_time() {
    let loser = Loser::start(9, "", false).await;
    let (house, sandbox) = loser.house("retries = 5").await;
    let answer = ask(&sandbox, "GET", "").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.json()["code"], "UPSTREAM_UNREACHABLE");
    assert_eq!(loser.asked(), 2);
    assert_eq!(house.audit()[0]["sent_again"], true);
}

#[tokio::test]
async fn what_was_answered_badly_is_not_asked_again() {
    for words in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf",
        "nonsense\r\n\r\n",
    ] {
        let loser = Loser::start(1, words, false).await;
        let (_house, sandbox) = loser.house("").await;
        let answer = ask(&sandbox, "GET", "").await;
        assert!(answer.status == 502 || answer.body.contains("half"));
        assert_eq!(loser.asked(), 1, "{words}");
    }
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_not_sent_again_and_the_second_time_has_what_is_left() {
    // It loses the first, and never answers the second.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            read_message(&mut stream).await.unwrap();
            if count.fetch_add(1, Ordering::SeqCst) > 0 {
                held.push(stream);
            }
        }
    });
    let text = config(address, "timeouts = { first_byte = \"200ms\" }");
    let house = House::start(&text).await;
    let sandbox = house.busy_sandbox().await;
    let answer = ask(&sandbox, "GET", "").await;
    assert_eq!(answer.json()["code"], "UPSTREAM_TIMEOUT", "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let answer = ask(&sandbox, "GET", "").await;
    assert_eq!(answer.json()["code"], "UPSTREAM_TIMEOUT", "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn over_http2_what_is_lost_is_sent_once_more_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), "/thing");
            asked += 1;
            if asked < 2 {
                continue;
            }
            respond
                .send_response(http::Response::new(()), true)
                .unwrap();
            // Until the other side has read it and gone.
            while connection.accept().await.is_some() {}
            return asked;
        }
    });
    let house = House::start(&config(address, "protocol = \"grpc\"")).await;
    let sandbox = house.busy_sandbox().await;
    let answer = ask(&sandbox, "GET", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.audit()[0]["sent_again"], true);
    house.stop().await;
    assert_eq!(soon(server).await.unwrap(), 2);
}
