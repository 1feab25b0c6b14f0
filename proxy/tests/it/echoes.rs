//! A credential that comes back: in every place of an answer and in every form, however it is cut. The agent never sees it.

use std::{fmt::Write as _, fs, io::Write as _, os::unix::fs::PermissionsExt, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    house::{House, SECRET, Sandbox, config, soon},
    upstream::{Answer, Upstream},
    websocket::{handshake, switching},
};

/// Long enough to be looked for, and written differently everywhere.
const KEY: &str = "sk/live+51Hxy\"Z0=9-abcdef";

/// The same in a URL and in JSON.
const IN_URL: &str = "sk%2Flive%2B51Hxy%22Z0%3D9-abcdef";
const IN_JSON: &str = "sk/live+51Hxy\\\"Z0=9-abcdef";

async fn house(config: &str) -> House {
    House::start_with(config, |directory| {
        let path = directory.join("key");
        fs::write(&path, KEY).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    })
    .await
}

async fn stage(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (Upstream, House, Sandbox) {
    staged("", answer).await
}

/// The same with more said about the tool `crm`.
async fn staged(
    more: &str,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(answer).await;
    let config = config(upstream.address).replace("[tools.told]", &format!("{more}\n[tools.told]"));
    let house = house(&config).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

fn chunked(fields: &str, chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for chunk in chunks {
        bytes.extend(chunk_of(chunk));
    }
    bytes
}

fn chunk_of(chunk: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
}

async fn dialled(sandbox: &Sandbox, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 1024];
    while !text.contains(wanted) {
        let length = soon(stream.read(&mut chunk)).await.unwrap();
        assert_ne!(length, 0, "{text:?} has no {wanted:?}");
        text += &String::from_utf8_lossy(&chunk[..length]);
    }
    text
}

#[tokio::test]
async fn a_credential_in_a_body_a_header_a_redirect_a_cookie_or_an_error_page_is_masked() {
    let (_upstream, house, sandbox) = stage(|request| {
        assert!(request.contains(KEY), "{request}");
        let body = format!("you sent {KEY}!");
        Answer::raw(&format!(
            "HTTP/1.1 502 Bad {KEY}\r\nx-echo: Bearer {KEY}\r\nlocation: https://a.example/?key={IN_URL}\r\n\
             set-cookie: a={KEY}\r\nset-cookie: b=\"{IN_JSON}\"\r\netag: \"x\"\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    })
    .await;
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.body, format!("you sent {}!", stars(KEY)));
    for wanted in [
        format!("x-echo: bearer {}\r\n", stars(KEY)),
        format!("location: https://a.example/?key={}\r\n", stars(IN_URL)),
        format!("set-cookie: a={}\r\n", stars(KEY)),
        format!("set-cookie: b=\"{}\"\r\n", stars(IN_JSON)),
        "etag: \"x\"\r\n".to_owned(),
    ] {
        assert!(answer.head.contains(&wanted), "{wanted} {}", answer.head);
    }
    assert!(!answer.head.contains("51hxy"), "{}", answer.head);
    let line = &house.audit()[0];
    assert_eq!((&line["masked"], &line["status"]), (&5.into(), &502.into()));
}

#[tokio::test]
async fn every_form_of_a_credential_is_masked_and_lengths_stay_as_they_were() {
    let mut body = format!(
        "{KEY} {IN_URL} {} {IN_JSON}",
        IN_URL
            .replace("%2B", "%2b")
            .replace("%2F", "%2f")
            .replace("%3D", "%3d")
    );
    for before in ["", "a", "bc", "user:"] {
        let around = format!("{before}{KEY}@");
        write!(
            body,
            " {} {}",
            STANDARD.encode(&around),
            URL_SAFE_NO_PAD.encode(&around)
        )
        .unwrap();
    }
    write!(body, " {} {}", hex::encode(KEY), hex::encode_upper(KEY)).unwrap();
    let length = body.len();
    let (_upstream, house, sandbox) = stage(move |_| Answer::ok(&body)).await;
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert!(
        answer
            .head
            .contains(&format!("content-length: {length}\r\n")),
        "{}",
        answer.head
    );
    assert_eq!(answer.body.len(), length);
    for (at, word) in answer.body.split(' ').enumerate() {
        let gone = |byte: &u8| matches!(byte, b'*' | b'A' | b'0');
        let left = word.bytes().filter(|byte| !gone(byte)).count();
        // What is around the credential stays, as far as it shares no character with it.
        assert!(left <= 10, "{at}: {word}");
    }
    assert_eq!(house.audit()[0]["masked"], 14);
}

#[tokio::test]
async fn a_credential_that_is_split_across_chunks_is_masked() {
    let go = Arc::new(Notify::new());
    let then = Arc::clone(&go);
    let (_upstream, house, sandbox) = stage(move |_| {
        let (first, rest) = KEY.split_at(11);
        let rest: Vec<u8> = rest.bytes().flat_map(|byte| chunk_of(&[byte])).collect();
        Answer {
            now: chunked("", &[b"<", first.as_bytes()]),
            then: Some((Arc::clone(&then), [&*rest, b"1\r\n>\r\n0\r\n\r\n"].concat())),
        }
    })
    .await;
    let request = "GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    let mut stream = dialled(&sandbox, request).await;
    let head = read_until(&mut stream, "\r\n\r\n").await;
    go.notify_one();
    let mut rest = head;
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains(&format!("<{}>", stars(KEY))), "{rest}");
    assert_eq!(house.audit()[0]["masked"], 1);
}

#[tokio::test]
async fn events_pass_as_they_are_said_and_a_credential_in_one_is_masked() {
    let go = Arc::new(Notify::new());
    let then = Arc::clone(&go);
    let (_upstream, _house, sandbox) = stage(move |_| {
        let (first, rest) = IN_JSON.split_at(7);
        let event = format!("data: {{\"key\":\"{first}");
        let rest = format!("{rest}\"}}\n\ndata: 2\n\n");
        Answer {
            now: chunked("content-type: text/event-stream\r\n", &[b"data: 1\n\n"]),
            then: Some((
                Arc::clone(&then),
                [
                    chunk_of(event.as_bytes()),
                    chunk_of(rest.as_bytes()),
                    b"0\r\n\r\n".to_vec(),
                ]
                .concat(),
            )),
        }
    })
    .await;
    let request = "GET /tools/crm/events HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    let mut stream = dialled(&sandbox, request).await;
    // The upstream says no more until this is here.
    read_until(&mut stream, "data: 1\n\n").await;
    go.notify_one();
    let rest = read_until(&mut stream, "data: 2\n\n").await;
    assert!(
        rest.contains(&format!("{{\"key\":\"{}\"}}", stars(IN_JSON))),
        "{rest}"
    );
}

#[tokio::test]
async fn a_credential_in_a_trailer_is_masked() {
    let (_upstream, house, sandbox) = stage(|_| {
        let end = format!("0\r\nx-sum: {}\r\n\r\n", hex::encode(KEY));
        Answer {
            now: [chunked("trailer: x-sum\r\n", &[b"hello"]), end.into_bytes()].concat(),
            then: None,
        }
    })
    .await;
    let answer = sandbox.ask("GET /tools/crm/a", &["te: trailers"]).await;
    assert!(answer.body.contains("hello"), "{answer:?}");
    let wanted = format!("x-sum: {}\r\n", "0".repeat(KEY.len() * 2));
    assert!(answer.body.contains(&wanted), "{answer:?}");
    assert_eq!(house.audit()[0]["masked"], 1);
}

fn frame(first: u8, payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, length], payload.as_bytes()].concat()
}

#[tokio::test]
async fn a_credential_in_a_websockets_frames_is_masked_also_in_fragments() {
    let (first, rest) = KEY.split_at(9);
    let messages = [
        frame(0x81, "hello"),
        frame(0x81, &format!("whole {KEY}")),
        frame(0x01, first),
        frame(0x89, "ping"),
        frame(0x80, rest),
        frame(0x81, "bye"),
    ];
    let said = [
        switching(&format!("x-echo: {KEY}\r\n")).into_bytes(),
        messages.concat(),
    ]
    .concat();
    let (_upstream, _house, sandbox) = stage(move |_| Answer {
        now: said.clone(),
        then: Some((Arc::default(), Vec::new())),
    })
    .await;
    let mut stream = dialled(&sandbox, &handshake("/tools/crm/live", "gate", "")).await;
    let text = read_until(&mut stream, "bye").await;
    assert!(
        text.contains(&format!("x-echo: {}\r\n", stars(KEY))),
        "{text:?}"
    );
    let wanted = [
        frame(0x81, "hello"),
        frame(0x81, &format!("whole {}", stars(KEY))),
        frame(0x01, &stars(first)),
        frame(0x89, "ping"),
        frame(0x80, &stars(rest)),
        frame(0x81, "bye"),
    ];
    let wanted = String::from_utf8_lossy(&wanted.concat()).into_owned();
    assert!(text.ends_with(&wanted), "{text:?}");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_answer_is_asked_for_whole_and_plain_and_one_that_is_encoded_anyway_is_decoded_or_refused()
 {
    let (upstream, house, sandbox) = stage(|request| {
        let (encoding, body) = match request.contains("/gzip") {
            true => ("gzip", gzip(&format!("{{\"you\":\"{KEY}\"}}"))),
            false => ("br", KEY.as_bytes().to_vec()),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n", body.len());
        Answer { now: [head.into_bytes(), body].concat(), then: None }
    })
    .await;
    let fields = [
        "accept-encoding: gzip, br",
        "range: bytes=3-",
        "if-range: \"x\"",
    ];
    let answer = sandbox.ask("GET /tools/crm/gzip", &fields).await;
    assert!(
        answer
            .body
            .contains(&format!("{{\"you\":\"{}\"}}", stars(KEY))),
        "{answer:?}"
    );
    assert!(
        !answer.head.contains("content-encoding") && !answer.head.contains("ranges"),
        "{answer:?}"
    );
    let request = upstream.only();
    assert!(
        request.contains("accept-encoding: identity\r\n"),
        "{request}"
    );
    assert!(!request.contains("range"), "{request}");
    let answer = sandbox.ask("GET /tools/crm/br", &fields).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &"UPSTREAM_UNREACHABLE".into())
    );
    // Nothing was added to the other tool's call, so nothing is asked for in its name.
    sandbox.ask("GET /tools/told/a", &fields).await;
    assert!(house.audit()[2].get("masked").is_none());
}

#[tokio::test]
async fn a_tool_may_want_its_answers_encoded_and_the_agent_gets_them_decoded() {
    let (upstream, _house, sandbox) = staged("answers = { encoding = \"decode\" }", |_| {
        let body = gzip(&format!("hello {KEY}"));
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Answer {
            now: [head.into_bytes(), body].concat(),
            then: None,
        }
    })
    .await;
    let answer = sandbox
        .ask("GET /tools/crm/a", &["accept-encoding: identity"])
        .await;
    assert!(
        answer.body.contains(&format!("hello {}", stars(KEY))),
        "{answer:?}"
    );
    assert!(
        upstream
            .only()
            .contains("accept-encoding: gzip, deflate\r\n")
    );
}

#[tokio::test]
async fn too_many_echoes_stop_the_run_and_the_next_one_goes_on() {
    let (upstream, house, sandbox) = staged("answers = { echoes = 2 }", |_| {
        Answer::ok(&format!("{KEY} {KEY}"))
    })
    .await;
    let first = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(
        (first.status, first.body),
        (200, format!("{0} {0}", stars(KEY)))
    );
    // This one is cut: what it held was one too many.
    let request = "GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    let mut stream = dialled(&sandbox, request).await;
    let mut second = String::new();
    drop(soon(stream.read_to_string(&mut second)).await);
    assert!(
        !second.contains(KEY) && !second.contains(&stars(KEY)),
        "{second}"
    );
    let sent = upstream.requests().len();
    for tool in ["crm", "told"] {
        let answer = sandbox.ask(&format!("GET /tools/{tool}/a"), &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &"POLICY_DENIED".into())
        );
        assert!(!answer.body.contains(KEY));
    }
    assert_eq!(upstream.requests().len(), sent);
    house
        .done(postern_contract::link::News::RunEnded {
            sandbox: sandbox.id.clone(),
            run: "run_1".parse().unwrap(),
        })
        .await;
    house.run(&sandbox, "run_2").await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
}

#[tokio::test]
async fn what_streams_live_is_not_held_back_and_what_is_not_masked_is_left_alone() {
    for (mask, shown) in [("live", stars(KEY)), ("off", KEY.to_owned())] {
        let go = Arc::new(Notify::new());
        let then = Arc::clone(&go);
        let more = format!("answers = {{ mask = \"{mask}\" }}");
        let (upstream, _house, sandbox) = staged(&more, move |_| Answer {
            now: chunked("", &[format!("whole {KEY}.").as_bytes()]),
            then: Some((Arc::clone(&then), b"3\r\nend\r\n0\r\n\r\n".to_vec())),
        })
        .await;
        let request = "GET /tools/crm/a HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nrange: bytes=0-\r\n\r\n";
        let mut stream = dialled(&sandbox, request).await;
        // The upstream says no more until this is here.
        read_until(&mut stream, &format!("whole {shown}.")).await;
        go.notify_one();
        read_until(&mut stream, "end").await;
        assert_eq!(upstream.only().contains("range: "), mask == "off");
    }
}

#[tokio::test]
async fn only_this_calls_credential_is_looked_for_and_none_that_could_be_guessed() {
    let (_upstream, house, sandbox) = stage(|_| Answer::ok(KEY)).await;
    assert_eq!(sandbox.ask("GET /tools/told/a", &[]).await.body, KEY);
    house.replace("key", SECRET);
    let upstream = Upstream::start(|_| Answer::ok(SECRET)).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.body, SECRET);
}

#[tokio::test]
async fn answers_without_a_body_say_of_it_what_they_said() {
    let (_upstream, _house, sandbox) = stage(|request| {
        let status = match request.split(' ').nth(1) {
            Some("/api/head") => "200 OK\r\ncontent-length: 5000\r\ncontent-encoding: gzip",
            Some("/api/none") => "204 No Content",
            _ => "304 Not Modified\r\netag: \"x\"",
        };
        Answer::raw(&format!("HTTP/1.1 {status}\r\nx-echo: {KEY}\r\n\r\n"))
    })
    .await;
    for (line, status, kept) in [
        (
            "HEAD /tools/crm/head",
            200,
            "content-length: 5000\r\ncontent-encoding: gzip",
        ),
        ("GET /tools/crm/none", 204, ""),
        ("GET /tools/crm/same", 304, "etag: \"x\""),
    ] {
        let answer = sandbox.ask(line, &[]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, ""),
            "{line}"
        );
        assert!(answer.head.contains(&stars(KEY)), "{answer:?}");
        for field in kept.split("\r\n") {
            assert!(answer.head.contains(field), "{answer:?}");
        }
    }
}
