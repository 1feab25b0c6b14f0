//! An agent in a real sandbox that asks a token endpoint by itself: what it has of its tokens, where that works, and what it is told
//! when the gate was started anew.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use postern_testkit::{Answer, Archive, Devbox, Setup, Upstream, wait};
use serde_json::{Value, json};

use crate::fixture::{self, victim::Victim};

/// Says what it was answered.
const PROGRAM: &str = r#"
import json, os, sys, urllib.error, urllib.parse, urllib.request

def ask(url, form=None, **fields):
    body = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(url, body, fields)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()

def token(**form):
    return ask(os.environ["TOOL_URL_IDP"] + "/oauth/token", form)

order, *words = sys.stdin.read().split()
if order == "ask":
    said = token(grant_type="authorization_code", code=words[0], code_verifier="two", client_id="me")
elif order == "refresh":
    said = token(grant_type="refresh_token", refresh_token=words[0])
elif order == "spend":
    said = ask(os.environ["TOOL_URL_" + words[0]] + "/items/1", Authorization="Bearer " + words[1])
print(json.dumps(said))
"#;

/// How every real token begins, behind what is no secret of it.
const REAL: &str = "realrealREALREAL0123456789";

/// `{"alg":"RS256"}` and claims, signed.
fn id_token(number: usize) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.{REAL}{number}")
}

/// Gives tokens at `/idp/oauth/token`, the `number`th time those of that number; says elsewhere what it was sent.
fn upstream() -> Upstream {
    let given = AtomicUsize::new(0);
    Upstream::start(move |request| {
        if !request.target.starts_with("/idp/oauth/token") {
            let fields = format!("{:?}", request.headers);
            return Answer::json(&json!({ "you sent": fields }));
        }
        let form = String::from_utf8_lossy(&request.body).into_owned();
        if form.contains("form-please") {
            return Answer {
                body: format!("access_token=at_{REAL}0").into_bytes(),
                ..Answer::json(&json!({}))
            };
        }
        let number = given.fetch_add(1, Ordering::SeqCst);
        Answer::json(&json!({
            "access_token": format!("at_{REAL}{number}"),
            "refresh_token": format!("rt_{REAL}{number}"),
            "id_token": id_token(number),
            "token_type": "Bearer",
            "expires_in": 3600,
        }))
    })
}

fn start(upstream: &Upstream) -> Devbox {
    let url = upstream.url();
    let config = fixture::config(&url);
    let (rest, _) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "{rest}[tools.idp]\nurl = \"{url}/idp\"\nprivate = true\ntags = [\"shop\"]\n\
         tokens = {{ endpoints = [\"/oauth/token\"], spent_at = [\"crm\"] }}\n\
         [tools.crm]\nurl = \"{url}/crm\"\nprivate = true\ntags = [\"shop\"]\n\
         [tools.other]\nurl = \"{url}/other\"\nprivate = true\ntags = [\"shop\"]\n\
         [agents.hands]\nkind = \"command\"\nsource = {{ object = {{ path = \"hands.tar.gz\" }} }}\n\
         tools = [\"idp\", \"crm\", \"other\", \"shop\"]\npolicies = [\"hands\"]\n\
         [agents.hands.command]\nargv = [\"python3\", \"/agent/run.py\"]\n"
    );
    let archive = Archive::new().file("run.py", PROGRAM).tar_gz();
    let devbox = fixture::with_archive(Setup::new(&config), archive).start();
    devbox.had_secret(REAL);
    devbox
}

/// The status and the body that the agent saw. It never sees a token.
fn say(devbox: &Devbox, order: &str) -> (u64, Value) {
    let answer = devbox.invoke(order);
    assert_eq!(answer.status, 200, "{order}: {answer:?}");
    let said = answer.json()["response"].to_string();
    assert!(!said.contains(REAL), "{order}: {said}");
    let said = answer.json()["response"].as_str().map(str::to_owned);
    let said: Value = serde_json::from_str(&said.unwrap_or_default()).unwrap();
    let body = serde_json::from_str(said[1].as_str().unwrap()).unwrap();
    (said[0].as_u64().unwrap(), body)
}

fn last_line(devbox: &Devbox) -> Value {
    let calls = devbox.audit().into_iter();
    calls.rev().find(|line| line["kind"] == "call").unwrap()
}

/// What stands for each of the agent's tokens.
fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap()
}

/// The agent shows this to a tool.
fn spend(devbox: &Devbox, tool: &str, text: &str) -> (u64, Value) {
    say(devbox, &format!("spend {tool} {text}"))
}

#[test]
fn an_agent_asks_for_tokens_uses_them_and_asks_for_the_next_and_has_never_one() {
    let upstream = upstream();
    let devbox = start(&upstream);
    let (status, first) = say(&devbox, "ask code");
    assert_eq!(status, 200, "{first}");
    assert!(text(&first, "access_token").starts_with("at_"), "{first}");
    assert_eq!(text(&first, "id_token").split('.').count(), 3);
    assert_eq!(first["expires_in"], 3600);
    assert_eq!(last_line(&devbox)["tokens_sealed"], 3);

    let shown = |number: usize| {
        let request = upstream.requests().pop().unwrap();
        let wanted = format!("Bearer at_{REAL}{number}");
        assert_eq!(request.values("authorization"), [wanted]);
    };
    assert_eq!(spend(&devbox, "CRM", text(&first, "access_token")).0, 200);
    shown(0);
    let refresh = format!("refresh {}", text(&first, "refresh_token"));
    let (status, second) = say(&devbox, &refresh);
    assert_eq!(status, 200, "{second}");
    let request = upstream.requests().pop().unwrap();
    let form = String::from_utf8(request.body).unwrap();
    let wanted = format!("refresh_token=rt%5F{REAL}0");
    assert!(form.ends_with(&wanted), "{form}");
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(spend(&devbox, "IDP", text(&second, "access_token")).0, 200);
    shown(1);

    // The one before is over: nobody is asked.
    let asked = upstream.requests().len();
    let (status, told) = say(&devbox, &refresh);
    assert_eq!((status, &told["error"]), (401, &"invalid_grant".into()));
    assert_eq!(upstream.requests().len(), asked);
    for request in upstream.requests() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let sent = format!("{:?} {body}", request.headers);
        for body in [&first, &second] {
            for name in ["access_token", "refresh_token", "id_token"] {
                assert!(!sent.contains(text(body, name)), "{sent}");
            }
        }
    }
}

#[test]
fn what_stands_for_a_token_leads_nowhere_else_and_what_is_not_as_declared_is_kept_back() {
    let upstream = upstream();
    let devbox = start(&upstream);
    let (_, held) = say(&devbox, "ask code");
    for (tool, name) in [
        ("OTHER", "access_token"),
        ("SHOP", "access_token"),
        ("CRM", "refresh_token"),
        ("CRM", "id_token"),
    ] {
        let (status, told) = spend(&devbox, tool, text(&held, name));
        let misplaced = (403, &"DUMMY_MISPLACED".into());
        assert_eq!((status, &told["code"]), misplaced, "{tool} {name}");
        let line = last_line(&devbox);
        let spot = "of idp, in the field authorization";
        assert_eq!(line["dummy_misplaced"], spot);
        assert!(!line.to_string().contains(text(&held, name)), "{line}");
    }
    assert_eq!(upstream.requests().len(), 1);
    let (status, told) = say(&devbox, "ask form-please");
    assert_eq!((status, &told["code"]), (502, &"TOKEN_UNSEALED".into()));
    assert_eq!(last_line(&devbox)["reason"], "TOKEN_UNSEALED");
}

#[test]
fn the_next_gate_has_no_token_and_says_so_until_the_agent_asks_again() {
    let upstream = upstream();
    let devbox = start(&upstream);
    let (_, held) = say(&devbox, "ask code");
    let show = format!("spend CRM {}", text(&held, "access_token"));
    let first = Victim::Gate.find(devbox.folder()).unwrap();
    kill(first, Signal::SIGKILL).unwrap();
    let told = wait::until("another gate says that it has no token", || {
        let answer = devbox.invoke(&show);
        let said = answer.json()["response"].as_str()?.to_owned();
        said.contains("TOKEN_UNKNOWN").then_some(said)
    });
    assert!(told.contains("invalid_token") && told.contains("started anew"));
    let refresh = format!("refresh {}", text(&held, "refresh_token"));
    let (status, told) = say(&devbox, &refresh);
    assert_eq!((status, &told["error"]), (401, &"invalid_grant".into()));
    assert_eq!(upstream.requests().len(), 1);
    let (_, again) = say(&devbox, "ask code");
    assert_eq!(spend(&devbox, "CRM", text(&again, "access_token")).0, 200);
}
