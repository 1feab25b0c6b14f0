//! Tools that speak no HTTP, from inside a sandbox: a program connects by name as it would anywhere, and the gate decides
//! by host and port.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use postern_testkit::{Devbox, Setup, wait};
use serde_json::{Value, json};

use crate::fixture::{self, NameServer, order};

/// A server that speaks first, then answers one line in capitals, as SMTP might; how often it was connected to.
fn shouting() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut line = String::new();
            let said = stream
                .write_all(b"220 hello\r\n")
                .and_then(|()| BufReader::new(&stream).read_line(&mut line));
            // A client that goes away ends its own connection and nothing else.
            drop(said.and_then(|_| stream.write_all(line.to_uppercase().as_bytes())));
        }
    });
    (address, count)
}

fn config(lines: SocketAddr, other: SocketAddr) -> String {
    let agent = fixture::config("http://shop.example:1").replace(
        "tools = [\"shop\"]",
        "tools = [\"shop\", \"lines\", \"other\"]",
    );
    let (lines, other) = (lines.port(), other.port());
    format!(
        "{agent}\n[tools.lines]\nurl = \"tcp://lines.example:{lines}\"\nprotocol = \"tcp\"\nprivate = true\n\
         [tools.other]\nurl = \"tcp://other.example:{other}\"\nprotocol = \"tcp\"\nprivate = true\n\
         [[policies.hands.rules]]\nname = \"lines\"\npermission = \"allow\"\n\
         resource = \"tcp://lines.example:{lines}\"\noperations = [\"CONNECT\"]\n"
    )
}

/// Waits for what the server says first, sends a line, and reads to the end.
const TALK: &str = "\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=15) as there:
    first = there.recv(100)
    if first:
        there.sendall(b'shout\\n')
    print(repr(first), repr(there.recv(100)))
";

fn talk(devbox: &Devbox, host: &str, port: u16) -> String {
    let port = port.to_string();
    let said = order(
        devbox,
        &json!({"do": "run", "argv": ["python3", "-c", TALK, host, port]}),
    );
    format!("{}{}", said["out"].as_str().unwrap(), said["err"])
}

/// What an act gives, and the line that the audit has of it: a tunnel's is written when both of its ends are closed, which may be
/// after the program has read all that it wanted.
fn recorded<T>(devbox: &Devbox, act: impl FnOnce() -> T) -> (T, Value) {
    let before = devbox.audit().len();
    let given = act();
    let line = wait::until("the audit has the line", || {
        devbox.audit().into_iter().skip(before).next_back()
    });
    (given, line)
}

fn start(config: &str, ordinary: bool) -> Devbox {
    let setup = Setup::new(config);
    let setup = if ordinary {
        let setup = setup.as_ordinary_user();
        setup.flag("--allow-weaker").flag("separate_uid")
    } else {
        setup
    };
    fixture::files(setup).start()
}

#[test]
fn a_program_that_speaks_no_http_reaches_its_tool_by_name_and_nothing_else() {
    for ordinary in [false, true] {
        let ((lines, seen), (other, unseen)) = (shouting(), shouting());
        let names = NameServer::start();
        let config = [names.config(), config(lines, other)].concat();
        let devbox = start(&config, ordinary);
        let (said, line) = recorded(&devbox, || talk(&devbox, "lines.example", lines.port()));
        assert!(said.starts_with(r"b'220 hello\r\n' b'SHOUT\n'"), "{said}");
        let of = |key: &str| line[key].clone();
        assert_eq!(
            [
                of("door"),
                of("tool"),
                of("decision"),
                of("rule"),
                of("tunnel")
            ],
            [
                "captured",
                "lines",
                "allowed",
                "lines",
                "anything behind this front end"
            ]
            .map(Value::from)
        );
        assert_eq!([of("bytes_up"), of("bytes_down")], [6, 17].map(Value::from));

        // No rule is about that one: closed without a word, and nobody there was asked.
        let (said, line) = recorded(&devbox, || talk(&devbox, "other.example", other.port()));
        assert!(said.starts_with("b'' b''"), "{said}");
        assert_eq!(
            (&line["tool"], &line["reason"]),
            (&json!("other"), &json!("POLICY_DENIED"))
        );
        refused_elsewhere(&devbox, (lines.port(), other.port()));
        assert_eq!(
            (seen.load(Ordering::SeqCst), unseen.load(Ordering::SeqCst)),
            (1, 0)
        );
        let url = order(&devbox, &json!({"do": "environment"}))["TOOL_URL_LINES"].clone();
        assert_eq!(url, format!("tcp://lines.example:{}", lines.port()));
    }
}

/// Another port of the tool's host, its port at addresses that are not its name's, and ports that nobody named.
fn refused_elsewhere(devbox: &Devbox, (lines, other): (u16, u16)) {
    let said = order(
        devbox,
        &json!({"do": "attempt", "host": "lines.example", "port": 22}),
    );
    let said = said.as_str().unwrap();
    assert!(
        said.contains("ConnectionReset") || said.contains("ConnectionRefused"),
        "{said}"
    );
    for (host, port) in [
        ("lines.example", other),
        ("198.19.7.7", lines),
        ("127.0.0.1", lines),
        ("192.0.2.7", lines),
    ] {
        let asked =
            json!({"do": "raw", "text": "\u{0}\u{0}\u{0}\u{8}", "host": host, "port": port});
        let (said, line) = recorded(devbox, || order(devbox, &asked));
        let said = said.as_str().unwrap();
        assert!(!said.contains("220"), "{host}:{port}: {said}");
        assert_eq!(line["decision"], "refused", "{host}:{port}: {line}");
    }
}
