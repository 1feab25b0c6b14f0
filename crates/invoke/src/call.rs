//! From a model's wish to an HTTP request of a tool: arguments into path, query and body. Never lets an argument leave its
//! segment; what cannot be done is said in words that the model can act on.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use postern_llm::ToolCall;
use serde_json::{Map, Value};

use crate::plan::{ToolFunction, ToolRequest};

/// Everything but the characters that are the same in every reader's eyes.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Makes the request of a call; the error is a sentence for the model.
pub(crate) fn request(
    function: &ToolFunction,
    call: &ToolCall,
    turn: u32,
) -> Result<ToolRequest, String> {
    let mut arguments = read_arguments(&call.arguments)?;
    let (mut path, in_path) = fill_path(&function.path, &mut arguments)?;
    let body = if matches!(function.method.as_str(), "POST" | "PUT" | "PATCH") {
        Some(write_body(function, arguments, &in_path))
    } else {
        let query = write_query(&arguments);
        if !query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&query);
        }
        None
    };
    Ok(ToolRequest {
        call_id: call.id.clone(),
        function: function.name.clone(),
        tool: function.tool.clone(),
        method: function.method.clone(),
        path,
        body,
        turn,
        action: None,
    })
}

fn read_arguments(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(Value::Array(_)) => Err("the arguments are a list: send a JSON object".to_owned()),
        Ok(_) => Err("the arguments are no JSON object".to_owned()),
        Err(_) => Err("the arguments are not valid JSON: send a JSON object".to_owned()),
    }
}

/// Fills `{name}` and a final `*`, takes what it used out of the arguments, and says which names the path has.
fn fill_path(
    template: &str,
    arguments: &mut Map<String, Value>,
) -> Result<(String, BTreeSet<String>), String> {
    let (template, has_rest) = template
        .strip_suffix('*')
        .map_or((template, false), |t| (t, true));
    let mut path = String::from(if template.starts_with('/') { "" } else { "/" });
    let mut names = BTreeSet::new();
    let mut left = template;
    while let Some((before, name, after)) = next_name(left) {
        path.push_str(before);
        let value = arguments.get(name).and_then(plain);
        let value = value
            .ok_or_else(|| format!("the argument `{name}` is required, as a text or a number"))?;
        path.push_str(&segment(name, &value)?);
        names.insert(name.to_owned());
        left = after;
    }
    path.push_str(left);
    for name in &names {
        arguments.remove(name);
    }
    if has_rest && let Some(rest) = arguments.remove("path") {
        let rest = plain(&rest).ok_or("the argument `path` must be a text")?;
        let rest = rest.trim_matches('/');
        let segments = rest.split('/').map(|part| segment("path", part));
        path.push_str(&segments.collect::<Result<Vec<_>, _>>()?.join("/"));
        names.insert("path".to_owned());
    }
    Ok((path, names))
}

/// The next `{name}`, with what stands before and after it.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// A value as one path segment. Dots alone would be another segment after all.
fn segment(name: &str, value: &str) -> Result<String, String> {
    if matches!(value, "" | "." | "..") {
        return Err(format!(
            "the argument `{name}` cannot be empty or dots alone"
        ));
    }
    Ok(utf8_percent_encode(value, ENCODED).to_string())
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

fn write_query(arguments: &Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in arguments {
        let name = utf8_percent_encode(name, ENCODED);
        let mut put = |value: &Value| {
            let text = plain(value).unwrap_or_else(|| value.to_string());
            pairs.push(format!("{name}={}", utf8_percent_encode(&text, ENCODED)));
        };
        match value {
            Value::Null => {}
            Value::Array(list) => list.iter().for_each(put),
            one => put(one),
        }
    }
    pairs.join("&")
}

/// The body: the argument `body` alone where the function does not declare it beside others, else all arguments that are left.
fn write_body(
    function: &ToolFunction,
    mut arguments: Map<String, Value>,
    in_path: &BTreeSet<String>,
) -> Vec<u8> {
    let declared = function
        .parameters
        .as_ref()
        .and_then(|schema| schema["properties"].as_object());
    let has_others = declared.is_some_and(|properties| {
        properties
            .keys()
            .any(|name| name != "body" && !in_path.contains(name))
    });
    if !has_others && let Some(body) = arguments.remove("body") {
        return match body {
            Value::String(text) => text.into_bytes(),
            value => value.to_string().into_bytes(),
        };
    }
    Value::Object(arguments).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn function(method: &str, path: &str) -> ToolFunction {
        ToolFunction {
            name: "calc__do".to_owned(),
            tool: "calc".parse().unwrap(),
            method: method.to_owned(),
            path: path.to_owned(),
            description: String::new(),
            parameters: None,
        }
    }

    fn made(method: &str, path: &str, arguments: &Value) -> Result<ToolRequest, String> {
        let call = ToolCall {
            id: "c1".into(),
            name: "calc__do".into(),
            arguments: arguments.to_string(),
        };
        request(&function(method, path), &call, 0)
    }

    fn path(method: &str, template: &str, arguments: &Value) -> String {
        made(method, template, arguments).unwrap().path
    }

    #[test]
    fn get_and_delete_put_arguments_into_path_and_query() {
        assert_eq!(path("GET", "/items/{id}", &json!({ "id": 7 })), "/items/7");
        assert_eq!(
            path("DELETE", "/items/{id}", &json!({ "id": "a/b ?#" })),
            "/items/a%2Fb%20%3F%23"
        );
        let many = json!({ "q": "a&b", "tag": ["x", "y"], "none": null, "deep": { "a": 1 } });
        assert_eq!(
            path("GET", "/s?v=1", &many),
            "/s?v=1&deep=%7B%22a%22%3A1%7D&q=a%26b&tag=x&tag=y"
        );
        assert_eq!(
            path("GET", "/files/*", &json!({ "path": "/a b/c" })),
            "/files/a%20b/c"
        );
        assert_eq!(path("GET", "plain", &json!({})), "/plain");
        assert_eq!(made("GET", "/", &json!({ "a": 1 })).unwrap().body, None);
    }

    #[test]
    fn post_has_a_body() {
        let body =
            |path: &str, arguments: Value| made("POST", path, &arguments).unwrap().body.unwrap();
        assert_eq!(body("/add", json!({ "a": 1 })), br#"{"a":1}"#);
        assert_eq!(
            body("/items/{id}", json!({ "id": 7, "n": 2 })),
            br#"{"n":2}"#
        );
        assert_eq!(body("/raw", json!({ "body": { "x": 1 } })), br#"{"x":1}"#);
        assert_eq!(body("/raw", json!({ "body": "as it is" })), b"as it is");
        let mut letter = function("POST", "/letters");
        letter.parameters = Some(json!({ "properties": { "to": {}, "body": {} } }));
        let call = ToolCall {
            arguments: r#"{"body":"hi","to":"ann"}"#.into(),
            ..ToolCall {
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            }
        };
        assert_eq!(
            request(&letter, &call, 0).unwrap().body.unwrap(),
            br#"{"body":"hi","to":"ann"}"#
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        for bad in [
            json!({}),
            json!({ "id": null }),
            json!({ "id": [1] }),
            json!({ "id": "" }),
            json!({ "id": ".." }),
            json!([1]),
            json!(7),
        ] {
            assert!(made("GET", "/items/{id}", &bad).is_err(), "{bad}");
        }
        assert!(made("GET", "/files/*", &json!({ "path": "a/../b" })).is_err());
        let call = ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: "{oops".into(),
        };
        assert!(
            request(&function("POST", "/"), &call, 0)
                .unwrap_err()
                .contains("not valid JSON")
        );
    }

    proptest! {
        #[test]
        fn an_argument_never_leaves_its_segment(id in ".{1,40}") {
            if let Ok(request) = made("GET", "/items/{id}/end", &json!({ "id": id })) {
                prop_assert_eq!(request.path.matches('/').count(), 3);
                prop_assert!(request.path.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(!request.path.contains('?') && !request.path.contains("/../"));
            }
        }
    }
}
