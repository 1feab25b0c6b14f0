//! The stages of an agent's install: judged by their own policies and tools, whatever the agent may do, and never only
//! watched.

use postern_contract::{AgentName, config::Stage};
use postern_policy::{Evidence, Facts, Holder, Method, Route, Rulebook};

use crate::fixture::{compile, url, word};

const CONFIG: &str = r#"
default_agent = "desk"
[tools.git]
url = "https://git.example/agent.git"
capabilities = [{ name = "fetch", method = "GET", path = "/info/*" }]
[[policies.watching.rules]]
name = "the repository"
permission = "allow"
resource = "https://git.example/agent.git/*"
[[policies.watching.rules]]
name = "asked"
permission = "approval_required"
resource = "https://asked.example/*"
[policies.watching]
mode = "audit"
[agents.desk]
policies = ["watching"]
[agents.desk.install]
tools = ["git"]
fetch = ["watching"]
setup = ["watching"]
[agents.bare]
policies = ["watching"]
"#;

struct Asked<'a> {
    agent: &'a str,
    stage: Option<Stage>,
    call: (&'a str, &'a str),
}

impl Asked<'_> {
    /// The verdict, and whether audit mode would let it pass.
    fn told(&self, book: &Rulebook) -> (String, bool) {
        let agent: AgentName = self.agent.parse().expect("a name");
        let method: Method = self.call.0.parse().expect("a method");
        let url = url(self.call.1);
        let facts = Facts {
            agent: &agent,
            stage: self.stage,
            method: &method,
            url: &url,
            tool: book.route(&url).map(Route::tool),
        };
        let watched = book.watched(&facts, &Evidence::none()).is_some();
        (word(&book.decide(&facts)), watched)
    }
}

const REFS: &str = "https://git.example/agent.git/info/refs";
const PACK: &str = "https://git.example/agent.git/pack";
const ASKED: &str = "https://asked.example/a";
const FREE: &str = "https://free.example/a";

const FETCH: Option<Stage> = Some(Stage::Fetch);
const SETUP: Option<Stage> = Some(Stage::Setup);

/// Whose call, the verdict on it, and whether audit mode would let it pass.
type Case = (
    &'static str,
    Option<Stage>,
    (&'static str, &'static str),
    &'static str,
    bool,
);

#[rustfmt::skip]
const CASES: [Case; 15] = [
    ("desk", None, ("GET", REFS), "POLICY_DENIED default", false),
    ("desk", None, ("GET", ASKED), "ask asked", false),
    ("desk", None, ("GET", FREE), "UNKNOWN_DESTINATION default", true),
    ("desk", FETCH, ("GET", REFS), "allow the repository", false),
    ("desk", FETCH, ("GET", PACK), "CAPABILITY_DENIED default", false),
    ("desk", FETCH, ("GET", ASKED), "POLICY_DENIED asked", false),
    ("desk", FETCH, ("GET", FREE), "UNKNOWN_DESTINATION default", false),
    ("desk", SETUP, ("GET", REFS), "allow the repository", false),
    ("desk", SETUP, ("GET", PACK), "CAPABILITY_DENIED default", false),
    ("desk", SETUP, ("POST", REFS), "POLICY_DENIED install", false),
    ("desk", SETUP, ("CONNECT", FREE), "POLICY_DENIED install", false),
    ("desk", SETUP, ("GET", ASKED), "POLICY_DENIED asked", false),
    ("desk", SETUP, ("GET", FREE), "UNKNOWN_DESTINATION default", false),
    ("bare", FETCH, ("GET", REFS), "POLICY_DENIED default", false),
    ("bare", SETUP, ("GET", REFS), "POLICY_DENIED default", false),
];

#[test]
fn every_stage_is_judged_by_what_it_was_given_and_nothing_is_only_watched() {
    let book = compile(CONFIG).unwrap();
    for (agent, stage, call, wanted, watched) in CASES {
        let told = Asked { agent, stage, call }.told(&book);
        assert_eq!(
            told,
            (wanted.to_owned(), watched),
            "{agent} {stage:?} {call:?}"
        );
    }
}

#[test]
fn a_host_is_open_to_whom_it_was_given_and_the_description_says_to_whom() {
    let book = compile(&CONFIG.replace("setup = [\"watching\"]\n", "")).unwrap();
    let agent: AgentName = "desk".parse().unwrap();
    let open = |stage| {
        let holder = Holder {
            agent: &agent,
            stage,
        };
        book.could_open(holder, &"git.example".parse().unwrap())
    };
    assert!(open(Some(Stage::Fetch)));
    assert!(!open(Some(Stage::Setup)));
    let lines = book.describe();
    assert!(
        lines.contains(&"fetch of agent desk".to_owned()),
        "{lines:#?}"
    );
    assert!(!lines.contains(&"setup of agent desk".to_owned()));
}
