//! What is told while an install takes its time: a store sends half of an object, and the rest when the test has looked.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::Child,
    sync::mpsc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_testkit::{Archive, Curl, Folder, Setup, wait};
use serde_json::{Value, json};

use super::{AGENT, setup};

/// The store's URL, how long its object is, and what has it send the second half.
fn store() -> (String, usize, mpsc::Sender<()>) {
    let padding = "so that it comes in several pieces\n".repeat(20_000);
    let archive = Archive::new().file("agent.py", AGENT).file("word", "one\n");
    // Packed it would be too little for anybody to pass on before the rest.
    let object = archive.file("padding", &padding).tar();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go, on) = mpsc::channel();
    let length = object.len();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
        head.find(String::is_empty).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let (first, second) = object.split_at(length / 2);
        stream
            .write_all(&[head.as_bytes(), first].concat())
            .unwrap();
        on.recv().unwrap();
        drop(stream.write_all(second));
    });
    (url, length, go)
}

/// A devbox that is not waited for, with its API at a socket beneath its folder.
fn started(url: &str) -> (Child, Folder) {
    let agent = format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ object = {{ url = \"{url}/desk.tar.gz\" }} }}"
    );
    let setup: Setup = setup(&agent, url);
    let config = setup.folder().join("postern.toml");
    let written = fs::read_to_string(&config).unwrap();
    let at = "[listen]\napi_socket = \"state/runtime/api.sock\"\n";
    fs::write(&config, written.replace("[listen]\n", at)).unwrap();
    setup.start_unready()
}

fn at(folder: &Path, curl: Curl) -> Curl {
    let socket = folder.join("state/runtime/api.sock");
    curl.flag("--unix-socket").flag(socket.to_str().unwrap())
}

#[test]
fn a_devbox_that_still_installs_answers_probes_and_says_how_far_it_is() {
    let (url, length, go) = store();
    let (mut child, folder) = started(&url);
    let get = |path: &str| at(folder.path(), Curl::get(format!("http://postern{path}")));
    let half = wait::until("about half of it was read", || {
        let ready = get("/readyz").send();
        let installing =
            (ready.status == 503).then(|| ready.json()["installing"]["desk"].clone())?;
        // The gate keeps a little back while it looks for the credential.
        (installing["bytes"].as_u64()? > length as u64 / 4).then_some(installing)
    });
    assert_eq!(half["stage"], "unpack", "{half}");
    assert_eq!(half["of_bytes"], json!(length), "{half}");
    assert!(
        (25..=50).contains(&half["percent"].as_u64().unwrap()),
        "{half}"
    );
    let parts = get("/readyz").send().json()["parts"].clone();
    assert_eq!(parts["agents"]["desk"]["status"], "installing", "{parts}");
    // What the API's own description promises is there from the beginning.
    assert!(
        parts["gate"].is_object() && parts["stores"].is_object(),
        "{parts}"
    );
    let alive = get("/healthz").send();
    assert_eq!(
        (alive.status, alive.json()["agent"].clone()),
        (200, json!("desk"))
    );
    assert_eq!(get("/startupz").send().status, 503);
    let body = json!({ "message": "hi" }).to_string();
    let invoke = at(folder.path(), Curl::post("http://postern/invoke", body));
    let refused = invoke.clone().send();
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (503, json!("AGENT_NOT_READY"))
    );
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let said = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(said.starts_with("desk is installed (at unpack, "), "{said}");
    go.send(()).unwrap();
    wait::until("the devbox is ready", || {
        (get("/readyz").send().status == 200).then_some(())
    });
    assert_eq!(get("/readyz").send().json().get("installing"), None);
    let answered: Value = invoke.send().json();
    assert_eq!(answered["response"], "one", "{answered}");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let _status = wait::until("postern up has ended", || child.try_wait().ok().flatten());
}
