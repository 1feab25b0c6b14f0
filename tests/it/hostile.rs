//! A hostile agent's first moves, each of which must come to nothing, as root and as an ordinary user.

use postern_testkit::{Devbox, Setup, wait};
use serde_json::json;

use crate::fixture::{self, KEY, order, sha256};

fn in_both_modes(attack: impl Fn(&Devbox)) {
    let tool = fixture::tool();
    let modes: [fn(&postern_testkit::Upstream) -> Setup; 2] =
        [fixture::setup, fixture::ordinary_setup];
    for setup in modes {
        attack(&setup(&tool).start());
    }
}

#[test]
fn the_credential_is_nowhere_to_be_read() {
    in_both_modes(|devbox| {
        let found = order(devbox, &json!({"do": "search", "digest": sha256(KEY)}));
        assert_eq!(found["found"], json!([]), "{found}");
        for kind in ["environment", "files", "memory"] {
            assert!(found["looked"][kind].as_u64() > Some(0), "{found}");
        }
        // The search itself works: it finds what is there, wherever it looks.
        for (plant, word, place) in [
            (
                json!({"do": "write", "path": "/tmp/planted", "text": "a file-word-of-more-than-20-letters"}),
                "file-word-of-more-than-20-letters",
                "/tmp/planted",
            ),
            (
                json!({"do": "plant", "place": "environment", "text": "environment-word-of-20-letters"}),
                "environment-word-of-20-letters",
                "os.environ",
            ),
            (
                json!({"do": "plant", "place": "memory", "text": "memory-word-of-more-than-20-letters"}),
                "memory-word-of-more-than-20-letters",
                "/mem",
            ),
        ] {
            order(devbox, &plant);
            let found = order(devbox, &json!({"do": "search", "digest": sha256(word)}));
            assert!(
                found["found"].to_string().contains(place),
                "{place}: {found}"
            );
        }
    });
}

#[test]
fn the_hosts_loopback_and_the_operator_port_are_out_of_reach() {
    in_both_modes(|devbox| {
        for address in [devbox.api_address(), devbox.operator_address()] {
            for host in [
                "127.0.0.1",
                "0.0.0.0",
                "127.127.0.1",
                "::1",
                "::ffff:127.0.0.1",
                "localhost",
            ] {
                let connect = json!({"do": "connect", "host": host, "port": address.port()});
                let said = order(devbox, &connect).to_string();
                assert!(
                    !said.contains("connected"),
                    "{host}:{}: {said}",
                    address.port()
                );
            }
            for host in [
                "127.0.0.1",
                "localhost",
                "localhost.",
                "0x7f.1",
                "[::ffff:127.0.0.1]",
                "2130706433",
            ] {
                let url = format!("http://{host}:{}/", address.port());
                let said = order(devbox, &fixture::absolute("GET", &url));
                let said = said.as_str().unwrap_or_default();
                assert!(said.starts_with("HTTP/1.1 40"), "{url}: {said}");
            }
            let tunnel = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let said = order(devbox, &json!({"do": "raw", "text": tunnel})).to_string();
            assert!(said.contains("HTTP/1.1 403"), "{said}");
        }
    });
}

#[test]
fn the_daemons_sockets_are_not_there() {
    in_both_modes(|devbox| {
        let run = std::fs::read_dir(devbox.state())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("run-")
            })
            .unwrap();
        for (socket, kind) in [
            ("launcher.sock", "seqpacket"),
            ("gate/link.sock", "seqpacket"),
            ("notify.sock", "datagram"),
        ] {
            let path = run.join(socket);
            assert!(path.exists(), "{}", path.display());
            for seen in [
                path.display().to_string(),
                format!("/proc/1/root{}", path.display()),
            ] {
                let said = order(devbox, &json!({"do": "unix", "path": seen, "kind": kind}));
                assert!(said.as_str().unwrap().contains("Error"), "{said}");
            }
        }
        let sockets = order(devbox, &json!({"do": "read", "path": "/proc/net/unix"}));
        let folder = devbox.folder().display().to_string();
        assert!(!sockets.as_str().unwrap().contains(&folder), "{sockets}");
    });
}

#[test]
fn nothing_but_loopback_is_in_its_network() {
    in_both_modes(|devbox| {
        let devices = order(devbox, &json!({"do": "read", "path": "/proc/net/dev"}));
        let devices: Vec<_> = devices
            .as_str()
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()))
            .collect();
        assert_eq!(devices, ["lo"]);
        for (host, port) in [("1.1.1.1", 853), ("169.254.169.254", 81), ("10.0.0.1", 22)] {
            let connect = json!({"do": "attempt", "host": host, "port": port});
            let said = order(devbox, &connect);
            assert!(said.as_str().unwrap().contains("Error"), "{host}: {said}");
        }
        // Whoever answers at an address of somebody's is the gate, and it says no.
        for host in ["169.254.169.254", "10.0.0.1", "127.0.0.1"] {
            let text = format!("GET /latest/meta-data/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let said = order(
                devbox,
                &json!({"do": "raw", "text": text, "host": host, "port": 80}),
            );
            let said = said.as_str().unwrap();
            assert!(said.contains("UNKNOWN_DESTINATION"), "{host}: {said}");
        }
        for kind in ["SOCK_RAW"] {
            for family in ["AF_INET", "AF_PACKET"] {
                let said = order(
                    devbox,
                    &json!({"do": "make_socket", "family": family, "kind": kind}),
                );
                assert!(said.as_str().unwrap().contains("Error"), "{family}: {said}");
            }
        }
    });
}

#[test]
fn other_processes_are_not_there_to_be_read() {
    in_both_modes(|devbox| {
        for pid in [devbox.pid(), devbox.runtime_pid(), devbox.gate_pid()] {
            for file in ["environ", "mem", "maps", "root", "cwd", "fd"] {
                let path = format!("/proc/{pid}/{file}");
                let said = order(devbox, &json!({"do": "run", "argv": ["cat", path]}));
                let own = order(devbox, &json!({"do": "entries", "path": "/proc"}));
                let is_its_own = own
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|name| name == &json!(pid.to_string()));
                assert!(is_its_own || said["code"] != 0, "{path}: {said}");
            }
        }
        for path in [
            "/proc/1/environ",
            "/proc/1/mem",
            "/proc/1/root/etc/shadow",
            "/proc/kcore",
        ] {
            let said = order(
                devbox,
                &json!({"do": "run", "argv": ["head", "-c", "10", path]}),
            );
            assert!(said["out"] == "", "{path}: {said}");
        }
    });
}

/// In every directory that an agent may write: links to a file of the host's, pipes that nobody writes to and files of a terabyte, by
/// names that a daemon might want to read. None of them was ever read.
const PLANT: &str = "
for place in /workspace /tmp /home/agent /run /dev/shm; do
    for name in agent.py worker.py postern.toml audit.jsonl runs.db gate.db launcher.toml core passwd cgroup.procs; do
        mkdir -p $place/link $place/pipe $place/huge
        ln -s $0 $place/link/$name
        mkfifo $place/pipe/$name
        truncate -s 1T $place/huge/$name
        ln -s pipe/$name $place/$name
        touch -a -d @1 $place/huge/$name
    done
done
find /workspace /tmp /home/agent /run /dev/shm -type p | wc -l";

/// How many of the pipes are there, how many of them somebody reads, and how many of the files somebody has read. Whether that can be
/// seen at all is seen by one pipe that is held and one file that is read.
const LOOK: &str = "
import os, pathlib, stat
seen = [0, 0, 0]
def look(path):
    found = os.lstat(path)
    if stat.S_ISFIFO(found.st_mode):
        seen[0] += 1
        try: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError: return
        seen[1] += 1
    elif stat.S_ISREG(found.st_mode): seen[2] += found.st_atime != 1
planted = [path for place in ('workspace', 'tmp', 'home/agent', 'run', 'dev/shm')
    for kind in ('pipe', 'huge') for path in pathlib.Path('/', place, kind).glob('*')]
for path in planted: look(path)
print(*seen)
held = os.open('/tmp/pipe/core', os.O_RDONLY | os.O_NONBLOCK)
with open('/tmp/huge/core', 'rb') as file: file.read(1)
seen[:] = 0, 0, 0
for path in planted: look(path)
print(*seen)";

#[test]
fn what_is_planted_for_a_daemon_is_followed_and_read_by_nobody() {
    in_both_modes(|devbox| {
        let out = tempfile::NamedTempFile::new().unwrap();
        // Whoever may read anything of the host's may read this; a file that is read tells when, once.
        let long_ago = std::fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        out.as_file().set_permissions(open_to_all).unwrap();
        std::fs::write(out.path(), "read").unwrap();
        out.as_file().set_times(long_ago).unwrap();
        let is_unread =
            || out.as_file().metadata().unwrap().accessed().unwrap() == std::time::UNIX_EPOCH;
        let plant = json!({"do": "run", "argv": ["sh", "-c", PLANT, out.path()]});
        let planted = order(devbox, &plant);
        assert_eq!(planted["out"].as_str().unwrap().trim(), "50", "{planted}");
        // The worker ends, so that all that can be known of the sandbox is asked and another begins among what was planted.
        let kill = json!({"do": "run", "argv": ["sh", "-c", "kill -9 $PPID"]});
        assert_ne!(devbox.invoke(&kill.to_string()).status, 200);
        let look = json!({"do": "run", "argv": ["python3", "-c", LOOK]}).to_string();
        let seen = wait::until("the agent is there again", || {
            let answer = devbox.invoke(&look);
            (answer.status == 200).then(|| answer.json()["result"].clone())
        });
        assert_eq!(seen["out"], "50 0 0\n50 1 1\n", "{seen}");
        assert!(is_unread(), "somebody followed a link out");
        std::fs::read(out.path()).unwrap();
        if is_unread() {
            eprintln!(
                "skipped: this file system does not tell what was read, so of links nothing is known"
            );
        }
    });
}

/// Tries three thousand ports of somebody's, one after the other.
const SCAN: &str = "
import socket
ends = set()
for port in range(10_000, 13_000):
    try:
        with socket.create_connection(('192.0.2.7', port), timeout=10) as link: ends.add(link.recv(1))
    except OSError as error: ends.add(type(error).__name__)
print(*ends)";

#[test]
fn a_scan_of_ports_is_counted_to_the_last_and_keeps_nobody_from_calling() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let scan = json!({"do": "run", "argv": ["python3", "-c", SCAN]});
    let ends = order(&devbox, &scan)["out"].as_str().unwrap().to_owned();
    if ends.contains("ConnectionRefusedError") {
        return eprintln!("skipped: attempts at other ports leave no record here");
    }
    assert_eq!(ends, "ConnectionResetError\n");
    assert_eq!(fixture::call_tool(&devbox, "GET", "/items/1").0, 200);
    // A share of them stands whole, all others in counts, which are written after a while.
    let lines = wait::until("every attempt is counted", || {
        let mut lines = devbox.audit();
        lines.retain(|line| line["reason"] == "UNKNOWN_DESTINATION");
        let times = lines.iter().map(|line| line["times"].as_u64().unwrap_or(1));
        (times.sum::<u64>() == 3000).then_some(lines.len())
    });
    assert!(lines < 500, "{lines}");
}
