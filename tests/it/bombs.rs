//! Bombs: a sandbox that uses up whatever it may, while the daemons answer whoever asks how they are. Never by the clock: every
//! probe of a fixed number is answered while the bomb provably works.

use std::fs;

use postern_testkit::{Curl, Devbox, Setup, wait};
use serde_json::json;

use crate::fixture::{self, order};

/// Probes that must be answered while a bomb works.
const PROBES: usize = 10;

/// CPU time, in clock ticks, by which a bomb shows between the first and the last probe that it works.
const TICKS_MIN: u64 = 10;

/// Small enough that every limit is run into at once.
const LIMITS: &str = "
[agents.hands.sandbox]
memory = \"192MiB\"
processes = 32
disk = \"16MiB\"
allow_weaker = [\"cgroup\"]
";

/// Ends a run while somebody watches. No bomb is given it: what is asked before it works may take as long as it does.
const BRIEF: &str = "wall_time = \"2s\"\n";

/// What an agent starts that wants to hurt: a name, and a program that never ends by itself.
const BOMBS: [(&str, &str); 5] = [
    (
        "forks",
        "import os, sys
while True:
    try:
        if os.fork() == 0: continue
    except OSError: pass",
    ),
    (
        "memory",
        "import os
while True:
    if os.fork() == 0:
        held = []
        while True: held.append(bytearray(os.urandom(1 << 20)))
    try: os.wait()
    except OSError: pass",
    ),
    (
        "bytes",
        "import os
while True:
    for place in ('/tmp', '/workspace', '/home/agent', '/run'):
        try:
            with open(place + '/bytes', 'wb', buffering=0) as file:
                while True: file.write(bytes(1 << 16))
        except OSError: pass
        os.truncate(place + '/bytes', 0)",
    ),
    (
        "files",
        "import os
made = 0
while True:
    try:
        os.close(os.open(f'/workspace/{made}', os.O_CREAT | os.O_WRONLY)); made += 1
    except OSError:
        for number in range(made): os.unlink(f'/workspace/{number}')
        made = 0",
    ),
    (
        "noise",
        "import subprocess, sys
subprocess.run(['cc', '-O1', '-o', '/workspace/noise', '/tmp/noise.c'], check=True, env={'PATH': '/usr/bin:/bin'})
seed = 0
while True:
    seed += 1
    try: subprocess.run(['/workspace/noise', str(seed), '6', '3000', sys.argv[1]])
    except OSError: pass",
    ),
];

const NOISE: &str = include_str!("../hostile/noise.c");

fn limited(setup: fn(&str) -> Setup, tool: &str) -> Setup {
    setup(&format!("{}{LIMITS}", fixture::config(tool)))
}

fn brief(tool: &str) -> Setup {
    as_root(&format!("{}{LIMITS}{BRIEF}", fixture::config(tool)))
}

fn as_root(config: &str) -> Setup {
    fixture::files(Setup::new(config))
}

fn as_ordinary_user(config: &str) -> Setup {
    let setup = fixture::files(Setup::new(config).as_ordinary_user());
    setup.flag("--allow-weaker").flag("separate_uid")
}

/// The CPU time of all living processes with this word among their arguments, and of their children that are gone, in ticks.
fn ticks(word: &str) -> Option<u64> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let used: Vec<u64> = processes
        .filter_map(|process| {
            let words = fs::read(process.path().join("cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).into_owned();
            words.split('\0').any(|found| found == word).then_some(())?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            // utime, stime, cutime and cstime of proc(5).
            fields[11..15]
                .iter()
                .map(|ticks| ticks.parse::<u64>().ok())
                .sum()
        })
        .collect();
    (!used.is_empty()).then(|| used.iter().sum())
}

/// What `/readyz` says it has from the gate, so that it is asked too.
fn probe(devbox: &Devbox) {
    for path in ["/healthz", "/readyz"] {
        let answer = Curl::get(devbox.api(path)).send();
        // A worker may be a victim, and the agent not ready; that it is said may not fail.
        let is_answer = answer.status == 200 || path == "/readyz" && answer.status == 503;
        assert!(is_answer, "{path}: {answer:?}");
    }
}

fn survive(devbox: &Devbox, (name, program): (&str, &str)) {
    let word = format!("bomb-{name}-{}", devbox.pid());
    let noise = json!({"do": "write", "path": "/tmp/noise.c", "text": NOISE});
    assert_eq!(order(devbox, &noise), "written");
    let bomb = json!({"do": "start", "argv": ["python3", "-c", program, word]});
    assert_eq!(order(devbox, &bomb), "started");
    let before = wait::until("the bomb works", || ticks(&word));
    for _ in 0..PROBES {
        probe(devbox);
        assert!(ticks(&word).is_some(), "the bomb {name} has ended");
    }
    wait::until("the bomb has worked all the while", || {
        probe(devbox);
        // Of forks that die young the time is their parents' by then, so that the sum may fall; each look counts.
        let now = ticks(&word)?;
        (now >= before + TICKS_MIN || now < before).then_some(())
    });
}

fn every_bomb(setup: fn(&str) -> Setup) {
    let tool = fixture::tool();
    for bomb in BOMBS {
        let devbox = limited(setup, &tool.url()).start();
        survive(&devbox, bomb);
        let ended = devbox.stop();
        ended.assert_nothing_left();
    }
}

#[test]
fn probes_are_answered_while_bombs_work() {
    every_bomb(as_root);
}

#[test]
fn probes_are_answered_while_bombs_of_an_ordinary_user_work() {
    every_bomb(as_ordinary_user);
}

#[test]
fn a_run_that_takes_too_long_is_told_as_one() {
    let tool = fixture::tool();
    let devbox = brief(&tool.url()).start();
    let forever = json!({"do": "run", "argv": ["sleep", "1000"]}).to_string();
    let answer = devbox.invoke(&forever);
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.body.contains("DEADLINE_PASSED"), "{answer:?}");
    // The agent is there for the next one.
    assert_eq!(
        order(&devbox, &json!({"do": "read", "path": "/etc/hostname"})),
        "hands\n"
    );
}

#[test]
fn nothing_of_a_run_goes_on_after_its_time() {
    let tool = fixture::tool();
    let devbox = brief(&tool.url()).start();
    // In a session of its own, where no signal to the worker's group comes.
    let forever = json!({"do": "run", "argv": ["setsid", "--wait", "sleep", "98765"]});
    assert_eq!(devbox.invoke(&forever.to_string()).status, 504);
    let look =
        json!({"do": "run", "argv": ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]});
    wait::until("what the run began is gone", || {
        let answer = devbox.invoke(&look.to_string());
        let seen = answer.status == 200 && answer.json()["result"]["code"] == 0;
        (seen && !answer.body.contains("98765")).then_some(())
    });
}

#[test]
fn a_directory_has_as_much_room_as_the_config_says() {
    let tool = fixture::tool();
    let devbox = limited(as_root, &tool.url()).start();
    for (mebibytes, code) in [("15", 0), ("17", 1)] {
        let copy = ["dd", "if=/dev/zero", "of=/workspace/x", "bs=1M"];
        let mut argv: Vec<_> = copy.map(str::to_owned).into();
        argv.push(format!("count={mebibytes}"));
        let done = order(&devbox, &json!({"do": "run", "argv": argv}));
        assert_eq!(done["code"], code, "{done}");
    }
}
