//! The audit's evidence on a gate that serves: files that follow one another, heads where the config says, and refusals
//! that fill no disk.

use std::{fs, path::Path};

use postern_proxy::audit::{Head, HeadKey, KEY_FILE, LOG_FILE, NOTHING_BEFORE, line_hash, pieces};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    house::{House, config, soon},
    upstream::{Answer, Upstream},
};

/// Every line of a directory's log, over all of its files.
fn lines(directory: &Path) -> Vec<String> {
    let older = pieces(directory).unwrap().into_iter();
    let files = older.map(|piece| piece.path);
    let files = files.chain([directory.join(LOG_FILE)]);
    let texts = files.map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[tokio::test]
async fn the_chain_goes_on_over_files_and_heads_go_where_the_config_says() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let audit = "[audit]\nrotate = \"2KiB\"\nheads = \"elsewhere.heads\"\n";
    let house = House::start(&format!("{}\n{audit}", config(upstream.address))).await;
    let sandbox = house.busy_sandbox().await;
    for _ in 0..20 {
        assert_eq!(sandbox.ask("GET /tools/crm/", &[]).await.status, 200);
    }
    let directory = house.stop().await;
    let folder = directory.path();
    assert!(pieces(folder).unwrap().len() > 3);
    let lines = lines(folder);
    let mut before = NOTHING_BEFORE.to_owned();
    for line in &lines {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["before"], before.as_str(), "{line}");
        before = line_hash(line.as_bytes());
    }
    let calls = lines
        .iter()
        .filter(|line| line.contains("\"kind\":\"call\""));
    assert_eq!(calls.count(), 20);
    // The last head, sent as the gate left, names the last line.
    let heads = fs::read_to_string(folder.join("elsewhere.heads")).unwrap();
    let last: Head = serde_json::from_str(heads.lines().last().unwrap()).unwrap();
    assert!(HeadKey::read(&folder.join(KEY_FILE)).unwrap().made(&last));
    assert_eq!((last.seq, last.hash), (lines.len() as u64, before));
}

#[tokio::test]
async fn a_sandbox_that_is_refused_without_end_writes_little_and_is_counted() {
    const CALLS: u64 = 2_000;
    let house = House::start(&config("127.0.0.1:9".parse().unwrap())).await;
    let sandbox = house.busy_sandbox().await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let request = b"DELETE /tools/crm/ HTTP/1.1\r\nhost: gate\r\n\r\n";
    for _ in 0..CALLS {
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            assert_ne!(soon(stream.read_buf(&mut bytes)).await.unwrap(), 0);
        }
        assert!(bytes.starts_with(b"HTTP/1.1 403 "));
    }
    drop(stream);
    let directory = house.stop().await;
    let lines = lines(directory.path());
    let values: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let written = values.iter().filter(|line| line["kind"] == "call").count() as u64;
    let counted: u64 = values
        .iter()
        .filter(|line| line["kind"] == "repeated")
        .map(|line| line["times"].as_u64().unwrap())
        .sum();
    assert_eq!(written + counted, CALLS, "none is dropped");
    assert!(written < CALLS / 10, "{written}");
}
