//! HTTP/2 frames that no client sends, written by hand.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{House, Sandbox, config, soon},
    upstream::{Answer, Upstream},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// `:status: 200` as HPACK's table has it (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How many frames a flood has at most; the gate has closed long before.
const FLOOD: u32 = 100_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as a literal without any table.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

fn head(sandbox: &Sandbox, method: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", &sandbox.address.to_string()),
    ]
    .concat()
}

async fn stage() -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

/// Sends the preface and then frames, until the gate closes; how many it took, and all that it said.
async fn flooded(sandbox: &Sandbox, mut next: impl FnMut(u32) -> Vec<u8>) -> (u32, Vec<u8>) {
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut said = Vec::new();
        drop(reads.read_to_end(&mut said).await);
        said
    });
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    writes.write_all(&preface).await.unwrap();
    let mut count = 0;
    while count < FLOOD && writes.write_all(&next(count)).await.is_ok() {
        count += 1;
    }
    drop(writes);
    (count, soon(reading).await.unwrap())
}

/// The kinds and payloads of the frames that the gate said.
fn frames(said: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut rest, mut found) = (said, Vec::new());
    while let [a, b, c, kind, _, _, _, _, _, behind @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, next) = behind.split_at(length.min(behind.len()));
        found.push((*kind, payload));
        rest = next;
    }
    found
}

/// Whether the gate said GOAWAY.
fn goes_away(said: &[u8]) -> bool {
    frames(said).iter().any(|(kind, _)| *kind == GOAWAY)
}

/// Whether the gate refused: it reset the stream, went away, or answered with another status than 200.
fn says_no(said: &[u8]) -> bool {
    let frames = frames(said);
    let is_200 = |payload: &[u8]| payload.first() == Some(&STATUS_200);
    let answers = frames.iter().filter(|(kind, _)| *kind == HEADERS);
    let mut answers = answers.map(|(_, payload)| is_200(payload)).peekable();
    let refused = answers.peek().is_some()
        || frames
            .iter()
            .any(|(kind, _)| [RST_STREAM, GOAWAY].contains(kind));
    refused && !answers.any(|is_200| is_200)
}

async fn still_serves(sandbox: &Sandbox) {
    let answer = sandbox.ask("GET /tools/crm/after", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_do_not_go_on_for_ever() {
    let (_upstream, house, sandbox) = stage().await;
    let head = head(&sandbox, "GET", "/tools/crm/a");
    let (count, said) = flooded(&sandbox, |count| {
        let stream = count * 2 + 1;
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [request, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    })
    .await;
    assert!(count < FLOOD, "{count}");
    assert!(goes_away(&said) || said.is_empty());
    // Whatever was begun stays within the sandbox's share and is in the audit, and others are served.
    still_serves(&sandbox).await;
    still_serves(&house.busy_sandbox().await).await;
}

#[tokio::test]
async fn a_head_that_is_continued_for_ever_is_cut_off() {
    let (upstream, _house, sandbox) = stage().await;
    let head = head(&sandbox, "GET", "/tools/crm/a");
    let filler: Vec<u8> = (0..80)
        .flat_map(|_| field("x-filler", &"x".repeat(100)))
        .collect();
    let (count, said) = flooded(&sandbox, |count| match count {
        0 => frame(HEADERS, END_STREAM, 1, &head),
        _ => frame(CONTINUATION, 0, 1, &filler),
    })
    .await;
    assert!(count < FLOOD / 10, "{count}");
    assert!(goes_away(&said) || said.is_empty());
    assert_eq!(upstream.connections(), 0);
    still_serves(&sandbox).await;
}

#[tokio::test]
async fn empty_continuations_are_cut_off() {
    let (upstream, _house, sandbox) = stage().await;
    let head = head(&sandbox, "GET", "/tools/crm/a");
    let (count, _) = flooded(&sandbox, |count| match count {
        0 => frame(HEADERS, END_STREAM, 1, &head),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
    assert!(count < FLOOD, "{count}");
    assert_eq!(upstream.connections(), 0);
    still_serves(&sandbox).await;
}

#[tokio::test]
async fn empty_data_is_no_end_of_a_body_and_in_nobodys_way() {
    let (upstream, house, sandbox) = stage().await;
    let head = head(&sandbox, "POST", "/tools/crm/a");
    let (_, said) = flooded(&sandbox, |count| match count {
        0 => frame(HEADERS, END_HEADERS, 1, &head),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
    // The body never ended, so neither did the request.
    assert!(
        !frames(&said)
            .iter()
            .any(|(kind, payload)| *kind == HEADERS && payload[0] == STATUS_200)
    );
    assert!(upstream.connections() <= 1);
    still_serves(&sandbox).await;
    still_serves(&house.busy_sandbox().await).await;
}

#[tokio::test]
async fn a_head_list_that_is_too_large_is_refused() {
    let (upstream, _house, sandbox) = stage().await;
    let mut fields = head(&sandbox, "GET", "/tools/crm/a");
    // One entry of the table, named over and over: small on the wire, large in memory.
    fields.extend([0x40]);
    fields.extend(&field("x-bomb", &"x".repeat(100))[1..]);
    fields.extend([0xbe; 4000]);
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    writes.write_all(&preface).await.unwrap();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
    writes.write_all(&request).await.unwrap();
    writes.shutdown().await.unwrap();
    let mut said = Vec::new();
    drop(soon(reads.read_to_end(&mut said)).await);
    assert!(says_no(&said), "{said:?}");
    assert_eq!(upstream.connections(), 0);
    still_serves(&sandbox).await;
}

#[tokio::test]
async fn frames_that_contradict_the_length_never_make_a_second_request() {
    let (upstream, _house, sandbox) = stage().await;
    let mut fields = head(&sandbox, "POST", "/tools/crm/a");
    fields.extend(field("content-length", "4"));
    let smuggled = b"GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let all = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS, 1, &fields),
        &frame(DATA, END_STREAM, 1, smuggled),
        &frame(PING, 0, 0, &[0; 8]),
    ]
    .concat();
    writes.write_all(&all).await.unwrap();
    writes.shutdown().await.unwrap();
    let mut said = Vec::new();
    drop(soon(reads.read_to_end(&mut said)).await);
    for request in upstream.requests() {
        assert!(!request.contains("smuggled"), "{request}");
    }
    still_serves(&sandbox).await;
}

/// What the gate says, to its end, to one HTTP/2 request with these fields.
async fn asked_with(sandbox: &Sandbox, fields: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let all = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, fields),
    ]
    .concat();
    writes.write_all(&all).await.unwrap();
    writes.shutdown().await.unwrap();
    let mut said = Vec::new();
    drop(soon(reads.read_to_end(&mut said)).await);
    said
}

#[tokio::test]
async fn fields_that_only_http1_has_are_refused_in_http2() {
    let (upstream, _house, sandbox) = stage().await;
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("X-Upper", "1"),
        ("x-a\r\nx-b", "1"),
    ] {
        let mut fields = head(&sandbox, "GET", "/tools/crm/a");
        fields.extend(field(name, value));
        let said = asked_with(&sandbox, &fields).await;
        assert!(says_no(&said), "{name}: {said:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_http2_authority_and_another_host_field_are_not_one_destination() {
    let (upstream, _house, sandbox) = stage().await;
    let authority = upstream.address.to_string();
    for host in ["127.0.0.1:9", "evil.invalid", "user@127.0.0.1"] {
        let fields = [
            field(":method", "GET"),
            field(":scheme", "http"),
            field(":path", "/api/a"),
            field(":authority", &authority),
            field("host", host),
        ]
        .concat();
        let said = asked_with(&sandbox, &fields).await;
        assert!(says_no(&said), "{host}: {said:?}");
        assert_eq!(upstream.connections(), 0, "{host}");
    }
}
