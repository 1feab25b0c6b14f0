//! Refusals in the words that the clients of a route understand, with the fields of our own beside them. Never says more
//! than the refusal does.

use postern_contract::{Code, Refusal};
use postern_llm::Family;
use serde_json::{Value, json};

/// The body of a refusal.
pub(crate) fn told(refusal: &Refusal, family: Family) -> Value {
    let words = format!("{}: {}", refusal.error, refusal.message);
    let mut body = match family {
        Family::OpenAi => json!({ "error": {
            "message": words, "type": openai_type(refusal.code), "param": null, "code": refusal.code,
        } }),
        Family::Anthropic => json!({
            "type": "error", "error": { "type": anthropic_type(refusal.code), "message": words },
        }),
    };
    if let (Value::Object(body), Ok(Value::Object(own))) =
        (&mut body, serde_json::to_value(refusal))
    {
        body.extend(own.into_iter().filter(|(key, _)| key != "error"));
    }
    body
}

fn openai_type(code: Code) -> &'static str {
    match code.status() {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(code: Code) -> &'static str {
    match code.status() {
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_and_our_own() {
        let refusal = Refusal::new(Code::ModelNotFound, "no model", "Ask another.").for_tool("x");
        let openai = told(&refusal, Family::OpenAi);
        assert_eq!(openai["error"]["message"], "no model: Ask another.");
        assert_eq!(
            (&openai["error"]["code"], &openai["code"]),
            (&json!("MODEL_NOT_FOUND"), &json!("MODEL_NOT_FOUND"))
        );
        let anthropic = told(&refusal, Family::Anthropic);
        assert_eq!(
            (&anthropic["type"], &anthropic["error"]["type"]),
            (&json!("error"), &json!("not_found_error"))
        );
        assert_eq!(
            (&anthropic["message"], &anthropic["tool"]),
            (&json!("Ask another."), &json!("x"))
        );
    }
}
