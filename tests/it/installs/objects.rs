//! Objects by URL.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use postern_testkit::{Answer, Archive, Setup, Upstream};
use sha2::{Digest as _, Sha256};

use super::{AGENT, KEY, answer, setup, shelf::for_the_key, trees};

fn archive(word: &str) -> Vec<u8> {
    let padding = "so that it comes in several pieces\n".repeat(20_000);
    let archive = Archive::new().file("agent.py", AGENT).file("word", word);
    archive.file("padding", &padding).tar_gz()
}

/// A store that gives one object to the key's holder, and says each time that it is in this state.
fn store(object: Vec<u8>) -> Upstream {
    Upstream::start(move |request| {
        for_the_key(request, |_| Answer {
            status: 200,
            headers: vec![("etag".to_owned(), "\"one\"".to_owned())],
            body: object.clone(),
            hold: None,
        })
    })
}

fn desk(url: &str, more: &str) -> Setup {
    let agent = format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ object = {{ url = \"{url}/desk.tar.gz?key=in-the-query\"{more} }} }}"
    );
    setup(&agent, url)
}

#[test]
fn an_object_is_downloaded_with_a_credential_that_no_sandbox_has_and_never_again() {
    let object = archive("one\n");
    let sha256 = hex::encode(Sha256::digest(&object));
    let store = store(object);
    let devbox = desk(&store.url(), "").start();
    assert_eq!(answer(&devbox), "one");
    let said = devbox.stderr();
    assert!(said.contains(&format!("sha256:{sha256}")), "{said}");
    assert!(!said.contains("in-the-query"), "{said}");
    let audit = devbox.audit();
    assert!(
        audit.iter().any(|line| line["stage"] == "fetch"),
        "{audit:?}"
    );
    let sent = store.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(sent[0].target, "/desk.tar.gz?key=in-the-query");
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "one");
    assert_eq!(store.requests().len(), 1, "it was asked again");
    let _ended = devbox.stop();
}

/// A store that closes the first connection in the middle of the object; its URL, and how often it was asked.
fn store_that_breaks_off(object: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            if head.find(String::is_empty).is_none() {
                continue;
            }
            let most = match count.fetch_add(1, Ordering::SeqCst) {
                0 => object.len() / 2,
                _ => object.len(),
            };
            let length = object.len();
            let fields = "etag: \"one\"\r\nconnection: close";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{fields}\r\n\r\n");
            let answer = [head.as_bytes(), &object[..most]].concat();
            drop(stream.write_all(&answer));
        }
    });
    (url, asked)
}

#[test]
fn what_breaks_off_is_gone_on_with_and_is_whole() {
    let object = archive("one\n");
    let sha256 = hex::encode(Sha256::digest(&object));
    let (url, asked) = store_that_breaks_off(object);
    let devbox = desk(&url, &format!(", sha256 = \"{sha256}\"")).start();
    assert_eq!(answer(&devbox), "one");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let _ended = devbox.stop();
}

#[test]
fn another_object_than_the_pinned_one_is_refused_and_nothing_of_it_stays() {
    let store = store(archive("one\n"));
    let pinned = hex::encode(Sha256::digest("another"));
    let ended = desk(&store.url(), &format!(", sha256 = \"{pinned}\""))
        .try_start()
        .err()
        .unwrap();
    let told = format!("the config pins {pinned}");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert_eq!(trees(&ended), 0);
}

#[test]
fn what_nobody_allows_and_what_is_not_there_are_told() {
    let elsewhere = store(archive("one\n"));
    let there = format!(
        "{}/desk.tar.gz",
        elsewhere.url().replace("127.0.0.1", "localhost")
    );
    let store = Upstream::start(move |_| {
        let mut moved = Answer::json(&serde_json::json!({})).with_status(302);
        moved.headers.push(("location".to_owned(), there.clone()));
        moved
    });
    let ended = desk(&store.url(), "").try_start().err().unwrap();
    assert!(
        ended
            .stderr
            .contains("the gate knows no rule for that place"),
        "{}",
        ended.stderr
    );
    assert_eq!(elsewhere.requests().len(), 0);
    let none = Upstream::start(|_| Answer::json(&serde_json::json!({})).with_status(404));
    let ended = desk(&none.url(), "").try_start().err().unwrap();
    assert!(
        ended.stderr.contains("there is no such object"),
        "{}",
        ended.stderr
    );
}

/// What Python's zipfile makes of an agent among enough files that the unpacker takes more than one thread.
fn zipped(word: &str) -> Vec<u8> {
    let script = "import sys, io, os, zipfile\n\
        out = io.BytesIO()\n\
        with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:\n    \
            z.writestr('agent.py', sys.argv[1]); z.writestr('word', sys.argv[2])\n    \
            z.writestr('noise', os.urandom(3 << 20))\n    \
            [z.writestr(f'many/{n % 7}/{n}', 'x' * n) for n in range(600)]\n\
        sys.stdout.buffer.write(out.getvalue())";
    let made = std::process::Command::new("python3")
        .args(["-c", script, AGENT, word])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

#[test]
fn an_object_is_what_its_content_says_wherever_it_is_from() {
    let single = "def handler(request):\n    return 'alone'\n";
    let single = || single.as_bytes().to_vec();
    for (name, object, word) in [
        ("agent.tar.gz", zipped("zipped"), "zipped"),
        ("agent.py", single(), "alone"),
    ] {
        // From afar under any name; a single file under its own.
        let store = store(object.clone());
        let url = store.url();
        let agent = |source: &str| {
            format!(
                "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ object = {{ {source} }} }}"
            )
        };
        let from_afar = setup(&agent(&format!("url = \"{url}/{name}?v=1\"")), &url).start();
        assert_eq!(answer(&from_afar), word);
        let _ended = from_afar.stop();
        let here = setup(&agent(&format!("path = \"here/{name}\"")), &url);
        let here = here.file(&format!("here/{name}"), object).start();
        assert_eq!(answer(&here), word);
        let _ended = here.stop();
    }
}
