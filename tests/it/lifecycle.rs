//! Whatever is killed, whenever: no process, mount or socket stays behind.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postern_testkit::{Curl, Devbox, Setup, wait};
use serde_json::json;

use crate::fixture::{
    self,
    victim::{VICTIMS, Victim},
};

fn setups(tool: &postern_testkit::Upstream) -> [Setup; 2] {
    [fixture::setup(tool), fixture::ordinary_setup(tool)]
}

#[test]
fn an_orderly_end_leaves_nothing() {
    let tool = fixture::tool();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for setup in setups(&tool) {
            let devbox = setup.start();
            assert_eq!(
                devbox.invoke(&json!({"do": "identity"}).to_string()).status,
                200
            );
            devbox.signal(signal);
            let ended = devbox.ended();
            assert_eq!(ended.code, Some(0), "{ended:?}");
            ended.assert_nothing_left();
        }
    }
}

#[test]
fn killing_any_part_of_a_running_devbox_leaves_nothing() {
    let tool = fixture::tool();
    for victim in VICTIMS {
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let devbox = fixture::setup(&tool).start();
            strike(*victim, signal, devbox);
        }
    }
}

#[test]
fn killing_any_part_as_an_ordinary_user_leaves_nothing() {
    let tool = fixture::tool();
    for victim in VICTIMS {
        strike(
            *victim,
            Signal::SIGKILL,
            fixture::ordinary_setup(&tool).start(),
        );
    }
}

/// Kills the victim; where the rest goes on, it is ended in order.
fn strike(victim: Victim, signal: Signal, devbox: Devbox) {
    let pid = victim.find(devbox.folder());
    let pid = pid.unwrap_or_else(|| panic!("no {victim:?} among {:?}", devbox.traces()));
    kill(pid, signal).unwrap();
    // The others go on without these; a gate that is told to stop waits for who needs it, and one that was killed is replaced.
    let goes_on = matches!(victim, Victim::Launcher | Victim::Sweeper)
        || (victim == Victim::Gate && signal == Signal::SIGKILL);
    if victim == Victim::Gate && goes_on {
        wait::until("another gate is there", || {
            victim.find(devbox.folder()).filter(|next| *next != pid)
        });
    }
    if goes_on {
        let gone = || {
            (!devbox
                .traces()
                .iter()
                .any(|line| line.starts_with(&format!("process {pid}:"))))
            .then_some(())
        };
        wait::until("the victim is gone", gone);
        devbox.signal(Signal::SIGTERM);
    }
    let ended = devbox.ended();
    let orderly = goes_on || (victim == Victim::Supervisor && signal == Signal::SIGTERM);
    assert_eq!(
        ended.code == Some(0),
        orderly,
        "{victim:?} {signal}: {ended:?}"
    );
    ended.assert_nothing_left();
}

#[test]
fn a_posternd_that_dies_takes_the_rest_along_and_is_named() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    kill(
        Victim::Runtime.find(devbox.folder()).unwrap(),
        Signal::SIGKILL,
    )
    .unwrap();
    let ended = devbox.ended();
    assert_eq!(ended.code, Some(1));
    let named = ended.stderr.contains("postern: posternd ended: signal: 9");
    assert!(named, "{ended:?}");
}

#[test]
fn a_gate_that_never_comes_back_is_given_up() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    std::fs::write(devbox.config(), "nothing = [\n").unwrap();
    kill(devbox.gate_pid(), Signal::SIGKILL).unwrap();
    let ended = devbox.ended();
    assert_ne!(ended.code, Some(0));
    let said = &ended.stderr;
    assert!(
        said.contains("the gate ended") && said.contains("postern.toml:1"),
        "{said}"
    );
    ended.assert_nothing_left();
}

#[test]
fn killing_any_part_while_it_starts_leaves_nothing() {
    let tool = fixture::tool();
    for victim in VICTIMS {
        // As soon as the victim is there, and again some way into its start, when its own children are.
        for patience in [0, 1, 2, 4, 8, 16] {
            let (mut child, folder) = fixture::setup(&tool).start_unready();
            let mut left = patience;
            let struck = wait::within(wait::DEADLINE, || {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("postern up ended by itself: {status}");
                }
                let pid = victim.find(folder.path())?;
                left -= 1;
                (left < 0).then(|| kill(pid, Signal::SIGKILL))
            });
            assert!(struck.is_some(), "{victim:?} was never there");
            end(&mut child);
            nothing_left(folder.path());
        }
    }
}

fn end(child: &mut Child) {
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    wait::until("postern up has ended", || child.try_wait().unwrap());
}

fn nothing_left(folder: &Path) {
    let left = || postern_testkit::devbox::traces(folder);
    let gone = wait::within(wait::DEADLINE, || left().is_empty().then_some(()));
    assert!(gone.is_some(), "left behind: {:#?}", left());
}

#[test]
fn a_lost_sandbox_is_replaced_for_the_next_call() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    kill(
        Victim::Launcher.find(devbox.folder()).unwrap(),
        Signal::SIGKILL,
    )
    .unwrap();
    wait::until("a call is answered again", || {
        (devbox.invoke(&json!({"do": "identity"}).to_string()).status == 200).then_some(())
    });
    assert_eq!(fixture::call_tool(&devbox, "GET", "/items/1").0, 200);
}

#[test]
fn a_state_directory_has_one_user_at_a_time() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let second = std::process::Command::new(postern_testkit::binaries::postern())
        .args(["up", "--state"])
        .arg(devbox.state())
        .arg(devbox.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another `postern up`") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(
        devbox.invoke(&json!({"do": "identity"}).to_string()).status,
        200
    );
}

#[test]
fn what_was_killed_starts_again_from_what_it_left() {
    let tool = fixture::tool();
    let mut devbox = fixture::setup(&tool).start();
    for victim in [Victim::Supervisor, Victim::Runtime] {
        assert_eq!(
            fixture::call_tool(&devbox, "GET", "/items/1").0,
            200,
            "{victim:?}"
        );
        kill(victim.find(devbox.folder()).unwrap(), Signal::SIGKILL).unwrap();
        let ended = devbox.ended();
        ended.assert_nothing_left();
        devbox = fixture::files(Setup::again(ended)).start();
    }
    assert_eq!(fixture::call_tool(&devbox, "GET", "/items/1").0, 200);
}

#[test]
fn an_answer_outlives_the_daemons_that_gave_it() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let add = json!({
        "do": "fetch", "method": "POST", "url": "http://127.127.0.1:4180/tools/shop/items", "body": "{}",
    });
    let body = json!({ "message": add.to_string() }).to_string();
    let invoke = |devbox: &Devbox| {
        let call = Curl::post(devbox.api("/invoke"), body.as_str());
        call.header("Idempotency-Key: once-and-for-all").send()
    };
    let first = invoke(&devbox);
    assert_eq!(first.status, 200, "{first:?}");
    kill(devbox.runtime_pid(), Signal::SIGKILL).unwrap();
    let ended = devbox.ended();
    let devbox = fixture::files(Setup::again(ended)).start();
    let second = invoke(&devbox);
    assert_eq!(
        (second.status, &second.json()["run_id"]),
        (200, &first.json()["run_id"]),
        "{second:?}"
    );
    assert_eq!(second.json()["result"], first.json()["result"]);
    assert_eq!(tool.requests().len(), 1, "the effect happened once");
}

#[test]
fn up_says_in_words_where_it_serves() {
    let setup = fixture::setup(&fixture::tool());
    let mut child = std::process::Command::new(postern_testkit::binaries::postern())
        .args(["up", "--lifeline", "--state"])
        .arg(setup.folder().join("state"))
        .arg(setup.folder().join("postern.toml"))
        .args(setup.flags())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(
        line.starts_with("ready: http://127.0.0.1:") && line.ends_with(" ms\n"),
        "{line}"
    );
    drop(child.stdin.take());
    let status = wait::until("it has ended with its lifeline", || {
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
    nothing_left(setup.folder());
}
