//! An end user consents in the middle of a run, through the whole devbox: the run is put aside, the user goes to the provider and
//! back, the run goes on by itself, and the tool sees that user's token.

use std::fs;

use postern_testkit::{
    Answer, Browser, Curl, Devbox, Provider, Recorded, Setup, Upstream, curl::Response, wait,
};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    mail::{SECRET, SECRET_FILE, mail},
    waiting::{comes_to, killed, run},
};

const DESK: &str = r#"
[providers.real]
format = "openai"
url = "{model}/v1"
private = true

[agents.desk]
kind = "builtin"
tools = ["mail"]
models = ["fast"]
policies = ["hands"]
"#;

/// A model that reads mail, and then says what it read.
fn model() -> Upstream {
    Upstream::start(|request: &Recorded| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let last = asked["messages"].as_array().and_then(|all| all.last());
        let last = last.cloned().unwrap_or_default();
        let message = if last["role"] == "tool" {
            json!({ "role": "assistant", "content": format!("read: {}", last["content"].as_str().unwrap_or("")) })
        } else {
            json!({ "role": "assistant", "content": null, "tool_calls": [
                { "id": "call_1", "type": "function", "function": { "name": "mail__read", "arguments": "{}" } },
            ] })
        };
        Answer::json(&json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        }))
    })
}

struct Stage {
    tool: Upstream,
    provider: Provider,
    devbox: Devbox,
    _model: Upstream,
}

fn start() -> Stage {
    let (tool, model, provider) = (fixture::tool(), model(), Provider::start(Some(SECRET)));
    let desk = DESK.replace("{model}", &model.url()) + &mail(&tool, &provider, "4h");
    let config = fixture::config(&tool.url())
        .replace("provider = \"playground\"", "provider = \"real\"")
        + &desk;
    let setup = Setup::new(&format!("default_agent = \"desk\"\n{config}"));
    let devbox = fixture::files(setup).secret(SECRET_FILE, SECRET).start();
    Stage {
        tool,
        provider,
        devbox,
        _model: model,
    }
}

fn of(devbox: &Devbox, user: &str, curl: Curl) -> Response {
    let key = fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    curl.header(&format!("X-End-User-Id: {user}"))
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send()
}

fn ask(devbox: &Devbox, user: &str, id: &str, route: &str) -> Response {
    let body = json!({ "message": "what is new?", "run_id": id }).to_string();
    of(devbox, user, Curl::post(devbox.api(route), body))
}

fn resume(devbox: &Devbox, user: &str, id: &str, resume: &str) -> Response {
    let url = devbox.api(&format!("/resume/{resume}"));
    of(
        devbox,
        user,
        Curl::post(url, json!({ "run_id": id }).to_string()),
    )
}

/// A run that waits for its user: where they say yes, and by what it goes on.
fn waits(devbox: &Devbox, user: &str, id: &str) -> (String, String) {
    let answer = ask(devbox, user, id, "/invoke");
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    let text = |name: &str| {
        said[name]
            .as_str()
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned()
    };
    let (link, resume) = (text("authorization_url"), text("resume_id"));
    assert_eq!(text("code"), "CONSENT_REQUIRED");
    assert_eq!(text("response"), format!("{} {link}", text("message")));
    assert_eq!(
        (&said["tool"], &said["run_id"]),
        (&json!("mail"), &json!(id))
    );
    assert_eq!(said["consent_required"]["resume_id"], resume);
    assert_eq!(run(devbox, id)["status"], "PAUSED_CONSENT");
    (link, resume)
}

impl Stage {
    fn consents(&self, user: &str, link: &str) {
        self.provider.logged_in(user);
        let page = Browser::default().consent(link);
        assert_eq!(page.status, 200, "{page:?}");
    }

    /// The tokens that the tool was shown, in order.
    fn shown(&self) -> Vec<String> {
        let requests = self.tool.requests();
        let shown = requests
            .iter()
            .flat_map(|request| request.values("authorization"));
        shown.map(str::to_owned).collect()
    }

    fn had_tokens(&self) {
        assert_eq!(self.provider.refused(), [""; 0]);
        for token in self.provider.given() {
            self.devbox.had_secret(&token);
        }
    }
}

#[test]
fn a_run_waits_for_its_users_consent_and_goes_on_by_itself_as_that_user() {
    let stage = start();
    let devbox = &stage.devbox;
    let (adas, by_ada) = waits(devbox, "ada", "run-1");
    let (eves, by_eve) = waits(devbox, "eve", "run-2");
    let pending = resume(devbox, "ada", "run-1", &by_ada);
    assert_eq!(
        (pending.status, pending.json()["code"].clone()),
        (409, json!("CONSENT_PENDING"))
    );
    // Whoever else asks learns nothing.
    assert_eq!(resume(devbox, "eve", "run-1", &by_ada).status, 404);
    stage.consents("ada", &adas);
    let outcome = comes_to(devbox, "run-1", "COMPLETED");
    assert_eq!(
        run(devbox, "run-2")["status"],
        "PAUSED_CONSENT",
        "{outcome}"
    );
    let answer = resume(devbox, "ada", "run-1", &by_ada);
    assert!(
        answer.json()["response"]
            .as_str()
            .unwrap()
            .starts_with("read: "),
        "{answer:?}"
    );
    stage.consents("eve", &eves);
    comes_to(devbox, "run-2", "COMPLETED");
    assert_eq!(resume(devbox, "eve", "run-2", &by_eve).status, 200);
    // Who has consented is not asked again.
    let again = ask(devbox, "ada", "run-3", "/invoke");
    assert!(
        again.json()["response"]
            .as_str()
            .unwrap()
            .starts_with("read: "),
        "{again:?}"
    );
    let shown = stage.shown();
    let of = |user: &str| format!("Bearer access-token-of-{user}-number-");
    assert!(
        shown[0].starts_with(&of("ada")) && shown[1].starts_with(&of("eve")),
        "{shown:?}"
    );
    assert_eq!(shown[2], shown[0]);
    stage.had_tokens();
}

#[test]
fn a_stream_says_where_and_a_kill_takes_nothing_from_a_run_that_waits() {
    let stage = start();
    let stream = ask(&stage.devbox, "ada", "run-1", "/invoke/stream");
    let events = fixture::events(&stream);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(
        kinds,
        ["tool_call", "consent_required", "content", "done"],
        "{stream:?}"
    );
    let detail = &events[1]["detail"];
    let link = detail["authorization_url"].as_str().unwrap().to_owned();
    assert_eq!(events[1]["tool"], "mail");
    assert!(
        events[2]["delta"].as_str().unwrap().ends_with(&link),
        "{events:?}"
    );
    let Stage {
        tool,
        provider,
        devbox,
        _model,
    } = stage;
    let devbox = killed(devbox).start();
    let stage = Stage {
        tool,
        provider,
        devbox,
        _model,
    };
    assert_eq!(run(&stage.devbox, "run-1")["status"], "PAUSED_CONSENT");
    // The listener has another port now, and the page is the same.
    let asked = ask(&stage.devbox, "ada", "run-2", "/invoke").json();
    let now = asked["authorization_url"].as_str().unwrap().to_owned();
    let (base, _) = now.split_once("/consent/").unwrap();
    let (_, page) = link.split_once("/consent/").unwrap();
    stage.consents("ada", &format!("{base}/consent/{page}"));
    for id in ["run-1", "run-2"] {
        comes_to(&stage.devbox, id, "COMPLETED");
    }
    assert_eq!(stage.shown().len(), 2);
    stage.had_tokens();
}

#[test]
fn a_run_that_nobody_wants_asks_its_user_no_more() {
    let stage = start();
    let (link, _) = waits(&stage.devbox, "ada", "run-1");
    let gone = of(
        &stage.devbox,
        "ada",
        Curl::get(stage.devbox.api("/runs/run-1"))
            .flag("--request")
            .flag("DELETE"),
    );
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(run(&stage.devbox, "run-1")["status"], "FAILED");
    let page = wait::until("the page says so", || {
        let page = Browser::default().open(&link);
        (page.status != 200).then_some(page)
    });
    assert_eq!(page.status, 410, "{page:?}");
    assert!(stage.shown().is_empty());
}
