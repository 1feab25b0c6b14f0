//! Through the proxy of an operator's network: asked with CONNECT for addresses that the gate has checked, believed in
//! nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_contract::link::{News, Reply};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    house::{House, SECRET},
    tls,
    upstream::{Answer, Upstream},
};

/// What the proxy does with one CONNECT.
pub(crate) enum Does {
    /// What it is for.
    Leads,
    /// Says this and closes.
    Says(&'static [u8]),
    /// Says this again and again.
    Repeats(&'static [u8]),
}

/// A proxy that keeps what it is asked.
pub(crate) struct Corporate {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Corporate {
    pub(crate) async fn start(does: impl Fn(usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, does) = (Arc::clone(&asked), Arc::new(does));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, does) = (Arc::clone(&kept), Arc::clone(&does));
                tokio::spawn(async move { attend(stream, &kept, &*does).await });
            }
        });
        Self { address, asked }
    }

    /// The head of every CONNECT so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn attend(
    mut stream: TcpStream,
    asked: &Mutex<Vec<String>>,
    does: &(dyn Fn(usize) -> Does + Send + Sync),
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let before = {
        let mut asked = asked.lock().unwrap();
        asked.push(head.clone());
        asked.len() - 1
    };
    match does(before) {
        Does::Leads => {
            let target = head.split(' ').nth(1)?.replace("crm.example", "127.0.0.1");
            let Ok(mut upstream) = TcpStream::connect(target).await else {
                return stream.write_all(b"HTTP/1.1 502 No\r\n\r\n").await.ok();
            };
            let answer = b"HTTP/1.1 200 Connection established\r\nvia: corp\r\n\r\n";
            stream.write_all(answer).await.ok()?;
            copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
        }
        Does::Says(bytes) => stream.write_all(bytes).await.ok()?,
        Does::Repeats(bytes) => while stream.write_all(bytes).await.is_ok() {},
    }
    Some(())
}

/// A config with this proxy (and more of `[egress]`) and one private tool at this URL.
pub(crate) fn config((proxy, egress): (&Corporate, &str), url: &str, tool: &str) -> String {
    format!(
        "[egress]\nproxy = \"http://{}\"\n{egress}\n\
         [secrets.corp]\nfile = \"key\"\n\
         [tools.crm]\nurl = \"{url}/\"\n{tool}\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"{url}/*\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n",
        proxy.address
    )
}

const BASIC: &str = "credential = { kind = \"basic\", user = \"postern\", secret = \"corp\" }";

#[tokio::test]
async fn the_proxy_is_asked_for_the_checked_address_with_its_credential_and_the_host_sees_neither()
{
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let proxy = Corporate::start(|_| Does::Leads).await;
    let url = format!("http://{}", upstream.address);
    let house = House::start(&config((&proxy, BASIC), &url, "private = true")).await;
    let sandbox = house.busy_sandbox().await;
    for _ in 0..3 {
        let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    let basic = STANDARD.encode(format!("postern:{SECRET}"));
    let wanted = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Basic {basic}\r\n\r\n",
        upstream.address
    );
    assert_eq!(proxy.asked(), [wanted], "the connection was kept");
    for request in upstream.requests() {
        assert!(request.starts_with("GET /a HTTP/1.1\r\n"), "{request}");
        assert!(!request.to_lowercase().contains("proxy"), "{request}");
    }
    let address = upstream.address.to_string();
    assert_eq!(house.audit()[0]["address"], address.as_str());
}

#[tokio::test]
async fn a_private_address_is_no_destination_behind_a_proxy_either() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let proxy = Corporate::start(|_| Does::Leads).await;
    let port = upstream.address.port();
    for host in ["127.0.0.1", "localhost", "169.254.169.254"] {
        for resolve in ["", "resolve = \"proxy\""] {
            let url = format!("http://{host}:{port}");
            let house = House::start(&config((&proxy, resolve), &url, "")).await;
            let sandbox = house.busy_sandbox().await;
            let answer = sandbox.ask("GET /tools/crm/", &[]).await;
            assert_eq!(answer.json()["code"], "DESTINATION_BLOCKED", "{host}");
        }
    }
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[tokio::test]
async fn a_proxy_that_says_no_or_nonsense_is_told_of_in_words_of_ours() {
    const SPEECH: &[u8] =
        b"HTTP/1.1 407 Give me your key\r\nproxy-authenticate: Basic\r\n\r\nsecret page";
    for (what, words) in [
        (SPEECH, "407"),
        (&b"HTTP/1.1 403 Nobody may\r\n\r\n"[..], "status 403"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://a/\r\n\r\n", "302"),
        (b"SSH-2.0-x\r\n\r\n", "made no sense"),
        (b"HTTP/1.1 200 cut off", "connection failed"),
    ] {
        let proxy = Corporate::start(move |_| Does::Says(what)).await;
        let config = config((&proxy, BASIC), "http://127.0.0.1:9", "private = true");
        let house = House::start(&config).await;
        let answer = house.busy_sandbox().await.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        let told = answer.json();
        assert_eq!(told["code"], "UPSTREAM_UNREACHABLE");
        assert!(told["message"].as_str().unwrap().contains(words), "{told}");
        for repeated in ["Give me", "Nobody", "secret page", SECRET] {
            assert!(!answer.body.contains(repeated), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_the_proxy_without_end_is_not_read_without_end() {
    let proxy = Corporate::start(|_| Does::Repeats(b"HTTP/1.1 200 OK\r\nx: y\r\n")).await;
    let config = config((&proxy, ""), "http://127.0.0.1:9", "private = true");
    let house = House::start(&config).await;
    let answer = house.busy_sandbox().await.ask("GET /tools/crm/", &[]).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.contains("no end"), "{answer:?}");
}

#[tokio::test]
async fn names_go_to_the_proxy_only_where_the_config_says_so_and_then_it_is_shown() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let proxy = Corporate::start(|_| Does::Leads).await;
    let url = format!("http://crm.example:{}", upstream.address.port());
    let house = House::start(&config((&proxy, "resolve = \"proxy\""), &url, "")).await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let wanted = format!("CONNECT crm.example:{} HTTP/1.1", upstream.address.port());
    assert!(proxy.asked()[0].starts_with(&wanted), "{:?}", proxy.asked());
    let Reply::Status(status) = house.tell(News::Status, None).await else {
        panic!("no status")
    };
    assert!(status.weakened[0].contains("egress.resolve"), "{status:?}");
    assert!(status.troubles.is_empty());
}

#[tokio::test]
async fn hosts_that_need_no_proxy_are_reached_without_it() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let proxy = Corporate::start(|_| Does::Says(b"HTTP/1.1 403 No\r\n\r\n")).await;
    let url = format!("http://crm.localhost:{}", upstream.address.port());
    let except = "no_proxy = [\"*.localhost\"]";
    let house = House::start(&config((&proxy, except), &url, "private = true")).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    assert!(proxy.asked().is_empty());
}

#[tokio::test]
async fn the_proxy_itself_is_no_destination() {
    let proxy = Corporate::start(|_| Does::Leads).await;
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}", proxy.address.port());
        for except in ["", "no_proxy = [\"127.0.0.1\", \"localhost\"]"] {
            let house = House::start(&config((&proxy, except), &url, "private = true")).await;
            let sandbox = house.busy_sandbox().await;
            let answer = sandbox.ask("GET /tools/crm/", &[]).await;
            assert_eq!(answer.json()["code"], "DESTINATION_BLOCKED", "{host}");
        }
    }
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[tokio::test]
async fn tls_inside_the_proxys_tunnel_is_verified_for_the_host() {
    let ca = tls::ca();
    let proxy = Corporate::start(|_| Does::Leads).await;
    for (name, status) in [("localhost", 200), ("other.example", 502)] {
        let (address, mut seen) = tls::upstream(ca.leaf(name)).await;
        let url = format!("https://localhost:{}", address.port());
        let tool = format!(
            "private = true\nca = \"{}\"\ncredential = {{ kind = \"bearer\", secret = \"corp\" }}",
            ca.file.display()
        );
        let house = House::start(&config((&proxy, ""), &url, &tool)).await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(seen.try_recv().is_ok(), status == 200, "{name}");
    }
}

#[tokio::test]
async fn what_fails_before_anything_was_sent_is_tried_again_as_often_as_the_tool_says() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let url = format!("http://{}", upstream.address);
    for (retries, status, asked) in [(2, 200, 3), (1, 502, 2), (0, 502, 1)] {
        // The first two connections are lost before the proxy has said a word.
        let proxy = Corporate::start(|before| match before {
            0 | 1 => Does::Says(b""),
            _ => Does::Leads,
        })
        .await;
        let tool = format!("private = true\nretries = {retries}");
        let house = House::start(&config((&proxy, ""), &url, &tool)).await;
        let sandbox = house.busy_sandbox().await;
        let answer = sandbox.post("/tools/crm/", "{}").await;
        assert_eq!(answer.status, status, "{retries}: {answer:?}");
        assert_eq!(proxy.asked().len(), asked, "{retries}");
    }
    assert_eq!(upstream.requests().len(), 1);
}
