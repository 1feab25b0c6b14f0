//! A rule on the body, and a body that it cannot judge. Each is refused by every kind of rule. Never about
//! bodies that can be judged.

use postern_policy::{BODY_BYTES_MAX, BodyShown, Evidence, Rulebook};

use crate::fixture::{compile, judge_with, url, word};

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

fn book(permission: &str, condition: &str) -> Rulebook {
    let allow = if permission == "allow" {
        String::new()
    } else {
        "[[policies.p.rules]]\nname = \"rest\"\npermission = \"allow\"\nresource = \"https://a.example/*\"\n".to_owned()
    };
    compile(&format!(
        "[agents.desk]\npolicies = [\"p\"]\n[[policies.p.rules]]\nname = \"it\"\npermission = \"{permission}\"\n\
         resource = \"https://a.example/*\"\n{condition}\n{allow}"
    ))
    .expect("it compiles")
}

/// No rule on the body lets the call pass, whatever the rule says.
fn is_refused(condition: &str, (method, target): (&str, &str), evidence: &Evidence<'_>) {
    let called = url(&format!("https://a.example{target}"));
    for permission in ["allow", "approval_required", "deny"] {
        let said = word(&judge_with(
            &book(permission, condition),
            method,
            &called,
            evidence,
        ));
        let refused = ["POLICY_DENIED it", "UNKNOWN_DESTINATION default"];
        assert!(
            refused.contains(&said.as_str()),
            "{permission} {condition} {target}: {said}"
        );
    }
}

const CONDITIONS: [&str; 4] = [
    "when = \"!has(body.admin)\"",
    "when = \"size(body) >= 0\"",
    "graphql = { operations = [\"query\"] }",
    "mcp = { methods = [\"tools/list\"] }",
];

/// A body that would pass if it could be judged.
const GOOD: [&str; 4] = [
    "{}",
    "{}",
    "{\"query\":\"{a}\"}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"tools/list\"}",
];

fn with_field<'a>(fields: &[(&'static str, &'static [u8])], body: &'a str) -> Evidence<'a> {
    let evidence = Evidence::none().with_headers(fields.iter().copied());
    evidence.with_body(BodyShown::Whole(body.as_bytes()))
}

#[test]
fn what_can_be_judged_passes() {
    for (condition, body) in CONDITIONS.into_iter().zip(GOOD) {
        let called = url("https://a.example/");
        let said = judge_with(
            &book("allow", condition),
            "POST",
            &called,
            &with_field(&[JSON], body),
        );
        assert_eq!(word(&said), "allow it", "{condition}");
    }
}

#[test]
fn a_body_over_the_cap() {
    let long = format!("{}{}", GOOD[2], " ".repeat(BODY_BYTES_MAX));
    for condition in CONDITIONS {
        is_refused(condition, ("POST", "/"), &with_field(&[JSON], &long));
        let told = Evidence::none()
            .with_headers([JSON])
            .with_body(BodyShown::TooLong);
        is_refused(condition, ("POST", "/"), &told);
    }
}

#[test]
fn a_body_that_is_missing_or_was_not_looked_at() {
    for condition in CONDITIONS {
        for body in [BodyShown::Absent, BodyShown::Hidden, BodyShown::Whole(b"")] {
            is_refused(
                condition,
                ("POST", "/"),
                &Evidence::none().with_headers([JSON]).with_body(body),
            );
        }
    }
}

#[test]
fn a_compressed_body() {
    for (condition, body) in CONDITIONS.into_iter().zip(GOOD) {
        for coding in ["gzip", "br", "identity, gzip", "x"] {
            let fields = [JSON, ("content-encoding", coding.as_bytes())];
            is_refused(condition, ("POST", "/"), &with_field(&fields, body));
        }
        let twice = [
            JSON,
            ("content-encoding", &b"identity"[..]),
            ("Content_Encoding", b"gzip"),
        ];
        is_refused(condition, ("POST", "/"), &with_field(&twice, body));
    }
}

#[test]
fn another_charset_or_another_type() {
    for (condition, body) in CONDITIONS.into_iter().zip(GOOD) {
        for kind in [
            "application/json; charset=utf-7",
            "text/plain",
            "application/graphql",
            "multipart/form-data; boundary=x",
        ] {
            is_refused(
                condition,
                ("POST", "/"),
                &with_field(&[("content-type", kind.as_bytes())], body),
            );
        }
    }
    for condition in CONDITIONS {
        let utf_16: Vec<u8> = GOOD[2].encode_utf16().flat_map(u16::to_le_bytes).collect();
        let evidence = Evidence::none()
            .with_headers([JSON])
            .with_body(BodyShown::Whole(&utf_16));
        is_refused(condition, ("POST", "/"), &evidence);
    }
}

#[test]
fn duplicate_keys_in_any_case() {
    for body in [
        r#"{"query":"{a}","query":"mutation{b}","jsonrpc":"2.0","method":"tools/list"}"#,
        r#"{"query":"{a}","Query":"mutation{b}"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/list","METHOD":"tools/call"}"#,
        r#"{"x":[{"y":1,"\u0079":2}]}"#,
    ] {
        for condition in CONDITIONS {
            is_refused(condition, ("POST", "/"), &with_field(&[JSON], body));
        }
    }
}

#[test]
fn a_batch() {
    let rpc = r#"[{"jsonrpc":"2.0","method":"tools/list"},{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}]"#;
    is_refused(CONDITIONS[3], ("POST", "/"), &with_field(&[JSON], rpc));
    let graphql = r#"[{"query":"{a}"},{"query":"mutation{b}"}]"#;
    is_refused(CONDITIONS[2], ("POST", "/"), &with_field(&[JSON], graphql));
}

#[test]
fn graphql_that_asks_for_nothing_certain() {
    for body in [
        r#"{"query":"query A{a} mutation B{b}","operationName":"A"}"#,
        r#"{"query":"query A{a}","operationName":"B"}"#,
        r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}}"#,
        r#"{"query":"{a}","extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}}"#,
        r#"{"id":"00"}"#,
        r#"{"query":"{a}","documentId":"00"}"#,
        r#"{"query":"{a","variables":{}}"#,
        r#"{"query":"{...F}"}"#,
        r#"{"query":null}"#,
        r#"{"query":["{a}"]}"#,
    ] {
        is_refused(CONDITIONS[2], ("POST", "/"), &with_field(&[JSON], body));
    }
}

#[test]
fn graphql_aliases_and_fragments_hide_nothing() {
    let queries = "graphql = { operations = [\"query\"] }";
    let harmless = "graphql = { operations = [\"mutation\"], fields = [\"like\"] }";
    let called = url("https://a.example/");
    for body in [
        r#"{"query":"mutation{like:wipe}"}"#,
        r#"{"query":"mutation{...F} fragment F on Mutation{like:wipe}"}"#,
        r#"{"query":"mutation{...on Mutation{...@include(if:true){wipe}}}"}"#,
        r##"{"query":"mutation # {like}\n{wipe}"}"##,
    ] {
        for condition in [queries, harmless] {
            let said = judge_with(
                &book("allow", condition),
                "POST",
                &called,
                &with_field(&[JSON], body),
            );
            assert_eq!(
                word(&said),
                "UNKNOWN_DESTINATION default",
                "{condition} {body}"
            );
        }
        let denied = "graphql = { operations = [\"mutation\"], fields = [\"wipe\"] }";
        let said = judge_with(
            &book("deny", denied),
            "POST",
            &called,
            &with_field(&[JSON], body),
        );
        assert_eq!(word(&said), "POLICY_DENIED it", "{body}");
    }
    let both = r#"{"query":"mutation{like ...F} fragment F on Mutation{wipe}"}"#;
    is_refused(harmless, ("POST", "/"), &with_field(&[JSON], both));
}

#[test]
fn graphql_in_two_places() {
    let body = r#"{"query":"{a}"}"#;
    for target in [
        "/?query=mutation%7Bb%7D",
        "/?Query=x",
        "/?operationName=B",
        "/?extensions=%7B%7D",
        "/?a;query=x",
    ] {
        is_refused(CONDITIONS[2], ("POST", target), &with_field(&[JSON], body));
    }
    let by_get = "/?query=%7Ba%7D";
    is_refused(
        CONDITIONS[2],
        ("GET", by_get),
        &with_field(&[JSON], r#"{"query":"mutation{b}"}"#),
    );
    let absent = Evidence::none().with_body(BodyShown::Absent);
    for target in [
        "/?extensions=%7B%22persistedQuery%22%3A1%7D",
        "/?query=%7Ba%7D&query=mutation%7Bb%7D",
        "/?query=mutation%7Bb%7D%20%7Ba%7D",
    ] {
        is_refused(CONDITIONS[2], ("GET", target), &absent);
    }
    is_refused(CONDITIONS[2], ("PUT", "/"), &with_field(&[JSON], body));
}

#[test]
fn lists_and_numbers_beyond_measure() {
    let list = format!("{{\"x\":[{}0]}}", "0,".repeat(10_000));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for body in [
        list.as_str(),
        deep.as_str(),
        r#"{"x":1e999}"#,
        r#"{"x":99999999999999999999}"#,
    ] {
        is_refused(CONDITIONS[0], ("POST", "/"), &with_field(&[JSON], body));
    }
}
