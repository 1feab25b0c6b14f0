//! JSON as rules see it: what a rule takes a body to say is what an ordinary JSON parser reads in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, held};

fuzz_target!(|body: &[u8]| {
    let call = Call::of_json(body);
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(body);
    for name in ["a", "amount", "method"] {
        let is_yes = held(&format!("when = \"body.{name} == 'yes'\""), &call);
        let over = held(&format!("when = \"body.{name} > 10\""), &call);
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
    let called = held(
        "mcp = { methods = [\"tools/call\"], tools = [\"search\"] }",
        &call,
    );
    if called == Some(true) {
        let parsed = parsed.expect("a message that was judged is JSON");
        assert_eq!(parsed["method"], "tools/call");
        assert_eq!(parsed["params"]["name"], "search");
    }
});
