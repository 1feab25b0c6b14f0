//! Finds the place of a key in a TOML text. Never judges what stands there.

use toml::de::{DeTable, DeValue};

/// Where the value at a path begins; where the path leads nowhere, its deepest part that exists.
pub(super) fn offset(text: &str, path: &[String]) -> usize {
    let Ok(root) = DeTable::parse(text) else {
        return 0;
    };
    let mut found = 0;
    let mut rest = path;
    let Some((first, tail)) = rest.split_first() else {
        return 0;
    };
    let Some((key, value)) = root.get_ref().get_key_value(first.as_str()) else {
        return 0;
    };
    found = found.max(key.span().start);
    rest = tail;
    let mut value = value;
    while let Some((step, tail)) = rest.split_first() {
        let next = match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(step.as_str()).map(|(key, value)| {
                found = key.span().start;
                value
            }),
            DeValue::Array(list) => step
                .parse()
                .ok()
                .and_then(|at: usize| list.get(at))
                .inspect(|value| {
                    found = value.span().start;
                }),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
        rest = tail;
    }
    found
}

/// Whether a secret, or what is meant to name one, may stand at an offset.
pub(super) fn is_secret(text: &str, offset: usize) -> bool {
    let Ok(root) = DeTable::parse(text) else {
        return false;
    };
    let mut nearest = (0, false);
    visit(root.get_ref(), false, &mut |start, secret| {
        if start <= offset && start >= nearest.0 {
            nearest = (start, secret);
        }
    });
    nearest.1
}

/// Every key of a table with its place, and whether it stands in a part of the file where secrets are spoken of.
fn visit(table: &DeTable<'_>, secret: bool, see: &mut impl FnMut(usize, bool)) {
    for (key, value) in table {
        let secret = secret || matches!(key.get_ref().as_ref(), "secrets" | "credential");
        see(key.span().start, secret);
        match value.get_ref() {
            DeValue::Table(inner) => visit(inner, secret, see),
            DeValue::Array(list) => list.iter().for_each(|item| {
                if let DeValue::Table(inner) = item.get_ref() {
                    visit(inner, secret, see);
                }
            }),
            _ => {}
        }
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    (line, column)
}
