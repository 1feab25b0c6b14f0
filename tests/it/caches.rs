//! A Redis tool, with the real server and the real client inside a sandbox: the gate logs in, so the agent needs no password, sees
//! none, and cannot have the server tell it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    thread,
};

use postern_testkit::{Devbox, Setup, wait};
use serde_json::{Value, json};

use crate::fixture::{self, Cache, KEY, NameServer, order};

/// Tools at the server: host, whether TLS is spoken, as whom, and whether a rule allows it.
const TOOLS: [(&str, bool, &str, bool); 4] = [
    ("db", true, "keeper", true),
    ("clear", false, "keeper", true),
    ("boss", false, "boss", true),
    ("closed", true, "keeper", false),
];

fn config(cache: &Cache) -> String {
    let list = TOOLS.map(|(host, ..)| format!("\"{host}\"")).join(", ");
    let agent = fixture::config("http://shop.example:1")
        .replace("tools = [\"shop\"]", &format!("tools = [\"shop\", {list}]"));
    let tools = TOOLS.map(|(host, is_secured, user, is_allowed)| {
        let (port, ca, more) = match is_secured {
            true => (cache.secured, "ca = \"db-ca.pem\"\n", ""),
            false => (cache.clear, "", ", plaintext = true"),
        };
        let url = format!("tcp://{host}.example:{port}");
        let on_rotation = if is_secured { "finish" } else { "cut" };
        let rule = format!(
            "[[policies.hands.rules]]\nname = \"{host}\"\npermission = \"allow\"\nresource = \"{url}\"\n"
        );
        format!(
            "[tools.{host}]\nurl = \"{url}\"\nprotocol = \"redis\"\nprivate = true\n{ca}on_rotation = \"{on_rotation}\"\n\
             credential = {{ kind = \"redis\", user = \"{user}\", secret = \"shop\"{more} }}\n{}",
            if is_allowed { &rule } else { "" }
        )
    });
    format!("{agent}\n{}", tools.concat())
}

/// A server, and a devbox whose agent may use it.
struct Scene {
    cache: Cache,
    devbox: Devbox,
    _names: NameServer,
}

impl Scene {
    fn start() -> Option<Self> {
        let (cache, names) = (Cache::start()?, NameServer::start());
        let config = [names.config(), config(&cache)].concat();
        let setup = Setup::new(&config).file("db-ca.pem", &cache.authority);
        Some(Self {
            devbox: fixture::files(setup).start(),
            cache,
            _names: names,
        })
    }

    /// What the client says to a command.
    fn asks(&self, host: &str, port: u16, words: &[&str]) -> String {
        let (name, port) = (format!("{host}.example"), port.to_string());
        let argv = ["redis-cli", "-h", &name, "-p", &port];
        let argv: Vec<_> = argv.iter().chain(words).collect();
        let said = order(&self.devbox, &json!({"do": "run", "argv": argv}));
        let part = |key: &str| said[key].as_str().unwrap().to_owned();
        format!("{}{}", part("out"), part("err")).trim().to_owned()
    }

    /// What the server says to its operator, who needs no gate.
    fn operator(&self, command: &str) -> String {
        let mut server = TcpStream::connect(("127.0.0.1", self.cache.clear)).unwrap();
        write!(server, "AUTH boss {KEY}\r\n{command}\r\nQUIT\r\n").unwrap();
        let mut said = String::new();
        server.read_to_string(&mut said).unwrap();
        said
    }

    /// Gives the secret another value, or none.
    fn rotate(&self, value: Option<&str>) {
        let folder = self.devbox.folder().join("secrets");
        let (key, fresh) = (folder.join("shop.key"), folder.join("fresh"));
        let Some(value) = value else {
            return fs::remove_file(key).unwrap();
        };
        self.devbox.had_secret(value);
        let owner = fs::metadata(&key).unwrap();
        fs::write(&fresh, value).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&fresh, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::rename(fresh, key).unwrap();
    }

    /// What was written down of a tool's last connection, once that is over.
    fn line(&self, tool: &str) -> Value {
        wait::until("the connection's line", || {
            let lines = self.devbox.audit();
            let mut lines = lines.into_iter().rev();
            lines.find(|line| line["tool"] == tool && line.get("door").is_some())
        })
    }
}

#[test]
fn the_gate_logs_in_so_that_a_program_needs_no_password_and_learns_none() {
    let Some(scene) = Scene::start() else { return };
    let (secured, clear) = (scene.cache.secured, scene.cache.clear);
    assert_eq!(scene.asks("db", secured, &["SET", "word", "hello"]), "OK");
    assert_eq!(scene.asks("clear", clear, &["GET", "word"]), "hello");
    assert_eq!(scene.asks("db", secured, &["ACL", "WHOAMI"]), "keeper");
    let line = scene.line("db");
    assert_eq!(
        (&line["door"], &line["credential"], &line["decision"]),
        (&json!("captured"), &json!("shop"), &json!("allowed"))
    );
    for words in [
        &["CONFIG", "GET", "requirepass"][..],
        &["ACL", "LIST"],
        &["ACL", "GETUSER", "keeper"],
        &["CONFIG", "SET", "requirepass", "mine"],
    ] {
        let said = scene.asks("db", secured, words);
        assert!(said.contains("NOPERM"), "{words:?}: {said}");
    }
    let log = serde_json::to_string(&scene.devbox.audit()).unwrap();
    assert!(!log.contains(KEY) && !scene.devbox.stderr().contains(KEY));
    let url = order(&scene.devbox, &json!({"do": "environment"}))["TOOL_URL_DB"].clone();
    assert_eq!(url, format!("redis://db.example:{secured}"));
}

#[test]
fn a_user_who_could_ask_for_passwords_is_not_handed_over_and_what_no_rule_allows_is_told() {
    let Some(scene) = Scene::start() else { return };
    let said = scene.asks("boss", scene.cache.clear, &["CONFIG", "GET", "requirepass"]);
    assert!(
        said.contains("UPSTREAM_UNREACHABLE") && said.contains("-@admin"),
        "{said}"
    );
    assert!(!said.contains(KEY), "{said}");
    assert_eq!(scene.line("boss")["reason"], "UPSTREAM_UNREACHABLE");
    let port = scene.cache.secured;
    let said = scene.asks("closed", port, &["GET", "word"]);
    assert!(said.contains("POLICY_DENIED"), "{said}");
    assert_eq!(scene.line("closed")["reason"], "POLICY_DENIED");
    // A CONNECT is no way round the login.
    let text = format!("CONNECT db.example:{port} HTTP/1.1\r\nHost: db.example:{port}\r\n\r\n");
    let said = order(&scene.devbox, &json!({"do": "raw", "text": text}));
    assert!(said.as_str().unwrap().starts_with("HTTP/1.1 400"), "{said}");
}

#[test]
fn a_session_outlives_the_password_that_it_began_with_where_its_tool_says_so() {
    let Some(scene) = Scene::start() else { return };
    let (secured, clear) = (scene.cache.secured, scene.cache.clear);
    let both = format!(
        "redis-cli -h db.example -p {secured} BLPOP one 0 >/tmp/db 2>&1 &\n\
         redis-cli -h clear.example -p {clear} BLPOP one 0 2>&1 | sed 's/^/clear: /'\n\
         wait; sed 's/^/db: /' /tmp/db"
    );
    let wait_for = |count| {
        wait::until("they wait for a word", || {
            let clients = scene.operator("CLIENT LIST");
            (clients.matches("cmd=blpop").count() == count).then_some(())
        });
    };
    let argv = json!({"do": "run", "argv": ["sh", "-c", both]});
    thread::scope(|scope| {
        let said = scope.spawn(|| order(&scene.devbox, &argv).to_string());
        wait_for(2);
        scene.rotate(Some("another-password-of-32-characters"));
        // The one that is cut says that the new value is in force.
        assert!(scene.line("clear")["cut"].is_string());
        wait_for(1);
        scene.operator("RPUSH one hello");
        let said = said.join().unwrap();
        assert!(said.contains("db: hello"), "{said}");
        assert!(!said.contains("clear: hello"), "{said}");
    });
    scene.rotate(Some(KEY));
    wait::until("the first value counts again", || {
        let said = scene.asks("db", secured, &["SET", "word", "hello"]);
        (said == "OK").then_some(())
    });
    thread::scope(|scope| {
        let removed = scope.spawn(|| scene.asks("db", secured, &["BLPOP", "two", "0"]));
        wait_for(1);
        scene.rotate(None);
        let said = removed.join().unwrap();
        assert!(!said.contains("hello"), "{said}");
        assert!(scene.line("db")["cut"].is_string());
    });
}
