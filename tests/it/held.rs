//! A call of an agent with code needs its end user's consent: it waits at the gate while the run goes on, whoever began the run is
//! told where the user is asked, and the call goes on by itself as that user, or is refused in words that the agent can read.

use std::{
    fs,
    process::{Command, Output},
    thread,
};

use nix::sys::signal::{Signal, kill};
use postern_testkit::{
    Archive, Browser, Curl, Devbox, Provider, Setup, Upstream, binaries, curl::Response, wait,
};
use serde_json::{Value, json};

use crate::fixture::{
    self,
    mail::{SECRET, SECRET_FILE, mail},
    waiting::{comes_to, operator, run},
};

/// Makes as many calls at once as it is told, and says what came of each.
const AGENT: &str = r#"
import json, os, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor

def call(_number):
    try:
        with urllib.request.urlopen(os.environ["TOOL_URL_MAIL"] + "/inbox") as answer:
            return [answer.status, json.loads(answer.read())]
    except urllib.error.HTTPError as error:
        return [error.code, json.loads(error.read())]

def handler(request, ctx):
    many = int(request["message"])
    with ThreadPoolExecutor(many) as pool:
        return {"response": "done", "came": list(pool.map(call, range(many)))}
"#;

struct Stage {
    tool: Upstream,
    provider: Provider,
    devbox: Devbox,
}

/// `besides` stands in the agent's own table.
fn start(wait: &str, besides: &str) -> Stage {
    let (tool, provider) = (fixture::tool(), Provider::start(Some(SECRET)));
    let mail = mail(&tool, &provider, wait);
    let config = fixture::config(&tool.url());
    let config = config.replace("tools = [\"shop\"]", "tools = [\"mail\"]");
    let config = format!("{config}{besides}\n{mail}");
    let archive = Archive::new().file("agent.py", AGENT).tar_gz();
    let devbox = fixture::with_archive(Setup::new(&config), archive)
        .secret(SECRET_FILE, SECRET)
        .start();
    Stage {
        tool,
        provider,
        devbox,
    }
}

fn of(devbox: &Devbox, user: &str, curl: Curl) -> Response {
    let key = fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
    curl.header(&format!("X-End-User-Id: {user}"))
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send()
}

/// Has the agent make so many calls at once.
fn ask(devbox: &Devbox, id: &str, calls: u32, route: &str) -> Response {
    let body = json!({ "message": calls.to_string(), "run_id": id }).to_string();
    of(devbox, "ada", Curl::post(devbox.api(route), body))
}

fn resume(devbox: &Devbox, user: &str, id: &str, resume: &str) -> Response {
    let url = devbox.api(&format!("/resume/{resume}"));
    of(
        devbox,
        user,
        Curl::post(url, json!({ "run_id": id }).to_string()),
    )
}

/// What `/resume` says in the end: a run is stored before it is over.
fn resumed(devbox: &Devbox, id: &str, by: &str) -> Response {
    wait::until("the run is over", || {
        let answer = resume(devbox, "ada", id, by);
        (answer.status != 409).then_some(answer)
    })
}

/// The runs that the operator finds in a status.
fn in_status(devbox: &Devbox, status: &str) -> Vec<String> {
    let key = fs::read_to_string(devbox.state().join("runtime/operator.key")).unwrap();
    let listed = Curl::get(operator(devbox, &format!("/runs?status={status}")))
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send();
    let listed = listed.json();
    let ids = listed.as_array().unwrap().iter();
    ids.map(|run| run["id"].as_str().unwrap().to_owned())
        .collect()
}

/// What came of the calls of a run that is over.
fn came(devbox: &Devbox, id: &str) -> Value {
    let over = comes_to(devbox, id, "COMPLETED");
    over["outcome"]["body"]["came"].clone()
}

impl Stage {
    /// A run one of whose calls waits: where the user says yes, and by what it is asked for.
    fn waits(&self, id: &str) -> (String, String) {
        let answer = ask(&self.devbox, id, 1, "/invoke");
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = answer.json();
        let text = |name: &str| {
            let text = said[name].as_str();
            text.unwrap_or_else(|| panic!("{name}: {said}")).to_owned()
        };
        let (link, resume) = (text("authorization_url"), text("resume_id"));
        assert_eq!(text("code"), "CONSENT_REQUIRED");
        assert_eq!(text("response"), format!("{} {link}", text("message")));
        for (name, value) in [("tool", "mail"), ("run_id", id), ("handler", "user")] {
            assert_eq!(said[name], value, "{said}");
        }
        assert_eq!(said["consent_required"]["error"], "CONSENT_REQUIRED");
        assert!(said["duration_ms"].is_u64() && said["request_id"].is_string());
        let shown = run(&self.devbox, id);
        assert_eq!(
            (&shown["status"], &shown["blocked_action_id"]),
            (&json!("PAUSED_CONSENT"), &json!(resume)),
            "{shown}"
        );
        assert_eq!(shown["outcome"]["body"]["authorization_url"], link);
        assert_eq!(in_status(&self.devbox, "PAUSED_CONSENT"), [id]);
        assert_eq!(in_status(&self.devbox, "RUNNING"), [""; 0]);
        (link, resume)
    }

    fn opened(&self, link: &str) -> Response {
        self.provider.logged_in("ada");
        Browser::default().consent(link)
    }

    fn consents(&self, link: &str) {
        let page = self.opened(link);
        assert_eq!(page.status, 200, "{page:?}");
    }

    /// Whose tokens the tool was shown.
    fn is_adas(&self, calls: usize) {
        let requests = self.tool.requests();
        assert_eq!(requests.len(), calls, "{requests:?}");
        for request in requests {
            let shown = request.values("authorization")[0];
            assert!(
                shown.starts_with("Bearer access-token-of-ada-number-"),
                "{shown}"
            );
        }
        assert_eq!(self.provider.refused(), [""; 0]);
        for token in self.provider.given() {
            self.devbox.had_secret(&token);
        }
    }

    /// The lines of calls that somebody was asked for.
    fn asked(&self) -> Vec<Value> {
        let lines = self.devbox.audit().into_iter();
        lines.filter(|line| line["consent"].is_string()).collect()
    }
}

#[test]
fn a_call_waits_for_its_users_consent_and_goes_on_by_itself_as_that_user() {
    // Whoever began the run and was told where to go has not left it.
    let besides = "isolation = \"user\"\n[agents.hands.runs]\nwhen_left = \"cancel\"\n";
    let stage = start("4h", besides);
    let devbox = &stage.devbox;
    let (link, by) = stage.waits("run-1");
    let pending = resume(devbox, "ada", "run-1", &by);
    assert_eq!(
        (pending.status, pending.json()["code"].clone()),
        (409, json!("CONSENT_PENDING"))
    );
    // Whoever else asks learns nothing.
    assert_eq!(resume(devbox, "eve", "run-1", &by).status, 404);
    assert!(stage.tool.requests().is_empty());
    stage.consents(&link);
    assert_eq!(
        came(devbox, "run-1"),
        json!([[200, { "you sent": "/mail/inbox" }]])
    );
    let answer = resumed(devbox, "run-1", &by);
    assert_eq!(
        (answer.status, &answer.json()["response"]),
        (200, &json!("done"))
    );
    // Who has consented is not asked again.
    let again = ask(devbox, "run-2", 1, "/invoke").json();
    assert_eq!(
        (&again["response"], &again["came"][0][0]),
        (&json!("done"), &json!(200))
    );
    let asked = stage.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        (&asked[0]["consent"], &asked[0]["decision"]),
        (&json!(by), &json!("allowed"))
    );
    stage.is_adas(2);
}

#[test]
fn two_calls_wait_for_the_same_consent_and_a_stream_says_where_and_goes_on() {
    let stage = start("4h", "isolation = \"run\"\n");
    let devbox = &stage.devbox;
    let stream = thread::scope(|scope| {
        let stream = scope.spawn(|| ask(devbox, "run-1", 2, "/invoke/stream"));
        let waiting = comes_to(devbox, "run-1", "PAUSED_CONSENT");
        let link = &waiting["outcome"]["body"]["authorization_url"];
        stage.consents(link.as_str().unwrap());
        stream.join().unwrap()
    });
    let events = fixture::events(&stream);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["consent_required", "content", "done"], "{stream:?}");
    let detail = &events[0]["detail"];
    assert_eq!(events[0]["tool"], "mail");
    assert!(
        detail["authorization_url"].is_string() && detail["resume_id"].is_string(),
        "{detail}"
    );
    let came = came(devbox, "run-1");
    assert_eq!(
        (&came[0][0], &came[1][0]),
        (&json!(200), &json!(200)),
        "{came}"
    );
    let key = fs::read_to_string(devbox.state().join("runtime/operator.key")).unwrap();
    let kept = Curl::get(operator(devbox, "/runs/run-1/events"))
        .header(&format!("Authorization: Bearer {}", key.trim()))
        .send();
    let kept = kept.json();
    let asked = kept.as_array().unwrap().iter();
    let asked =
        asked.filter(|event| event["type"] == "CONSENT_REQUIRED" && event["actor"] == "gate");
    assert_eq!(asked.count(), 1, "{kept}");
    stage.is_adas(2);
}

#[test]
fn a_users_no_and_the_end_of_the_time_refuse_a_call_that_waits() {
    let stage = start("4h", "isolation = \"user\"\n");
    let (link, _) = stage.waits("run-1");
    stage.provider.declines(true);
    assert_eq!(stage.opened(&link).status, 403);
    let told = came(&stage.devbox, "run-1");
    assert_eq!(told[0][0], 403, "{told}");
    assert_eq!(told[0][1]["code"], "CONSENT_REJECTED", "{told}");
    // Nobody waits for it any more, and who needs it next asks anew.
    assert_eq!(Browser::default().open(&link).status, 410);
    stage.provider.declines(false);
    let (again, _) = stage.waits("run-2");
    assert_ne!(link, again);
    stage.consents(&again);
    assert_eq!(came(&stage.devbox, "run-2")[0][0], 200);
    stage.is_adas(1);
    let stage = start("2s", "isolation = \"user\"\n");
    ask(&stage.devbox, "run-1", 1, "/invoke");
    let told = came(&stage.devbox, "run-1");
    assert_eq!(told[0][1]["code"], "CONSENT_TIMEOUT", "{told}");
    assert!(stage.tool.requests().is_empty());
}

#[test]
fn a_run_that_is_cancelled_takes_its_calls_and_what_its_user_was_asked_along() {
    let stage = start("4h", "isolation = \"user\"\n");
    let (link, by) = stage.waits("run-1");
    let delete = Curl::get(stage.devbox.api("/runs/run-1"));
    let gone = of(
        &stage.devbox,
        "ada",
        delete.flag("--request").flag("DELETE"),
    );
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(run(&stage.devbox, "run-1")["status"], "FAILED");
    let page = wait::until("the page says so", || {
        let page = Browser::default().open(&link);
        (page.status != 200).then_some(page)
    });
    assert_eq!(page.status, 410, "{page:?}");
    let line = wait::until("the call is over", || stage.asked().pop());
    assert_eq!(line["consent"], by, "{line}");
    assert!(line["upstream"].is_null(), "{line}");
    assert!(stage.tool.requests().is_empty());
}

#[test]
fn a_gate_that_goes_says_so_to_a_call_that_waits() {
    let stage = start("4h", "isolation = \"user\"\n");
    let (_, by) = stage.waits("run-1");
    kill(stage.devbox.gate_pid(), Signal::SIGINT).unwrap();
    let told = came(&stage.devbox, "run-1");
    assert_eq!(told[0][0], 503, "{told}");
    assert_eq!(told[0][1]["code"], "GATE_UNAVAILABLE", "{told}");
    assert_eq!(resumed(&stage.devbox, "run-1", &by).status, 200);
    assert!(stage.tool.requests().is_empty());
}

/// `postern consents …` with the operator's key.
fn consents(devbox: &Devbox, words: &[&str]) -> Output {
    let mut command = Command::new(binaries::postern());
    command.arg("consents").args(words).arg("--json");
    command.args(["--operator", &devbox.operator_address().to_string()]);
    let key = devbox.state().join("runtime/operator.key");
    command.arg("--key-file").arg(key).output().unwrap()
}

fn listed(devbox: &Devbox, words: &[&str]) -> Vec<Value> {
    let output = consents(devbox, &[&["list"], words].concat());
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    said.as_array().unwrap().clone()
}

#[test]
fn a_consent_that_is_taken_back_is_asked_for_anew_and_its_token_is_never_sent_again() {
    let stage = start("4h", "isolation = \"user\"\n");
    let devbox = &stage.devbox;
    assert_eq!(listed(devbox, &[]), Vec::<Value>::new());
    let (link, _) = stage.waits("run-1");
    assert_eq!(listed(devbox, &[]), Vec::<Value>::new());
    stage.consents(&link);
    assert_eq!(came(devbox, "run-1")[0][0], 200);
    let one = listed(
        devbox,
        &["--user", "ada", "--tool", "mail", "--agent", "hands"],
    );
    let [one] = one.as_slice() else {
        panic!("{one:?}")
    };
    assert_eq!(
        (&one["user_id"], &one["tool_id"], &one["agent_id"]),
        (&json!("ada"), &json!("mail"), &json!("hands"))
    );
    assert!(one["since"].as_str().unwrap().starts_with("20"), "{one}");
    assert_eq!(listed(devbox, &["--user", "eve"]), Vec::<Value>::new());

    let id = one["id"].as_str().unwrap();
    let removed = consents(devbox, &["remove", id]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(listed(devbox, &[]), Vec::<Value>::new());
    let again = consents(devbox, &["remove", id]);
    assert!(!again.status.success(), "{again:?}");
    // The gate that is there and the next one have nothing of it.
    let (anew, _) = stage.waits("run-2");
    assert_ne!(link, anew);
    kill(devbox.gate_pid(), Signal::SIGKILL).unwrap();
    let sent = |at: usize| stage.tool.requests()[at].values("authorization")[0].to_owned();
    let mut tries = 0;
    let (another, run) = wait::until("the next gate asks anew", || {
        tries += 1;
        let run = format!("run-3-{tries}");
        let answer = ask(devbox, &run, 1, "/invoke").json();
        Some((answer["authorization_url"].as_str()?.to_owned(), run))
    });
    assert_ne!(link, another);
    assert_eq!(stage.tool.requests().len(), 1);
    stage.consents(&another);
    assert_eq!(came(devbox, &run)[0][0], 200);
    assert_ne!(sent(0), sent(1));
    stage.is_adas(2);
}
