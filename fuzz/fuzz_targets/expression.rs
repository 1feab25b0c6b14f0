//! `when` over bodies: any expression and any body end in yes, no or cannot tell, the same each time, and never in a
//! condition that allows without also denying.
#![no_main]

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, Conditions, quoted};

/// What every body is asked, whatever expression comes with it.
const ASKED: [&str; 4] = [
    "body.amount > 10000",
    "has(body.items) && body.items.exists(item, item.price > 5.0)",
    "body.name.startsWith('a') || size(body.list) == 2",
    "body.a == body.b",
];

/// How many expressions of inputs are kept compiled: one is tried with many bodies, and reading it costs the most.
const KEPT_MAX: usize = 1024;

static CONDITIONS: LazyLock<Conditions> =
    LazyLock::new(|| conditions(&ASKED).expect("expressions"));

thread_local! {
    static KEPT: RefCell<HashMap<String, Option<Rc<Conditions>>>> = RefCell::default();
}

fuzz_target!(|input: (&str, &[u8])| {
    let (text, body) = input;
    let call = Call::of_json(body);
    let _ = CONDITIONS.held(&call);
    let Some(asked) = asked(text) else {
        return;
    };
    let held = asked.held(&call);
    assert_eq!(asked.held(&call), held, "{text}");
    // An expression and its contrary are never both true.
    assert_ne!(held, [Some(true), Some(true)], "{text}");
});

/// An expression and its contrary, where both are expressions; by itself where its contrary is too long or too deep.
fn asked(text: &str) -> Option<Rc<Conditions>> {
    KEPT.with_borrow_mut(|kept| {
        if let Some(known) = kept.get(text) {
            return known.clone();
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let contrary = format!("!({text})");
        let asked =
            conditions(&[text]).map(|alone| conditions(&[text, &contrary]).unwrap_or(alone));
        let asked = asked.map(Rc::new);
        kept.insert(text.to_owned(), asked.clone());
        asked
    })
}

fn conditions(texts: &[&str]) -> Option<Conditions> {
    let keys = texts.iter().map(|text| format!("when = {}", quoted(text)));
    Conditions::new(&keys.collect::<Vec<_>>())
}
