//! `when` over bodies: any expression and any body end in yes, no or cannot tell, the same each time, and never in a
//! condition that allows without also denying.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, held, quoted};

/// What bodies are asked where the input brings no expression of its own.
const ASKED: [&str; 4] = [
    "body.amount > 10000",
    "has(body.items) && body.items.exists(item, item.price > 5.0)",
    "body.name.startsWith('a') || size(body.list) == 2",
    "body.a == body.b",
];

fuzz_target!(|input: (&str, &[u8])| {
    let (text, body) = input;
    let call = Call::of_json(body);
    for asked in ASKED.into_iter().chain([text]) {
        let keys = format!("when = {}", quoted(asked));
        assert_eq!(held(&keys, &call), held(&keys, &call), "{asked}");
    }
    // An expression and its contrary are never both true.
    let contrary = format!("when = {}", quoted(&format!("!({text})")));
    let both = (
        held(&format!("when = {}", quoted(text)), &call),
        held(&contrary, &call),
    );
    assert_ne!(both, (Some(true), Some(true)), "{text}");
});
