//! GraphQL: a document that is allowed as a query asks for nothing but the fields that were named, whatever surrounds them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, Conditions};

/// What documents are asked, compiled once: a query, a mutation, a query of one field.
static ASKED: LazyLock<Conditions> = LazyLock::new(|| {
    let keys = [
        "graphql = { operations = [\"query\"] }",
        "graphql = { operations = [\"mutation\"] }",
        "graphql = { operations = [\"query\"], fields = [\"viewer\"] }",
    ];
    Conditions::new(&keys.map(str::to_owned)).expect("conditions")
});

/// What is said of a document.
fn held(text: &str) -> Vec<Option<bool>> {
    let body = serde_json::json!({ "query": text }).to_string();
    ASKED.held(&Call::of_json(body.as_bytes()))
}

fuzz_target!(|text: &str| {
    let plain = held(text);
    let (query, mutation, viewer) = (plain[0], plain[1], plain[2]);
    assert!(
        !(query == Some(true) && mutation == Some(true)),
        "a query and a mutation at once"
    );
    assert!(
        viewer != Some(true) || query == Some(true),
        "a field of a query that is none"
    );
    if viewer == Some(true) {
        assert!(text.contains("viewer"), "a field that nobody wrote");
    }
    // A comment and a comma mean nothing. A byte order mark is one at the beginning alone; anywhere else we understand
    // nothing any more.
    if !text.starts_with('\u{feff}') {
        assert_eq!(held(&format!("#{{mutation}}\n,{text}\n#}}")), plain);
    }
    // An operation of another kind beside it is never called a query.
    let beside = held(&format!("{text}\nmutation Other {{ drop }}"));
    assert_ne!(beside[0], Some(true));
});
