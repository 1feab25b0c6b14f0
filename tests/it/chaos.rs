//! Workers, launchers, the gate and callers are killed at random while runs are under way: every run comes to an end, every
//! answer is the right one or a plain error, and nothing is left in the end. `scripts/chaos` makes it long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_daemon::{Clock, environment};
use postern_testkit::{Answer, Curl, Devbox, Setup, Upstream, curl::Response, wait};
use serde_json::{Value, json};

use crate::fixture::{self, approver::with_key, victim::Victim};

/// Runs of a usual test; `scripts/chaos` asks for more.
const RUNS: usize = 40;

/// Runs at the same time.
const AT_ONCE: usize = 4;

/// The longest time between two kills.
const CALM_MAX_MS: u64 = 400;

/// Agents, each with another life of its sandboxes.
const AGENTS: [&str; 2] = ["hands", "alone"];

/// xorshift64: the same seed, the same choices.
struct Chance(Mutex<u64>);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(Mutex::new(seed.max(1)))
    }

    fn below(&self, bound: usize) -> usize {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 16).unwrap() % bound
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Prey {
    Gate,
    Launcher,
    Worker,
    Caller,
}

const PREY: [Prey; 4] = [Prey::Gate, Prey::Launcher, Prey::Worker, Prey::Caller];

/// The devbox, who calls it now, and what came of everything.
struct Scene {
    devbox: Devbox,
    chance: Chance,
    begun: AtomicUsize,
    callers: Mutex<BTreeSet<i32>>,
    killed: Mutex<BTreeMap<Prey, usize>>,
    came: Mutex<BTreeMap<String, usize>>,
}

impl Scene {
    fn count<K: Ord>(map: &Mutex<BTreeMap<K, usize>>, key: K) {
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        *map.entry(key).or_default() += 1;
    }

    /// Runs one after another until there were enough.
    fn call(&self, runs: usize) {
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            if number >= runs {
                return;
            }
            let came = self.one(number);
            Self::count(&self.came, came);
        }
    }

    /// One run; what came of it in a word. A wrong answer is a panic.
    fn one(&self, number: usize) -> String {
        let url = format!("http://127.127.0.1:4180/tools/shop/items/{number}");
        let order = json!({"do": "fetch", "url": url}).to_string();
        let agent = AGENTS[number % AGENTS.len()];
        let url = self.devbox.api(&format!("/agents/{agent}/invoke"));
        let call = Curl::post(url, json!({ "message": order }).to_string());
        let call = call.header(&format!("X-Run-ID: chaos-{number}"));
        let mut command = call.command();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        self.callers().insert(pid);
        let output = child.wait_with_output();
        self.callers().remove(&pid);
        let output = output.unwrap();
        if output.status.code().is_none() {
            return "the caller was killed".to_owned();
        }
        judge(number, &Response::read(&output.stdout, &output.stderr))
    }

    fn callers(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills something now and then, until all runs have begun.
    fn rage(&self, runs: usize) {
        while self.begun.load(Ordering::SeqCst) < runs {
            let prey = PREY[self.chance.below(PREY.len())];
            if self
                .find(prey)
                .is_some_and(|pid| kill(pid, Signal::SIGKILL).is_ok())
            {
                Self::count(&self.killed, prey);
            }
            let calm = self.chance.below(usize::try_from(CALM_MAX_MS).unwrap());
            let calm = Duration::from_millis(calm.try_into().unwrap());
            let over = || (self.begun.load(Ordering::SeqCst) >= runs).then_some(());
            let _all_begun = wait::within(calm, over);
        }
    }

    fn find(&self, prey: Prey) -> Option<Pid> {
        let among = match prey {
            Prey::Gate => return Victim::Gate.find(self.devbox.folder()),
            Prey::Caller => self.callers().iter().copied().collect(),
            Prey::Launcher => children(self.devbox.pid(), |line| line.contains("\0launcher\0")),
            Prey::Worker => children(self.devbox.pid(), |line| {
                line.starts_with("/usr/bin/python3") || line.starts_with("python3")
            }),
        };
        let chosen = (!among.is_empty()).then(|| among[self.chance.below(among.len())]);
        chosen.map(Pid::from_raw)
    }

    /// Every run has come to an end, and the devbox answers as if nothing had been.
    fn recovers(&self) {
        let key = fs::read_to_string(self.devbox.state().join("runtime/operator.key")).unwrap();
        let url = format!("http://{}/api/v1/runs", self.devbox.operator_address());
        wait::until("no run is under way", || {
            let running = with_key(Curl::get(url.as_str()), key.trim());
            (running.json() == json!([])).then_some(())
        });
        for _ in AGENTS.iter().cycle().take(2 * AGENTS.len()) {
            wait::until("a run is answered as before", || {
                let number = self.begun.fetch_add(1, Ordering::SeqCst);
                (self.one(number) == "answered").then_some(())
            });
        }
    }
}

/// The right answer, or an error that says what it is.
fn judge(number: usize, answer: &Response) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        let code = body["code"].as_str().or(body["error"]["code"].as_str());
        let code = code.unwrap_or_else(|| panic!("run {number}: {answer:?}"));
        assert!(answer.status >= 429, "run {number}: {answer:?}");
        return format!("{} {code}", answer.status);
    }
    match body["result"]["status"].as_u64() {
        Some(200) => {
            let got: Value =
                serde_json::from_str(body["result"]["body"].as_str().unwrap()).unwrap();
            let expected = json!({ "you sent": format!("/base/items/{number}") });
            assert_eq!(got, expected, "run {number} got another's answer");
            "answered".to_owned()
        }
        Some(status) => format!("the tool said {status}"),
        None => {
            let said = body["result"].as_str().unwrap_or_default();
            assert!(
                said.contains("Error") || said.contains("Disconnected"),
                "run {number}: {answer:?}"
            );
            format!(
                "the agent said {}",
                said.split(':').next().unwrap_or_default()
            )
        }
    }
}

/// Every process beneath this one whose command line is like that.
fn children(of: Pid, is_like: impl Fn(&str) -> bool) -> Vec<i32> {
    let mut beneath = BTreeSet::from([of.as_raw()]);
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    loop {
        let before = beneath.len();
        let more = parents
            .iter()
            .filter(|(_, parent)| beneath.contains(parent));
        let more: Vec<i32> = more.map(|(pid, _)| *pid).collect();
        beneath.extend(more);
        if beneath.len() == before {
            break;
        }
    }
    let like = |pid: &i32| {
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        line.is_ok_and(|line| is_like(&String::from_utf8_lossy(&line)))
    };
    beneath.into_iter().filter(like).collect()
}

fn number_of(variable: &str) -> Option<u64> {
    environment::read(variable)?.parse().ok()
}

fn setup(tool: &Upstream) -> Setup {
    let config = fixture::config(&tool.url());
    let (rest, agent) = config.split_once("[agents.hands]").unwrap();
    let config = format!(
        "default_agent = \"hands\"\n{rest}[agents.hands]{agent}\n[agents.alone]{agent}isolation = \"run\"\n"
    );
    fixture::files(Setup::new(&config))
}

#[test]
fn killing_at_random_leaves_no_stuck_run_no_process_and_no_wrong_answer() {
    let runs = number_of("POSTERN_CHAOS_RUNS").and_then(|runs| runs.try_into().ok());
    let runs = runs.unwrap_or(RUNS);
    let seed = number_of("POSTERN_CHAOS_SEED");
    let seed = seed.unwrap_or_else(|| Clock::system().unix_ms().unsigned_abs());
    println!("chaos: {runs} runs, POSTERN_CHAOS_SEED={seed}");
    let tool = Upstream::start(|request| Answer::json(&json!({ "you sent": request.target })));
    let scene = Scene {
        devbox: setup(&tool).start(),
        chance: Chance::of(seed),
        begun: AtomicUsize::new(0),
        callers: Mutex::default(),
        killed: Mutex::default(),
        came: Mutex::default(),
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| scene.call(runs));
        }
        scope.spawn(|| scene.rage(runs));
    });
    scene.recovers();
    let (killed, came) = (
        scene.killed.into_inner().unwrap(),
        scene.came.into_inner().unwrap(),
    );
    println!("chaos: killed {killed:?}");
    println!("chaos: came to {came:#?}");
    let ended = scene.devbox.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_nothing_left();
    assert_eq!(
        came.values().sum::<usize>(),
        runs,
        "every run came to something"
    );
    assert!(came.get("answered") > Some(&0), "{came:?}");
}
