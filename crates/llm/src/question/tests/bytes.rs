//! What of a question is read at all, and which bytes of it change on the way.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::question::*;

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    for body in [
        r#"{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"a","\u006dodel":"b","messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"a","Model":"b","messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"a","ſtore":true,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":[{"type":"text","Type":"image_url"}]}]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":{"type":"image_url"}}]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":["x"]}]}"#,
        r#"{"model":"a","messages":{"0":{}}}"#,
        r#"{"model":"a","messages":[]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x"}],"tools":{"type":"web_search"}}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x"}],"tools":["web_search"]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x"}],"tools":[{"type":["web_search"]}]}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x"}],"store":"true"}"#,
        r#"{"model":"a","messages":[{"role":"user","content":"x"}],"stream":1}"#,
        r#"{"model":["a"],"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#,
        r#"[]"#,
        "",
    ] {
        for api in [Api::Chat, Api::Messages] {
            assert!(
                Question::read(api, body.as_bytes()).is_err(),
                "{api:?} {body}"
            );
        }
    }
}

#[test]
fn only_the_models_name_changes() {
    let body = "{ \"messages\" : [ {\"role\":\"user\",\"content\":\"model\"} ],\r\n \"mo\\u0064el\" :\t\"fa\\u0073t\" , \"temperature\":1.0e0 }";
    let question = Question::read(Api::Chat, body.as_bytes()).unwrap();
    assert_eq!(question.model(), "fast");
    let sent = question.addressed_to("gpt-\"4\"", &[]);
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        body.replace("\"fa\\u0073t\"", "\"gpt-\\\"4\\\"\"")
    );
}

#[test]
fn an_answer_is_not_kept_unless_it_may_be() {
    for (body, sent) in [
        (
            r#" {"model":"m","input":"x"}"#,
            r#" {"store":false,"model":"up","input":"x"}"#,
        ),
        (
            r#"{"store":null,"model":"m","input":"x"}"#,
            r#"{"store":false,"model":"up","input":"x"}"#,
        ),
        (
            r#"{"model":"m","input":"x","store":false}"#,
            r#"{"model":"up","input":"x","store":false}"#,
        ),
    ] {
        let question = Question::read(Api::Responses, body.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(question.addressed_to("up", &[])).unwrap(),
            sent
        );
        let kept = body.replace("\"m\"", "\"up\"");
        let allowed = question.addressed_to("up", &[Act::StoredState]);
        assert_eq!(String::from_utf8(allowed).unwrap(), kept);
    }
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let question = Question::read(Api::Chat, chat.as_bytes()).unwrap();
    assert_eq!(question.addressed_to("m", &[]), chat.as_bytes());
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
        for api in Api::ALL {
            let _ = Question::read(api, &bytes);
            let _ = Question::read(api, text.as_bytes());
        }
    }

    #[test]
    fn what_is_sent_says_the_same(content in "(?s).{0,50}", name in "[a-z]{1,9}", first: bool) {
        let content = Value::from(content).to_string();
        let messages = format!("\"messages\":[{{\"role\":\"user\",\"content\":{content}}}]");
        let body = if first { format!("{{\"model\":\"m\",{messages}}}") } else { format!("{{{messages},\"model\":\"m\"}}") };
        let sent = Question::read(Api::Chat, body.as_bytes()).unwrap().addressed_to(&name, &[]);
        let mut wanted: Value = serde_json::from_str(&body).unwrap();
        wanted["model"] = json!(name);
        prop_assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), wanted);
    }
}
