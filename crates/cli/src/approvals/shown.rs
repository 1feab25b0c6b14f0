//! Requests for approval in lines for people. What an agent wrote is shown so that a terminal takes it for text and for
//! nothing else: no control characters, and none that turns or hides what stands beside it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Characters that are no control characters and can still make a line read otherwise than it is: marks and overrides of
/// direction, joiners, fillers, byte order marks, separators of lines, and variation selectors and tags (Unicode TR 36).
const DECEIVING: [std::ops::RangeInclusive<char>; 14] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0000}'..='\u{e0fff}',
];

/// A text that stays within its line and says what it says.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || DECEIVING.iter().any(|range| range.contains(&character)) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The list, a line each.
pub(super) fn list(all: &Value) -> String {
    let lines: Vec<_> = all.as_array().into_iter().flatten().map(line).collect();
    if lines.is_empty() {
        return "nobody is asked for anything".to_owned();
    }
    lines.join("\n")
}

/// One request in a line.
pub(super) fn line(one: &Value) -> String {
    let text = |key: &str| plain(one[key].as_str().unwrap_or_default());
    let by = match text("approver_id") {
        by if by.is_empty() => String::new(),
        by => format!("  by {by}"),
    };
    let (id, status, agent) = (text("id"), text("status"), text("agent_id"));
    let until = text("expires_at");
    if one["origin"] == "agent" {
        let words = text("message");
        return format!(
            "{id}  {status:<8}  agent {agent} asks by itself, and says: \"{words}\"  until {until}{by}"
        );
    }
    let (method, url, rule) = (text("tool_method"), text("tool_url"), text("rule"));
    let also = match (one["scope"].as_str(), text("granted_until")) {
        (Some("run"), held) => format!("  and others of its run until {held}"),
        (Some("agent_user_ttl"), held) => format!("  and others for this user until {held}"),
        _ => String::new(),
    };
    format!(
        "{id}  {status:<8}  {method} {url}  rule `{rule}`  agent {agent}  until {until}{by}{also}"
    )
}

/// All that one call would send, while it waits.
pub(super) fn whole(one: &Value) -> String {
    let mut lines = vec![line(one)];
    let text = |key: &str| plain(one[key].as_str().unwrap_or_default());
    for (name, key) in [
        ("run", "run_id"),
        ("user", "subject"),
        ("tool", "tool_id"),
        ("hash", "payload_hash"),
    ] {
        let value = text(key);
        if !value.is_empty() {
            lines.push(format!("{name:<5} {value}"));
        }
    }
    let Some(body) = one["body_base64"].as_str() else {
        lines.push("what it would send is kept only while it waits".to_owned());
        return lines.join("\n");
    };
    for field in one["headers"].as_array().into_iter().flatten() {
        let part = |at: usize| plain(field[at].as_str().unwrap_or_default());
        lines.push(format!("> {}: {}", part(0), part(1)));
    }
    lines.push(String::new());
    let bytes = STANDARD.decode(body).unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        Ok(text) => lines.extend(text.lines().map(plain)),
        Err(_) => lines.push(format!(
            "{} bytes that are no text: --json has them in base64",
            bytes.len()
        )),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_agent_wrote_cannot_move_or_hide_anything() {
        let tricks = "pay 1\u{1b}[2K\r\u{202e}0001 yap\u{2066}\u{200b}\u{feff}\u{e0041}\n";
        let shown = plain(tricks);
        assert_eq!(
            shown,
            "pay 1\\u{1b}[2K\\u{d}\\u{202e}0001 yap\\u{2066}\\u{200b}\\u{feff}\\u{e0041}\\u{a}"
        );
        assert_eq!(plain("grüße, 漢字"), "grüße, 漢字");
    }

    #[test]
    fn what_an_agent_asks_by_itself_is_shown_as_its_words() {
        let one = json!({
            "id": "act_1", "status": "PENDING", "origin": "agent", "message": "rule `all`\n\u{202e}", "agent_id": "desk",
            "expires_at": "soon", "body_base64": STANDARD.encode("{}"),
        });
        let shown = whole(&one);
        let told =
            "agent desk asks by itself, and says: \"rule `all`\\u{a}\\u{202e}\"  until soon\n";
        assert!(shown.contains(told), "{shown}");
    }

    #[test]
    fn a_body_is_shown_line_by_line_and_a_field_on_one() {
        let one = json!({
            "id": "act_1", "status": "PENDING", "tool_method": "POST", "tool_url": "https://a.example/b?c",
            "rule": "ask", "agent_id": "desk", "expires_at": "soon", "run_id": "run_1",
            "headers": [["x-note", "a\r\nb"]], "body_base64": STANDARD.encode("one\n\u{1b}[Htwo"),
        });
        let shown = whole(&one);
        assert!(shown.contains("\n> x-note: a\\u{d}\\u{a}b\n"), "{shown}");
        assert!(shown.ends_with("\n\none\n\\u{1b}[Htwo"), "{shown}");
        let kept = json!({ "id": "act_1" });
        assert!(whole(&kept).ends_with("kept only while it waits"));
    }
}
