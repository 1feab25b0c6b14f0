//! Several agents, users and runs on one machine, hostile to each other: what one leaves open the other does not find.

use std::{collections::BTreeSet, fs, thread};

use nix::sys::signal::{Signal, kill};
use postern_testkit::{
    Answer, Archive, Curl, Devbox, Latch, Setup, Upstream, curl::Response, wait,
};
use serde_json::{Value, json};

use crate::fixture;

const NEIGHBOURS: &str = include_str!("fixture/neighbours.py");

/// What both share in the most hostile of circumstances, and what keeps them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    Agents,
    Runs,
    Users,
}

/// Whom to call, for whom, and what the run is called.
struct Who {
    agent: &'static str,
    user: Option<&'static str>,
    run: &'static str,
}

impl Apart {
    fn setup(self, tool: &Upstream, ordinary: bool) -> Setup {
        let config = fixture::config(&tool.url());
        let config = match self {
            Self::Agents => two_agents(&config),
            Self::Runs => format!("{config}isolation = \"run\"\n"),
            Self::Users => format!("{config}isolation = \"user\"\n"),
        };
        setup(&config, ordinary)
    }

    fn who(self) -> [Who; 2] {
        let (agents, users) = match self {
            Self::Agents => (["hands", "other"], [None, None]),
            Self::Runs => (["hands", "hands"], [None, None]),
            Self::Users => (["hands", "hands"], [Some("ada"), Some("eve")]),
        };
        [0, 1].map(|at| Who {
            agent: agents[at],
            user: users[at],
            run: ["run-victim", "run-attacker"][at],
        })
    }
}

fn setup(config: &str, ordinary: bool) -> Setup {
    let archive = Archive::new().file("agent.py", NEIGHBOURS).tar_gz();
    let setup = Setup::new(config);
    if !ordinary {
        return fixture::with_archive(setup, archive);
    }
    let setup = fixture::with_archive(setup.as_ordinary_user(), archive);
    setup.flag("--allow-weaker").flag("separate_uid")
}

fn two_agents(config: &str) -> String {
    let (rest, agent) = config.split_once("[agents.hands]").unwrap();
    format!("default_agent = \"hands\"\n{rest}[agents.hands]{agent}\n[agents.other]{agent}")
}

fn invoke(devbox: &Devbox, who: &Who, order: &Value) -> Response {
    let body = json!({ "message": order.to_string() });
    let url = devbox.api(&format!("/agents/{}/invoke", who.agent));
    let mut call = Curl::post(url, body.to_string()).header(&format!("X-Run-ID: {}", who.run));
    if let Some(user) = who.user {
        let key = fs::read_to_string(devbox.state().join("runtime/callers.key")).unwrap();
        call = call
            .header(&format!("X-End-User-Id: {user}"))
            .header(&format!("Authorization: Bearer {}", key.trim()));
    }
    call.send()
}

fn order(devbox: &Devbox, who: &Who, order: &Value) -> Value {
    let answer = invoke(devbox, who, order);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"].clone()
}

/// A tool whose answer to one path waits.
fn slow_tool(latch: &Latch) -> Upstream {
    let latch = latch.clone();
    Upstream::start(move |request| {
        let answer = Answer::json(&json!({}));
        if request.target.ends_with("/wait") {
            return answer.held_by(&latch);
        }
        answer
    })
}

/// The host's process ids of what names this mark on its command line.
fn pids_of(mark: &str) -> Vec<i32> {
    let list = fs::read_dir("/proc").unwrap().flatten();
    let pids = list.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| word == mark.as_bytes())
    };
    pids.filter(named).collect()
}

/// One run settles and waits; the other, beside it, tries everything; then the first goes on as if nothing had been.
fn hostile(apart: Apart, mark: &str, ordinary: bool) {
    let latch = Latch::default();
    let tool = slow_tool(&latch);
    let devbox = apart.setup(&tool, ordinary).start();
    let [victim, attacker] = apart.who();
    thread::scope(|scope| {
        let settled =
            scope.spawn(|| order(&devbox, &victim, &json!({"do": "settle", "mark": mark})));
        assert_eq!(tool.wait_for(1).len(), 1);
        let pids = wait::until("its process is there", || {
            Some(pids_of(mark)).filter(|pids| !pids.is_empty())
        });
        let attempt = json!({"do": "reach", "mark": mark, "pids": pids});
        assert_eq!(order(&devbox, &attacker, &attempt), json!([]), "{apart:?}");
        assert_eq!(pids_of(mark), pids, "the victim's process lives");
        let forged = json!({"do": "tool", "method": "POST", "path": "/items",
                            "headers": {"X-Run-ID": victim.run}});
        assert_ne!(
            order(&devbox, &again(&attacker), &forged),
            json!(200),
            "{apart:?}"
        );
        latch.open();
        let memory = settled.join().unwrap();
        assert_ne!(
            memory["shared memory"],
            json!(-1),
            "the test sees what it should"
        );
    });
    let lines = devbox.audit();
    let of = |run: &str| -> BTreeSet<String> {
        let lines = lines.iter().filter(|line| line["run"] == run);
        lines.map(|line| line["sandbox"].to_string()).collect()
    };
    assert_eq!(of(victim.run).len(), 1, "{lines:#?}");
    let posted = tool
        .requests()
        .iter()
        .filter(|sent| sent.method == "POST")
        .count();
    assert_eq!(posted, 0, "nobody speaks for a neighbour's run");
}

/// The same once more, under another run's name.
fn again(who: &Who) -> Who {
    Who {
        run: "run-again",
        ..*who
    }
}

#[test]
fn hostile_agents_in_one_devbox_find_nothing_of_each_other() {
    hostile(Apart::Agents, "mark-agents", false);
    hostile(Apart::Agents, "mark-agents-ordinary", true);
}

#[test]
fn hostile_runs_with_sandboxes_of_their_own_find_nothing_of_each_other() {
    hostile(Apart::Runs, "mark-runs", false);
    hostile(Apart::Runs, "mark-runs-ordinary", true);
}

#[test]
fn hostile_users_find_nothing_of_each_other() {
    hostile(Apart::Users, "mark-users", false);
    hostile(Apart::Users, "mark-users-ordinary", true);
}

/// Launchers of a devbox: one for each sandbox.
fn launchers(devbox: &Devbox) -> usize {
    let traces = devbox.traces();
    let launchers = traces.iter().filter(|line| {
        let mut words = line.split(' ').skip(3);
        words.next() == Some("launcher")
    });
    // The launcher, its helper and process 1 of the sandbox have the same command line.
    launchers.count()
}

#[test]
fn nothing_is_left_of_a_run_for_the_next_and_its_sandbox_ends_with_it() {
    let tool = fixture::tool();
    let devbox = Apart::Runs.setup(&tool, false).start();
    let [first, second] = Apart::Runs.who();
    let full = wait::until("the pool is full", || {
        Some(launchers(&devbox)).filter(|count| *count >= 4)
    });
    let settle = json!({"do": "settle", "mark": "mark-fresh", "wait": false});
    order(&devbox, &first, &settle);
    let attempt = json!({"do": "reach", "mark": "mark-fresh"});
    assert_eq!(order(&devbox, &second, &attempt), json!([]));
    wait::until("nothing of them is left but the pool", || {
        (pids_of("mark-fresh").is_empty() && launchers(&devbox) == full).then_some(())
    });
}

#[test]
fn a_run_in_a_sandbox_of_its_own_is_who_it_is_whatever_it_says() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url())
        .replace("private = true", "private = true\nforward_identity = true");
    let devbox = setup(&format!("{config}isolation = \"user\"\n"), false).start();
    let [ada, _] = Apart::Users.who();
    let headers = json!({"X-End-User-Id": "eve", "X-Tool-Name": "bank", "X-Action-Id": "act-1"});
    let post = json!({"do": "tool", "method": "POST", "path": "/items", "headers": headers});
    assert_eq!(order(&devbox, &ada, &post), json!(200));
    let sent = tool.requests().remove(0);
    assert_eq!(sent.values("x-end-user-id"), ["ada"]);
    assert_eq!(sent.values("x-run-id"), [ada.run]);
    assert!(sent.values("x-tool-name").is_empty() && sent.values("x-action-id").is_empty());
    let lines = devbox.audit();
    let line = lines.iter().find(|line| line["method"] == "POST").unwrap();
    assert_eq!(
        (&line["user"], &line["run"]),
        (&json!("ada"), &json!(ada.run))
    );
}

#[test]
fn a_user_keeps_files_and_no_process_and_another_has_none_of_it() {
    let tool = fixture::tool();
    let devbox = Apart::Users.setup(&tool, false).start();
    let [ada, eve] = Apart::Users.who();
    order(
        &devbox,
        &ada,
        &json!({"do": "settle", "mark": "mark-kept", "wait": false}),
    );
    let attempt = json!({"do": "reach", "mark": "mark-kept"});
    assert_eq!(order(&devbox, &eve, &attempt), json!([]));
    let kept = order(&devbox, &again(&ada), &attempt).to_string();
    for file in ["/workspace", "/tmp", "/home/agent", "/dev/shm"] {
        assert!(kept.contains(&format!("reads in {file}")), "{kept}");
    }
    for gone in ["sees", "signals", "reaches", "worker kept"] {
        assert!(!kept.contains(gone), "{gone}: {kept}");
    }
    assert_eq!(pids_of("mark-kept"), Vec::<i32>::new());
}

#[test]
fn who_finds_every_users_sandbox_in_use_is_told_so_and_a_nobody_too() {
    let latch = Latch::default();
    let tool = slow_tool(&latch);
    let config = fixture::config(&tool.url());
    let table = "isolation = \"user\"\n[agents.hands.sandbox]\nusers = 1\npool = 0\n";
    let devbox = setup(&format!("{config}{table}"), false).start();
    let [ada, eve] = Apart::Users.who();
    let nobody = Who {
        user: None,
        ..again(&ada)
    };
    let call = json!({"do": "tool", "method": "GET", "path": "/items/wait"});
    thread::scope(|scope| {
        let busy = scope.spawn(|| order(&devbox, &ada, &call));
        assert_eq!(tool.wait_for(1).len(), 1);
        let refused = invoke(&devbox, &eve, &call);
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(
            refused.body.contains("1 users at once, and all are in use"),
            "{refused:?}"
        );
        assert!(
            refused.head.to_lowercase().contains("retry-after"),
            "{refused:?}"
        );
        let refused = invoke(&devbox, &nobody, &call);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("NO_USER"), "{refused:?}");
        latch.open();
        assert_eq!(busy.join().unwrap(), json!(200));
    });
    let another = || (invoke(&devbox, &eve, &call).status == 200).then_some(());
    wait::until("the idle one has gone for another user", another);
}

#[test]
fn killed_with_a_full_pool_nothing_is_left() {
    let tool = fixture::tool();
    for (ordinary, isolation) in [(false, "run"), (true, "run"), (false, "user")] {
        let config = fixture::config(&tool.url());
        let table = format!("isolation = \"{isolation}\"\n[agents.hands.sandbox]\npool = 6\n");
        let devbox = setup(&format!("{config}{table}"), ordinary).start();
        for who in Apart::Users.who() {
            let settle = json!({"do": "settle", "mark": "mark-killed", "wait": false});
            order(&devbox, &who, &settle);
        }
        wait::until("the pool is full", || {
            (launchers(&devbox) >= 12).then_some(())
        });
        kill(devbox.runtime_pid(), Signal::SIGKILL).unwrap();
        let ended = devbox.ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.assert_nothing_left();
        let gone = || pids_of("mark-killed").is_empty().then_some(());
        wait::until("the agents' processes are gone", gone);
    }
}
