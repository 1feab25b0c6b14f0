//! Which expressions compile and what they answer. Never reaches beyond `expression.rs`.

use postern_contract::AgentName;

use super::*;
use crate::{
    CanonicalUrl, Facts, Method,
    body::Opaque,
    evidence::{BodyShown, Evidence},
};

fn refused(text: &str) -> BadExpression {
    match Language::new().compile(text) {
        Ok(_) => panic!("{text} compiles"),
        Err(why) => why,
    }
}

fn judged_with(text: &str, url: &str, evidence: &Evidence<'_>) -> Match {
    let (agent, method): (AgentName, Method) = ("desk".parse().unwrap(), "POST".parse().unwrap());
    let url = CanonicalUrl::parse(url).unwrap();
    let facts = Facts {
        stage: None,
        agent: &agent,
        method: &method,
        url: &url,
        tool: None,
    };
    let expression = Language::new().compile(text).unwrap();
    expression.judge(&Call::new(&facts, evidence, None))
}

fn evidence(body: &str) -> Evidence<'_> {
    let fields = [
        ("content-type", &b"application/json"[..]),
        ("X-Env", b"prod"),
    ];
    let evidence = Evidence::none().with_headers(fields).with_run("run-1");
    evidence.with_body(BodyShown::Whole(body.as_bytes()))
}

fn judged(text: &str, body: &str) -> Match {
    judged_with(
        text,
        "https://a.example/v1/%40me?x=1&y=a%20b",
        &evidence(body),
    )
}

#[test]
fn an_expression_sees_the_whole_call() {
    for text in [
        "true",
        "method == 'POST' && host == 'a.example' && agent == \"desk\" && run == 'run-1'",
        "path == '/v1/@me' && path.startsWith('/v1/')",
        "query.x == '1' && query['y'] == 'a b' && !('z' in query)",
        "headers['x-env'] == 'prod'",
        "body.amount > 10000 && body.amount == 10001.0 && body.amount < 18446744073709551615u",
        "body.items.exists(i, i.price > 1) && size(body.items) == 2 && body.items[1].price == 2.5",
        "has(body.amount) && !has(body.nothing)",
        "body.items.filter(i, i.price > 1.0).all(i, i.price < 3)",
        "'b' in body.tags ? body.none == null : false",
    ] {
        let body =
            r#"{"amount":10001,"items":[{"price":1},{"price":2.5}],"tags":["a","b"],"none":null}"#;
        assert_eq!(judged(text, body), Match::Yes, "{text}");
    }
    assert_eq!(
        judged("body.amount > 10000", r#"{"amount":10000}"#),
        Match::No
    );
    assert_eq!(
        judged("body.amount > 10000", r#"{"amount":-9223372036854775808}"#),
        Match::No
    );
}

#[test]
fn an_error_is_no_answer() {
    for (text, body) in [
        ("body.amount > 10000", "{}"),
        ("body.amount > 10000", r#"{"amount":"10001"}"#),
        ("body.amount > 10000", r#"{"amount":null}"#),
        ("body.amount > 10000", r#"[{"amount":1}]"#),
        ("!(body.amount > 10000)", "{}"),
        ("body.amount", r#"{"amount":1}"#),
        ("body.items[7] == 1", r#"{"items":[]}"#),
        ("1 / body.amount == 1", r#"{"amount":0}"#),
        ("body.amount + 1 > 0", r#"{"amount":9223372036854775807}"#),
        ("-body.amount > 0", r#"{"amount":-9223372036854775808}"#),
        ("body.amount % 0 == 0", r#"{"amount":1}"#),
        ("int(body.amount) == 1", r#"{"amount":"x"}"#),
    ] {
        assert_eq!(
            judged(text, body),
            Match::CannotTell(Why::Expression),
            "{text} {body}"
        );
    }
}

#[test]
fn inputs_that_are_not_there_are_no_answer() {
    let url = "https://a.example/";
    for (text, why) in [
        ("body.x == 1", Why::Body(Opaque::Hidden)),
        ("true || has(body.x)", Why::Body(Opaque::Hidden)),
        ("headers['x'] == ''", Why::Header(Unclear::Hidden)),
        ("run == 'a'", Why::NoRun),
        ("user == 'a'", Why::NoUser),
    ] {
        assert_eq!(
            judged_with(text, url, &Evidence::none()),
            Match::CannotTell(why),
            "{text}"
        );
    }
    let twice = "https://a.example/?x=1&x=2";
    let judged = judged_with("query.x == '1'", twice, &Evidence::none());
    assert_eq!(judged, Match::CannotTell(Why::Query(Unclear::Twice)));
    let fields = [("x-a", &b"1"[..]), ("x_a", b"2")];
    let judged = judged_with(
        "headers['x-a'] == '1'",
        url,
        &Evidence::none().with_headers(fields),
    );
    assert_eq!(judged, Match::CannotTell(Why::Header(Unclear::Twice)));
}

#[test]
fn loops_have_an_end() {
    let list = |items: usize| format!("{{\"list\":[{}0]}}", "0,".repeat(items - 1));
    let exists = "body.list.exists(x, x == 1)";
    assert_eq!(judged(exists, &list(LOOP_ITEMS_MAX)), Match::No);
    assert_eq!(
        judged(exists, &list(LOOP_ITEMS_MAX + 1)),
        Match::CannotTell(Why::TooMuch)
    );
    assert_eq!(judged("1 in body.list", &list(10_000)), Match::No);
    assert_eq!(
        judged("1 in body.list", &list(10_001)),
        Match::CannotTell(Why::Body(Opaque::Unreadable))
    );
    let long = format!(
        "{{\"text\":\"{}\",\"list\":[{}0]}}",
        "a".repeat(900_000),
        "0,".repeat(99)
    );
    let scan = "body.list.exists(x, body.text.contains('b'))";
    assert_eq!(judged(scan, &long), Match::CannotTell(Why::TooMuch));
    assert_eq!(judged("body.text.contains('b')", &long), Match::No);
}

#[test]
fn what_is_no_expression_of_a_rule() {
    use BadExpression::{Function, LoopInLoop, NotBool, Shadow, TooLarge, TooLong, Unknown};
    for (text, why) in [
        ("", TooLong),
        (" ", TooLong),
        (&"a".repeat(5000), TooLong),
        ("amount > 1", Unknown("amount".into())),
        ("request.body", Unknown("request".into())),
        ("'yes'", NotBool),
        ("path.matches('a*')", Function("matches".into())),
        ("nothing(path)", Function("nothing".into())),
        ("type(path) == string", Function("type".into())),
        ("body.a.exists(x, x.b.exists(y, y == 1))", LoopInLoop),
        ("body.a.exists(agent, agent == 'x')", Shadow("agent".into())),
        (&vec!["path == ''"; 300].join("||"), TooLarge),
    ] {
        assert_eq!(refused(text), why, "{text}");
    }
    for text in [
        "path ==",
        "(",
        "a b",
        "path == 'x",
        "body.?x == 1",
        "\0",
        &"(".repeat(4000),
        &"!".repeat(4000),
        &"[".repeat(4000),
    ] {
        assert!(matches!(refused(text), BadExpression::Syntax(_)), "{text}");
    }
    for text in [
        "Body{x: 1}",
        &format!("body{}", ".a".repeat(1000)),
        &format!("size('' {}) == 1", "+ ''".repeat(200)),
    ] {
        assert!(Language::new().compile(text).is_err(), "{text}");
    }
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<crate::Rulebook>();
}
