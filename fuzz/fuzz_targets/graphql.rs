//! GraphQL: a document that is allowed as a query asks for nothing but the fields that were named, whatever surrounds them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, held};

const QUERY: &str = "graphql = { operations = [\"query\"] }";
const MUTATION: &str = "graphql = { operations = [\"mutation\"] }";
const VIEWER: &str = "graphql = { operations = [\"query\"], fields = [\"viewer\"] }";

fuzz_target!(|text: &str| {
    let body = |text: &str| serde_json::json!({ "query": text }).to_string();
    let plain = body(text);
    let call = Call::of_json(plain.as_bytes());
    let (query, mutation, viewer) = (
        held(QUERY, &call),
        held(MUTATION, &call),
        held(VIEWER, &call),
    );
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
    // A comment and a comma mean nothing.
    let commented = body(&format!("#{{mutation}}\n,{text}\n#}}"));
    let again = Call::of_json(commented.as_bytes());
    assert_eq!(held(QUERY, &again), query);
    assert_eq!(held(MUTATION, &again), mutation);
    // An operation of another kind beside it is never called a query.
    let beside = body(&format!("{text}\nmutation Other {{ drop }}"));
    assert_ne!(held(QUERY, &Call::of_json(beside.as_bytes())), Some(true));
});
