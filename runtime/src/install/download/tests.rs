//! Downloads against answers that are written byte for byte.

use std::path::Path;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::mpsc,
};

use super::*;
use crate::{config::Places, source::Source};

const TAG: &str = "etag: \"one\"\r\n";

fn object(directory: &Path) -> Remote {
    let written = json!({ "object": { "url": "https://objects.example/a.tar?key=secret" } });
    let written = serde_json::from_value(written).unwrap();
    match Source::mean(&written, &Places::new(directory, &[]).unwrap()).ok() {
        Some(Source::Remote(remote)) => remote,
        other => panic!("{other:?}"),
    }
}

fn answer(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// What a download brings and how it ends, where each of its requests has one of these answers; and the requests.
async fn downloaded(answers: &[String]) -> (String, Result<Option<Digest>, Failed>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (egress, listener) = Egress::bind(directory.path(), "a.fetch.sock").unwrap();
    let listener = UnixListener::from_std(listener.into()).unwrap();
    let (heard, mut requests) = mpsc::unbounded_channel();
    let answers = answers.to_vec();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            heard.send(String::from_utf8(request).unwrap()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut came = Vec::new();
    let download = Download::of(&egress, &object(directory.path()), &mut came);
    let ended = download.whole().await;
    let mut asked = Vec::new();
    while let Ok(request) = requests.try_recv() {
        asked.push(request);
    }
    (String::from_utf8(came).unwrap(), ended, asked)
}

fn digest(text: &str) -> Digest {
    Digest::of(Sha256::digest(text).into())
}

#[tokio::test(start_paused = true)]
async fn what_breaks_off_goes_on_where_it_was() {
    let rest = format!("{TAG}content-range: bytes 4-9/10\r\n");
    let answers = [
        answer("200 OK", TAG, 10, "0123"),
        answer("503 Service Unavailable", "", 0, ""),
        answer("206 Partial Content", &rest, 6, "456789"),
    ];
    let (came, ended, asked) = downloaded(&answers).await;
    assert_eq!(came, "0123456789");
    assert_eq!(ended, Ok(Some(digest("0123456789"))));
    assert!(asked[0].starts_with("GET https://objects.example/a.tar?key=secret HTTP/1.1\r\n"));
    assert!(!asked[0].contains("range"), "{}", asked[0]);
    assert!(asked[2].contains("range: bytes=4-\r\n"), "{}", asked[2]);
    assert!(asked[2].contains("if-range: \"one\"\r\n"), "{}", asked[2]);
}

#[tokio::test(start_paused = true)]
async fn who_answers_with_all_of_it_again_is_read_from_there_on() {
    let answers = [
        answer("200 OK", TAG, 10, "0123"),
        answer("200 OK", TAG, 10, "01"),
        answer("200 OK", TAG, 10, "0123456789"),
    ];
    let (came, ended, _) = downloaded(&answers).await;
    assert_eq!(
        (came.as_str(), ended),
        ("0123456789", Ok(Some(digest("0123456789"))))
    );
}

#[tokio::test(start_paused = true)]
async fn two_states_of_an_object_are_never_put_together() {
    let other = "etag: \"two\"\r\n";
    let rest = |tag: &str| format!("{tag}content-range: bytes 4-9/10\r\n");
    for second in [
        answer("200 OK", other, 10, "abcdefghij"),
        answer("206 Partial Content", &rest(other), 6, "efghij"),
        answer("206 Partial Content", &rest(""), 6, "efghij"),
        answer("200 OK", "", 10, "abcdefghij"),
    ] {
        let first = answer("200 OK", TAG, 10, "0123");
        let (came, ended, _) = downloaded(&[first, second]).await;
        assert_eq!(came, "0123");
        assert!(
            ended.clone().unwrap_err().how.contains("another one"),
            "{ended:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_not_asked_for_again() {
    let said = "{\"code\":\"POLICY_DENIED\"}\u{1b}[2J";
    let (came, ended, asked) = downloaded(&[answer("403 Forbidden", "", said.len(), said)]).await;
    let failed = ended.unwrap_err();
    assert_eq!((came.as_str(), asked.len()), ("", 1));
    assert_eq!(failed.how, "403 Forbidden");
    assert_eq!(failed.last, ["{\"code\":\"POLICY_DENIED\"}\\u{1b}[2J"]);
    assert!(failed.hint.unwrap().contains("a rule denies that"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_ever() {
    let answers = vec![answer("503 Service Unavailable", "", 0, ""); 9];
    let (_, ended, asked) = downloaded(&answers).await;
    assert!(ended.unwrap_err().how.starts_with("503"));
    assert_eq!(asked.len(), usize::try_from(TRIES_MAX).unwrap());
    let there = answer("302 Found", "location: /b.tar\r\n", 0, "");
    let (_, ended, asked) = downloaded(&vec![there; 9]).await;
    assert!(ended.unwrap_err().how.contains("elsewhere"));
    assert_eq!(asked.len(), REDIRECTS_MAX + 1);
}

#[tokio::test(start_paused = true)]
async fn another_place_is_asked_for_it_and_never_on_an_open_way() {
    let there = answer("307 x", "location: https://b.example/z\r\n", 0, "");
    let (came, ended, asked) = downloaded(&[there, answer("200 OK", TAG, 1, "z")]).await;
    assert_eq!((came.as_str(), ended), ("z", Ok(Some(digest("z")))));
    assert!(asked[1].starts_with("GET https://b.example/z HTTP/1.1\r\nhost: b.example\r\n"));
    let open = answer(
        "307 x",
        "location: http://b.example/z?key=secret\r\n",
        0,
        "",
    );
    let (_, ended, _) = downloaded(&[open]).await;
    let how = ended.unwrap_err().how;
    assert!(
        how.contains("no place to go on to") && !how.contains("secret"),
        "{how}"
    );
}

#[tokio::test]
async fn a_key_in_the_query_is_shown_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let object = object(directory.path());
    assert_eq!(object.shown(), "https://objects.example/a.tar");
    let source = Source::Remote(object);
    assert!(!source.described().to_string().contains("secret"));
}
