//! The units: systemd takes them without a complaint, and what they start speaks its protocols.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixDatagram,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use postern_testkit::{
    Curl, binaries,
    devbox::{GATE_UID, traces},
    wait,
};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture;

/// The number that the units' users have.
const RUNTIME_UID: u32 = 64_100;

/// What the launcher's unit leaves it, in setpriv's words.
const CAPABILITIES: &str = "-all,+setuid,+setgid,+chown,+dac_override,+sys_admin";

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

/// Copies of the units whose programs are the built ones.
fn staged() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let built = binaries::find("posternd")
        .parent()
        .unwrap()
        .display()
        .to_string();
    for entry in fs::read_dir(units()).unwrap().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|end| end == "service" || end == "socket")
        {
            let text = fs::read_to_string(&path)
                .unwrap()
                .replace("/usr/bin", &built);
            fs::write(directory.path().join(entry.file_name()), text).unwrap();
        }
    }
    directory
}

#[test]
fn systemd_takes_every_unit() {
    let directory = staged();
    let files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(files.len(), 4);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=one", "--man=no"])
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_daemons_units_are_hardened() {
    let directory = staged();
    for unit in ["posternd.service", "postern-proxy.service"] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=25", "--no-pager"])
            .arg(directory.path().join(unit))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{unit}: {said}");
    }
}

#[test]
fn users_and_directories_are_understood() {
    if !fixture::is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let option = format!("--root={}", root.path().display());
    for (program, file, arguments) in [
        ("systemd-sysusers", "sysusers.d/postern.conf", &[][..]),
        ("systemd-tmpfiles", "tmpfiles.d/postern.conf", &["--create"]),
    ] {
        let output = Command::new(program)
            .arg(&option)
            .args(arguments)
            .arg(units().join(file))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(
        passwd.contains("postern:x:64100:") && passwd.contains("postern-proxy:x:64101:"),
        "{passwd}"
    );
    assert!(root.path().join("etc/postern/secrets").is_dir());
}

/// Processes as systemd would start them, each with a readiness socket; they are ended with this value.
struct Units {
    folder: TempDir,
    children: Vec<Child>,
}

impl Units {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("postern-test-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            folder,
            children: Vec::new(),
        }
    }

    fn assert_nothing_runs(&self) {
        let processes = || -> Vec<String> {
            let all = traces(self.folder.path()).into_iter();
            all.filter(|line| line.starts_with("process")).collect()
        };
        let gone = wait::within(wait::DEADLINE, || processes().is_empty().then_some(()));
        assert!(gone.is_some(), "{:#?}", processes());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A directory with an owner, where the tests may give one.
    fn directory(&self, name: &str, mode: u32, (uid, gid): (u32, u32)) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        own(&path, uid, gid);
        path
    }

    /// Starts a program and waits until it says that it is ready; what it said.
    fn start(&mut self, name: &str, uid: u32, arguments: &[&str]) -> String {
        let socket = self.path(&format!("{name}.notify"));
        let notify = UnixDatagram::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        notify.set_read_timeout(Some(wait::DEADLINE)).unwrap();
        let mut command = Command::new(binaries::find(name));
        command
            .args(arguments)
            .env_clear()
            .env("NOTIFY_SOCKET", socket)
            .env("POSTERN_LOG", "warn");
        if geteuid().is_root() {
            command.uid(uid).gid(uid);
        }
        self.children.push(command.spawn().unwrap());
        let mut heard = String::new();
        while !heard.contains("READY=1") {
            let mut buffer = [0; 4096];
            let length = notify.recv(&mut buffer).unwrap();
            heard += std::str::from_utf8(&buffer[..length]).unwrap();
            heard += "\n";
        }
        heard
    }

    /// Has systemd listen for launchers, each connection one, as the units say.
    fn listen_for_launchers(&mut self, owner: u32) -> PathBuf {
        let (socket, config) = (self.path("launcher.sock"), self.path("launcher.toml"));
        let text = fs::read_to_string(units().join("launcher.toml")).unwrap();
        let text = text
            .replace(
                "/var/lib/postern",
                &self.path("runtime").display().to_string(),
            )
            .replace(
                "/usr/bin/posternd",
                &binaries::find("posternd").display().to_string(),
            );
        fs::write(&config, text).unwrap();
        let child = Command::new("systemd-socket-activate")
            .args(["--seqpacket", "--accept", "--inetd"])
            .arg(format!("--listen={}", socket.display()))
            .args(["setpriv", "--no-new-privs", "--bounding-set", CAPABILITIES])
            .arg(binaries::find("postern-launcher"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn();
        self.children.push(child.unwrap());
        wait::until("systemd listens", || socket.exists().then_some(()));
        own(&socket, owner, owner);
        socket
    }

    /// Ends them in the order given by their positions, and says how each ended.
    fn stop(&mut self, position: usize) -> Option<i32> {
        let child = &mut self.children[position];
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        wait::until("it has ended", || child.try_wait().unwrap()).code()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn own(path: &Path, uid: u32, gid: u32) {
    if geteuid().is_root() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

#[test]
fn the_launchers_unit_leaves_it_five_capabilities() {
    let unit = fs::read_to_string(units().join("postern-launcher@.service")).unwrap();
    let words = CAPABILITIES
        .trim_start_matches("-all,+")
        .split(",+")
        .map(str::to_uppercase);
    let set: Vec<_> = words.map(|word| format!("CAP_{word}")).collect();
    assert!(
        unit.contains(&format!("\nCapabilityBoundingSet={}\n", set.join(" "))),
        "{set:?}"
    );
}

#[test]
fn the_daemons_run_as_their_units_say_with_a_launcher_for_each_connection() {
    if !fixture::is_root() {
        return;
    }
    let tool = fixture::tool();
    let setup = fixture::setup(&tool);
    let mut started = Units::new();
    started.directory("runtime", 0o711, (RUNTIME_UID, RUNTIME_UID));
    started.directory("gate", 0o700, (GATE_UID, GATE_UID));
    started.directory("link", 0o750, (GATE_UID, RUNTIME_UID));
    let config = setup.folder().join("postern.toml").display().to_string();
    let place = |name: &str| started.path(name).display().to_string();
    let (link, states) = (place("link/link.sock"), (place("runtime"), place("gate")));
    let launcher = started
        .listen_for_launchers(RUNTIME_UID)
        .display()
        .to_string();
    let shared = ["--config", &config, "--link", &link];
    let (runtime, gate) = (RUNTIME_UID.to_string(), GATE_UID.to_string());
    let own = ["--state", &states.1, "--runtime-uid", &runtime];
    started.start("postern-proxy", GATE_UID, &[&shared[..], &own].concat());
    let own = [
        "--state",
        &states.0,
        "--launcher",
        &launcher,
        "--gate-uid",
        &gate,
    ];
    let heard = started.start("posternd", RUNTIME_UID, &[&shared[..], &own].concat());
    let api = heard
        .split("api=")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let order = json!({"do": "fetch", "url": "http://127.127.0.1:4180/tools/shop/items/1"});
    let body = json!({ "message": order.to_string() }).to_string();
    let answer = Curl::post(format!("http://{api}/invoke"), body).send();
    assert_eq!(answer.json()["result"]["status"], 200, "{answer:?}");
    let credential = format!("Bearer {}", fixture::KEY);
    assert_eq!(tool.wait_for(1)[0].values("authorization"), [credential]);
    assert_eq!(started.stop(2), Some(0), "posternd");
    assert_eq!(started.stop(1), Some(0), "the gate");
    started.stop(0);
    started.assert_nothing_runs();
}
