//! Configs: compiling never panics and says the same twice; what the index finds is what the rules say one by one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Call, compile, kind};
use postern_policy::{CanonicalUrl, Evidence};

fuzz_target!(|text: &str| {
    free(text);
    structured(text);
});

/// Any text as a config.
fn free(text: &str) {
    let (one, two) = (compile(text), compile(text));
    assert_eq!(one.is_some(), two.is_some());
    if let (Some(one), Some(two)) = (one, two) {
        assert_eq!(one.describe(), two.describe());
    }
}

/// Lines of `permission|method|resource|path`, then a line with a URL.
fn structured(text: &str) {
    let mut lines: Vec<&str> = text.lines().take(12).collect();
    let Some(url) = lines.pop().and_then(|line| CanonicalUrl::parse(line).ok()) else {
        return;
    };
    let rules: Vec<String> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| rule(at, line))
        .collect();
    let alone = |rule: &str| compile(&(head() + rule));
    let rules: Vec<String> = rules
        .into_iter()
        .filter(|rule| alone(rule).is_some())
        .collect();
    let Some(book) = compile(&(head() + &rules.concat())) else {
        return;
    };
    for method in ["GET", "POST"] {
        let call = Call {
            method: method.parse().unwrap(),
            url: url.clone(),
            evidence: Evidence::none(),
        };
        let said = |rule: &String| holds(rule, &call);
        let any = |permission: &str| {
            rules
                .iter()
                .any(|rule| rule.contains(&format!("permission = \"{permission}\"")) && said(rule))
        };
        let expected = if any("deny") {
            "denied"
        } else if any("approval_required") {
            "approval"
        } else if any("allow") {
            "allowed"
        } else {
            "denied"
        };
        assert_eq!(
            kind(&call.judged(&book)),
            expected,
            "{method} {url} by {rules:?}"
        );
    }
}

fn head() -> String {
    "[agents.desk]\npolicies = [\"p\"]\n[policies.p]\n".to_owned()
}

fn rule(at: usize, line: &str) -> Option<String> {
    let mut parts = line.split('|');
    let permission = match parts.next()? {
        "a" => "allow",
        "q" => "approval_required",
        "d" => "deny",
        _ => return None,
    };
    let (method, resource) = (parts.next()?, parts.next()?);
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    };
    if !plain(method) || !plain(resource) {
        return None;
    }
    let methods = if method.is_empty() {
        String::new()
    } else {
        format!("operations = [\"{method}\"]\n")
    };
    let paths = match parts.next() {
        Some(path) if plain(path) => format!("paths = [\"{path}\"]\n"),
        _ => String::new(),
    };
    Some(format!(
        "[[policies.p.rules]]\nname = \"r{at}\"\npermission = \"{permission}\"\nresource = \"{resource}\"\n{methods}{paths}"
    ))
}

/// Whether one rule holds by itself: made into an allow rule, it allows. A deny rule may name all ports; then it stays one.
fn holds(rule: &str, call: &Call<'_>) -> bool {
    let as_allow = rule
        .replace("\"deny\"", "\"allow\"")
        .replace("\"approval_required\"", "\"allow\"");
    if let Some(book) = compile(&(head() + &as_allow)) {
        return kind(&call.judged(&book)) == "allowed";
    }
    let Some(book) = compile(&(head() + rule)) else {
        return false;
    };
    let agent = "desk".parse().unwrap();
    let facts = postern_policy::Facts {
        stage: None,
        agent: &agent,
        method: &call.method,
        url: &call.url,
        tool: None,
    };
    let steps = book.trace(&facts, &call.evidence).steps;
    steps
        .iter()
        .any(|step| step.heard == postern_policy::Heard::Holds)
}
