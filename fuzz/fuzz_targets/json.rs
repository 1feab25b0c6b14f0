//! JSON as rules see it: what a rule takes a body to say is what an ordinary JSON parser reads in it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, Conditions};

const MEMBERS: [&str; 3] = ["a", "amount", "method"];

/// What bodies are asked, compiled once: two questions about each member, and then one about a message of MCP.
static ASKED: LazyLock<Conditions> = LazyLock::new(|| {
    let mut keys = Vec::new();
    for name in MEMBERS {
        keys.push(format!("when = \"body.{name} == 'yes'\""));
        keys.push(format!("when = \"body.{name} > 10\""));
    }
    keys.push("mcp = { methods = [\"tools/call\"], tools = [\"search\"] }".to_owned());
    Conditions::new(&keys).expect("conditions")
});

fuzz_target!(|body: &[u8]| {
    let held = ASKED.held(&Call::of_json(body));
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(body);
    for (name, said) in MEMBERS.into_iter().zip(held.chunks(2)) {
        let (is_yes, over) = (said[0], said[1]);
        if is_yes.is_none() && over.is_none() {
            continue;
        }
        let parsed = parsed.as_ref().expect("a body that was judged is JSON");
        let value = &parsed[name];
        if let Some(is_yes) = is_yes {
            assert_eq!(is_yes, value == "yes", "{name}");
        }
        if over == Some(true) {
            assert!(
                value.as_f64().is_some_and(|number| number > 10.0),
                "{name} is {value}"
            );
        }
        if over == Some(false) {
            assert!(
                value.as_f64().is_some_and(|number| number <= 10.0),
                "{name} is {value}"
            );
        }
    }
    if held.last() == Some(&Some(true)) {
        let parsed = parsed.expect("a message that was judged is JSON");
        assert_eq!(parsed["method"], "tools/call");
        assert_eq!(parsed["params"]["name"], "search");
    }
});
