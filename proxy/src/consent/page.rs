//! The gate's pages for end users, plain and without a script. Everything that comes from elsewhere is text: never markup, never a
//! direction of writing, never a line of its own.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// The longest text of somebody else's on a page, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// What the page that asks shows.
pub(super) struct Question<'a> {
    pub(super) agent: &'a str,
    pub(super) tool: &'a str,
    pub(super) user: &'a str,
    /// Where the browser goes from here.
    pub(super) provider: &'a str,
    pub(super) scopes: &'a [String],
    /// What its form says.
    pub(super) form: &'a str,
}

/// The page that asks.
pub(super) fn asks(question: &Question<'_>) -> Response {
    let Question {
        agent,
        tool,
        user,
        provider,
        scopes,
        form,
    } = question;
    let (agent, tool, user) = (text(agent), text(tool), text(user));
    let mut body = format!(
        "<h1>May an agent act for you?</h1>\n\
         <p>The agent <strong>{agent}</strong> wants to use <strong>{tool}</strong> for <strong>{user}</strong>.</p>\n"
    );
    if !scopes.is_empty() {
        let scopes: Vec<String> = scopes.iter().map(|scope| text(scope)).collect();
        let _ = writeln!(body, "<p>It asks for: {}</p>", scopes.join(", "));
    }
    let to = text(provider);
    let _ = write!(
        body,
        "<p>If you are not {user}, or did not ask this agent for anything, close this page.</p>\n\
         <form method=\"post\"><input type=\"hidden\" name=\"form\" value=\"{}\">\
         <button type=\"submit\">Go on to {to}</button></form>\n",
        text(form)
    );
    page(StatusCode::OK, &body, Some(provider))
}

/// A page that says one thing.
pub(super) fn says(status: StatusCode, title: &str, words: &str) -> Response {
    let body = format!("<h1>{}</h1>\n<p>{}</p>\n", text(title), text(words));
    page(status, &body, None)
}

fn page(status: StatusCode, body: &str, provider: Option<&str>) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Postern</title></head><body>\n{body}</body></html>\n"
    );
    let mut response = (status, html).into_response();
    guard(&mut response, provider);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The fields that every answer has: kept nowhere, framed nowhere, told nobody.
pub(super) fn guard(response: &mut Response, provider: Option<&str>) {
    // A form's target counts with where it is redirected to.
    let forms = provider.map_or_else(|| "'none'".to_owned(), |to| format!("'self' {to}"));
    let policy =
        format!("default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action {forms}");
    let fields = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        fields.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
}

/// A text as it may stand anywhere on a page.
fn text(raw: &str) -> String {
    let mut shown = String::new();
    for (count, character) in raw.chars().enumerate() {
        if count >= TEXT_CHARS_MAX {
            shown.push('…');
            break;
        }
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            odd if is_odd(odd) => shown.push('\u{fffd}'),
            plain => shown.push(plain),
        }
    }
    shown
}

/// Characters that are seen as something else, or not at all.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_somebody_else_is_nothing_but_text() {
        assert_eq!(
            text("<script>\"a\"&'b'</script>"),
            "&lt;script&gt;&quot;a&quot;&amp;&#39;b&#39;&lt;/script&gt;"
        );
        assert_eq!(
            text("a\u{202e}b\r\nc\u{200b}"),
            "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}"
        );
        assert_eq!(text(&"ä".repeat(201)), "ä".repeat(200) + "…");
        assert_eq!(text("Ådå 字"), "Ådå 字");
    }

    #[test]
    fn a_page_is_kept_and_framed_nowhere() {
        let response = says(StatusCode::GONE, "Over", "It is over.");
        assert_eq!(response.status(), StatusCode::GONE);
        let field = |name| response.headers()[name].to_str().unwrap();
        assert!(field("content-security-policy").contains("frame-ancestors 'none'"));
        assert!(field("content-security-policy").contains("default-src 'none'"));
        assert_eq!(field("cache-control"), "no-store");
        assert_eq!(field("referrer-policy"), "no-referrer");
        assert!(field("content-type").starts_with("text/html"));
    }
}
