//! A config that changes under a running devbox: a word to `postern up` or the file alone puts it in force, and a broken one
//! leaves the last good one there, which `/readyz` says.

use std::fs;

use nix::sys::signal::Signal;
use postern_testkit::{Curl, Devbox, Upstream, wait};
use serde_json::{Value, json};

use crate::fixture::{self, NameServer, call_tool, order};

/// The config with its first rule denying what it allowed.
fn denying(tool: &Upstream) -> String {
    let config = fixture::config(&tool.url());
    config.replacen("permission = \"allow\"", "permission = \"deny\"", 1)
}

/// What `/readyz` says of the gate, as soon as it is so; nobody is unready meanwhile.
fn until(devbox: &Devbox, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || {
        let ready = Curl::get(devbox.api("/readyz")).send();
        assert_eq!(ready.status, 200, "{ready:?}");
        let gate = ready.json()["parts"]["gate"].clone();
        is_so(&gate).then_some(gate)
    })
}

#[test]
fn sighup_to_the_supervisor_puts_a_changed_policy_in_force() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
    fs::write(devbox.config(), denying(&tool)).unwrap();
    devbox.signal(Signal::SIGHUP);
    let gate = until(&devbox, "the new policy is in force", |gate| {
        gate["policy_generation"].as_u64() > Some(1)
    });
    assert_eq!(gate["config"]["status"], "in force", "{gate}");
    let (status, body) = call_tool(&devbox, "GET", "/items/1");
    assert_eq!((status, &body["rule"]), (403, &"read and add".into()));
    assert_eq!(tool.requests().len(), 1);
}

#[test]
fn a_broken_config_under_a_devbox_leaves_the_last_good_one_in_force_and_readyz_says_so() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let broken = denying(&tool).replacen("private = true", "privat = true", 1);
    fs::write(devbox.config(), broken).unwrap();
    devbox.signal(Signal::SIGHUP);
    let gate = until(&devbox, "the broken config is told of", |gate| {
        gate["config"]["status"] == "last good in force"
    });
    assert_eq!(gate["policy_generation"], 1, "{gate}");
    let why = gate["config"]["why"][0].as_str().unwrap_or_default();
    assert!(why.contains("privat"), "{gate}");
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);

    // The file alone is enough for what is good.
    fs::write(devbox.config(), denying(&tool)).unwrap();
    until(&devbox, "the mended config is in force", |gate| {
        gate["policy_generation"] == 2 && gate["config"]["status"] == "in force"
    });
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 403);
}

#[test]
fn a_port_that_a_new_config_names_is_captured_in_a_sandbox_that_stands() {
    let (tool, names) = (fixture::tool(), NameServer::start());
    let port = tool.address().port();
    let config = |at: &str| [names.config(), fixture::config(&format!("http://{at}"))].concat();
    let devbox = fixture::files(postern_testkit::Setup::new(&config("shop.example"))).start();
    let attempt = json!({"do": "attempt", "host": "shop.example", "port": port});
    let said = order(&devbox, &attempt).as_str().unwrap().to_owned();
    if said.contains("ConnectionRefused") {
        return eprintln!("skipped: attempts at other ports leave no record here");
    }
    assert!(said.contains("ConnectionReset"), "{said}");

    fs::write(devbox.config(), config(&format!("shop.example:{port}"))).unwrap();
    devbox.signal(Signal::SIGHUP);
    until(&devbox, "the new port is in force", |gate| {
        gate["policy_generation"] == 2
    });
    let url = format!("http://shop.example:{port}/base/items/7");
    let fetched = order(&devbox, &json!({"do": "fetch", "url": url}));
    assert_eq!(fetched["status"], 200, "{fetched}");
    assert_eq!(tool.requests().len(), 1);
}
