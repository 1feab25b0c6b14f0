//! A Connect server over its documented API.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use postern_daemon::Clock;
use postern_testkit::{Answer, Upstream, upstream::Recorded};
use serde_json::{Value, json};

use super::*;
use crate::{
    dial::{Dialer, World},
    secret::{Errands, vault::Sessions},
};

const TOKEN: &str = "connect-token-0123456789";
const VAULT: &str = "ftz4pm2xxwmwrsd7rjqn7grzfz";
const ITEM: &str = "wepiqdxdzncjtnvmv5fegud4qy";

struct Stage {
    server: Upstream,
    directory: tempfile::TempDir,
    errands: Arc<Errands>,
}

/// A server with one vault and one item, whose fields are these; of the title `Twice` there are two.
fn serve(asked: &Recorded, fields: &Value) -> Answer {
    if asked.values("authorization") != [format!("Bearer {TOKEN}")] {
        return Answer::json(&json!({ "message": "who is there?" })).with_status(401);
    }
    let target = percent_decode_str(&asked.target)
        .decode_utf8_lossy()
        .into_owned();
    let items = format!("/v1/vaults/{VAULT}/items");
    let list = |found: &[&str]| {
        let found: Vec<_> = found
            .iter()
            .map(|id| json!({ "id": id, "name": "n" }))
            .collect();
        Answer::json(&json!(found))
    };
    match target.strip_prefix(&items) {
        None if target == "/v1/vaults?filter=name eq \"Prod\"" => list(&[VAULT]),
        None if target == "/v1/vaults?filter=name eq \"Odd\"" => list(&["../../x"]),
        None if target.starts_with("/v1/vaults?filter=") => list(&[]),
        Some("?filter=title eq \"Stripe live\"") => list(&[ITEM]),
        Some("?filter=title eq \"Twice\"") => list(&[ITEM, VAULT]),
        Some(rest) if rest == format!("/{ITEM}") => Answer::json(&json!({
            "id": ITEM, "sections": [{ "id": "s1", "label": "API" }], "fields": fields,
        })),
        _ => Answer::json(&json!({ "message": "nothing" })).with_status(404),
    }
}

fn stage(fields: Value) -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("op.token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let dialer = Arc::new(Dialer::new(World::default(), Clock::system()));
    Stage {
        server: Upstream::start(move |asked| serve(asked, &fields)),
        directory,
        errands: Arc::new(Errands::new(&dialer, &Clock::system())),
    }
}

impl Stage {
    fn ask(&self, more: &Value) -> Result<String, String> {
        let mut written = json!({
            "url": self.server.url(), "plaintext": true, "vault": "Prod", "item": "Stripe live", "field": "credential",
            "token_file": "op.token",
        });
        for (key, value) in more.as_object().unwrap() {
            written[key] = value.clone();
        }
        let source: OnePassword =
            serde_json::from_value(written).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let asking = Asking {
            directory: self.directory.path(),
            time: Duration::from_secs(60),
            last: None,
            errands: &self.errands,
            sessions: &Sessions::default(),
        };
        let came = runtime.unwrap().block_on(source.ask(asking));
        let value = came.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }
}

fn fields() -> Value {
    json!([
        { "id": "username", "label": "username", "value": "u" },
        { "id": "f1", "label": "credential", "value": "sk_1\n" },
        { "id": "f2", "label": "key", "value": "sk_2", "section": { "id": "s1" } },
        { "id": "f3", "label": "key", "value": "sk_3" },
        { "id": "f4", "label": "none" },
        { "id": "f5", "label": "empty", "value": "" },
    ])
}

#[test]
fn a_field_is_found_by_names_or_ids() {
    let stage = stage(fields());
    assert_eq!(stage.ask(&json!({})), Ok("sk_1".to_owned()));
    assert_eq!(
        stage.ask(&json!({ "vault": VAULT, "item": ITEM, "field": "f3" })),
        Ok("sk_3".to_owned())
    );
    assert_eq!(
        stage.ask(&json!({ "section": "API", "field": "key" })),
        Ok("sk_2".to_owned())
    );
    let last = stage.server.requests().pop().unwrap();
    assert_eq!(last.target, format!("/v1/vaults/{VAULT}/items/{ITEM}"));
}

#[test]
fn what_is_wrong_is_told_without_a_word_of_theirs() {
    let stage = stage(fields());
    for (more, wanted) in [
        (json!({ "vault": "Other" }), "there is no such `vault`"),
        (json!({ "vault": "Odd" }), "no JSON as its API has it"),
        (
            json!({ "item": "Other" }),
            "it answered 404: nothing is there",
        ),
        (
            json!({ "item": "Twice" }),
            "there are several of that name: say the id as `item`",
        ),
        (json!({ "field": "other" }), "there is no such `field`"),
        (json!({ "field": "none" }), "there is no such `field`"),
        (
            json!({ "field": "key" }),
            "there are several of that name: say the id as `field`",
        ),
        (
            json!({ "section": "Other", "field": "key" }),
            "there is no such `field`",
        ),
        (json!({ "field": "empty" }), "the value is empty"),
        (json!({ "vault": "a\"b" }), "without quotes"),
        (json!({ "plaintext": false }), "say https"),
    ] {
        let error = stage.ask(&more).unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(!error.contains("sk_"), "{error}");
    }
    let file = stage.directory.path().join("op.token");
    fs::write(&file, "of-somebody-else").unwrap();
    let error = stage.ask(&json!({})).unwrap_err();
    assert!(
        error.contains("401: it does not take this token"),
        "{error}"
    );
    assert!(!error.contains("somebody"), "{error}");
}
