//! A PostgreSQL tool, with the real server and the real client inside a sandbox: the gate logs in, so the agent needs no
//! password and sees none.

use postern_testkit::{Devbox, Setup, wait};
use serde_json::{Value, json};

use crate::fixture::{self, Database, KEY, NameServer, order};

fn config(port: u16) -> String {
    let tools = ["db", "clear", "stranger", "closed"];
    let list = tools.map(|tool| format!("\"{tool}\"")).join(", ");
    let agent = fixture::config("http://shop.example:1")
        .replace("tools = [\"shop\"]", &format!("tools = [\"shop\", {list}]"));
    let tools = tools.map(|tool| {
        let more = match tool {
            "clear" => ", plaintext = true, database = \"postgres\" }",
            _ => " }",
        };
        let ca = if tool == "stranger" { "" } else { "ca = \"db-ca.pem\"\n" };
        let rule = format!(
            "[[policies.hands.rules]]\nname = \"{tool}\"\npermission = \"allow\"\n\
             resource = \"tcp://{tool}.example:{port}\"\n"
        );
        format!(
            "[tools.{tool}]\nurl = \"tcp://{tool}.example:{port}\"\nprotocol = \"postgres\"\nprivate = true\n{ca}\
             credential = {{ kind = \"postgres\", user = \"keeper\", secret = \"shop\"{more}\n{}",
            if tool == "closed" { "" } else { &rule }
        )
    });
    format!("{agent}\n{}", tools.concat())
}

/// A database, and a devbox whose agent may use it.
struct Scene {
    database: Database,
    devbox: Devbox,
    _names: NameServer,
}

impl Scene {
    fn start() -> Option<Self> {
        let (database, names) = (Database::start()?, NameServer::start());
        let config = [names.config(), config(database.port())].concat();
        let setup = Setup::new(&config).file("db-ca.pem", &database.authority);
        Some(Self {
            devbox: fixture::files(setup).start(),
            database,
            _names: names,
        })
    }

    /// What the client says to a statement, as whoever its user likes.
    fn asks(&self, tool: &str, database: &str, statement: &str) -> Value {
        self.runs(&[], tool, database, statement)
    }

    fn runs(&self, before: &[&str], tool: &str, database: &str, statement: &str) -> Value {
        let client = self.database.client();
        let port = self.database.port();
        let url = format!("postgres://anybody@{tool}.example:{port}/{database}");
        let argv = before.iter().copied();
        let argv = argv.chain([client.as_str(), "-XAtc", statement, &url]);
        let argv: Vec<&str> = argv.collect();
        order(&self.devbox, &json!({"do": "run", "argv": argv}))
    }

    /// What was written down of the last connection, once it is over.
    fn line(&self) -> Value {
        wait::until("the connection's line", || {
            self.devbox
                .audit()
                .pop()
                .filter(|line| line.get("door").is_some())
        })
    }
}

#[test]
fn the_gate_logs_in_so_that_a_program_needs_no_password() {
    let Some(scene) = Scene::start() else { return };
    let who = "select current_user, current_database()";
    for (tool, database) in [
        ("db", "postgres"),
        ("db", "template1"),
        ("clear", "nowhere"),
    ] {
        let said = scene.asks(tool, database, who);
        let there = if tool == "clear" {
            "postgres"
        } else {
            database
        };
        assert_eq!(said["out"], format!("keeper|{there}\n"), "{said}");
        let line = scene.line();
        assert_eq!(
            (&line["door"], &line["tool"], &line["credential"]),
            (&json!("captured"), &json!(tool), &json!("shop"))
        );
    }
    let many = scene.asks(
        "db",
        "postgres",
        "select count(*), sum(n) from generate_series(1, 200000) n",
    );
    assert_eq!(many["out"], "200000|20000100000\n", "{many}");
    let log = serde_json::to_string(&scene.devbox.audit()).unwrap();
    assert!(!log.contains(KEY) && !scene.devbox.stderr().contains(KEY));
    // Somebody who wants something else to be ended says so on a connection of its own.
    let ended = scene.runs(
        &["timeout", "-s", "INT", "1"],
        "db",
        "postgres",
        "select pg_sleep(15)",
    );
    let said = ended["err"].as_str().unwrap();
    assert!(
        said.contains("canceling statement due to user request"),
        "{ended}"
    );
}

#[test]
fn a_database_that_is_not_the_tools_own_or_that_no_rule_allows_is_no_way_in() {
    let Some(scene) = Scene::start() else { return };
    for (tool, told, reason) in [
        ("closed", "POLICY_DENIED", "POLICY_DENIED"),
        // Nobody that the gate believes vouches for it.
        ("stranger", "UPSTREAM_UNREACHABLE", "UPSTREAM_UNREACHABLE"),
    ] {
        let said = scene.asks(tool, "postgres", "select 1");
        assert_eq!(said["code"], 2, "{said}");
        assert!(said["err"].as_str().unwrap().contains(told), "{said}");
        assert!(!said["err"].as_str().unwrap().contains(KEY));
        let line = scene.line();
        assert_eq!(
            (&line["tool"], &line["reason"]),
            (&json!(tool), &json!(reason))
        );
    }
    // What comes after the login is the database's own word.
    let said = scene.asks("db", "nowhere", "select 1");
    let told = said["err"].as_str().unwrap();
    assert!(told.contains("\"nowhere\" does not exist"), "{said}");
    // Neither replication nor a CONNECT is a way round the login.
    let port = scene.database.port();
    let text = format!("CONNECT db.example:{port} HTTP/1.1\r\nHost: db.example:{port}\r\n\r\n");
    let said = order(&scene.devbox, &json!({"do": "raw", "text": text}));
    assert!(said.as_str().unwrap().starts_with("HTTP/1.1 400"), "{said}");
    let said = scene.asks("db", "postgres?replication=database", "IDENTIFY_SYSTEM");
    assert!(
        said["err"].as_str().unwrap().contains("is no session"),
        "{said}"
    );
}
